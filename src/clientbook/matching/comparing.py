"""How alike are two records, column by column? The levels of likeness that Splink compares by."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

# So many of the records must have a value for a column to be compared.
ENOUGH = 0.01


class Level(NamedTuple):
    """One level of likeness.

    Parameters
    ----------
    sql
        When it holds, `_l` and `_r` standing for the two records.
    words
        For the reader.
    rare
        The column whose rarer values say more where it holds, or nothing.
    """

    sql: str
    words: str
    rare: str = ""


class Compared(NamedTuple):
    """One comparison: its levels from most to least alike, the last standing for everything else.

    Parameters
    ----------
    name
        Of the comparison.
    word
        For the reader.
    columns
        All of the first must be there on both sides.
    levels
        As above, without the last.
    shared_by
        Who else may agree on it: `home` (people who live together), `place` (people of one house or company), `area`
        (people of one town), or nobody.
    missing
        When the comparison says nothing, beside a value that is missing.
    """

    name: str
    word: str
    columns: tuple[str, ...]
    levels: tuple[Level, ...]
    shared_by: tuple[str, ...] = ()
    missing: str = ""


def _edits(column: str, most: int, least: int = 1, likeness: float = 0.7) -> str:
    # the costly count of edits is asked for only where the lengths and a cheap likeness leave it possible
    return (
        f"least(length({column}_l), length({column}_r)) >= {least} and "
        f"abs(length({column}_l) - length({column}_r)) <= {most} and "
        f"jaro_similarity({column}_l, {column}_r) >= {likeness} and "
        f"damerau_levenshtein({column}_l, {column}_r) <= {most}"
    )


def _typo(column: str) -> str:
    return _edits(column, 1, least=4)


def _near(column: str, likeness: float) -> str:
    return f"jaro_winkler_similarity({column}_l, {column}_r) >= {likeness}"


def _token(column: str) -> str:
    return f"list_has_any(string_split({column}_l, ' '), string_split({column}_r, ' '))"


# A name that was read from an e-mail address says nothing beside that address.
_READ = "((guessed_l or guessed_r) and coalesce(mail_l = mail_r, false))"

COMPARISONS: tuple[Compared, ...] = (
    Compared(
        "first", "first name", ("first",),
        (
            Level("first_l = first_r", "same first name", "first"),
            Level("root_l = root_r", "first names of which one is short for the other, or the same with a further one", "root"),
            Level(_typo("first"), "first names one letter apart"),
            Level(f"({_near('first', 0.9)}) or ({_token('first')})", "similar first names"),
            Level(
                "least(length(first_l), length(first_r)) = 1 and substr(first_l, 1, 1) = substr(first_r, 1, 1)",
                "an initial that fits the first name",
            ),
            Level(f"first_sound_l = first_sound_r or ({_near('first', 0.8)})", "first names that sound alike"),
        ),
        missing=_READ,
    ),
    Compared(
        "last", "surname", ("last",),
        (
            Level("last_l = last_r", "same surname", "last"),
            Level(_typo("last"), "surnames one letter apart"),
            Level(_token("last"), "a double name that holds the other surname"),
            Level(_near("last", 0.9), "similar surnames"),
            Level(f"last_sound_l = last_sound_r or ({_near('last', 0.8)})", "surnames that sound alike"),
        ),
        shared_by=("home",), missing=_READ,
    ),
    Compared(
        "extra", "further names", ("extra",),
        (
            Level("extra_l = extra_r", "same further names", "extra"),
            Level(_token("extra"), "a further name in common"),
            Level(_near("extra", 0.88), "similar further names"),
        ),
    ),
    Compared(
        "born", "birth date", ("born",),
        (
            Level("born_l = born_r", "same birth date", "born"),
            Level(_edits("born", 1), "birth dates one digit apart"),
            Level(
                "substr(born_l, 1, 4) || substr(born_l, 7, 2) || substr(born_l, 5, 2) = born_r or "
                "hamming(born_l, born_r) <= 2",
                "birth dates two digits apart",
            ),
            Level("substr(born_l, 1, 4) = substr(born_r, 1, 4)", "same birth year"),
        ),
    ),
    Compared(
        "mail", "e-mail", ("mail",),
        (
            Level("mail_l = mail_r and not role_l", "same e-mail", "mail"),
            Level("local_l = local_r", "same first part of the e-mail", "local"),
            Level(_edits("mail", 2, likeness=0.85), "e-mails that differ by a letter or two"),
            Level("work_l = work_r", "e-mails of one company", "work"),
        ),
        shared_by=("home", "place"),
    ),
    Compared(
        "dialled", "phone", ("dialled",),
        (
            Level("dialled_l = dialled_r", "same phone", "dialled"),
            Level(_edits("dialled", 1, likeness=0.9), "phones one digit apart"),
        ),
        shared_by=("home", "place"),
    ),
    Compared(
        "number", "shared number", ("number",),
        (
            Level("number_l = number_r", "same shared number", "number"),
            Level(_edits("number", 1), "shared numbers one digit apart"),
            Level(_edits("number", 2), "shared numbers two digits apart"),
        ),
    ),
    Compared(
        "zip", "postcode", ("zip",),
        (
            Level("zip_l = zip_r", "same postcode", "zip"),
            Level(_edits("zip", 1), "postcodes one sign apart"),
            Level("substr(zip_l, 1, 2) = substr(zip_r, 1, 2)", "postcodes of one area"),
        ),
        shared_by=("home", "place", "area"),
    ),
    Compared(
        "place", "city", ("place",),
        (
            Level("place_l = place_r", "same city", "place"),
            Level(f"({_near('place', 0.88)}) or ({_token('place')})", "similar cities"),
        ),
        shared_by=("home", "place", "area"),
    ),
    Compared(
        "way", "street", ("way",),
        (
            Level("way_l = way_r", "same street and house", "way"),
            Level(f"house_l = house_r and ({_near('way', 0.8)})", "similar street, same house number"),
            Level(_near("way", 0.88), "similar street"),
            Level("house_l = house_r", "same house number, another street"),
        ),
        shared_by=("home", "place"),
    ),
    Compared(
        "firm", "company", ("firm",),
        (
            Level("firm_l = firm_r", "same company", "firm"),
            Level(
                f"({_near('firm', 0.92)}) or len(list_intersect(string_split(firm_l, ' '), string_split(firm_r, ' '))) >= "
                "greatest(2, 0.6 * least(len(string_split(firm_l, ' ')), len(string_split(firm_r, ' '))))",
                "similar company",
            ),
        ),
        shared_by=("home", "place"),
    ),
    Compared(
        "job", "job title", ("job",),
        (
            Level("job_l = job_r", "same job title", "job"),
            Level(_near("job", 0.85), "similar job title"),
        ),
    ),
)  # fmt: skip
OTHERWISE = "different"


def comparisons(filled: dict[str, int], n: int) -> list[Compared]:
    """Which comparisons can be made with the columns that are there?

    Parameters
    ----------
    filled
        How many records have a value, by column.
    n
        How many records there are.
    """
    return [one for one in COMPARISONS if filled.get(one.name, 0) >= max(ENOUGH * n, 2)]


def reads(one: Compared) -> list[str]:
    """Which columns do a comparison's levels read, its own first?

    Parameters
    ----------
    one
        The comparison.
    """
    named = re.findall(r"\b(\w+)_l\b", " ".join(level.sql for level in one.levels))
    return list(dict.fromkeys([one.name, *named]))


def level_of(one: Compared) -> str:
    """The number of the level at which two values are alike, from 0 for the most, in the engine's SQL.

    Parameters
    ----------
    one
        The comparison.
    """
    cases = " ".join(f"when {level.sql} then {i}" for i, level in enumerate(one.levels))
    return f"case {cases} else {len(one.levels)} end"


def as_splink(compared: Sequence[Compared]) -> list[dict[str, Any]]:
    """The same as Splink takes them.

    Parameters
    ----------
    compared
        As from :func:`comparisons`.
    """
    told = []
    for one in compared:
        gone = f"{one.name}_l is null or {one.name}_r is null" + (f" or {one.missing}" if one.missing else "")
        levels: list[dict[str, Any]] = [
            {"sql_condition": gone, "label_for_charts": "missing", "is_null_level": True},
            *({"sql_condition": level.sql, "label_for_charts": level.words} for level in one.levels),
            {"sql_condition": "ELSE", "label_for_charts": f"{OTHERWISE} {one.word}"},
        ]
        told.append({"output_column_name": one.name, "comparison_levels": levels})
    return told
