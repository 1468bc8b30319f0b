"""Which customer does a row belong to?"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir


def record_id(source: ir.StringColumn, person_id: ir.StringColumn) -> ir.StringColumn:
    """The customer_id of a person record that stands for itself.

    It says nothing of the id it was made from, which may be an e-mail address, and is the same in every run.

    Parameters
    ----------
    source, person_id
        The key of the person record.

    Returns
    -------
    ibis.expr.types.StringColumn
        `c` and sixteen hexadecimal digits; among a million records two are alike once in 37 million books.
    """
    key = source.concat("\x1f", person_id)
    return "c" + key.hexdigest("sha256")[:16]


def of_known(rows: ir.Table, identities: ir.Table, people: ir.Table | None) -> ir.Table:
    """Rows of customers of whom more than an id is known: a visitor's browser that never logged in is nobody that we know.

    Parameters
    ----------
    rows
        With `customer_id`.
    identities
        `source`, `person_id`, `customer_id`.
    people
        The clean table; without it nothing but ids is known of anybody, and all rows stay.
    """
    if people is None:
        return rows
    named = identities.semi_join(people, ["source", "person_id"])
    return rows.semi_join(named.select("customer_id").distinct(), "customer_id")


def is_outbound(events: ir.Table) -> ir.BooleanValue:
    """Was it the company that did it, and not the person?

    Parameters
    ----------
    events
        Clean events. A `direction` that begins with `out`, as `outbound` and `outgoing` do, is the company's; one that is not
        known is the person's.
    """
    if "direction" not in events.columns:
        return ibis.literal(False)
    return events["direction"].lower().startswith("out").fill_null(False)


def with_customer(rows: ir.Table, identities: ir.Table | None) -> ir.Table:
    """Rows with the customer they belong to.

    Parameters
    ----------
    rows
        With `person_source` and `person_id`.
    identities
        `source`, `person_id`, `customer_id`; None where nothing was matched: then each person record is a customer.

    Returns
    -------
    ibis.expr.types.Table
        The rows, each once, with `customer_id`; a record that matching does not know is a customer of its own.
    """
    own = record_id(rows["person_source"], rows["person_id"])
    if identities is None:
        return rows.mutate(customer_id=own)
    known = identities.select(
        person_source=identities["source"], person_id=identities["person_id"], _known=identities["customer_id"]
    )
    joined = rows.left_join(known, ["person_source", "person_id"])
    names = [name for name in rows.columns if name != "customer_id"]
    joined = joined.select(*names, "_known")
    return joined.mutate(customer_id=joined["_known"].fill_null(record_id(joined["person_source"], joined["person_id"]))).drop(
        "_known"
    )
