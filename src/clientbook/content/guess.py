"""What is a piece about, and for whom, where nobody wrote it down? And what do people ask for beside what they get?"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook.content.audit import as_count
from clientbook.tables import STAGES

# A class of which fewer pieces are known teaches nothing.
FEWEST_PIECES = 5
FOLDS = 5
# To turn more pieces than these takes more memory than it saves time.
MOST_TURNED = 3_000


def guesses(content: ir.Table | None, readers: pd.DataFrame | None = None) -> pd.DataFrame:
    """Which stage and topic are the pieces for that do not say so?

    Parameters
    ----------
    content
        Clean content; its titles, texts and formats are read.
    readers
        `content_id`, and a share for each stage or topic at which those who read it stood (`stage: use`, …); or None.

    Returns
    -------
    pandas.DataFrame
        `source`, `content_id`, `what` (`stage` or `topic`), `guess`, `probability`, `by_text`, `accuracy` (share of the
        pieces that say it, told right by those of other folds), `naive` (share of the most frequent), `n` (pieces learnt
        from). Nothing where too few say it. Guesses stand beside the register and are never written into it.
    """
    columns = ["source", "content_id", "what", "guess", "probability", "accuracy", "naive", "n"]
    if content is None:
        return pd.DataFrame(columns=columns)
    c = content.order_by("source", "content_id", "arrival").to_pandas()
    c = c.drop_duplicates(["source", "content_id"], keep="last").reset_index(drop=True)
    words = c["title"].fillna("")
    for name in ("text", "format"):
        words = words + " " + (c[name].fillna("") if name in c else "")
    found = [_guess(c, words, what, readers) for what in ("stage", "topic") if what in c]
    found = [rows for rows in found if len(rows)]
    return pd.concat(found, ignore_index=True)[columns] if found else pd.DataFrame(columns=columns)


def _guess(c: pd.DataFrame, words: pd.Series, what: str, readers: pd.DataFrame | None) -> pd.DataFrame:
    from scipy.sparse import csr_matrix, hstack
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    told, missing = c[what].notna(), c[what].isna()
    counts = c.loc[told, what].value_counts()
    told &= c[what].isin(counts[counts >= FEWEST_PIECES].index)
    if not missing.any() or c.loc[told, what].nunique() < 2:
        return pd.DataFrame()
    # pieces of letters serve every script, and words that are put together
    x = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), min_df=2, sublinear_tf=True).fit_transform(words)
    if readers is not None and len(readers):
        shares = c[["content_id"]].merge(readers, on="content_id", how="left").drop(columns="content_id").fillna(0.0)
        x = hstack([x, csr_matrix(shares.to_numpy(float))]).tocsr()
    x = _turned(x)
    model = LogisticRegression(C=10.0, max_iter=300)
    known, y = x[told.to_numpy()], c.loc[told, what].to_numpy()
    folds = StratifiedKFold(min(FOLDS, int(counts[counts >= FEWEST_PIECES].min())), shuffle=True, random_state=1)
    accuracy = float((cross_val_predict(model, known, y, cv=folds) == y).mean())
    model.fit(known, y)
    chance = np.round(model.predict_proba(x[missing.to_numpy()]), 4)
    rows = c.loc[missing, ["source", "content_id"]].reset_index(drop=True)
    return rows.assign(
        what=what, guess=model.classes_[chance.argmax(axis=1)], probability=chance.max(axis=1), accuracy=accuracy,
        naive=float(counts.max() / counts.sum()), n=int(told.sum()),
    )  # fmt: skip


def _turned(x):
    """The same distances in as many columns as there are pieces: a penalised regression finds the same, and sooner."""
    if x.shape[0] > min(x.shape[1], MOST_TURNED):
        return x
    values, vectors = np.linalg.eigh((x @ x.T).toarray())
    known = values > values.max() * 1e-10
    return vectors[:, known] * np.sqrt(values[known])


def readers(sent_with_stage: ir.Table) -> pd.DataFrame:
    """Where did those stand who answered each piece?

    Parameters
    ----------
    sent_with_stage
        `content_id`, `stage_at_send`, `clicked`, `replied`.

    Returns
    -------
    pandas.DataFrame
        `content_id`, a share for each stage.
    """
    s = sent_with_stage.filter(
        sent_with_stage["content_id"].notnull(),
        sent_with_stage["stage_at_send"].notnull(),
        sent_with_stage["clicked"] + sent_with_stage["replied"] > 0,
    )
    each = s.group_by("content_id", "stage_at_send").agg(n=s.count()).to_pandas()
    wide = each.pivot_table(index="content_id", columns="stage_at_send", values="n", aggfunc="sum")
    wide = wide.reindex(columns=list(STAGES)).fillna(0.0).sort_index()
    # a few readers say little: as many again who stand evenly
    wide = (wide + 1).div(wide.sum(axis=1) + len(STAGES), axis=0).round(6)
    return wide.rename(columns=lambda name: f"stage: {name}").rename_axis(columns=None).reset_index()


def asked_and_offered(visits: ir.Table | None, sent: ir.Table, deals: ir.Table | None) -> pd.DataFrame:
    """Do people get what they ask for?

    Parameters
    ----------
    visits
        `customer_id`, `at`, `topic`, `is_visit`: what customers read, search and ask about.
    sent
        Of :func:`clientbook.content.audit.sendings`, without the operational ones.
    deals
        `account_id`, `topic`, `closed_at`: the topic of an open opportunity is what sales believe.

    Returns
    -------
    pandas.DataFrame
        `topic`, `asked`, `offered`, `in_deals` (shares of what is asked, sent, and of the open deals), `gap` (asked less
        offered). The widest gap first.
    """
    columns = ["topic", "asked", "offered", "in_deals", "gap", "n_asked", "n_offered"]
    if visits is None:
        return pd.DataFrame(columns=columns)
    v = visits.filter(visits["is_visit"], visits["topic"].notnull())
    s = sent.filter(sent["topic"].notnull())
    counts = {
        "n_asked": v.group_by("topic").agg(n=v.count()),
        "n_offered": s.group_by("topic").agg(n=s.count()),
    }
    if deals is not None:
        live = deals.filter(deals["closed_at"].isnull())
        counts["n_deals"] = live.group_by("topic").agg(n=live.count())
    told = pd.DataFrame({name: rows.to_pandas().set_index("topic")["n"] for name, rows in counts.items()}).fillna(0)
    if "n_deals" not in told:
        told["n_deals"] = np.nan
    for name, of in (("asked", "n_asked"), ("offered", "n_offered"), ("in_deals", "n_deals")):
        told[name] = told[of] / (told[of].sum() or np.nan)
    told["gap"] = told["asked"] - told["offered"]
    told = told.rename_axis("topic").reset_index().sort_values(["gap", "topic"], ascending=[False, True])
    return told.astype({"n_asked": int, "n_offered": int})[columns].reset_index(drop=True)


def beside_deals(visits: ir.Table | None, customers: ir.Table | None, deals: ir.Table | None) -> dict[str, int] | None:
    """How much of what people of accounts with an open deal ask since then is about something else?

    Parameters
    ----------
    visits, customers, deals
        See :func:`asked_and_offered`; whose account is whose.

    Returns
    -------
    dict or None
        `asked` (visits with a topic since the deal was opened), `on_topic`, `accounts`; None where the book cannot say.
    """
    if visits is None or customers is None or deals is None:
        return None
    live = deals.filter(deals["closed_at"].isnull())
    first = live.group_by("account_id").agg(since=live["opened_at"].min())
    v = visits.filter(visits["is_visit"], visits["topic"].notnull())
    v = v.inner_join(customers.select("customer_id", "account_id").distinct(), "customer_id")
    v = v.inner_join(first, "account_id")
    v = v.filter(v["at"] >= v["since"]).select("account_id", "topic")
    same = live.select("account_id", "topic", _on=ibis.literal(1)).distinct()
    v = v.left_join(same, ["account_id", "topic"]).select("account_id", "topic", "_on")
    told = v.aggregate(asked=v.count(), on_topic=as_count(v["_on"].sum()).fill_null(0), accounts=v["account_id"].nunique())
    return told.to_pyarrow().to_pylist()[0]


def say_gap(told: pd.DataFrame) -> str:
    """In one sentence: which topic is asked for most beyond what is offered?

    Parameters
    ----------
    told
        Of :func:`asked_and_offered`.
    """
    if told.empty:
        return "Nobody's questions are known"
    row = told.iloc[0]
    topic = str(row["topic"]).replace("_", " ")
    return f"{row['asked']:.1%} of what people ask is about {topic}, and {row['offered']:.1%} of what they are sent"
