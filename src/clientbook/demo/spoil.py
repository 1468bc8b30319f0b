"""How does data get dirty, and what was true?

Each kind of spoiling is a function from good cells to bad ones; `Spoiler` applies kinds at their rates, never
two to one cell, and keeps a record of every cell it spoils.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .draw import choose
from .names import NICKNAMES
from .text import capitals, either, join, letters, only, pick, same, words
from .world import SPOIL

_KEYBOARD = ("qwertzuiopü", "asdfghjklöä", "yxcvbnm", "1234567890")
_NEXT_KEY = np.arange(0x3000, dtype=np.uint32)
for _row in _KEYBOARD:
    for _a, _b in zip(_row, _row[1:] + _row[-2], strict=False):
        _NEXT_KEY[ord(_a)], _NEXT_KEY[ord(_a.upper())] = ord(_b), ord(_b.upper())
_SCANNED = np.arange(0x3000, dtype=np.uint32)
for _a, _b in ("o0", "l1", "S5", "B8", "I1", "Z2", "m" + "n", "ec", "rn", "hb", "uv"):
    _SCANNED[ord(_a)] = ord(_b)
_SOUNDS = (
    ("ph", "f"),
    ("f", "v"),
    ("ck", "k"),
    ("ie", "i"),
    ("ei", "ai"),
    ("dt", "t"),
    ("tz", "z"),
    ("y", "i"),
    ("k", "c"),
    ("ß", "ss"),
    ("ü", "ue"),
    ("ö", "oe"),
    ("ä", "ae"),
    ("mm", "m"),
    ("nn", "n"),
    ("ll", "l"),
    ("th", "t"),
    ("c", "k"),
    ("w", "v"),
)
_TITLES = ("Dr. ", "Prof. Dr. ", "Dipl.-Ing. ", "Herr ", "Frau ")
_PLACEHOLDERS = {
    "given_name": ("N/A", "unbekannt", "xxx", "Test"),
    "family_name": ("N/A", "unbekannt", "xxx", "Test"),
    "full_name": ("N/A", "unbekannt", "Test Test"),
    "email": ("test@test.com", "keine@email.de", "n/a"),
    "phone": ("0000000000", "000", "n/a"),
    "company": ("Select", "N/A", "-"),
    "birth_date": ("1900-01-01",),
}


def _typed(column, rng):
    matrix = letters(column)
    size = (matrix > 0).sum(axis=1)
    matrix = np.pad(matrix, ((0, 0), (0, 2)))
    at = 1 + (rng.random(len(matrix)) * np.maximum(size - 2, 1)).astype(int)
    place = np.arange(matrix.shape[1])[None, :]
    at, kind = at[:, None], rng.integers(0, 4, len(matrix))[:, None]
    source = np.where(
        kind == 0,
        place + (place >= at),
        np.where(kind == 1, place - (place > at), np.where(kind == 2, place + (place == at) - (place == at + 1), place)),
    )
    source = np.minimum(source, matrix.shape[1] - 1)
    result = np.take_along_axis(matrix, source, axis=1)
    hit = (kind == 3) & (place == at) & (result < 0x3000)
    result[hit] = _NEXT_KEY[result[hit]]
    outside = (kind == 2) & (at + 1 >= size[:, None])
    result = np.where(outside, matrix, result)
    # two equal letters changed places, or the key has no neighbour: then one letter is lost
    same = (result == matrix).all(axis=1)
    result[same] = np.take_along_axis(matrix, np.minimum(place + (place >= at), matrix.shape[1] - 1), axis=1)[same]
    return words(result)


def _scanned(column, rng):
    matrix = letters(column)
    known = np.where(matrix < 0x3000, matrix, 0)
    wrong = _SCANNED[known]
    able = wrong != known
    at = np.argmax(able * rng.random(matrix.shape), axis=1)
    rows = np.flatnonzero(able.any(axis=1))
    matrix = matrix.copy()
    matrix[rows, at[rows]] = wrong[rows, at[rows]]
    return words(matrix)


def _heard(column, rng):
    able = np.stack([np.asarray(pc.match_substring(column, a)) for a, _ in _SOUNDS], axis=1)
    turn = choose(rng, able + 1e-9)
    result = column
    for number, (a, b) in enumerate(_SOUNDS):
        if (turn == number).any():
            result = either(turn == number, pc.replace_substring(result, a, b, max_replacements=1), result)
    return result


def _nickname(column, rng):
    found = pc.index_in(column, value_set=pa.array(list(NICKNAMES)))
    return pa.array(list(NICKNAMES.values())).take(found)


def _initial(column, rng):
    return join(pc.utf8_slice_codeunits(column, 0, 1), ".")


def _cased(column, rng):
    return either(rng.random(len(column)) < 0.6, capitals(column), pc.utf8_lower(column))


def _blanks(column, rng):
    return join(
        pick(("  ", " ", ""), rng.integers(0, 3, len(column))),
        column,
        pick(("  ", " "), rng.integers(0, 2, len(column))),
    )


def _full_width(column, rng):
    matrix = letters(column)
    return words(np.where((matrix > 32) & (matrix < 127), matrix + 0xFEE0, matrix))


def _title(column, rng):
    return join(pick(_TITLES, choose(rng, np.array([0.5, 0.1, 0.1, 0.15, 0.15]), len(column))), column)


def _mail_case(column, rng):
    kind = rng.integers(0, 4, len(column))
    result = either(kind == 0, pc.utf8_upper(column), either(kind == 1, pc.utf8_capitalize(column), column))
    return either(kind == 2, join(" ", column, " "), either(kind == 3, join("mailto:", column), result))


def _mail_typo(column, rng):
    result = column
    kind = rng.integers(0, 3, len(column))
    for number, (a, b) in enumerate(((".de", ".d"), ("gm", "gn"), (".", ","))):
        result = either(kind == number, pc.replace_substring(result, a, b, max_replacements=1), result)
    return pc.if_else(pc.equal(result, column), pc.replace_substring(column, "@", "@@"), result)


def _plus(column, rng):
    tag = pick(("+shop", "+news", "+schneider", "+2024"), rng.integers(0, 4, len(column)))
    parts = pc.split_pattern(column, "@")
    return join(pc.list_element(parts, 0), tag, "@", pc.list_element(parts, 1))


def _old_phone(column, rng):
    """House style is +49 170 2345678; people write 0170/2345678."""
    parts = pc.split_pattern(column, " ")
    country, area, rest = (pc.list_element(parts, i) for i in range(3))
    short, kind = pc.utf8_slice_codeunits(country, 1), rng.integers(0, 5, len(column))
    home = np.asarray(pc.equal(country, "+49"))
    kind = np.where(home, kind, 0)
    result = join(join("00", short), area, rest, by=" ")
    for number, style in enumerate(
        (join("0", area, "/", rest), join("(0", area, ") ", rest), join("0", area, "-", rest), join("0", area, rest)),
        start=1,
    ):
        result = either(kind == number, style, result)
    return result


def _wrong_digit(column, rng):
    matrix = letters(column).copy()
    size = (matrix > 0).sum(axis=1)
    rows, at = np.arange(len(matrix)), size - 1 - rng.integers(0, 5, len(matrix))
    matrix[rows, at] = ord("0") + (matrix[rows, at] - ord("0") + rng.integers(1, 10, len(matrix))) % 10
    return words(matrix)


def _wrong_date(column, rng):
    """Two digits of the year change places, or day and month do where both are possible."""
    year, month, day = (pc.list_element(pc.split_pattern(column, "-"), i) for i in range(3))
    turned = join(pc.utf8_slice_codeunits(year, 0, 2), pc.utf8_reverse(pc.utf8_slice_codeunits(year, 2)))
    sensible = np.asarray(pc.less_equal(turned, "2009"))
    swaps = np.asarray(pc.less_equal(day, "12")) & (rng.random(len(column)) < 0.5)
    result = either(swaps, join(year, day, month, by="-"), either(sensible, join(turned, month, day, by="-"), column))
    earlier = join(pc.cast(pc.subtract(pc.cast(year, pa.int64()), 10), pa.string()), month, day, by="-")
    return pc.if_else(pc.equal(result, column), earlier, result)


def _short_street(column, rng):
    return pc.replace_substring(column, "straße", "str.")


KINDS = {
    "typo": _typed,
    "phonetic": _heard,
    "ocr": _scanned,
    "nickname": _nickname,
    "initial": _initial,
    "case": _cased,
    "blanks": _blanks,
    "full_width": _full_width,
    "title": _title,
    "email_case": _mail_case,
    "email_typo": _mail_typo,
    "plus_address": _plus,
    "phone_old_format": _old_phone,
    "phone_typo": _wrong_digit,
    "date_typo": _wrong_date,
    "street_abbreviated": _short_street,
}
_SOUND = "|".join(a for a, _ in _SOUNDS)
CURABLE = {
    "case",
    "blanks",
    "full_width",
    "title",
    "email_case",
    "phone_old_format",
    "placeholder",
    "date_placeholder",
    "street_abbreviated",
}


_SCANNABLE = "[" + "".join(chr(code) for code in np.flatnonzero(np.arange(0x3000) != _SCANNED)) + "]"
# not every cell can be spoiled in every way
_ABLE = {
    "phonetic": lambda column: pc.match_substring_regex(column, _SOUND),
    "ocr": lambda column: pc.match_substring_regex(column, _SCANNABLE),
    "nickname": lambda column: pc.is_in(column, value_set=pa.array(list(NICKNAMES))),
}


class Spoiler:
    """Spoils the columns of one table and remembers each cell.

    Parameters
    ----------
    rng : numpy.random.Generator
    source, table : str
    keys : pa.Array
        The delivered id of each row.
    """

    def __init__(self, rng, source: str, table: str, keys: pa.Array):
        self.rng, self.source, self.table, self.keys = rng, source, table, keys
        self.touched: dict[str, np.ndarray] = {}
        self.log: list[pa.Table] = []
        self.chances: dict[tuple[str, str], int] = {}

    def spoil(self, column: pa.Array, name: str, kind: str, able: np.ndarray | None = None) -> pa.Array:
        """The column with some cells spoiled; `able` are those that could be."""
        touched = self.touched.setdefault(name, np.zeros(len(column), bool))
        free = np.asarray(pc.is_valid(column)) & ~touched
        free &= True if able is None else able
        if kind in _ABLE:
            free &= np.asarray(pc.fill_null(_ABLE[kind](column), False))
        self.chances[name, kind] = self.chances.get((name, kind), 0) + int(free.sum())
        rows = np.flatnonzero(free & (self.rng.random(len(column)) < SPOIL[kind]))
        if not len(rows):
            return column
        before = column.take(pa.array(rows))
        if kind in ("placeholder", "date_placeholder"):
            choices = _PLACEHOLDERS[name]
            after = pick(choices, self.rng.integers(0, len(choices), len(rows)))
        else:
            after = KINDS[kind](before, self.rng)
        return self.note(column, name, kind, rows, before, after)

    def note(self, column, name, kind, rows, before, after) -> pa.Array:
        """Put `after` into the rows where it differs, and write down what was there."""
        differs = np.asarray(pc.fill_null(pc.and_(pc.not_equal(before, after), pc.greater(pc.utf8_length(after), 0)), False))
        rows, before, after = rows[differs], before.filter(pa.array(differs)), after.filter(pa.array(differs))
        if not len(rows):
            return column
        self.touched.setdefault(name, np.zeros(len(column), bool))[rows] = True
        curable = np.full(len(rows), kind in CURABLE)
        if kind == "case":
            curable &= np.asarray(pc.equal(pc.utf8_title(after), before))
        cured = only(before, curable & (kind not in ("placeholder", "date_placeholder")))
        self.log.append(
            pa.table(
                {
                    "source": same(self.source, len(rows)),
                    "table": same(self.table, len(rows)),
                    "row_key": self.keys.take(pa.array(rows)),
                    "column": same(name, len(rows)),
                    "kind": same(kind, len(rows)),
                    "delivered": after,
                    "true_value": before,
                    "curable": pa.array(curable),
                    "cured_value": cured,
                }
            )
        )
        mask = np.zeros(len(column), bool)
        mask[rows] = True
        return pc.replace_with_mask(column, pa.array(mask), after)
