"""In which turn are people asked, and what do their answers change and teach?

Three questions are asked for what the answer may change (:mod:`clientbook.matching.asking`), then one about a pair that was
drawn, to estimate by (:mod:`clientbook.matching.estimating`). What the answers teach decides like cases that nobody was asked
about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from clientbook.matching.asking import Seen, Taught, features, logistic, question, questions
from clientbook.matching.clusters import Apart, answered
from clientbook.matching.estimating import ESTIMATED, draws, estimate, implied, population
from clientbook.matching.labels import Settled, settle_numbers

# One in so many questions is a draw.
DRAWN = 4
# An answer that is expected to change less is not asked for.
LEAST_GAIN = 0.002
# What was taught is followed from this chance on; early on, with few answers, half would be too bold.
FOLLOWED = 0.6
# What fewer answers of a kind taught is not followed: it would be the belief that they were to correct.
LEAST_TAUGHT = 20
# So often what was taught is asked again.
_ROUNDS = 2
ASKED = ("l", "r", "asked_for", "stratum", "changes", "chance", "expected_gain")
# How far answers may move the chances, as standard deviations of a normal prior: the intercept, the slope on the odds, and that
# on how many pairs change.
_SPREAD = (1.0, 0.25, 0.25)


def ask(seen: Seen, customer: np.ndarray, settled: Settled, followed: Followed | None, most: int, seed: int) -> pd.DataFrame:
    """What is to be asked next?

    Parameters
    ----------
    seen
        What is known without the answers.
    customer
        Of each record a number of its customer.
    settled
        The answers.
    followed
        What they changed and taught; None where there are none.
    most
        How many questions.
    seed
        Of the draws.

    Returns
    -------
    pandas.DataFrame
        As from :func:`in_turn`.
    """
    if not most or not len(seen.p):
        return pd.DataFrame(columns=list(ASKED))
    now = replace(seen, customer=customer)
    apart, taught = (None, None) if followed is None else (followed.apart, followed.taught)
    rows = questions(now, apart, settled.used, taught)
    return in_turn(rows, draws(population(seen), most // DRAWN + 1, seed, settled.used), now, most)


def in_turn(asked: pd.DataFrame, drawn: pd.DataFrame, seen: Seen, most: int) -> pd.DataFrame:
    """In which order are questions asked? Three for their gain, then one that was drawn, and so on.

    No customer is asked about twice for gain before the others were: an answer may settle the second question.

    Parameters
    ----------
    asked
        As from :func:`clientbook.matching.asking.questions`.
    drawn
        As from :func:`clientbook.matching.estimating.draws`.
    seen
        What is known.
    most
        How many.

    Returns
    -------
    pandas.DataFrame
        `l`, `r`, `asked_for` (`gain` or `estimate`), `stratum`, `changes`, `chance`, `expected_gain`.
    """
    asked = asked[asked["gain"] >= LEAST_GAIN].head(20 * most)
    customers: set[int] = set()
    first = []
    for one in asked.itertuples():
        ends = {int(seen.customer[one.l]), int(seen.customer[one.r])}
        first.append(not ends & customers)
        customers |= ends
    asked = asked.assign(_later=~np.array(first, dtype=bool)).sort_values("_later", kind="stable").drop(columns="_later")
    asked = asked.assign(asked_for="gain", stratum="", turn=[i + i // (DRAWN - 1) for i in range(len(asked))])
    drawn = drawn.assign(asked_for="estimate", turn=[DRAWN * i + DRAWN - 1 for i in range(len(drawn))])
    told = pd.concat([asked, drawn], ignore_index=True).sort_values("turn", kind="stable")
    # who was drawn counts for the estimate, whatever they are asked for first
    told["stratum"] = told.groupby(["l", "r"])["stratum"].transform("max")
    told = told.drop_duplicates(["l", "r"])
    return told.rename(columns={"gain": "expected_gain"}).head(most)[list(ASKED)].reset_index(drop=True)


def teach(rows: pd.DataFrame, seen: Seen, settled: Settled) -> Taught:
    """What do the answers teach?

    Of the questions that the model alone would ask, some were answered. A logistic regression of whether the answer went
    against the clustering, on the model's own chance and on how much would change, says what the chance of the others is; a
    normal prior holds it to the model as long as answers are few.

    Parameters
    ----------
    rows
        All questions, as from :func:`clientbook.matching.asking.questions` without any answer.
    seen
        What is known without the answers.
    settled
        As from :func:`clientbook.matching.labels.settle`.
    """
    told = settled.used[settled.used["answer"].isin(["yes", "no"])]
    l, r = told["l"].to_numpy("int64"), told["r"].to_numpy("int64")
    yes = (told["answer"] == "yes").to_numpy()
    n = int(seen.customer.max(initial=0)) + 1
    key = question(rows["l"].to_numpy("int64"), rows["r"].to_numpy("int64"), seen, n)
    found = pd.Series(np.arange(len(rows)), index=key).reindex(question(l, r, seen, n))
    there = found.notna().to_numpy()
    answered = rows.iloc[found[there].astype(int)]
    against = yes[there] != answered["together"].to_numpy(dtype=bool)
    x, kind = features(answered), answered["together"].to_numpy(dtype=bool)
    told = []
    for together in (False, True):
        mine = kind == together
        told.append(_fit(x[mine], against[mine].astype(float), np.array([0.0, 1.0, 0.0]), np.array(_SPREAD)))
    return Taught(np.array(told), (int((~kind).sum()), int(kind.sum())))


def learned(rows: pd.DataFrame, taught: Taught) -> pd.DataFrame:
    """Which questions does nobody have to answer, since by what was taught the answer goes against the clustering?

    Parameters
    ----------
    rows
        As from :func:`clientbook.matching.asking.questions`, by what was taught.
    taught
        As from :func:`teach`: where few answers of a kind stand behind it, nothing is decided by it.

    Returns
    -------
    pandas.DataFrame
        `l`, `r`, `answer`, `changes`, `chance`, the surest first.
    """
    enough = np.array(taught.answers) >= LEAST_TAUGHT
    rows = rows[(rows["chance"] > FOLLOWED) & enough[rows["together"].to_numpy(dtype=bool).astype(int)]].sort_values(
        ["chance", "l", "r"], ascending=[False, True, True], ignore_index=True
    )
    told = rows[["l", "r", "changes", "chance"]].assign(answer=np.where(rows["together"], "no", "yes"))
    return told[["l", "r", "answer", "changes", "chance"]]


def _fit(x: np.ndarray, y: np.ndarray, centre: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """The mode of a logistic regression under a normal prior, by Newton's method with halved steps."""
    at = centre.copy()

    def loss(beta):
        z = x @ beta
        return np.logaddexp(0, z).sum() - y @ z + (((beta - centre) / spread) ** 2).sum() / 2

    for _ in range(50):
        p = logistic(x @ at)
        slope = x.T @ (p - y) + (at - centre) / spread**2
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + np.diag(1 / spread**2), slope)
        size = 1.0
        while loss(at - size * step) > loss(at) + 1e-12 and size > 1e-4:
            size /= 2
        at = at - size * step
        if np.abs(size * step).max() < 1e-9:
            break
    return at


