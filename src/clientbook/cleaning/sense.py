"""Do the tables make sense together: does every order have a person, does a parcel arrive after it was ordered?"""

from __future__ import annotations

from collections.abc import Mapping

import ibis
import ibis.expr.types as ir
import pandas as pd

from clientbook.tables import CANONICAL, OWNED_IDS, REGISTERS, owner_column

# Where a value has to be one's own, so many rows of it at least, and so many times the usual, are told. A guess for a
# reader to look at: nothing is changed for it.
OFTEN_ROWS, OFTEN_TIMES = 10, 10
_OWN = ("email", "phone", "birth_date", "external_id")
_COLUMNS = ["source", "table", "column", "rule", "check", "failed", "of", "severity"]


def sense(tables: Mapping[str, ir.Table]) -> pd.DataFrame:
    """How many rows contradict another table, or themselves?

    Nothing is rejected for it: which of the two tables is wrong, nobody can tell from here.

    Parameters
    ----------
    tables
        Clean tables by name.

    Returns
    -------
    pandas.DataFrame
        `source`, `table`, `column`, `rule`, `check`, `failed`, `of`, `severity`. A rule that could not be asked, as a
        table is not there, is not in it.
    """
    parts = [*_references(tables), *_order_of_time(tables), *_returns(tables), *_crowded(tables)]
    told = [part for part in parts if len(part)]
    return pd.concat(told, ignore_index=True)[_COLUMNS] if told else pd.DataFrame(columns=_COLUMNS)


def references(tables: Mapping[str, ir.Table], engine) -> pd.DataFrame:
    """Which ids does their register not know? Of tables that are only described yet, each is read once, for its ids alone.

    Parameters
    ----------
    tables
        Clean tables by name.
    engine
        Where the ids are kept meanwhile.

    Returns
    -------
    pandas.DataFrame
        As from :func:`sense`, of ids alone.
    """
    ids = {
        name: engine.keep(rows.select(*[column for column in rows.columns if column.endswith(("source", "_id"))]))
        for name, rows in tables.items()
        if name in CANONICAL
    }
    told = [part for part in _references(ids) if len(part)]
    return pd.concat(told, ignore_index=True)[_COLUMNS] if told else pd.DataFrame(columns=_COLUMNS)


def _references(tables):
    """Ids that their register does not know. An owner without a register is not asked: its people are known by id alone."""
    for name in CANONICAL:
        rows = tables.get(name)
        if rows is None:
            continue
        for column in CANONICAL[name].names:
            target = "person_id" if column == "referred_person_id" else column
            register = REGISTERS.get(target)
            if target not in OWNED_IDS or register == name or tables.get(register) is None:
                continue
            owner = owner_column(target)
            if owner not in rows.columns or column not in rows.columns:
                continue
            known = tables[register].select(owner=tables[register]["source"], id=tables[register][target]).distinct()
            owners = known.select("owner").distinct()
            asked = rows.select("source", owner=rows[owner], id=rows[column])
            asked = asked.filter(asked["id"].notnull()).semi_join(owners, "owner")
            each = asked.group_by("source", "owner", "id").agg(n=asked.count())
            lost = each.left_join(known.mutate(found=ibis.literal(True)), ["owner", "id"])
            counted = lost.group_by("source").agg(
                of=lost["n"].sum(), failed=lost["n"].sum(where=lost["found"].isnull()).fill_null(0)
            )
            said = counted.to_pandas()
            yield said.assign(
                table=name, column=column, check="reference", severity="warning",
                rule=f"{column} is one that the {register} know",
            )  # fmt: skip
        if name in ("deliveries", "returns") and tables.get("orders") is not None:
            yield _orders_known(name, rows, tables["orders"])


def _orders_known(name: str, rows: ir.Table, orders: ir.Table) -> pd.DataFrame:
    known = orders.select(owner=orders["source"], id=orders["order_id"]).filter(lambda t: t["id"].notnull()).distinct()
    asked = rows.select("source", owner=rows["order_source"], id=rows["order_id"]).filter(lambda t: t["id"].notnull())
    if name == "returns":
        # a cancellation is a row of the orders themselves, and has a number of its own
        asked = rows.filter(rows["person_id"].isnull()) if "person_id" in rows.columns else rows
        asked = asked.select("source", owner=asked["order_source"], id=asked["order_id"]).filter(lambda t: t["id"].notnull())
    asked = asked.semi_join(known.select("owner").distinct(), "owner")
    lost = asked.left_join(known.mutate(found=ibis.literal(True)), ["owner", "id"])
    counted = lost.group_by("source").agg(of=lost.count(), failed=lost["found"].isnull().sum())
    return counted.to_pandas().assign(
        table=name,
        column="order_id",
        check="reference",
        severity="warning",
        rule="order_id is one that the orders know",
    )


