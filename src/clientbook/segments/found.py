"""Which kinds of customers are there, by what they do, what they read and what they are?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook.customers import with_customer

FEWEST = 200
KINDS = range(5, 11)
_SAMPLE = 1_500
_ROUNDS = 20
# With so many kinds it is seen, in two rounds, how alike the things are that one customer does.
_TRIED, _TRIALS = 8, 2
# From where it begins decides where it ends: the best of so many starts is kept.
_STARTS = 3
# What a kind has not been seen to do it is thought to do as everybody does, with the weight of so much that was seen.
_PRIOR = 4.0
_NONE = "none"
# Who belongs to the most likely kind with less than this belongs to none.
LEAST_SURE = 0.5
# What is said of a customer, in words; the weight of something seen once.
ASPECTS = {
    "buys": ("buys {}", 1.0), "source": ("orders through {}", 1.0), "month": ("orders in quarter {}", 1.0),
    "lines": ("{} an order", 1.0), "pieces": ("orders {} pieces of a thing", 1.0), "tier": ("{} goods", 1.0),
    "returned": ("{}", 1.0), "reduced": ("{}", 1.0), "industry": ("{}", 2.0), "kind": ("{}", 2.0), "role": ("{}", 1.0),
    "reads": ("reads about {}", 0.3), "hours": ("is about {}", 0.3), "born": ("born in the {}s", 1.0),
}  # fmt: skip


@dataclass(frozen=True)
class Kinds:
    """The kinds of customers that were found.

    Parameters
    ----------
    chances
        A row an aspect and value (index), a column a kind: how likely is that value in that kind.
    shares
        Of the customers, by kind.
    overall
        How likely each value is at all.
    stability
        Adjusted Rand index of kinds found on other customers, by resampling; the mean.
    names
        Of the kinds, by what sets them apart.
    customers
        Whom they were found on.
    alike
        By aspect how alike the things are that one customer of a kind does: the intraclass correlation. At 0 each counts
        in full, at 1 all of them count as one.
    """

    chances: pd.DataFrame
    shares: np.ndarray
    overall: pd.Series
    stability: float
    names: list[str]
    customers: int
    alike: pd.Series


def seen(tables: Mapping[str, ir.Table | None], zone: str) -> ir.Table | None:
    """What is known of each customer, as counts of values of a few aspects?

    Parameters
    ----------
    tables
        Clean `orders`, `returns`, `products`, `events`, `content`, `opportunity_people`, and `identities`, `customers`,
        `resolved_accounts`; None for what is not there.
    zone
        The book's.

    Returns
    -------
    ibis.expr.types.Table or None
        `customer_id`, `aspect`, `value`, `n`; None where there is nothing.
    """
    who, parts = tables.get("identities"), []
    if tables.get("orders") is not None:
        parts += _orders(tables, who)
    if tables.get("events") is not None:
        parts += _events(tables, who, zone)
    if tables.get("opportunity_people") is not None:
        roles = with_customer(tables["opportunity_people"], who)
        parts.append(_counted(roles, "role", roles["role"]))
    customers, accounts = tables.get("customers"), tables.get("resolved_accounts")
    if customers is not None:
        parts.append(_counted(customers, "industry", customers["industry"].fill_null(_NONE)))
        if "birth_date" in customers.columns:
            decade = (customers["birth_date"].cast("date").year() / 10).floor().cast("int64") * 10
            parts.append(_counted(customers, "born", decade))
        if accounts is not None and "kind" in accounts.columns:
            members = customers.select("customer_id", "account_id")
            kinds = members.inner_join(accounts.select("account_id", "kind"), "account_id")
            parts.append(_counted(kinds, "kind", kinds["kind"]))
    return ibis.union(*parts) if len(parts) > 1 else parts[0] if parts else None


def _counted(rows: ir.Table, aspect: str, value: ir.Value) -> ir.Table:
    each = rows.mutate(aspect=ibis.literal(aspect), value=value.cast("string"))
    each = each.filter(each["value"].notnull()).group_by("customer_id", "aspect", "value")
    return each.agg(n=ibis._.count() * ibis.literal(ASPECTS[aspect][1]))


def _orders(tables, who) -> list[ir.Table]:
    lines = with_customer(tables["orders"], who)
    lines = lines.filter((lines["quantity"] > 0) & (lines["amount"].isnull() | (lines["amount"] >= 0)))
    products = tables.get("products")
    if products is not None:
        tier = ibis.ntile(3).over(group_by="topic", order_by=[products["unit_cost"].fill_null(0), "product_id"])
        known = products.select(
            product_source="source",
            product_id="product_id",
            topic="topic",
            tier=ibis.cases((tier == 0, "cheap"), (tier == 1, "middling"), else_="dear"),
        )
        lines = lines.left_join(known, ["product_source", "product_id"]).drop("product_source_right", "product_id_right")
    else:
        lines = lines.mutate(topic=ibis.null("string"), tier=ibis.null("string"))
    order = lines["order_source"].concat(" ", lines["order_id"]).fill_null(lines["arrival"].cast("string"))
    lines = lines.mutate(order=order)
    each = lines.group_by("customer_id", "order").agg(
        topic=lines["topic"].max(),
        tier=lines["tier"].max(),
        source=lines["source"].min(),
        day=lines["ordered_on"].min(),
        lines=lines.count(),
        pieces=lines["quantity"].mean(),
        reduced=(lines["discount"].fill_null(0.0) > 0).any() if "discount" in lines.columns else ibis.literal(False),
    )
    many = each["pieces"]
    pieces = ibis.cases((many < 1.5, "single"), (many < 3, "a few"), (many < 8, "several"), else_="many")
    told = [
        _counted(each, "buys", each["topic"]), _counted(each, "source", each["source"]),
        _counted(each, "month", each["day"].quarter()),
        _counted(each, "lines", ibis.cases(
            (each["lines"] == 1, "one line"), (each["lines"] < 4, "a few lines"), else_="many lines"
        )),
        _counted(each, "pieces", pieces), _counted(each, "tier", each["tier"]),
        _counted(each, "reduced", each["reduced"].ifelse("buys reduced", "pays the full price")),
    ]  # fmt: skip
    returns = tables.get("returns")
    if returns is not None:
        back = returns.select(order=returns["order_source"].concat(" ", returns["order_id"])).distinct().mutate(back=True)
        both = each.left_join(back, "order").drop("order_right")
        told.append(_counted(both, "returned", both["back"].notnull().ifelse("sends back", "keeps it")))
    return told


def _events(tables, who, zone) -> list[ir.Table]:
    from clientbook import parsing

    rows = with_customer(tables["events"], who)
    content = tables.get("content")
    if content is not None:
        pieces = content.select(content_source="source", content_id="content_id", about="topic")
        rows = rows.left_join(pieces, ["content_source", "content_id"])
        rows = rows.mutate(topic=rows["topic"].fill_null(rows["about"]))
    wall = parsing.local(rows["occurred_at"], zone)
    rows = rows.mutate(day=wall.date(), hour=wall.hour())
    topics = rows.select("customer_id", "topic", week=rows["day"].truncate("W")).distinct()
    hour = ibis.cases(
        (rows["hour"] < 8, "at night"),
        (rows["hour"] < 12, "in the morning"),
        (rows["hour"] < 18, "in the afternoon"),
        else_="in the evening",
    )
    days = rows.select("customer_id", "day", hour=hour).distinct()
    return [_counted(topics, "reads", topics["topic"]), _counted(days, "hours", days["hour"])]


def find(cells: ir.Table, least: int = 3, seed: int = 1) -> Kinds | None:
    """Which kinds of customers explain best what is seen, and are they the same on other customers?

    Latent classes: within a kind each aspect has its own chances, and a customer belongs to each kind with a probability.
    Who bought coats yesterday buys coats today: what one customer does again and again says less than as much by many, and
    counts as far as the intraclass correlation within the kinds leaves of it (the design effect of Kish, 1965). How many
    kinds, the integrated completed likelihood says, which asks that they lie apart (Biernacki, Celeux and Govaert, 2000);
    where they begin, scikit-learn's k-means.

    Parameters
    ----------
    cells
        As from :func:`seen`, kept.
    least
        Customers with fewer orders are not learned from; where there are no orders, those who read less.
    seed
        Of chance.

    Returns
    -------
    Kinds or None
        None where too few customers are known well enough.
    """
    heard = cells.filter(cells["aspect"] == "source")
    if not heard.limit(1).count().to_pandas():
        heard = cells.filter(cells["aspect"] == "reads")
    known = heard.group_by("customer_id").agg(n=heard["n"].sum())
    known = known.filter(known["n"] >= least).select("customer_id")
    # by lot, but always the same: the id is a hash already
    some = known.order_by(known["customer_id"].hexdigest("md5"), "customer_id").limit(_SAMPLE)
    frame = cells.semi_join(some, "customer_id").to_pandas()
    if frame["customer_id"].nunique() < FEWEST:
        return None
    wide = frame.pivot_table(index="customer_id", columns=["aspect", "value"], values="n", aggfunc="sum", fill_value=0.0)
    wide = wide.sort_index(axis=0).sort_index(axis=1)
    raw, aspect = wide.to_numpy(float), wide.columns.get_level_values(0).to_numpy()
    counts, alike = _as_it_counts(raw, aspect, seed)
    free = len(aspect) - len(set(aspect))
    fits = {}
    for many in KINDS:
        for start in range(_STARTS):
            chances, shares, likelihood, member = _fit(counts, aspect, many, seed + start)
            unsure = -2 * float((member * np.log(np.maximum(member, 1e-300))).sum())
            criterion = -2 * likelihood + (many * free + many - 1) * np.log(len(counts)) + unsure
            if many not in fits or criterion < fits[many][0]:
                fits[many] = (criterion, chances, shares, member)
    best = min(fits, key=lambda many: fits[many][0])
    _, chances, shares, member = fits[best]
    order = np.argsort(-shares, kind="stable")
    chances, shares, member = chances[order], shares[order], member[:, order]
    # what hardly anybody of a kind has been seen to do names nobody
    heard = pd.DataFrame((member.T @ raw / member.sum(axis=0)[:, None]).T, index=wide.columns)
    heard = heard.groupby(level=0).transform("sum") >= 0.5
    overall = pd.Series(_normed(raw.sum(axis=0)[None, :], aspect)[0], index=wide.columns)
    told = pd.DataFrame(chances.T, index=wide.columns)
    return Kinds(
        told, shares, overall, _stability(counts, aspect, best, seed), _names(told.where(heard, 0.0), overall), len(counts),
        pd.Series(alike, name="alike").rename_axis("aspect"),
    )  # fmt: skip


def _as_it_counts(raw: np.ndarray, aspect: np.ndarray, seed: int) -> tuple[np.ndarray, dict[str, float]]:
    """Counts as much as they say, and by aspect how alike the things are that one customer of a kind does."""
    counts, alike = raw, dict.fromkeys(aspect, 0.0)
    for _ in range(_TRIALS):
        chances, _, _, member = _fit(counts, aspect, _TRIED, seed)
        expected = member @ chances
        for name in alike:
            some = aspect == name
            n, share = raw[:, some].sum(axis=1, keepdims=True), expected[:, some]
            by_chance = n * share * (1 - share)
            beyond = ((raw[:, some] - n * share) ** 2 - by_chance)[n[:, 0] > 1].sum()
            alike[name] = round(float(np.clip(beyond / max((by_chance * np.maximum(n - 1, 0)).sum(), 1e-9), 0.0, 1.0)), 6)
        counts = np.zeros_like(raw)
        for name, rho in alike.items():
            some = aspect == name
            counts[:, some] = raw[:, some] / (1 + rho * np.maximum(raw[:, some].sum(axis=1, keepdims=True) - 1, 0))
    return counts, alike


def _normed(sums: np.ndarray, aspect: np.ndarray, usual: np.ndarray | None = None) -> np.ndarray:
    """Counts to chances, within each aspect."""
    told = sums + (0.5 if usual is None else _PRIOR * usual)
    for name in dict.fromkeys(aspect):
        some = aspect == name
        told[:, some] /= told[:, some].sum(axis=1, keepdims=True)
    return told


def _member(counts: np.ndarray, chances: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, float]:
    logs = np.log(shares) + counts @ np.log(chances).T
    most = logs.max(axis=1, keepdims=True)
    odds = np.exp(logs - most)
    return odds / odds.sum(axis=1, keepdims=True), float((most[:, 0] + np.log(odds.sum(axis=1))).sum())


def _fit(counts: np.ndarray, aspect: np.ndarray, many: int, seed: int):
    from sklearn.cluster import KMeans

    start = np.sqrt(np.hstack([_smooth(counts[:, aspect == name]) for name in dict.fromkeys(aspect)]))
    usual = _normed(counts.sum(axis=0)[None, :], aspect)[0]
    first = KMeans(many, n_init=1, random_state=seed).fit_predict(start)
    member, before = np.eye(many)[first] * 0.9 + 0.1 / many, -np.inf
    for _ in range(_ROUNDS):
        chances, shares = _normed(member.T @ counts, aspect, usual), np.maximum(member.mean(axis=0), 1e-9)
        member, likelihood = _member(counts, chances, shares)
        if likelihood - before < 1e-5 * abs(likelihood):
            break
        before = likelihood
    return chances, shares, likelihood, member


def _smooth(counts: np.ndarray) -> np.ndarray:
    usual = counts.sum(axis=0) / max(counts.sum(), 1e-9)
    return (counts + 2 * usual) / (counts.sum(axis=1, keepdims=True) + 2)


def _stability(counts: np.ndarray, aspect: np.ndarray, many: int, seed: int, times: int = 1) -> float:
    """How alike are kinds that are found on two halves, judged on everybody?"""
    from sklearn.metrics import adjusted_rand_score

    generator, told = np.random.default_rng(seed), []
    for number in range(times):
        lot = generator.permutation(len(counts))
        halves = (lot[: len(lot) // 2], lot[len(lot) // 2 :])
        labels = []
        for half in halves:
            chances, shares, *_ = _fit(counts[half], aspect, many, seed + number)
            labels.append(_member(counts, chances, shares)[0].argmax(axis=1))
        told.append(adjusted_rand_score(*labels))
    return round(float(np.mean(told)), 6)


def _names(chances: pd.DataFrame, overall: pd.Series, words: int = 3) -> list[str]:
    """Each kind by the values that it has more often than others, one an aspect; no two kinds with the same name."""
    told: list[str] = []
    for kind in chances.columns:
        surplus = chances[kind] * np.log(np.maximum(chances[kind], 1e-12) / overall)
        surplus = surplus[(chances[kind] >= 0.2) & (surplus > 0)].sort_values(ascending=False, kind="stable")
        picked: dict[str, str] = {}
        for aspect, value in surplus.index:
            if value == _NONE:
                continue
            picked.setdefault(aspect, ASPECTS[aspect][0].format(str(value).replace("_", " ")))
        names = list(picked.values())
        many = next((n for n in range(words, len(names) + 1) if ", ".join(names[:n]) not in told), len(names))
        name = ", ".join(names[:many])
        told.append(name if name not in told else f"{name} ({kind + 1})")
    return told


def belong(cells: ir.Table, kinds: Kinds) -> ir.Table:
    """To which kind does each customer belong most likely?

    Parameters
    ----------
    cells
        As from :func:`seen`.
    kinds
        As from :func:`find`.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `found_persona`, `found_probability`; those of whom nothing is seen, or who may belong to several,
        are not there.
    """
    logs = np.log(kinds.chances)
    logs.columns = [f"k{number}" for number in range(len(kinds.shares))]
    logs["alike"] = kinds.alike.reindex(logs.index.get_level_values(0)).to_numpy()
    told = ibis.memtable(logs.reset_index(names=["aspect", "value"]))
    logs = logs.drop(columns="alike")
    rows = cells.inner_join(told, ["aspect", "value"])
    # summed exactly: in any other order it is the same
    every = rows["n"].cast("decimal(38, 9)").sum().over(ibis.window(group_by=["customer_id", "aspect"])).cast("float64")
    rows = rows.mutate(n=rows["n"] / (1 + rows["alike"] * ibis.greatest(every - 1, 0.0)))
    each = rows.group_by("customer_id").agg(
        **{
            name: ((rows["n"] * rows[name]).cast("decimal(38, 9)").sum().cast("float64") + float(np.log(share)))
            for name, share in zip(logs.columns, kinds.shares, strict=True)
        }
    )
    most = ibis.greatest(*[each[name] for name in logs.columns])
    each = each.mutate(most=most)
    odds = sum((each[name] - each["most"]).exp() for name in logs.columns)
    first = ibis.cases(*[(each[k] == each["most"], name) for k, name in zip(logs.columns, kinds.names, strict=True)])
    told = each.select("customer_id", found_persona=first, found_probability=(1 / odds).round(6))
    return told.filter(told["found_probability"] >= LEAST_SURE)


def as_model(kinds: Kinds) -> dict:
    """The kinds as plain data, to be kept with the run.

    Parameters
    ----------
    kinds
        As from :func:`find`.
    """
    return {
        "model": "latent classes", "customers": kinds.customers, "stability": kinds.stability, "names": kinds.names,
        "shares": [round(float(share), 6) for share in kinds.shares],
        "alike": {aspect: float(one) for aspect, one in kinds.alike.items()},
        "chances": [
            {"aspect": aspect, "value": str(value), "chances": [round(float(one), 6) for one in row]}
            for (aspect, value), row in zip(kinds.chances.index, kinds.chances.to_numpy(), strict=True)
        ],
    }  # fmt: skip


def agreement(members: ir.Table, given: ir.Table) -> pd.DataFrame:
    """Who of each persona that the company gave belongs to which kind that was found?

    Parameters
    ----------
    members
        As from :func:`belong`.
    given
        `customer_id`, `persona`.

    Returns
    -------
    pandas.DataFrame
        Shares of each given persona; rows are given, columns found.
    """
    both = members.inner_join(given.filter(given["persona"].notnull()), "customer_id")
    counted = both.group_by("persona", "found_persona").agg(n=both.count()).to_pandas()
    wide = counted.pivot_table(index="persona", columns="found_persona", values="n", aggfunc="sum", fill_value=0)
    return wide.div(wide.sum(axis=1), axis=0).rename_axis(index=None, columns=None)