@dataclass(frozen=True)
class Followed:
    """What did the answers, and what they taught, make of the customers?

    Attributes
    ----------
    taught
        As from :func:`teach`.
    learned
        What was decided by it, as from :func:`learned`.
    apart
        What holds for records by the answers and by what they taught.
    joined, parted
        How many pairs of records with data are one customer now that were not without the answers, and the other way round.
    estimated
        As from :func:`clientbook.matching.estimating.estimate`.
    """

    taught: Taught
    learned: pd.DataFrame
    apart: Apart
    joined: int
    parted: int
    estimated: pd.DataFrame


def follow(
    seen: Seen, settled: Settled, apart: Apart | None, put_together: Callable[[Apart], np.ndarray], reached: float | None,
    seed: int,
) -> Followed:  # fmt: skip
    """Which customers are there once the answers, and what they teach, are followed?

    What the answers teach is asked for again once it was followed, as another customer may be the likeliest then. An answer
    goes before whatever was taught.

    Parameters
    ----------
    seen
        What is known without the answers.
    settled
        The answers.
    apart
        What rules out that records are one human, without the answers.
    put_together
        Makes customers: of each record a number.
    reached
        As for :func:`clientbook.matching.estimating.estimate`.
    seed
        As there.
    """
    n = len(seen.known)
    taught = teach(questions(seen), seen, settled)
    held = answered(apart, settled.group, settled.parted)
    customer = put_together(held)
    rules = learned(questions(seen).head(0), taught)
    for _ in range(_ROUNDS):
        now = replace(seen, customer=customer)
        rules = pd.concat([rules, learned(questions(now, held, settled.used, taught), taught)], ignore_index=True)
        rules = rules.drop_duplicates(["l", "r"], ignore_index=True)
        # the surest goes first, and all of it is older than any answer
        older = rules.assign(row=-np.arange(len(rules)), stratum="", labelled_at="")
        newer = settled.used.iloc[::-1].assign(row=np.arange(1, len(settled.used) + 1), labelled_at="")
        every = settle_numbers(pd.concat([older, newer], ignore_index=True), n)
        held = answered(apart, every.group, every.parted)
        customer = put_together(held)
    was, is_, both = (implied(seen.known, *keys) for keys in ((seen.customer,), (customer,), (seen.customer, customer)))
    told = estimate(seen, customer, settled, rules, reached, seed)
    return Followed(taught, rules, held, is_ - both, was - both, told)


