"""Why are these two records one customer, why are they not, and what holds a customer together?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from clientbook import charts
from clientbook.matching.clusters import SURE, Apart, answered
from clientbook.matching.pairs import places
from clientbook.matching.saved import Saved, frequencies

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from clientbook.engine import Engine
    from clientbook.matching import Matched

_FIRST = "two records at random"
_RARE = "how rare the values are"
_OTHERS = "kin, neighbours and namesakes"
_ENDS = 2


@dataclass(frozen=True)
class Explained:
    """What speaks for and against two records being one human, and what was made of it.

    Attributes
    ----------
    steps
        `what` in words, `bits` that it adds to the match weight, from what two records at random have to the whole.
    match_weight, probability
        Of the two by themselves.
    together
        Whether they are one customer.
    why
        In words: what decided.
    """

    steps: pd.DataFrame
    match_weight: float
    probability: float
    together: bool
    why: str


def explain(matched: Matched, engine: Engine, one: tuple[str, str], other: tuple[str, str]) -> Explained:
    """Why are these two records one customer, or why are they not?

    Parameters
    ----------
    matched
        As from :func:`clientbook.matching.match`.
    engine
        Which it was made with.
    one, other
        Records: `source`, `person_id`.

    Raises
    ------
    ValueError
        If a record is not there, both are the same one, or no model was trained by which they could be compared.
    """
    if matched.scored.model is None or matched.records is None:
        raise ValueError("No model was trained on this book, so that records were tied by exact rules alone.")
    known = matched.tables["identities"]
    numbered = matched.numbered
    ends = [int(_number(numbered, *end)) for end in (one, other)]
    if ends[0] == ends[1]:
        raise ValueError("Both are the same record.")
    customers = [_customer(known, *end) for end in (one, other)]
    together = customers[0] == customers[1]
    low, high = sorted(ends)
    # counted of the values of these two alone: of a million people's all it would take minutes
    two = engine.keep(matched.records.filter(matched.records["unique_id"].isin([low, high])), rows=_ENDS)
    if int(two.count().to_pyarrow().as_py()) < _ENDS:
        raise ValueError("Of one of them nothing but an id is known: it follows the links that the systems know.")
    model = matched.scored.model
    rows = frequencies(matched.records, model, two)
    averages = matched.scored.averages
    told, bits = Saved(model, averages, averages["own"], {}).told(rows, pd.DataFrame({"l": [low], "r": [high]}), engine)
    found = told.iloc[0]
    steps = [(_FIRST, float(np.log2(model.pairs["same"] / model.pairs["strangers"])))]
    for compared, level, weights in zip(model.compared, found["levels"], model.weights("strangers"), strict=True):
        if level >= 0:
            words = compared.levels[level].words if level < len(compared.levels) else f"different {compared.word}"
            steps.append((words, float(weights[level])))
    steps[1:] = sorted(steps[1:], key=lambda step: -step[1])
    steps.append((_RARE, float(bits["strangers"][0])))
    weight = float(found["match_weight"])
    steps.append((_OTHERS, weight - sum(step for _, step in steps)))
    shown = pd.DataFrame(steps, columns=["what", "bits"])
    return Explained(
        shown.round(6), round(weight, 6), float(found["probability"]), together,
        _why(matched, low, high, customers, float(found["probability"])),
    )  # fmt: skip


def _number(numbered, source: str, person_id: str) -> int:
    told = numbered.filter((numbered["source"] == source) & (numbered["person_id"] == person_id)).select("unique_id").to_pandas()
    if told.empty:
        raise ValueError(f"There is no such record of {source!r} in this run.")
    return told["unique_id"].iloc[0]


def _customer(known, source: str, person_id: str) -> str:
    return known.filter((known["source"] == source) & (known["person_id"] == person_id)).to_pandas()["customer_id"].iloc[0]


def _why(matched: Matched, low: int, high: int, customers: Sequence[str], probability: float) -> str:
    settled, apart, together = matched.settled, matched.apart, customers[0] == customers[1]
    ends = np.array([low]), np.array([high])
    said = answered(apart, settled.group, settled.parted) if settled is not None and len(settled.group) else None
    for who, held in (("People said that they are", said), ("By what answers taught they are", _held(matched))):
        if held is not None and held.certain(*ends)[0]:
            return f"{who} one."
        if held is not None and held.refused(*ends)[0]:
            return f"{who} not one."
    compared = places(matched.scored.edges, *ends)[0] >= 0
    if together and (not compared or probability < matched.clustered.threshold):
        others = "other records of the customer" + (
            ", and answers about some or what answers taught," if _told_between(matched, customers) else ""
        )
        alone = "By themselves they would not be one" if compared else "They were not compared themselves, or hopelessly unlike"
        return f"{alone}: {others} hold them together."
    if together:
        return f"{probability:.1%} probable by themselves, which is above the threshold of {matched.clustered.threshold:.0%}."
    if not compared:
        return "No blocking rule picked the two to be compared, or what they say is hopelessly unlike."
    if apart is not None and apart.impossible(*ends)[0]:
        return "They cannot be one human: two sure birth dates, or two records of a system that holds nobody twice."
    if probability >= matched.clustered.threshold and _told_between(matched, customers):
        return "By themselves they might be one, but answers, or what they taught, keep records of their customers apart."
    if probability >= matched.clustered.threshold:
        return "By themselves they might be one, but the pairs between their customers speak against it on the whole."
    return f"{probability:.1%} probable by themselves, which is below the threshold of {matched.clustered.threshold:.0%}."


def _told_between(matched: Matched, customers: Sequence[str]) -> bool:
    """Do answers, or what they taught, make records of one customer one, or keep records of two apart?"""
    held = _held(matched)
    if held is None:
        return False
    known = matched.tables["identities"].filter(lambda t: t["customer_id"].isin(list(customers)))
    rows = matched.numbered.inner_join(known.select("source", "person_id", "customer_id"), ["source", "person_id"])
    rows = rows.select("unique_id", "customer_id").to_pandas()
    one, other = (rows.loc[rows["customer_id"] == name, "unique_id"].to_numpy("int64") for name in customers)
    asked = held.certain if customers[0] == customers[1] else held.refused
    return bool(asked(one[:, None], other[None, :]).any())


def _held(matched: Matched) -> Apart | None:
    """What holds for records by answers and by what they taught; None where nobody answered."""
    return None if matched.followed is None else matched.followed.apart


def say(told: Explained) -> str:
    """What decided? In a sentence or two, without anybody's values.

    Parameters
    ----------
    told
        As from :func:`explain`.
    """
    steps = told.steps.iloc[1:-2]
    best = steps.sort_values("bits", ascending=False, kind="stable")
    words = f"{'One customer' if told.together else 'Two customers'}. {told.why}"
    if len(best) and best["bits"].iloc[0] > 0:
        words += f" Most speaks for it: {best['what'].iloc[0]}."
    if len(best) and best["bits"].iloc[-1] < 0:
        words += f" Most speaks against it: {best['what'].iloc[-1]}."
    return words


def draw(told: Explained) -> Figure:
    """A waterfall from what two records at random have to the match weight of these two.

    Parameters
    ----------
    told
        As from :func:`explain`; show it with :func:`say` as its alternative text.
    """
    steps = pd.concat([told.steps, pd.DataFrame({"what": ["match weight"], "bits": [told.match_weight]})], ignore_index=True)
    ends = steps["bits"].cumsum().to_numpy().copy()
    starts = np.r_[0.0, ends[:-2], 0.0]
    ends[-1] = told.match_weight
    fig, ax = charts.figure(height=int(110 + 30 * len(steps)))
    with charts.look():
        rows = np.arange(len(steps))
        colours = [charts.BLUE if bits > 0 else charts.ORANGE for bits in steps["bits"]]
        colours[0] = colours[-1] = charts.GREY
        ax.barh(rows, ends - starts, left=starts, height=0.62, color=colours)
        for row, bits, start, end in zip(rows, steps["bits"], starts, ends, strict=True):
            ax.annotate(f"{bits:+.1f}", (max(start, end), row), (6, 0), textcoords="offset points", va="center", color=charts.INK)
        ax.set_yticks(rows, steps["what"], color=charts.INK)
        ax.set_ylim(len(steps) - 0.4, -0.6)
        ax.axvline(0, color=charts.MUTED, linewidth=0.8)
        ax.spines["left"].set_visible(False)
        ax.margins(x=0.1)
        ax.set_xlabel("bits: each doubles the odds that the two are one human; left of zero they are rather two")
    finding = f"{'One customer' if told.together else 'Two customers'}: {told.probability:.1%} probable by themselves"
    charts.title(ax, finding, "match weight in bits, from two records at random to these two")
    return fig


def ties(matched: Matched, customer_id: str) -> pd.DataFrame:
    """What holds a customer together, and which is the weakest link?

    The strongest ties that hang all records together (a spanning tree of the highest probabilities): without the weakest of
    them the customer would fall in two.

    Parameters
    ----------
    matched
        As from :func:`clientbook.matching.match`.
    customer_id
        The customer.

    Returns
    -------
    pandas.DataFrame
        `system_a`, `system_b`, `probability`, `parts` (how many records stand on either side of it, such as `1 | 3`),
        `reasons_for`, `reasons_against`; the weakest first. A tie without reasons is a known link, an answer, or what answers
        taught. Ids of which nothing else is known hold nothing together, and are not counted.
    """
    from clientbook.matching.pairs import reasons

    nothing = pd.DataFrame(columns=["system_a", "system_b", "probability", "parts", "reasons_for", "reasons_against"])
    if matched.records is None:
        return nothing
    known = matched.tables["identities"]
    mine = known.filter(known["customer_id"] == customer_id).select("source", "person_id")
    members = matched.numbered.inner_join(mine, ["source", "person_id"]).semi_join(matched.records, "unique_id")
    members = members.order_by("unique_id").to_pandas()
    ids, source = members["unique_id"].to_numpy("int64"), members["source"].to_numpy()
    edges, apart = matched.scored.edges, _held(matched)
    inside = np.flatnonzero(np.isin(edges["l"], ids) & np.isin(edges["r"], ids))
    l, r, p = (edges[name].to_numpy()[inside] for name in ("l", "r", "probability"))
    if apart is not None:
        # what people said, or what it taught, holds whatever was compared
        sure = apart.certain(l, r)
        inside, p = np.where(sure, -1, inside), np.where(sure, 1.0, p)
    by = np.argsort(-p, kind="stable")
    links = list(zip(l[by].tolist(), r[by].tolist(), p[by].tolist(), inside[by].tolist(), strict=True))
    # what no comparison holds together is held by a known link, or by what people said
    links += [(int(ids[0]), int(i), 1.0, -1) for i in ids[1:]]
    head = {int(i): int(i) for i in ids}
    tree: list[tuple[int, int, float, int]] = []

    def find(i: int) -> int:
        while head[i] != i:
            head[i] = head[head[i]]
            i = head[i]
        return i

    for link in links:
        if len(tree) == len(ids) - 1:
            break
        a, b = find(link[0]), find(link[1])
        if a != b:
            head[b] = a
            tree.append(link)
    name = dict(zip(ids.tolist(), source, strict=True))
    rows = []
    for (one, other, chance, at), side in zip(tree, sides([link[:2] for link in tree]), strict=True):
        told = at >= 0 and matched.scored.model is not None
        pro, contra = reasons(matched.scored.model, matched.scored.levels[at]) if told else ("", "")
        rows.append((name[one], name[other], chance, f"{side} | {len(ids) - side}", pro, contra))
    told = pd.DataFrame(rows, columns=nothing.columns)
    return told.sort_values("probability", kind="stable", ignore_index=True)


def sides(tree: Sequence[tuple[int, int]]) -> list[int]:
    """How many records hang at the first end of each tie, if it alone is cut?

    Parameters
    ----------
    tree
        Ties that hang all records together, none too many: pairs of records by number.

    Returns
    -------
    list of int
        For each tie, in their order.
    """
    near: dict[int, list[int]] = {}
    for one, other in tree:
        near.setdefault(one, []).append(other)
        near.setdefault(other, []).append(one)
    root = next(iter(near), -1)
    above, order = {root: root}, [root]
    for here in order:
        for there in near.get(here, ()):
            if there not in above:
                above[there] = here
                order.append(there)
    # each record with all that hang below it, the outermost first
    below = dict.fromkeys(order, 1)
    for here in reversed(order[1:]):
        below[above[here]] += below[here]
    return [below[one] if above[one] == other else len(order) - below[other] for one, other in tree]


def say_ties(told: pd.DataFrame) -> str:
    """What is the weakest link? In a sentence.

    Parameters
    ----------
    told
        As from :func:`ties`.
    """
    if told.empty:
        return "No customer of several records was compared by a model."
    weakest = told.iloc[0]
    sure = "holds surely" if weakest["probability"] >= SURE else "is worth a look"
    return (
        f"The weakest link is between {weakest['system_a']} and {weakest['system_b']} ({weakest['probability']:.1%}, with "
        f"{weakest['parts'].replace(' | ', ' and ')} records on its sides), and {sure}."
    )


def example(matched: Matched, together: bool) -> tuple[tuple[str, str], tuple[str, str]] | None:
    """Which pair shows best how it is decided? The closest call of those compared.

    Parameters
    ----------
    matched
        As from :func:`clientbook.matching.match`.
    together
        Whether they are to be one customer.

    Returns
    -------
    tuple or None
        Two records: `source`, `person_id` each; None where there are none.
    """
    rows = matched.tables["review_pairs"]
    same = rows["customer_a"] == rows["customer_b"]
    found = rows.filter((same if together else ~same) & rows["probability"].notnull()).order_by("turn").limit(1).to_pandas()
    if found.empty:
        return None
    one: dict[str, Any] = found.iloc[0].to_dict()
    return (one["source_a"], one["person_id_a"]), (one["source_b"], one["person_id_b"])


def show_example(matched: Matched, engine: Engine, together: bool) -> Any:
    """The closest call as a waterfall for a page: systems and words, nobody's values.

    Parameters
    ----------
    matched
        As from :func:`clientbook.matching.match`.
    engine
        Which it was made with.
    together
        Whether the two are to be one customer.
    """
    found = example(matched, together)
    if found is None:
        return charts.answer(f"No two records {'of one customer' if together else 'of two customers'} were compared by a model.")
    told = explain(matched, engine, *found)
    return charts.show(draw(told), alt=f"Waterfall of match weights. {say(told)}")


def weakest(matched: Matched) -> pd.DataFrame:
    """What holds the customer together that an answer is most worth asking for? As from :func:`ties`; none without a model.

    Parameters
    ----------
    matched
        As from :func:`clientbook.matching.match`.
    """
    found = example(matched, True)
    if found is None:
        return pd.DataFrame(columns=["system_a", "system_b", "probability", "parts", "reasons_for", "reasons_against"])
    return ties(matched, _customer(matched.tables["identities"], *found[0]))
