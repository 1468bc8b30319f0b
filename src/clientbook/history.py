"""What became of the runs so far, what changed between them, and is it more than what varies by itself?"""

from __future__ import annotations

import datetime as dt
import itertools
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any
from zoneinfo import ZoneInfo

FILE = "runs.jsonl"

# Two normal estimates whose difference passes this many standard errors differ by more than chance, in 95 of 100 cases.
_BEYOND = 1.959964
# With fewer steps from run to run than this, nobody can say how much a number varies by itself.
_LEAST_STEPS = 5
# The median absolute deviation of normal noise, times this, is its standard deviation.
_MAD = 1.4826
# And so is the mean absolute deviation, times this.
_MEAN = 1.2533
# A year ago is a day that may have been a Sunday: the nearest run within a fortnight stands for it.
_YEAR_DAYS, _NEAR_DAYS = 365, 15
# A delivery that brings this much less than the one before it is rather half of one.
HALF = 0.7


@dataclass(frozen=True)
class Change:
    """One key number, then and now.

    Parameters
    ----------
    stage, name, unit
        Which.
    before, now
        Its values; one is None where only the other run tells the number.
    noise
        By how much it may differ by chance (half the width of a 95 % interval of the difference); None where unknown.
    better
        `up`, `down` or empty: which way is better.
    """

    stage: str
    name: str
    unit: str
    before: float | None
    now: float | None
    noise: float | None = None
    better: str = ""

    @property
    def difference(self) -> float | None:
        """By how much it changed."""
        return None if self.before is None or self.now is None else self.now - self.before

    @property
    def is_beyond_noise(self) -> bool | None:
        """Whether it changed by more than chance; None where nobody can say."""
        if self.difference is None or self.noise is None:
            return None
        return abs(self.difference) > self.noise

    @property
    def verdict(self) -> str:
        """`better`, `worse` or empty: only for a change that is more than chance."""
        if not self.better or not self.difference or self.is_beyond_noise is False:
            return ""
        return "better" if (self.difference > 0) == (self.better == "up") else "worse"


