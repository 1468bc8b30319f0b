"""Which of the company's goals does a campaign serve, and who answers for it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clientbook.book import Goal

# Each campaign's goal, with the words by which companies call it.
CAMPAIGNS = {
    "win": ("win", "acquire", "acquisition", "new", "grow"),
    "keep": ("keep", "retain", "retention", "loyal", "churn"),
    "win back": ("win back", "winback", "reactivate", "retain", "retention", "keep"),
    "expand": ("expand", "upsell", "cross", "margin", "grow"),
    "ask for a reference": ("refer", "reference", "recommend", "advocate", "win"),
}


@dataclass(frozen=True)
class Served:
    """A goal as the company calls it, and its owner; neither where the book has none that fits.

    Parameters
    ----------
    goal
        As the book writes it, else the campaign's own name.
    owner
        Who answers for it; nothing where nobody does.
    """

    goal: str
    owner: str


def best_fit(goals: Sequence[Goal], campaign: str) -> Served:
    """Which goal of the book does a campaign serve?

    Parameters
    ----------
    goals
        The book's.
    campaign
        One of `CAMPAIGNS`.
    """
    for word in CAMPAIGNS[campaign]:
        for one in goals:
            told = one.goal.lower()
            # who writes `win back` does not mean the winning of new customers
            if word in told and not (campaign == "win" and "back" in told):
                return Served(one.goal, one.owner)
    return Served(campaign, "")