def estimates(expected: Mapping[str, float], followed: Followed | None) -> pd.DataFrame:
    """How right are the customers, as the model expects and as the answers say?

    Parameters
    ----------
    expected
        As in :class:`clientbook.matching.clusters.Clustered`.
    followed
        As from :func:`follow`; None where nobody answered.

    Returns
    -------
    pandas.DataFrame
        `what`, `expected`, `estimated`, `low`, `high`, `answers`; empty where nothing was compared.
    """
    if not expected:
        return pd.DataFrame(columns=["what", "expected", *ESTIMATED[1:]])
    rows = pd.DataFrame({"what": ["precision", "recall"], "expected": [expected["precision"], expected["recall"]]})
    told = pd.DataFrame(columns=list(ESTIMATED)) if followed is None else followed.estimated
    rows = rows.merge(told, on="what", how="left").astype(dict.fromkeys(("estimated", "low", "high"), float))
    return rows.assign(answers=rows["answers"].fillna(0).astype(int))


def say_estimates(rows: pd.DataFrame) -> str:
    """What do the answers say of the errors, and what do they not cover? In a sentence or two.

    Parameters
    ----------
    rows
        As from :func:`estimates`.
    """
    if rows.empty:
        return "Nothing was compared, so that there is nothing to estimate."
    n = int(rows["answers"].max())
    if not n:
        return "Right pairs, as the model expects: no answer about a drawn pair is there yet to judge it by."
    return (
        f"Right pairs, as the model expects and as {n:,} answers about drawn pairs say, with intervals of 95 %. They cover the "
        "chance of the draw, and not that people err, nor that the pairs which were never compared are more than the rules say."
    )


def say_followed(followed: Followed | None) -> str:
    """What did the answers change? In a sentence.

    Parameters
    ----------
    followed
        As from :func:`follow`; None where nobody answered.
    """
    if followed is None:
        return ""
    n, joined, parted = len(followed.learned), followed.joined, followed.parted
    if not joined and not parted:
        told = "They change nothing about records of which more than an id is known"
    else:
        told = f"With them {joined:,} {'pair' if joined == 1 else 'pairs'} of records more {'is' if joined == 1 else 'are'} one "
        told += f"customer, and {parted:,} {'is' if parted == 1 else 'are'} one no more"
    more = f"; {n:,} groups of records were decided by what {sum(followed.taught.answers):,} answers taught."
    return told + (more if n else ".")