def read(store: Path) -> list[dict[str, Any]]:
    """Every run that a book's store remembers, oldest first; half a line, left by a power cut, is passed over.

    Parameters
    ----------
    store
        The book's.
    """
    told = []
    try:
        lines = (store / FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return told
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and "run" in entry:
            told.append(entry)
    return told


def add(store: Path, entry: Mapping[str, Any]) -> None:
    """Add a run to what is remembered, in one write that the disk holds when this returns."""
    store.mkdir(parents=True, exist_ok=True)
    line = json.dumps(entry, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"
    file = store / FILE
    with file.open("ab+") as stream:
        # a line that was cut off must not swallow this one
        if stream.tell() and not _ends_a_line(stream):
            line = "\n" + line
        stream.write(line.encode())
        stream.flush()
        os.fsync(stream.fileno())


def entry(info: Mapping[str, Any], *, code: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, Any]:
    """What is remembered of a run when its tables are long gone.

    Parameters
    ----------
    info
        What its `run.json` says.
    code
        Digests of each notebook and its code.
    settings
        Digests of each part of `clientbook.yaml`.
    """
    return {
        **{name: info.get(name) for name in ("run", "state", "as_of", "started", "ended", "seconds", "message", "parameters")},
        "versions": info.get("versions", {}),
        "failed": next((name for name, step in info.get("notebooks", {}).items() if step["state"] == "failed"), None),
        "reused": sum(bool(step.get("reused")) for step in info.get("notebooks", {}).values()),
        "notebooks": len(info.get("notebooks", {})),
        "key_numbers": [
            {name: number.get(name) for name in ("stage", "name", "value", "unit", "better", "n", "low", "high")}
            for number in info.get("key_numbers", ())
        ],
        "inputs": [
            {name: one.get(name) for name in ("source", "table", "file", "rows", "bytes", "sha256")}
            for one in info.get("inputs", ())
        ],
        "code": dict(code),
        "settings": dict(settings),
    }


def whole_runs(entries: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that ended well."""
    return [each for each in entries if each.get("state") == "done"]


def before(entries: Sequence[Mapping[str, Any]], now: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The last whole run before this one."""
    return next((each for each in reversed(whole_runs(entries)) if each["run"] != now["run"]), None)


def a_year_before(entries: Sequence[Mapping[str, Any]], now: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The last whole run as of the same day a year ago, or the nearest day within a fortnight of it; None without one."""
    day = dt.date.fromisoformat(now["as_of"]) - dt.timedelta(days=_YEAR_DAYS)
    near = [
        (abs((dt.date.fromisoformat(each["as_of"]) - day).days), -position, each)
        for position, each in enumerate(whole_runs(entries))
    ]
    near = [each for each in near if each[0] <= _NEAR_DAYS]
    return min(near, key=lambda each: each[:2])[2] if near else None


def changes(entries: Sequence[Mapping[str, Any]], now: Mapping[str, Any], then: Mapping[str, Any]) -> list[Change]:
    """Which key numbers changed between two runs, and is it more than chance?

    Parameters
    ----------
    entries
        All that is remembered: how much a number varied from run to run so far is the noise of one without an interval.
    now, then
        The two runs.

    Returns
    -------
    list of Change
        Those that differ, in the order of the pages; one that only one of the runs tells has no difference.
    """
    # what a number did before says how much it varies; what it does now is to be judged by that
    entries = [each for each in entries if each["run"] != now["run"]]
    old = {(n["stage"], n["name"]): n for n in then["key_numbers"]}
    new = {(n["stage"], n["name"]): n for n in now["key_numbers"]}
    told = []
    for which in dict.fromkeys([*new, *old]):
        a, b = old.get(which), new.get(which)
        if a is not None and b is not None and a["value"] == b["value"]:
            continue
        one = b or a
        noise = _noise(entries, which, a, b) if a is not None and b is not None else None
        told.append(Change(*which, one["unit"] or "", a and a["value"], b and b["value"], noise, one["better"] or ""))
    return told


def reasons(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[str]:
    """What is different about what two runs had to work with? One sentence each.

    Returns
    -------
    list of str
        Sources that came or went, files that are new, gone, larger, suspiciously smaller or the same as before, settings,
        notebooks, parameters and packages that changed. Empty where nothing did.
    """
    told = _deliveries(now, then)
    if now["as_of"] != then["as_of"]:
        days = (dt.date.fromisoformat(now["as_of"]) - dt.date.fromisoformat(then["as_of"])).days
        told.insert(0, f"The run sees {abs(days)} {'day' if abs(days) == 1 else 'days'} {'more' if days > 0 else 'fewer'}.")
    parts = sorted(name for name in {*now["settings"], *then["settings"]} if _other(now, then, "settings", name))
    if parts:
        told.append(f"In clientbook.yaml changed: {', '.join(parts)}.")
    books = sorted(name for name in {*now["code"]} & {*then["code"]} if _other(now, then, "code", name))
    if books:
        told.append(f"Changed in the notebook or its code: {', '.join(books)}.")
    given = sorted(
        f"{stage}.{name}"
        for stage in {*(now["parameters"] or {})} & {*(then["parameters"] or {})}
        for name, value in now["parameters"][stage].items()
        if then["parameters"][stage].get(name) != value
    )
    if given:
        told.append(f"Other parameters: {', '.join(given)}.")
    packages = sorted(name for name in {*now["versions"]} & {*then["versions"]} if _other(now, then, "versions", name))
    if packages:
        told.append(f"Other versions: {', '.join(packages)}.")
    return told


def lines(entries: Sequence[Mapping[str, Any]], timezone: str) -> list[tuple[str, str, str, str, str]]:
    """Past runs for people: run (which names the day its data is as of), started, seconds, state, what changed.

    Parameters
    ----------
    entries
        As from :func:`read`.
    timezone
        Of the times.
    """
    told = []
    for position, each in enumerate(entries):
        started = dt.datetime.fromisoformat(each["started"]).astimezone(ZoneInfo(timezone))
        state, then = each["state"], before(entries[:position], each)
        if state != "done":
            what = " ".join(filter(None, [each.get("failed"), each.get("message")]))
        elif then is None:
            what = "the first"
        else:
            found = [change for change in changes(entries[: position + 1], each, then) if change.is_beyond_noise is not False]
            counted = f"{len(found)} key {'number' if len(found) == 1 else 'numbers'}" if found else "no key number"
            what = " ".join([f"{counted} changed.", *reasons(each, then)])
        seconds = f"{each['seconds']:,.0f}" if each.get("seconds") is not None else ""
        told.append((each["run"], f"{started:%Y-%m-%d %H:%M}", seconds, state, what))
    return told


def series(entries: Sequence[Mapping[str, Any]], stage: str, name: str, most: int = 24) -> list[tuple[str, float]]:
    """A key number over the whole runs, the last run of each day, as (day, value); oldest first."""
    values = {}
    for each in whole_runs(entries):
        for number in each["key_numbers"]:
            if (number["stage"], number["name"]) == (stage, name):
                values[each["as_of"]] = number["value"]
    return sorted(values.items())[-most:]


def _ends_a_line(stream) -> bool:
    stream.seek(-1, os.SEEK_END)
    return stream.read(1) == b"\n"


def _other(now: Mapping[str, Any], then: Mapping[str, Any], part: str, name: str) -> bool:
    return now[part].get(name) != then[part].get(name)


def _noise(entries, which, old, new) -> float | None:
    halves = [_half_width(number) for number in (old, new)]
    if None not in halves:
        return math.hypot(*halves)
    if new["unit"] == "share" and old.get("n") and new.get("n"):
        return _BEYOND * math.sqrt(sum(n["value"] * (1 - n["value"]) / n["n"] for n in (old, new) if 0 <= n["value"] <= 1))
    values = [value for _, value in series(entries, *which, most=1_000)]
    steps = [b - a for a, b in itertools.pairwise(values)]
    if len(steps) < _LEAST_STEPS:
        return None
    # growth from run to run is no news: what counts is how far a step lies from the usual one
    usual = median(steps)
    apart = [abs(step - usual) for step in steps]
    # where most steps are alike the median of their distances is 0, and says nothing of the others
    spread = _MAD * median(apart) or _MEAN * mean(apart)
    return abs(usual) + _BEYOND * spread


def _half_width(number: Mapping[str, Any]) -> float | None:
    if number.get("low") is None or number.get("high") is None:
        return None
    return (number["high"] - number["low"]) / 2


def _deliveries(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[str]:
    old, new = ({(f["source"], f["table"], f["file"]): f for f in run["inputs"]} for run in (then, now))
    told = []
    for word, here, there in (("new", new, old), ("gone", old, new)):
        sources = sorted({key[0] for key in here} - {key[0] for key in there})
        told += [f"The source {source} is {word}." for source in sources]
        here = {key: file for key, file in here.items() if key[0] not in sources}
        for source, table in sorted({key[:2] for key in here} - {key[:2] for key in there}):
            told.append(f"{source} {'now delivers' if word == 'new' else 'no longer delivers'} {table}.")
    for source, table in sorted({key[:2] for key in old} & {key[:2] for key in new}):
        a, b = ({key: file for key, file in files.items() if key[:2] == (source, table)} for files in (old, new))
        was, rows = (sum(file["rows"] or 0 for file in files.values()) for files in (a, b))
        if sorted(f["sha256"] or "" for f in a.values()) == sorted(f["sha256"] or "" for f in b.values()):
            if now["as_of"] > then["as_of"]:
                told.append(f"{source} delivered for {table} what it had delivered before: nothing new, or late.")
        elif was and rows < HALF * was:
            told.append(f"{source} delivered {rows:,} rows of {table} after {was:,}: is it half a delivery?")
        elif rows != was:
            told.append(f"{source} delivered {rows:,} rows of {table} after {was:,}.")
        else:
            told.append(f"{source} delivered other content for {table}, as many rows ({rows:,}).")
    return told
