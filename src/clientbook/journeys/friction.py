"""Where does interest die: carts left standing, searches without a hit, what they complain of in their own words?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook import promises
from clientbook.engine import Engine

CART_DAYS = 7
VISIT_MINUTES = 30
# Words that fewer people used may tell who it was.
FEWEST_PEOPLE = 5
_CART = r"cart|basket|checkout|trolley"


def carts(timeline: ir.Table, known: ir.Table, as_of: dt.date, limit: int = 12) -> pd.DataFrame:
    """How many carts are left standing, and on which topics?

    A cart is a day on which a subject put something in one or began to pay; it is left standing where no order of
    theirs follows within a week.

    Parameters
    ----------
    timeline
        The public table.
    known
        As from :func:`clientbook.journeys.acquaintance`: of a cookie that nobody knows the order cannot be seen.
    as_of
        The day of the run; the last week is left out.
    limit
        Topics to show, those with the most left first.

    Returns
    -------
    pandas.DataFrame
        `topic`, `carts`, `left_standing`, `share`; the row `all` last.
    """
    seen = timeline.semi_join(known.filter(known["systems"] > 0), "subject_id")
    put = seen.filter((seen["kind"] == "event") & seen["event_name"].lower().re_search(_CART))
    put = put.mutate(topic=put["topic"].fill_null("not told"), day=put["occurred_at"].truncate("D"))
    put = put.group_by("subject_id", "topic", "day").agg(at=put["occurred_at"].min())
    put = put.filter(put["at"] < ibis.timestamp(f"{as_of - dt.timedelta(days=CART_DAYS)} 00:00:00"))
    bought = seen.filter(seen["kind"] == "order").select("subject_id", ordered_at="occurred_at").distinct()
    both = put.left_join(bought, [
        put["subject_id"] == bought["subject_id"], bought["ordered_at"] >= put["at"],
        bought["ordered_at"] <= put["at"] + ibis.interval(days=CART_DAYS),
    ])  # fmt: skip
    each = both.group_by("subject_id", "topic", "day").agg(stands=both["ordered_at"].count() == 0)
    told = each.group_by("topic").agg(carts=each.count(), left_standing=each["stands"].sum())
    told = told.order_by(ibis.desc("left_standing"), "topic").to_pandas()
    if told.empty:
        return told.assign(share=pd.Series(dtype=float))
    whole = pd.DataFrame({"topic": ["all"], "carts": [told["carts"].sum()], "left_standing": [told["left_standing"].sum()]})
    told = pd.concat([told.head(limit), whole], ignore_index=True)
    return told.assign(share=told["left_standing"] / told["carts"])


def searches(events: ir.Table | None, engine: Engine | None = None, limit: int = 12) -> pd.DataFrame:
    """What do they look for without finding it, and do they go on afterwards?

    Parameters
    ----------
    events
        Clean events; searches are those that tell how many hits there were.
    engine
        Where what is read twice is staged.
    limit
        Words to show.

    Returns
    -------
    pandas.DataFrame
        `words`, `searches`, `without_hit` (share), `went_on` (share after which the same person did something else
        within half an hour); the words most often searched without a hit first, only such as five people or more
        used; the rows `all with hits` and `all without a hit` last.
    """
    names = ["words", "searches", "without_hit", "went_on"]
    if events is None or "results" not in events.columns:
        return pd.DataFrame(columns=names)
    rows = events.select("occurred_at", "arrival", "text", "results", person=_person_of(events))
    # what others did says nothing of those who searched
    rows = rows.semi_join(rows.filter(rows["results"].notnull()).select("person").distinct(), "person")
    along = ibis.window(group_by="person", order_by=["occurred_at", "arrival"])
    rows = rows.mutate(next_at=rows["occurred_at"].lead().over(along))
    rows = rows.filter(rows["results"].notnull())
    soon = rows["next_at"] <= rows["occurred_at"] + ibis.interval(minutes=VISIT_MINUTES)
    rows = rows.select("person", empty=rows["results"] == 0, on=soon.fill_null(False), words=rows["text"].lower().strip())
    rows = rows if engine is None else engine.keep(rows)
    each = rows.filter(rows["words"].notnull())
    each = each.group_by("words").agg(
        searches=each.count(), empty=each["empty"].sum(), on=each["on"].sum(), people=each["person"].nunique()
    )
    each = each.filter((each["people"] >= FEWEST_PEOPLE) & (each["empty"] > 0))
    told = each.order_by(ibis.desc("empty"), "words").limit(limit).to_pandas()
    whole = rows.group_by("empty").agg(searches=rows.count(), on=rows["on"].sum()).order_by("empty").to_pandas()
    whole = whole.assign(words=whole["empty"].map({False: "all with hits", True: "all without a hit"}))
    whole["empty"] = whole["empty"] * whole["searches"]
    told = pd.concat([told, whole], ignore_index=True)
    share = told["searches"].clip(lower=1)
    return told.assign(without_hit=told["empty"] / share, went_on=told["on"] / share)[names]


def _person_of(rows: ir.Table) -> ir.IntegerColumn:
    """Who did it, in sixty-four bits: to sort by words takes twice as long."""
    return ibis.struct({"source": rows["person_source"], "id": rows["person_id"]}).hash()


def own_words(tables: Mapping[str, ir.Table | None], topics: int = 5, words: int = 6, most: int = 20_000) -> pd.DataFrame:
    """What is it about, in their own words? Topics of what stands in cases and surveys.

    Parameters
    ----------
    tables
        `cases` and `surveys`, where there are.
    topics
        How many to look for, at most.
    words
        To show of each; only such as stand in five texts of different people.
    most
        Texts to read, the newest.

    Returns
    -------
    pandas.DataFrame
        `about` (its words), `texts`, `share`, `example` (a text of it with all but those common words masked); the
        largest first. Empty where fewer than 30 texts are there.
    """
    names = ["about", "texts", "share", "example"]
    parts = []
    for name, at in (("cases", "opened_at"), ("surveys", "asked_at")):
        rows = tables.get(name)
        if rows is not None and "text" in rows.columns:
            rows = rows.filter(rows["text"].notnull())
            parts.append(
                rows.select("text", who=rows["person_source"].concat("|", rows["person_id"]), at=rows[at], arrival="arrival")
            )
    if not parts:
        return pd.DataFrame(columns=names)
    rows = ibis.union(*parts) if len(parts) > 1 else parts[0]
    told = rows.order_by(ibis.desc("at"), "arrival", "text").limit(most).to_pandas()
    if len(told) < 30:
        return pd.DataFrame(columns=names)
    from sklearn.decomposition import NMF
    from sklearn.feature_extraction.text import TfidfVectorizer

    maker = TfidfVectorizer(min_df=FEWEST_PEOPLE, max_df=0.5, max_features=2_000, token_pattern=r"(?u)\b[^\W\d_]{4,}\b")
    try:
        table = maker.fit_transform(told["text"])
    except ValueError:
        # no word is in enough of them
        return pd.DataFrame(columns=names)
    vocabulary = maker.get_feature_names_out()
    # a word is shown if people enough used it, however often one of them did
    people = pd.factorize(told["who"])[0]
    marks = table.tocoo()
    used = pd.DataFrame({"word": marks.col, "who": people[marks.row]}).drop_duplicates().groupby("word").size()
    common = used.reindex(range(len(vocabulary)), fill_value=0).to_numpy() >= FEWEST_PEOPLE
    table, vocabulary = table[:, np.flatnonzero(common)], vocabulary[common]
    count = min(topics, table.shape[1])
    if count < 1:
        return pd.DataFrame(columns=names)
    model = NMF(n_components=count, init="nndsvda", random_state=1, max_iter=300)
    weight = np.round(model.fit_transform(table), 6)
    belongs = weight.argmax(axis=1)
    known = weight.max(axis=1) > 0
    shown = set(vocabulary)
    rows = []
    for topic in range(count):
        mine = np.flatnonzero((belongs == topic) & known)
        if not len(mine):
            continue
        best = np.argsort(-np.round(model.components_[topic], 6), kind="stable")[:words]
        best = [vocabulary[i] for i in best if model.components_[topic][i] > 1e-6]
        example = told["text"].iloc[mine[weight[mine, topic].argmax()]]
        rows.append([", ".join(best), len(mine), len(mine) / len(told), _masked(example, shown)])
    return pd.DataFrame(rows, columns=names).sort_values(["texts", "about"], ascending=[False, True], ignore_index=True)


def contentment(tables: Mapping[str, ir.Table | None], who: ir.Table, *, zone: str) -> pd.DataFrame:
    """How content are they, and how does a late delivery change that?

    Parameters
    ----------
    tables
        `surveys`, and `orders` and `deliveries` where there are.
    who
        As from :func:`clientbook.journeys.who_is_who`.
    zone
        The book's.

    Returns
    -------
    pandas.DataFrame
        `metric`, `after` (`a delivery in time`, `a late delivery`: the latest order before the answer; `any`), `n`,
        `mean`, `low`, `high` (95 %), and for `nps` `net_promoters` (share of 9 and 10 less that of 0 to 6).
    """
    names = ["metric", "after", "n", "mean", "low", "high", "net_promoters"]
    surveys = tables.get("surveys")
    if surveys is None:
        return pd.DataFrame(columns=names)
    given = surveys.filter(surveys["score"].notnull()).inner_join(who, ["person_source", "person_id"])
    given = given.select("customer_id", "asked_at", "score", metric=given["metric"].lower()).to_pandas()
    if given.empty:
        return pd.DataFrame(columns=names)
    given = given.sort_values(["asked_at", "customer_id", "metric", "score"], ignore_index=True)
    given["after"] = "any"
    parts = [given]
    orders, deliveries = tables.get("orders"), tables.get("deliveries")
    if orders is not None and deliveries is not None:
        came = deliveries.filter(deliveries["delivered_at"].notnull() & deliveries["promised_at"].notnull())
        late = promises.is_late(came, zone).any()
        came = came.group_by("order_source", "order_id").agg(late=late, came_at=came["delivered_at"].max())
        whose = orders.select("order_source", "order_id", "person_source", "person_id").distinct()
        whose = whose.inner_join(who, ["person_source", "person_id"]).inner_join(came, ["order_source", "order_id"])
        whose = whose.select("customer_id", "came_at", "late").to_pandas().sort_values(["came_at", "customer_id", "late"])
        for frame, column in ((given, "asked_at"), (whose, "came_at")):
            frame[column] = frame[column].astype("datetime64[us]")
        met = pd.merge_asof(
            given.drop(columns="after"), whose, left_on="asked_at", right_on="came_at", by="customer_id",
            tolerance=pd.Timedelta(days=90),
        ).dropna(subset="late")  # fmt: skip
        parts.append(met.assign(after=np.where(met["late"].astype(bool), "a late delivery", "a delivery in time")))
    told = pd.concat(parts, ignore_index=True)
    rows = []
    for (metric, after), some in told.groupby(["metric", "after"], sort=True):
        score = some["score"].to_numpy(dtype=float)
        error = 1.959964 * score.std(ddof=1) / np.sqrt(len(score)) if len(score) > 1 else np.nan
        net = (score >= 9).mean() - (score <= 6).mean() if metric == "nps" else np.nan
        rows.append([metric, after, len(score), score.mean(), score.mean() - error, score.mean() + error, net])
    return pd.DataFrame(rows, columns=names)


def _masked(text: str, shown: set[str]) -> str:
    """The text with every word masked that is not common."""
    words = [word if word.strip(".,;:!?").lower() in shown else "…" for word in text.split()]
    return " ".join(word for i, word in enumerate(words) if word != "…" or i == 0 or words[i - 1] != "…")