_AFTER = (
    ("messages", "opened_at", "sent_at"), ("messages", "clicked_at", "sent_at"), ("messages", "replied_at", "sent_at"),
    ("messages", "unsubscribed_at", "sent_at"), ("cases", "closed_at", "opened_at"), ("opportunities", "closed_at", "opened_at"),
    ("people", "updated_at", "created_at"), ("consents", "valid_to", "indicated_at"),
)  # fmt: skip


def _order_of_time(tables):
    for name, later, earlier in _AFTER:
        rows = tables.get(name)
        if rows is None:
            continue
        both = rows[later].notnull() & rows[earlier].notnull()
        counted = rows.group_by("source").agg(of=both.sum(), failed=(both & (rows[later] < rows[earlier])).sum())
        said = counted.filter(counted["of"] > 0).to_pandas()
        yield said.assign(
            table=name, column=later, check="order of time", severity="warning", rule=f"{later} is not before {earlier}"
        )
    orders = _first_orders(tables.get("orders"))
    for name, when in (("deliveries", "delivered_at"), ("returns", "returned_at")):
        rows = tables.get(name)
        if rows is None or orders is None:
            continue
        joined = rows.join(orders, [rows["order_source"] == orders["owner"], rows["order_id"] == orders["id"]])
        both = joined[when].notnull()
        # a system that writes the day alone writes midnight
        early = joined[when].date() < joined["first_at"].date()
        counted = joined.group_by("source").agg(of=both.sum(), failed=(both & early).sum())
        said = counted.filter(counted["of"] > 0).to_pandas()
        yield said.assign(
            table=name, column=when, check="order of time", severity="warning", rule=f"{when} is not before the order"
        )


def _first_orders(orders: ir.Table | None) -> ir.Table | None:
    if orders is None:
        return None
    named = orders.filter(orders["order_id"].notnull())
    return named.group_by(owner=named["source"], id=named["order_id"]).agg(
        first_at=named["ordered_at"].min(), bought=named["quantity"].sum()
    )


def _returns(tables):
    orders, returns = tables.get("orders"), tables.get("returns")
    if orders is None or returns is None:
        return
    named = orders.filter(orders["order_id"].notnull())
    bought = named.group_by(owner=named["source"], id=named["order_id"], product=named["product_id"].fill_null("")).agg(
        bought=named["quantity"].sum()
    )
    back = returns.filter(returns["order_id"].notnull() & returns["quantity"].notnull() & returns["product_id"].notnull())
    back = back.group_by("source", owner=back["order_source"], id=back["order_id"], product=back["product_id"]).agg(
        back=back["quantity"].sum(), rows=back.count()
    )
    joined = back.join(bought, ["owner", "id", "product"])
    counted = joined.group_by("source").agg(
        of=joined["rows"].sum(), failed=joined["rows"].sum(where=joined["back"] > joined["bought"]).fill_null(0)
    )
    yield counted.to_pandas().assign(
        table="returns", column="quantity", check="quantity", severity="warning",
        rule="no more of a product comes back than was bought",
    )  # fmt: skip


def _crowded(tables):
    """Values that should be one person's own, and stand suspiciously often."""
    people = tables.get("people")
    if people is None:
        return
    for column in _OWN:
        held = people.filter(people[column].notnull())
        counted = held.group_by("source", value=held[column].cast("string")).agg(n=held.count())
        usual = counted.group_by("source").agg(usual=counted["n"].median(), of=counted["n"].sum())
        often = counted.join(usual, "source")
        crowd = (often["n"] >= OFTEN_ROWS) & (often["n"] >= OFTEN_TIMES * often["usual"])
        said = often.group_by("source").agg(of=often["of"].max(), failed=often["n"].sum(where=crowd).fill_null(0)).to_pandas()
        yield said.assign(
            table="people",
            column=column,
            check="suspiciously often",
            severity="note",
            rule=f"{column} does not stand suspiciously often",
        )
