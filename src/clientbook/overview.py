"""What does a director need to know, on one page?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ibis
import ibis.expr.types as ir
import pandas as pd

from clientbook import history
from clientbook.customers import of_known
from clientbook.exact import total
from clientbook.site import numbers
from clientbook.stage import LEADING, Stage
from clientbook.tables import STAGES

STAGE = Stage(
    name="overview",
    uses=("*",),
    hears=("*",),
    remembers=True,
    writes=(),
    shows="the state of the data, what the customers are worth, and what to do this week",
)

STAGES_SHOWN = (
    "cleaning",
    "matching",
    "value",
    "journeys",
    "content",
    "segments",
    "use_cases",
    "governance",
)
PAGES = {
    "cleaning": "01_cleaning", "matching": "03_matching", "value": "04_value", "journeys": "05_journeys",
    "content": "06_content", "segments": "07_segments", "use_cases": "08_use_cases", "governance": "09_governance",
}  # fmt: skip
LOOK_BACK_DAYS = 30
GOOD_DATA = 0.95

Read = Callable[[str], ir.Table | None]


def key_numbers(records: Mapping[str, Mapping[str, Any]], currency: str) -> list[dict[str, Any]]:
    """The first numbers that each stage watches, with money in the book's currency.

    Parameters
    ----------
    records
        What each stage said of itself, by name.
    currency
        The book's.
    """
    return [
        number | ({"unit": currency} if number.get("unit") == "money" else {})
        for record in records.values()
        for number in record.get("key_numbers", ())[:LEADING]
    ]


def facts(read: Read, as_of: dt.date) -> dict[str, float]:
    """What do the other stages' tables say, in a few figures?

    Parameters
    ----------
    read
        Gives a table by name, or None where it is not there.
    as_of
        The day of the run.

    Returns
    -------
    dict
        Of what the tables allow: `customers` (of whom more than an id is known), `records`, `several_systems` (share),
        `buyers`, `clv`, `top_tenth`,
        `open_journeys`, `deciding`, `messages`, `wrong` (share of the messages of the last 30 days), `reachable` (share).
    """
    told: dict[str, float] = {}
    identities, customers = read("identities"), read("customers")
    if identities is not None:
        identities = of_known(identities, identities, read("people"))
        each = identities.group_by("customer_id").agg(systems=identities["source"].nunique())
        told |= _row(each.aggregate(customers=each.count(), several=(each["systems"] > 1).sum()), records=identities.count())
        told["several_systems"] = told.pop("several") / max(told["customers"], 1)
    elif customers is not None:
        told |= _row(customers.aggregate(customers=customers.count()))
    value = read("value")
    if value is not None:
        ranked = value.mutate(tenth=ibis.ntile(10).over(order_by=[ibis.desc("clv"), "customer_id"]))
        sums = _row(
            ranked.aggregate(buyers=ranked.count(), clv=total(ranked["clv"]), top=total(ranked["clv"], ranked["tenth"] == 0))
        )
        told |= {"buyers": sums["buyers"], "clv": sums["clv"]}
        told["top_tenth"] = sums["top"] / sums["clv"] if sums["clv"] else 0.0
    stages = read("stage_intervals")
    if stages is not None:
        now = stages.filter((stages["method"] == "filtered") & stages["valid_to"].isnull())
        told |= _row(now.aggregate(open_journeys=now.count(), deciding=(now["stage"] == "decide").sum()))
    audit = read("message_audit")
    if audit is not None:
        counted = _recent(audit, as_of)
        sums = _row(counted.aggregate(messages=counted.count(), wrong=(counted["verdict"] != "right").sum()))
        if sums["messages"]:
            told |= {"messages": sums["messages"], "wrong": sums["wrong"] / sums["messages"]}
    return told


def _span(records: Mapping[str, Mapping[str, Any]]) -> str:
    """Over which time the value is expected, as the notebook that knows says it."""
    told = {n["name"]: n.get("note") for n in records.get("value", {}).get("key_numbers", ())}
    return told.get("Expected value") or "in the time ahead"


def answer(known: Mapping[str, float], records: Mapping[str, Mapping[str, Any]], money: Callable[[float], str]) -> str:
    """The page in a few sentences of Markdown; it reads well with any of the stages missing.

    Parameters
    ----------
    known
        As from :func:`facts`.
    records
        What each stage said of itself, by name.
    money
        Writes an amount for people.
    """
    told = []
    if "clv" in known:
        told.append(
            f"**{known['buyers']:,.0f} customers with a purchase are expected to bring {money(known['clv'])} "
            f"{_span(records)}, and the best tenth of them {known['top_tenth']:.0%} of it.**"
        )
    if "several_systems" in known:
        told.append(
            f"{known['records']:,.0f} records turned out to be {known['customers']:,.0f} customers, of whom "
            f"{known['several_systems']:.0%} are known to more than one system."
        )
    if known.get("open_journeys"):
        told.append(f"{known['open_journeys']:,.0f} journeys are under way, {known['deciding']:,.0f} of them at a decision.")
    if "wrong" in known:
        told.append(
            f"Of the {known['messages']:,.0f} messages of the last {LOOK_BACK_DAYS} days, {known['wrong']:.0%} should not "
            "have been sent as they were."
        )
    usable = _usable(records)
    if usable:
        share, delivered = usable
        verdict = "The data is fit for use" if share >= GOOD_DATA else "The data needs attention"
        told.append(f"{verdict}: {numbers.share(share)} of {delivered:,.0f} delivered rows could be used.")
    return " ".join(told) or "This book holds nothing that could be shown yet."


def actions(read: Read, as_of: dt.date, most: int = 5) -> pd.DataFrame:
    """What is there to do this week, and what is it about in money?

    Parameters
    ----------
    read
        Gives a table by name, or None where it is not there.
    as_of
        The day of the run.
    most
        How many actions; the repair of rejected rows comes on top.

    Returns
    -------
    pandas.DataFrame
        `action`, `why` (what the money is), `customers`, `money`, `page`; the largest first.
    """
    rows = [*_by_value(read("value")), *_by_next_action(read("next_actions")), *_by_audit(read("message_audit"), as_of)]
    rows += _by_use_case(read("use_cases"))
    told = pd.DataFrame([row for row in rows if row["customers"]], columns=["action", "why", "customers", "money", "page"])
    told = told.sort_values("money", ascending=False, ignore_index=True, kind="stable").head(most)
    rejected = read("rejected")
    count = int(rejected.count().to_pandas()) if rejected is not None else 0
    if count:
        repair = {"action": f"Repair {count:,} {'row' if count == 1 else 'rows'} that could not be used"}
        repair |= {"why": f"{'it counts' if count == 1 else 'they count'} for nobody until then"}
        told = pd.concat([told, pd.DataFrame([repair | {"page": "01_cleaning"}])], ignore_index=True)
    return told


def at_a_glance(
    known: Mapping[str, float], records: Mapping[str, Mapping[str, Any]], read: Read, money: Callable[[float], str]
) -> pd.DataFrame:
    """The six questions of this page, each with its answer and the page that holds the evidence.

    Parameters
    ----------
    known
        As from :func:`facts`.
    records
        What each stage said of itself, by name.
    read
        Gives a table by name, or None where it is not there.
    money
        Writes an amount for people.

    Returns
    -------
    pandas.DataFrame
        `question`, `answer`, `page`; what the book cannot tell says so.
    """
    usable = _usable(records)
    rules = read("policy")
    broken = rules.filter(~rules["holds"]).select("rule").to_pandas()["rule"].tolist() if rules is not None else None
    kept = "; ".join(rules.select("rule").order_by("rule").to_pandas()["rule"]) if rules is not None else ""
    told = [
        ("Is the data fit for use?", "01_cleaning", usable and (
            f"{numbers.share(usable[0])} of {usable[1]:,.0f} delivered rows could be used")),
        ("How many customers have we in one view?", "03_matching", "customers" in known and (
            f"{known['customers']:,.0f}" + (
                f", out of {known['records']:,.0f} records: everybody in a system's table of people"
                if "records" in known else ""))),
        ("What are they worth?", "04_value", "clv" in known and (
            f"{money(known['clv'])} {_span(records)}, of which a tenth of them brings {known['top_tenth']:.0%}")),
        ("Where are they?", "05_journeys", "open_journeys" in known and (
            f"{known['open_journeys']:,.0f} journeys under way, {known['deciding']:,.0f} at a decision")),
        ("What do we send wrongly?", "06_content", ("wrong" in known and (
            f"{known['wrong']:.0%} of the {known['messages']:,.0f} messages of the last {LOOK_BACK_DAYS} days"))
            or (read("message_audit") is not None and f"no message was sent in the last {LOOK_BACK_DAYS} days")),
        ("What would acting on the data bring?", "08_use_cases", _worth(read("use_cases"), money)),
        ("Do we keep our own rules?", "09_governance", broken is not None and (
            f"broken: {'; '.join(broken)}" if broken else f"none of those that the book sets is broken ({kept})")),
    ]  # fmt: skip
    rows = [(question, answer or "this book does not hold what it takes to tell", page) for question, page, answer in told]
    return pd.DataFrame(rows, columns=["question", "answer", "page"])


def _worth(cases: ir.Table | None, money: Callable[[float], str]) -> str | None:
    if cases is None:
        return None
    first = cases.filter(cases["start"]).order_by("place").select("use_case", "a_year").to_pandas()
    if first.empty:
        return "of no use case it can be said that it pays"
    return "; ".join(f"{row.use_case}: {money(row.a_year)} a year" for row in first.itertuples())


def changed(
    entries: Sequence[Mapping[str, Any]], records: Mapping[str, Mapping[str, Any]], run: str, as_of: dt.date
) -> tuple[pd.DataFrame, list[str]]:
    """What changed since the last run, and why?

    Parameters
    ----------
    entries
        What is remembered of the book's runs, as from :func:`clientbook.history.read`.
    records
        What each stage said of itself in this run, by name.
    run, as_of
        This run and its day.

    Returns
    -------
    changes, reasons
        `number`, `before`, `now`, `more_than_chance`, `page` of each key number that differs, and what was different about
        the data, in sentences; both empty where this is the first run.
    """
    columns = ["number", "before", "now", "more_than_chance", "verdict", "page"]
    earlier = [entry for entry in entries if entry["run"] < run]
    then = history.before(earlier, {"run": run})
    if then is None:
        return pd.DataFrame(columns=columns), []
    numbers = [
        {name: number.get(name) for name in ("name", "value", "unit", "better", "n", "low", "high")} | {"stage": stage}
        for stage, record in records.items()
        for number in record.get("key_numbers", ())
    ]
    stages = set(records)
    then = {**then, "key_numbers": [number for number in then["key_numbers"] if number["stage"] in stages]}
    inputs = [
        {name: one.get(name) for name in ("source", "table", "file", "rows", "bytes", "sha256")}
        for one in records.get("cleaning", {}).get("inputs", ())
    ]
    now = {**then, "run": run, "as_of": as_of.isoformat(), "key_numbers": numbers, "inputs": inputs}
    chance = {True: "yes", False: "no", None: "not known yet"}
    rows = [
        (each.name, each.before, each.now, chance[each.is_beyond_noise], each.verdict or None, PAGES.get(each.stage))
        for each in history.changes([*earlier, now], now, then)
    ]
    return pd.DataFrame(rows, columns=columns), history.reasons(now, then)


def say_changes(changes: pd.DataFrame, reasons: Sequence[str]) -> str:
    """In a sentence or two: what changed since the last run, and why?

    Parameters
    ----------
    changes, reasons
        As from :func:`changed`.
    """
    if changes.empty and not reasons:
        return "This is the first run, or nothing has changed since the last one"
    beyond = int((changes["more_than_chance"] == "yes").sum())
    return f"{len(changes)} key numbers changed, {beyond} of them by more than chance. {' '.join(reasons)}".strip()


def journeys_by_stage(read: Read) -> pd.DataFrame:
    """Where are the customers who are on a way, by stage?

    Returns
    -------
    pandas.DataFrame
        `stage` in the order of the journey, `journeys`; 0 where no journey is known.
    """
    order = pd.Index(STAGES, name="stage")
    stages = read("stage_intervals")
    if stages is None:
        return pd.DataFrame({"journeys": 0}, index=order).reset_index()
    now = stages.filter((stages["method"] == "filtered") & stages["valid_to"].isnull())
    counted = now.group_by("stage").agg(journeys=now.count()).to_pandas()
    return counted.set_index("stage").reindex(order, fill_value=0).reset_index()


def say_stages(stages: pd.DataFrame) -> str:
    """In one sentence: where are most journeys?"""
    if not stages["journeys"].sum():
        return "No journey is under way"
    most = stages.loc[stages["journeys"].idxmax()]
    return f"Most journeys under way are in the stage “{most['stage']}”: {most['journeys'] / stages['journeys'].sum():.0%}"


def _by_value(value: ir.Table | None) -> list[dict[str, Any]]:
    if value is None:
        return []
    best = value.order_by(ibis.desc("clv"), "customer_id").limit(100)
    gone = value.filter((value["frequency"] >= 3) & (value["p_alive"] < 0.5))
    losers = value.filter(value["loss_maker"])
    return [
        _action("Look after the best hundred personally", "their expected value", best, best["clv"], "04_value"),
        _action(
            "Win back regular customers who stopped buying", "what is still expected of them", gone, gone["clv"], "04_value",
        ),
        _action("Ask those who return more than they buy why", "what they sent back", losers, losers["returned"], "04_value"),
    ]


_PLANNED = {"send": "Send what is planned for each customer", "remind": "Remind those who left a cart"}


def _by_next_action(planned: ir.Table | None) -> list[dict[str, Any]]:
    if planned is None:
        return []
    waiting = planned.filter(planned["expected_margin"] > 0)
    each = waiting.group_by("action").agg(customers=waiting.count(), money=total(waiting["expected_margin"]))
    told = each.order_by(ibis.desc("money"), "action").limit(3).to_pandas()
    return [
        {
            "action": _PLANNED.get(row.action, f"Do what is planned: {row.action.replace('_', ' ')}"),
            "why": "margin expected from the answers",
            "customers": int(row.customers),
            "money": float(row.money),
            "page": "06_content",
        }
        for row in told.itertuples()
    ]


def _by_use_case(cases: ir.Table | None) -> list[dict[str, Any]]:
    if cases is None:
        return []
    first = cases.filter(cases["start"]).order_by("place").select("use_case", "team", "a_year", "n").to_pandas()
    return [
        {
            "action": f"Begin to {row.use_case} ({row.team})",
            "why": "extra margin of a year, as tested on time past",
            "customers": int(row.n),
            "money": float(row.a_year),
            "page": "08_use_cases",
        }
        for row in first.itertuples()
    ]


def _by_audit(audit: ir.Table | None, as_of: dt.date) -> list[dict[str, Any]]:
    if audit is None or "cost" not in audit.columns:
        return []
    wrong = _recent(audit, as_of)
    wrong = wrong.filter(wrong["verdict"] != "right")
    sums = _row(wrong.aggregate(customers=wrong["customer_id"].nunique(), money=total(wrong["cost"].fill_null(0.0))))
    return [
        {
            "action": "Stop the messages that should not be sent",
            "why": f"what sending them cost in {LOOK_BACK_DAYS} days",
            "customers": int(sums["customers"]),
            "money": float(sums["money"]),
            "page": "06_content",
        }
    ]


def _recent(audit: ir.Table, as_of: dt.date) -> ir.Table:
    start = as_of - dt.timedelta(days=LOOK_BACK_DAYS)
    counted = audit["verdict"] != "operational"
    return audit.filter((audit["sent_at"] >= ibis.timestamp(start.year, start.month, start.day, 0, 0, 0)) & counted)


def _usable(records: Mapping[str, Mapping[str, Any]]) -> tuple[float, float] | None:
    known = {n["name"]: n["value"] for n in records.get("cleaning", {}).get("key_numbers", ())}
    if "Rows that can be used" not in known:
        return None
    return known["Rows that can be used"], known["Rows delivered"]


def _action(action: str, why: str, customers: ir.Table, money: ir.FloatingColumn, page: str) -> dict[str, Any]:
    sums = _row(customers.aggregate(n=customers.count(), money=total(money)))
    return {"action": action, "why": why, "customers": int(sums["n"]), "money": float(sums["money"]), "page": page}


def _row(aggregated: ir.Table, **more: ir.Scalar) -> dict[str, float]:
    found = aggregated.to_pandas().iloc[0].fillna(0).to_dict()
    return {name: float(value) for name, value in found.items()} | {n: float(v.to_pandas()) for n, v in more.items()}
