"""What do shop, tills and ERP know of orders, what came back, what was delivered?

With the rows that can be used for nothing and those that came twice.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .draw import mixed, stream
from .records import row_of
from .text import cents, digits, either, hexadecimal, join, moment, only, pick, same, stamp
from .world import REJECTS

GERMAN = "%d.%m.%Y %H:%M"


_IMPOSSIBLE = ("2025-02-30 10:15:00", "2024-13-04 09:00:00", "0000-00-00 00:00:00", "2025-06-31 12:40:00")


_IMPOSSIBLE_GERMAN = ("30.02.2025 10:15", "04.13.2024 09:00", "00.00.0000 00:00", "31.06.2025 12:40")


def article(products: np.ndarray) -> pa.Array:
    """The ERP's product numbers, which shop and tills use too."""
    return join("ART-", digits(np.asarray(products) + 10_000))


def piece_id(pieces: np.ndarray) -> pa.Array:
    """The content's numbers."""
    return only(join("C", digits(np.maximum(pieces, 0) + 100)), np.asarray(pieces) >= 0)


def order_ids(channel: np.ndarray, number: np.ndarray) -> pa.Array:
    """Order numbers of shop, tills and ERP."""
    return join(pick(("W", "B", "A"), channel), digits(number, 8))


def orders(seed: int, part: int, human, order, line, rows: dict, begin: int, as_of: int, base: int) -> dict[str, pa.Table]:
    """Order lines, returns and deliveries of the three systems that take orders, their rejects and their double rows.

    Returns
    -------
    dict
        Tables shop, pos, erp, shop_returns, erp_returns, deliveries_shop, deliveries_pos, deliveries_erp, rejects and
        doubles.
    """
    rng = stream(seed, part, "order files")
    inside = (order.at >= begin) & (order.at < as_of)
    order.number = np.empty(len(order.at), np.int64)
    # numbers are given in the order of time, over all customers
    order.number[np.argsort(order.at, kind="stable")] = base + np.arange(len(order.at))
    order.key = order_ids(order.channel, order.number)
    person = np.empty(len(order.at), object)
    for channel, source in enumerate(("shop", "pos", "crm")):
        mine = np.flatnonzero((order.channel == channel) & inside)
        at = row_of(rows[source], order.human[mine], order.at[mine])
        person[mine] = rows[source].key.take(pa.array(at)).to_numpy(zero_copy_only=False)
    person = pa.array(person, pa.string())
    table: dict[str, pa.Table] = {}
    rejects, doubles = [], []
    for channel, source in enumerate(("shop", "pos", "erp")):
        at = np.flatnonzero(inside[line.order] & (order.channel[line.order] == channel))
        by = at[np.argsort(order.at[line.order[at]], kind="stable")]
        sheet = _sheet(source, order, line, by, person)
        if source != "erp":
            sheet, bad = _reject(rng, source, sheet, part)
            rejects.append(bad)
            if source == "pos":
                sheet = _storno(sheet, order, line, by, person, as_of)
        good = np.asarray(pc.not_equal(pc.utf8_slice_codeunits(sheet.column(0), 1, 2), "9"))
        twice = np.flatnonzero(good & (rng.random(sheet.num_rows) < REJECTS["orders_delivered_twice"]))
        again = sheet.take(pa.array(twice))
        doubles.append(
            pa.table(
                {
                    "source": same(source, len(twice)),
                    "table": same("orders", len(twice)),
                    "row_key": again.column(0),
                    "product_id": again.column(3),
                }
            )
        )
        sheet = pa.concat_tables([sheet, again])
        table[source] = sheet
    back = np.flatnonzero(
        (line.returned > 0) & inside[line.order] & (order.channel[line.order] == 0) & (line.returned_at < as_of)
    )
    back = back[np.argsort(line.returned_at[back], kind="stable")]
    table["shop_returns"] = pa.table(
        {
            "order_no": order.key.take(pa.array(line.order[back])),
            "article": article(line.product[back]),
            "pieces": pa.array(line.returned[back]),
            "refund": cents(line.back[back]),
            "received": stamp(line.returned_at[back]),
            "why": pick(("size", "colour", "late", "other"), rng.integers(0, 4, len(back))),
        }
    )
    back = np.flatnonzero(
        (line.returned > 0) & inside[line.order] & (order.channel[line.order] == 2) & (line.returned_at < as_of)
    )
    back = back[np.argsort(line.returned_at[back], kind="stable")]
    table["erp_returns"] = pa.table(
        {
            "AUFTRAG": order.key.take(pa.array(line.order[back])),
            "ARTNR": article(line.product[back]),
            "MENGE": pa.array(line.returned[back].astype(np.int64)),
            "GUTSCHRIFT": pa.array(line.back[back]),
            "DATUM": moment(line.returned_at[back]),
        }
    )
    for channel, source in enumerate(("shop", "pos", "erp")):
        sent = np.flatnonzero(inside & (order.channel == channel) & ~order.carried)
        table["deliveries_" + source] = pa.table(
            {
                "AUFTRAG": order.key.take(pa.array(sent)),
                "ZUGESAGT": moment(order.promised_at[sent]),
                "GELIEFERT": moment(np.where(order.delivered_at[sent] < as_of, order.delivered_at[sent], 0)),
                "SPEDITION": pick(("DHL", "DPD", "eigene"), rng.integers(0, 3, len(sent))),
            }
        )
    table["rejects"], table["doubles"] = pa.concat_tables(rejects), pa.concat_tables(doubles)
    return table


