"""What does a reader see of the matching? Counts and sentences, without anybody's data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ibis
import ibis.expr.types as ir
import pandas as pd

from clientbook.customers import of_known
from clientbook.matching.clusters import CONFLICTS, DEFAULT_RULES, ORIGINS, UNIT_OF, Clustered
from clientbook.matching.incremental import MOST_SINCE, NOBODY, Day
from clientbook.matching.model import parameter_table
from clientbook.matching.pairs import Scored
from clientbook.site import numbers
from clientbook.stage import KeyNumber

# An answer that is expected to put so much of a pair right is worth a minute.
WORTH_ASKING = 0.1


VISITORS = "visitors: only an id"


def system_overlap(customers: ir.Table) -> ir.Table:
    """How many customers are known to which systems together?

    Parameters
    ----------
    customers
        The public table.

    Returns
    -------
    ibis.expr.types.Table
        `systems` (names, in order, with commas between them), `n_systems`, `customers`, `share` of all customers; the
        largest first.
    """
    counted = customers.group_by(systems=customers["sources"]).agg(customers=customers.count())
    counted = counted.mutate(
        n_systems=counted["systems"].split(",").length().cast("int64"),
        share=(counted["customers"] / counted["customers"].sum().over(ibis.window())).round(6),
    )
    return counted.select("systems", "n_systems", "customers", "share").order_by(ibis.desc("customers"), "systems")


def by_system(identities: ir.Table, customers: ir.Table) -> pd.DataFrame:
    """How many records does each system hold, and how many customers are they?

    Parameters
    ----------
    identities, customers
        Public tables.

    Returns
    -------
    pandas.DataFrame
        `system`, `records`, `customers`, `elsewhere` (share of the customers that another system knows too); most
        records first.
    """
    pairs = identities.group_by("source", "customer_id").agg(records=identities.count())
    joined = pairs.inner_join(customers.select("customer_id", "sources"), "customer_id")
    shared = joined["sources"].contains(",").cast("int64")
    told = joined.group_by(system=joined["source"]).agg(
        records=joined["records"].sum(), customers=joined.count(), _shared=shared.sum()
    )
    told = told.order_by(ibis.desc("records"), "system").to_pandas()
    return told.assign(elsewhere=told["_shared"] / told["customers"]).drop(columns="_shared")


def together(overlap: pd.DataFrame) -> pd.DataFrame:
    """Of the customers of one system, what share does each other one know?

    Parameters
    ----------
    overlap
        The table `system_overlap`.

    Returns
    -------
    pandas.DataFrame
        A row and a column a system; shares of the row's customers.
    """
    sets = [set(systems.split(",")) for systems in overlap["systems"]]
    names = sorted({name for one in sets for name in one})
    counts = {
        row: {
            column: sum(n for one, n in zip(sets, overlap["customers"], strict=True) if {row, column} <= one) for column in names
        }
        for row in names
    }
    return pd.DataFrame({column: [counts[row][column] / counts[row][row] for row in names] for column in names}, index=names)


def by_systems(overlap: pd.DataFrame, visitors: int = 0) -> pd.DataFrame:
    """How many customers are known to one system, to two, and so on, and of how many is no more than an id known?

    Parameters
    ----------
    overlap
        Like the table `system_overlap`, of known customers.
    visitors
        Those of whom only an id is known, such as browsers that never logged in; they are told apart.

    Returns
    -------
    pandas.DataFrame
        `systems` (`1 system`, `2 systems`, …, `visitors`), `customers`, `share` of the known customers.
    """
    counted = overlap.groupby("n_systems", as_index=False)["customers"].sum()
    counted["share"] = counted["customers"] / counted["customers"].sum()
    counted.insert(0, "systems", [f"{n} system{'s' if n > 1 else ''}" for n in counted["n_systems"]])
    counted = counted.drop(columns="n_systems")
    if not visitors:
        return counted
    apart = pd.DataFrame({"systems": [VISITORS], "customers": [visitors], "share": [float("nan")]})
    return pd.concat([counted, apart], ignore_index=True) if len(counted) else apart


def sizes(customers: ir.Table) -> pd.DataFrame:
    """Of how many records are customers made?

    Parameters
    ----------
    customers
        The public table.

    Returns
    -------
    pandas.DataFrame
        `records` (`1`, `2`, `3 to 5`, `6 to 10`, `11 to 25`, `over 25`), `customers`.
    """
    n = customers["records"]
    bounds = [(1, "1"), (2, "2"), (5, "3 to 5"), (10, "6 to 10"), (25, "11 to 25")]
    told = customers.select(size=ibis.cases(*[(n <= upto, word) for upto, word in bounds], else_="over 25"))
    counted = told.group_by(records=told["size"]).agg(customers=told.count()).to_pandas()
    order = [word for _, word in bounds] + ["over 25"]
    return counted.sort_values("records", key=lambda column: column.map(order.index), ignore_index=True)


def origins(golden: ir.Table) -> pd.DataFrame:
    """From which system does the golden record take what it holds?

    Parameters
    ----------
    golden
        As from :func:`clientbook.matching.clusters.golden`.

    Returns
    -------
    pandas.DataFrame
        `system`, and how many customers have each of their columns from it.
    """
    wide = golden.select(*ORIGINS).pivot_longer(list(ORIGINS), names_to="what", values_to="system")
    wide = wide.filter(wide["system"].notnull())
    counted = wide.group_by("system", "what").agg(n=wide.count()).to_pandas()
    counted["what"] = counted["what"].str.removesuffix("_from")
    told = counted.pivot_table(index="system", columns="what", values="n", aggfunc="sum", fill_value=0)
    return told[[name for name in UNIT_OF if name in told.columns]].astype("int64").reset_index().rename_axis(columns=None)


def conflicts(golden: ir.Table, asked: Mapping[str, Any]) -> pd.DataFrame:
    """By which rule is each column of a customer taken, and how often do the records contradict each other?

    Parameters
    ----------
    golden
        As from :func:`clientbook.matching.clusters.golden`.
    asked
        The rules of the book.

    Returns
    -------
    pandas.DataFrame
        `column`, `rule` in words, `filled` (customers who have it), `conflicts` (those whose records say different
        things, written alike or not), `share` of those filled; columns that nobody has are left out.
    """
    row = golden.aggregate(
        **{f"n_{what}": golden[f"{what}_from"].count() for what in UNIT_OF},
        **{name: golden[name].cast("int64").sum().fill_null(0) for name in CONFLICTS},
    ).to_pandas().iloc[0]  # fmt: skip
    told = []
    for what in UNIT_OF:
        rule = (DEFAULT_RULES | dict(asked)).get(what, "newest")
        words = _RULES[rule] if isinstance(rule, str) else "the most trusted of " + ", ".join(rule)
        n = int(row[f"n_{what}"])
        seen = int(row[f"x_{what}"]) if f"x_{what}" in CONFLICTS else None
        if n:
            told.append((what.replace("_", " "), words, n, seen, None if seen is None else seen / n))
    return pd.DataFrame(told, columns=["column", "rule", "filled", "conflicts", "share"])


_RULES = {
    "newest": "changed last", "most_frequent": "most frequent, then changed last", "longest": "longest, then changed last",
}  # fmt: skip


def say_conflicts(told: pd.DataFrame) -> str:
    """In one sentence: about what do the systems contradict each other most?

    Parameters
    ----------
    told
        As from :func:`conflicts`.
    """
    known = told.dropna(subset=["share"])
    if known.empty or not known["conflicts"].sum():
        return "No customer's records contradict each other."
    most = known.sort_values(["share", "column"], ascending=[False, True]).iloc[0]
    share = numbers.share(most["share"], 0)
    return f"Records contradict each other most about the {most['column']}: of {share} of the customers who have one."


def kinds(accounts: ir.Table) -> pd.DataFrame:
    """How many accounts of each kind are there, and how many customers belong to them?

    Parameters
    ----------
    accounts
        The table `resolved_accounts`.

    Returns
    -------
    pandas.DataFrame
        `kind`, `accounts`, `customers`, `largest` (customers of the largest).
    """
    counted = accounts.group_by("kind").agg(
        accounts=accounts.count(), customers=accounts["customers"].sum(), largest=accounts["customers"].max()
    )
    return counted.order_by("kind").to_pandas()


def counts(identities: ir.Table, customers: ir.Table, people: ir.Table | None) -> dict[str, int]:
    """How many records, systems and customers are there, and of how many customers is more than an id known?

    Parameters
    ----------
    identities, customers
        Public tables.
    people
        The clean table, or None.

    Returns
    -------
    dict
        `customers` (all), `known` (those with a record in people; without people all), `several` (known ones of more than
        one system), `records` and `systems` (of the known ones: a browser that never logged in is an id, and nobody).
    """
    rows = customers.select("customer_id", "sources")
    total = int(rows.count().to_pyarrow().as_py())
    rows, identities = of_known(rows, identities, people), of_known(identities, identities, people)
    sums = identities.aggregate(records=identities.count(), systems=identities["source"].nunique()).to_pandas().iloc[0]
    several = rows["sources"].contains(",").cast("int64").sum().fill_null(0)
    told = rows.aggregate(known=rows.count(), several=several).to_pandas().iloc[0]
    return {
        "records": int(sums["records"]), "systems": int(sums["systems"]), "customers": total,
        "known": int(told["known"]), "several": int(told["several"]),
    }  # fmt: skip


def answer(counts: dict[str, int], method: str, undecided: int, expected: Mapping[str, float] | None = None) -> str:
    """Who is who? In two or three sentences of Markdown.

    Parameters
    ----------
    counts
        As from :func:`counts`.
    method
        `splink`, `exact rules` or `none`.
    undecided
        How many pairs are laid out for a person to look at.
    expected
        `precision` and `recall` as the probabilities say, if they do.
    """
    n = counts
    if method == "none":
        return (
            f"**{n['customers']:,} customers can be told apart by their ids alone.** This book has no people with names or "
            "addresses by which records could be matched: ids that a link or an answer makes one are put together, and each "
            "other id stands for a customer of its own."
        )
    told = (
        f"**{n['records']:,} records of {n['systems']:,} system{'s' if n['systems'] != 1 else ''} are "
        f"{n['known']:,} customers**, {n['several'] / max(n['known'], 1):.0%} of whom more than one system knows."
    )
    if n["customers"] > n["known"]:
        told += f" Of {n['customers'] - n['known']:,} more only an id is known, such as a visitor who never logged in."
    if expected:
        told += (
            f" By the model's own probabilities {expected['precision']:.0%} of the pairs put together are right, and "
            f"{expected['recall']:.0%} of the right ones among those compared are found."
        )
    if undecided:
        told += f" {undecided:,} pairs of records are close calls, laid out for somebody to decide."
    return told


def key_numbers(counts: dict[str, int], undecided: int, accounts: pd.DataFrame) -> list[KeyNumber]:
    """Which numbers of this stage are watched from run to run?

    Parameters
    ----------
    counts
        As from :func:`counts`.
    undecided
        Pairs to look at.
    accounts
        As from :func:`kinds`.
    """
    known = counts["known"]
    share = round(counts["several"] / known, 6) if known else 0.0
    companies = int(accounts.loc[accounts["kind"] == "company", "accounts"].sum())
    return [
        KeyNumber(
            "Customers known",
            known,
            "customers",
            n=counts["records"],
            note="one human being, whatever system holds them; counted is everybody who is in a system's table of people",
        ),
        KeyNumber("Known to more than one system", share, "share", "up", n=known),
        KeyNumber(
            "Records a customer",
            round(counts["records"] / max(known, 1), 6),
            "records",
            n=counts["records"],
        ),
        KeyNumber("Pairs to look at", undecided, "pairs", "down"),
        KeyNumber("Companies", companies, "accounts"),
    ]


def say_systems(counted: pd.DataFrame) -> str:
    """In one sentence: are most customers known to one system alone?

    Parameters
    ----------
    counted
        As from :func:`by_systems`.
    """
    alone = float(counted.loc[counted["systems"] == "1 system", "share"].sum())
    visitors = int(counted.loc[counted["systems"] == VISITORS, "customers"].sum())
    apart = f"; {visitors:,} visitors beside them are ids alone" if visitors else ""
    return f"{alone:.0%} of the known customers are known to one system alone{apart}"


def say_together(shares: pd.DataFrame) -> str:
    """In one sentence: which system shares most of its customers with which?

    Parameters
    ----------
    shares
        As from :func:`together`.
    """
    if len(shares) < 2:
        return "There is one system alone"
    best = max(
        ((shares.loc[a, b], a, b) for a in shares.index for b in shares.columns if a != b),
        key=lambda item: (item[0], item[1]),
    )
    if not best[0]:
        return "No two systems are known to share a customer"
    return f"{best[2]} knows {best[0]:.0%} of the customers of {best[1]}"


def say_method(scored: Scored) -> str:
    """How were records compared? A sentence or two.

    Parameters
    ----------
    scored
        As from :func:`clientbook.matching.pairs.compare`.
    """
    return scored.note or "No records with names or addresses are there, so that nothing was compared."


def rules(scored: Scored) -> pd.DataFrame:
    """Which blocking rules were there, which were used, and what does each find?

    Parameters
    ----------
    scored
        As from :func:`clientbook.matching.pairs.compare`.

    Returns
    -------
    pandas.DataFrame
        `rule` in words, `pairs`, `finds` (expected pairs of one human), `alone` (those that no other rule finds), `used`
        in words, `why` not; the rules that find most by themselves first.
    """
    told = scored.looked_at.assign(used=["yes" if one else "no" for one in scored.looked_at["used"]])
    # where nothing was compared, no rule found anything
    told = told.reindex(columns=["rule", "pairs", "finds", "alone", "used", "why"])
    return told.sort_values(["used", "alone", "finds", "pairs"], ascending=False, kind="stable", ignore_index=True)


def say_bound(scored: Scored) -> str:
    """Which rules would have made too many pairs? In one sentence.

    Parameters
    ----------
    scored
        As from :func:`clientbook.matching.pairs.compare`.
    """
    over = scored.looked_at[scored.looked_at["why"].str.contains("more than", na=False)]
    if over.empty:
        return "No rule would have made more pairs than are allowed."
    worst = over.sort_values("pairs", ascending=False, kind="stable").iloc[0]
    return (
        f"{len(over):,} rules would have made too many pairs and were left out before a pair was made, the costliest "
        f"`{worst['rule']}` with {worst['pairs']:,.0f}."
    )


def say_recall(scored: Scored) -> str:
    """How many pairs of one human does no rule find? In one sentence.

    Parameters
    ----------
    scored
        As from :func:`clientbook.matching.pairs.compare`.
    """
    if scored.recall is None:
        return "How many pairs no rule finds cannot be said: that needs rules that know people by different things."
    return (
        f"The rules are expected to reach {scored.recall:.0%} of all pairs of one human, judged by how often those that "
        "one kind of rule finds are found by another kind too."
    )


def starts(scored: Scored) -> pd.DataFrame:
    """Does the training find the same from wherever it starts?

    Parameters
    ----------
    scored
        As from :func:`clientbook.matching.pairs.compare`.

    Returns
    -------
    pandas.DataFrame
        `start` (what is first believed of how often one human's records agree), `rounds`, `settled`, `pairs` of one
        human that it finds.
    """
    return scored.starts


def weight_range(scored: Scored) -> pd.DataFrame:
    """What does each comparison say at its best and at its worst?

    Parameters
    ----------
    scored
        As from :func:`clientbook.matching.pairs.compare`.

    Returns
    -------
    pandas.DataFrame
        `level`, `match_weight`: of each comparison the most alike and the least alike level, the strongest first.
    """
    told = weights(scored)
    ends = told.groupby("comparison", sort=False)
    told = pd.concat([ends.head(1), ends.tail(1)]).drop_duplicates()
    return told.sort_values("match_weight", ascending=False, kind="stable", ignore_index=True)[["level", "match_weight"]]


def parameters(scored: Scored) -> pd.DataFrame:
    """How often do two records of one human show each level, and how often do strangers?

    Parameters
    ----------
    scored
        As from :func:`clientbook.matching.pairs.compare`.

    Returns
    -------
    pandas.DataFrame
        A row a comparison; `the same`, `similar` (all levels between) and `different`, of one human and of strangers.
    """
    told = weights(scored)
    rows = {}
    for word, levels in told.groupby("comparison", sort=False):
        rows[word] = {
            f"{name}, {who}": part
            for who, column in (("one human", "m"), ("strangers", "u"))
            for name, part in (
                ("the same", levels[column].iloc[0]), ("similar", levels[column].iloc[1:-1].sum()),
                ("different", levels[column].iloc[-1]),
            )
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index")


def undecided(review_pairs: ir.Table) -> int:
    """How many pairs are laid out for a person whose answer may well change something?

    Parameters
    ----------
    review_pairs
        The public table.
    """
    return int(review_pairs.filter(review_pairs["expected_gain"] >= WORTH_ASKING).count().to_pyarrow().as_py())


def close_calls(review_pairs: ir.Table, most: int = 10) -> pd.DataFrame:
    """Which pairs are the closest calls, and what speaks for and against them?

    Parameters
    ----------
    review_pairs
        The public table.
    most
        How many.

    Returns
    -------
    pandas.DataFrame
        `customers` (one, or both with a comma between), `systems`, and the probability, the reasons and what the answer may
        change, without the records' ids; pairs of the same two customers once.
    """
    rows = review_pairs.filter(review_pairs["asked_for"] == "gain").order_by("turn").limit(10 * most)
    rows = rows.drop("turn", "person_id_a", "person_id_b", "match_weight", "asked_for", "stratum", "chance").to_pandas()
    rows = rows.drop_duplicates(["customer_a", "customer_b"]).head(most).reset_index(drop=True)
    both = rows["customer_a"].where(rows["customer_a"] == rows["customer_b"], rows["customer_a"] + ", " + rows["customer_b"])
    rows.insert(0, "customers", both)
    rows.insert(1, "systems", rows["source_a"] + ", " + rows["source_b"])
    return rows.drop(columns=["customer_a", "customer_b", "source_a", "source_b"])


def weights(scored: Scored) -> pd.DataFrame:
    """What does each level of likeness say?

    Parameters
    ----------
    scored
        As from :func:`clientbook.matching.pairs.compare`.

    Returns
    -------
    pandas.DataFrame
        `comparison`, `level`, `m` (share of pairs of one human that show it), `u` (of strangers), `match_weight` in
        bits; empty without a model.
    """
    if scored.model is None:
        return pd.DataFrame(columns=["comparison", "level", "m", "u", "match_weight"])
    return parameter_table(scored.model)


def day_table(day: Day) -> pd.DataFrame:
    """Which records came, changed and went since the run before, and what was compared?

    Parameters
    ----------
    day
        As in :class:`clientbook.matching.Matched`.

    Returns
    -------
    pandas.DataFrame
        `what`, `number`; empty where there was no run to go on from.
    """
    rows = [
        ("records as they were", day.same), ("records that are new", day.new), ("records told otherwise", day.changed),
        ("records that are gone", day.gone), ("pairs compared", day.compared), ("pairs taken over", day.kept),
        ("records whose group was put together anew", day.regrouped),
    ]  # fmt: skip
    told = rows if day.carried else rows[:4]
    return pd.DataFrame(told if day.same or day.gone else [], columns=["what", "number"])


def say_day(day: Day) -> str:
    """In a sentence or two: was all compared again, or only what came?

    Parameters
    ----------
    day
        As in :class:`clientbook.matching.Matched`.
    """
    if day.why == NOBODY:
        return "Nothing was compared: this book has ids, and no table that describes people."
    if not day.carried:
        return f"All records were compared anew, as {day.why}." if day.why else "All records were compared anew."
    came = day.new + day.changed
    told = (
        f"Only what came was compared: {came:,} of {came + day.same:,} records are new or told otherwise than in the run "
        f"before, and {day.gone:,} are gone. All others keep their pairs and what the model said of them."
    )
    limit = f"above {MOST_SINCE:.0%} all is trained anew"
    return f"{told} Since the last training {day.since:.1%} of the records came or changed; {limit}."


def say_odd(scored: Scored) -> str:
    """Can the training be trusted? In a sentence or more.

    Parameters
    ----------
    scored
        As from :func:`clientbook.matching.pairs.compare`.
    """
    if scored.model is None:
        return "No model was trained."
    if scored.oddities:
        return " ".join(scored.oddities)
    pairs = scored.starts["pairs"]
    return (
        f"The training settled after {scored.model.iterations} rounds and found the same from {len(pairs)} starts "
        f"({pairs.min():,.0f} to {pairs.max():,.0f} pairs of one human); every column speaks for two records where it is the "
        "same and against them where it differs."
    )


def thresholds(clustered: Clustered) -> pd.DataFrame:
    """What would other thresholds cost?

    Parameters
    ----------
    clustered
        As from :func:`clientbook.matching.clusters.cluster`.

    Returns
    -------
    pandas.DataFrame
        `threshold`, `precision`, `recall`, `f1` as expected, `chosen`.
    """
    rows = clustered.tried[::4] if len(clustered.tried) > 8 else clustered.tried
    rows = pd.concat([rows, clustered.tried[clustered.tried["threshold"] == clustered.threshold]])
    rows = rows.drop_duplicates("threshold").sort_values("threshold", ignore_index=True)
    return rows.assign(chosen=["yes" if at == clustered.threshold else "" for at in rows["threshold"]])


def say_threshold(clustered: Clustered) -> str:
    """Which threshold, and why? In one sentence or two.

    Parameters
    ----------
    clustered
        As from :func:`clientbook.matching.clusters.cluster`.
    """
    if not clustered.expected:
        return "Nothing was compared, so that there is no threshold."
    return (
        f"Records are put together from a mean probability of {clustered.threshold:.2f} on: {clustered.why}. "
        f"{clustered.cut:,} groups that one tie or another held together were taken apart; in {clustered.impossible:,} two "
        "records could not be one human, by sure birth dates or as a system holds nobody twice."
    )


def changes(identity_changes: ir.Table) -> pd.DataFrame:
    """How many records went to another customer?

    Parameters
    ----------
    identity_changes
        The public table.

    Returns
    -------
    pandas.DataFrame
        `run_before`, `change`, `customers`, `records`.
    """
    counted = identity_changes.group_by("run_before", "change").agg(
        customers=identity_changes["customer_id_before"].nunique(), records=identity_changes["records"].sum()
    )
    return counted.order_by("run_before", "change").to_pandas()


def say_contradictions(matched) -> str:
    """Did known links lead to several customers? In one sentence.

    Parameters
    ----------
    matched
        As from :func:`clientbook.matching.match`.
    """
    n = matched.contradictions
    if not n:
        return "No known link contradicts another."
    return f"{n:,} known links were not followed: the id that they start from leads to several customers."
