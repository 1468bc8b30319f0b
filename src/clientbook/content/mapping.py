"""Which pieces are there, for whom, and how much are they used?"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir
import pandas as pd

from clientbook.content.audit import as_count
from clientbook.tables import STAGES

_CELL = ("stage", "topic", "role", "format")
_OF = ("content_source", "content_id")


def pieces(content: ir.Table | None, sent: ir.Table | None, events: ir.Table | None) -> ir.Table:
    """Which pieces does the book know, from its register or because somebody got or read one?

    Parameters
    ----------
    content
        Clean content.
    sent
        Of :func:`clientbook.content.audit.sendings`.
    events
        Clean events; those with a content_id are reads.

    Returns
    -------
    ibis.expr.types.Table
        `content_source`, `content_id`, `stage`, `topic`, `role`, `format`; what nobody wrote down is null.
    """
    known = None
    if content is not None:
        c = content
        known = c.group_by(content_source=c["source"], content_id=c["content_id"]).agg(
            **{name: c[name].argmax(c["arrival"]) for name in _CELL}
        )
    seen = [rows.filter(rows["content_id"].notnull()).select(*_OF) for rows in (sent, events) if rows is not None]
    if not seen:
        return known
    strangers = (seen[0] if len(seen) == 1 else seen[0].union(seen[1])).distinct()
    if known is not None:
        strangers = strangers.anti_join(known, list(_OF))
    strangers = strangers.mutate(**{name: ibis.null("string") for name in _CELL})
    return strangers if known is None else known.union(strangers.select(*known.columns))


def content_map(register: ir.Table, sent: ir.Table | None, events: ir.Table | None) -> ir.Table:
    """How many pieces are there by stage, topic, role, channel and format, and how much are they used?

    Parameters
    ----------
    register
        Of :func:`pieces`.
    sent
        Of :func:`clientbook.content.audit.sendings`; operational messages count too, where they carry a piece.
    events
        Clean events.

    Returns
    -------
    ibis.expr.types.Table
        `stage`, `topic`, `role`, `format`, `channel` (of the messages; null: not sent), `pieces`, `sent`, `opened`,
        `clicked`, `click_rate` (of `sent`), `reads` (events on the pieces, told once, in the cell's first channel). A
        stage and a topic that have no piece together make a row with 0 pieces.
    """
    r = register
    if sent is not None:
        s = sent.filter(sent["content_id"].notnull())
        s = s.group_by(*_OF, "channel").agg(
            sent=s.count(), opened=as_count(s["opened"].sum()), clicked=as_count(s["clicked"].sum())
        )
        used = r.left_join(s, list(_OF)).select(*r.columns, "channel", "sent", "opened", "clicked")
    else:
        nought = {name: ibis.null("int64") for name in ("sent", "opened", "clicked")}
        used = r.mutate(channel=ibis.null("string"), **nought)
    if events is not None:
        e = events.filter(events["content_id"].notnull())
        e = e.group_by(*_OF).agg(reads=e.count())
        used = used.left_join(e, list(_OF)).select(*used.columns, "reads")
    else:
        used = used.mutate(reads=ibis.null("int64"))
    # a piece that went out by two channels was still read but once
    first = ibis.row_number().over(ibis.window(group_by=list(_OF), order_by="channel"))
    used = used.mutate(_first=first == 0)
    counts = {name: as_count(used[name].sum()).fill_null(0) for name in ("sent", "opened", "clicked")}
    cells = used.group_by(*_CELL, "channel").agg(
        pieces=used["content_id"].count(),
        **counts,
        reads=as_count(used["reads"].sum(where=used["_first"])).fill_null(0),
    )
    topics = r.filter(r["topic"].notnull()).select("topic").distinct()
    stages = ibis.memtable({"stage": list(STAGES)}, schema={"stage": "string"})
    empty = topics.cross_join(stages).anti_join(r, ["topic", "stage"])
    none = ibis.literal(0, "int64")
    empty = empty.mutate(
        role=ibis.null("string"), format=ibis.null("string"), channel=ibis.null("string"), pieces=none, sent=none,
        opened=none, clicked=none, reads=none,
    )  # fmt: skip
    told = cells.union(empty.select(*cells.columns))
    rate = (told["clicked"] / told["sent"].nullif(0)).cast("float64").round(6)
    told = told.mutate(click_rate=rate)
    names = (*_CELL, "channel", "pieces", "sent", "opened", "clicked", "click_rate", "reads")
    return told.select(*names).order_by(*_CELL, "channel")


def grid(register: ir.Table) -> pd.DataFrame:
    """How many pieces are there at each stage of each topic?

    Parameters
    ----------
    register
        Of :func:`pieces`.

    Returns
    -------
    pandas.DataFrame
        Topics go down, the six stages across; a cell without a piece is 0. Pieces without a topic or a stage are in no
        cell.
    """
    known = register.filter(register["topic"].notnull(), register["stage"].notnull())
    counts = known.group_by("topic", "stage").agg(n=known.count()).to_pandas()
    wide = counts.pivot_table(index="topic", columns="stage", values="n", aggfunc="sum")
    wide = wide.reindex(columns=list(STAGES)).fillna(0).sort_index()
    return wide.rename_axis(index=None, columns=None)


def say_grid(cells: pd.DataFrame) -> str:
    """In one sentence: where is nothing to send?

    Parameters
    ----------
    cells
        Of :func:`grid`.
    """
    if not cells.size:
        return "No piece says what it is about and for whom"
    empty = int((cells == 0).sum().sum())
    if not empty:
        return "There is a piece for every stage of every topic"
    poorest = (cells == 0).sum().idxmax()
    if empty == 1:
        return f"One of {cells.size} cells has no piece: that of the stage “{poorest}”"
    return f"{empty} of {cells.size} cells have no piece, most of them for the stage “{poorest}”"


def by_stage(told: ir.Table, register: ir.Table) -> pd.DataFrame:
    """How well do the pieces of each stage do?

    Parameters
    ----------
    told
        The table `content_map`.
    register
        Of :func:`pieces`.

    Returns
    -------
    pandas.DataFrame
        `stage`, `pieces`, `empty` (topics without one), `sent`, `opened`, `clicked`, `click_rate`, `reads`; in the
        order of the stages, what has none last.
    """
    each = told.group_by("stage").agg(
        **{name: as_count(told[name].sum()) for name in ("sent", "opened", "clicked", "reads")},
        empty=as_count((told["pieces"] == 0).cast("int64").sum()),
    )
    counts = register.group_by(of="stage").agg(pieces=register.count())
    both = each.left_join(counts, each["stage"].identical_to(counts["of"])).to_pandas()
    both["stage"] = both["stage"].astype(object).where(both["stage"].notna(), "not known")
    both["click_rate"] = both["clicked"] / both["sent"].where(both["sent"] > 0)
    order = {name: i for i, name in enumerate((*STAGES, "not known"))}
    both = both.sort_values("stage", key=lambda names: names.map(order), ignore_index=True)
    names = ["stage", "pieces", "empty", "sent", "opened", "clicked", "click_rate", "reads"]
    return both.fillna({"pieces": 0}).astype({"pieces": int})[names]