def _sheet(source, order, line, at, person):
    own = pa.array(line.order[at])
    key, who, product = order.key.take(own), person.take(own), article(line.product[at])
    if source == "shop":
        return pa.table(
            {
                "order_no": key,
                "customer_no": who,
                "placed": stamp(order.at[line.order[at]]),
                "article": product,
                "pieces": pa.array(line.quantity[at].astype(np.int64)),
                "price_each": pa.array(line.price[at]),
                "rebate": pa.array(line.discount[at]),
                "total": pa.array(line.amount[at]),
                "curr": same("EUR", len(at)),
                "state": either(order.open[line.order[at]], same("in Bearbeitung", len(at)), same("versendet", len(at))),
                "coupon_campaign": only(piece_id(order.campaign[line.order[at]]), order.campaign[line.order[at]] >= 0),
                "cart_session": hexadecimal(mixed(order.number[line.order[at]], 5)),
            }
        )
    if source == "pos":
        return pa.table(
            {
                "BonNr": key,
                "KartenNr": who,
                "Zeit": stamp(order.at[line.order[at]], GERMAN),
                "Artikel": product,
                "Menge": digits(line.quantity[at]),
                "Einzelpreis": cents(line.price[at], True),
                "Nachlass": cents(line.discount[at], True),
                "Betrag": cents(line.amount[at], True),
                "Kasse": digits(1 + order.number[line.order[at]] % 4),
            }
        )
    return pa.table(
        {
            "AUFTRAG": key,
            "KONTAKT": who,
            "DATUM": moment(order.at[line.order[at]]),
            "ARTNR": product,
            "MENGE": pa.array(line.quantity[at].astype(np.int64)),
            "PREIS": pa.array(line.price[at]),
            "RABATT": pa.array(line.discount[at]),
            "WERT": pa.array(line.amount[at]),
            "STATUS": either(order.open[line.order[at]], same("offen", len(at)), same("fakturiert", len(at))),
        }
    )


def _reject(rng, source, sheet, part):
    """Rows that cannot be used: copies of good ones under order numbers of their own."""
    bad = []
    names = sheet.column_names
    for kind, column in (("orders_impossible_date", 2), ("orders_without_person", 1)):
        rows = np.flatnonzero(rng.random(sheet.num_rows) < REJECTS[kind])
        copy = sheet.take(pa.array(rows))
        numbers = digits(90_000_000 + part * 100_000 + np.arange(len(rows)) + (50_000 if column == 1 else 0))
        copy = copy.set_column(0, names[0], join(pc.utf8_slice_codeunits(copy.column(0), 0, 1), numbers))
        choices = _IMPOSSIBLE if source == "shop" else _IMPOSSIBLE_GERMAN
        wrong = pick(choices, rng.integers(0, 4, len(rows))) if column == 2 else pa.nulls(len(rows), pa.string())
        copy = copy.set_column(column, names[column], wrong)
        sheet = pa.concat_tables([sheet, copy])
        bad.append(
            pa.table(
                {
                    "source": same(source, len(rows)),
                    "table": same("orders", len(rows)),
                    "row_key": copy.column(0),
                    "column": same("ordered_at" if column == 2 else "person_id", len(rows)),
                    "delivered": wrong,
                    "kind": same(kind, len(rows)),
                }
            )
        )
    place = np.argsort(
        rng.random(sheet.num_rows) * 1e-9
        + np.concatenate(
            [np.linspace(0, 1, sheet.num_rows - sum(b.num_rows for b in bad)), rng.random(sum(b.num_rows for b in bad))]
        ),
        kind="stable",
    )
    return sheet.take(pa.array(place)), pa.concat_tables(bad)


def _storno(sheet, order, line, at, person, as_of):
    """The tills write what comes back as negative lines, under numbers that begin with ST."""
    back = at[(line.returned[at] > 0) & (line.returned_at[at] < as_of)]
    own = pa.array(line.order[back])
    negative = pa.table(
        {
            "BonNr": join("ST", digits(order.number[line.order[back]], 8)),
            "KartenNr": person.take(own),
            "Zeit": stamp(line.returned_at[back], GERMAN),
            "Artikel": article(line.product[back]),
            "Menge": join("-", digits(line.returned[back].astype(np.int64))),
            "Einzelpreis": cents(line.price[back], True),
            "Nachlass": cents(0 * line.back[back], True),
            "Betrag": join("-", cents(line.back[back], True)),
            "Kasse": digits(1 + order.number[line.order[back]] % 4),
        }
    )
    return pa.concat_tables([sheet, negative])
