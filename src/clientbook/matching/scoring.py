"""How right is it? Scored against the truth of a made book, which nothing else reads."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir
import pandas as pd

COLUMNS = ["what", "rule", "precision", "recall", "f1", "pairs", "true_pairs"]


def pair_scores(labelled: ir.Table, truth: str, guess: str) -> dict[str, float]:
    """Of the pairs that a rule puts together how many belong together, and of those that do how many are put together?

    Parameters
    ----------
    labelled
        A row a record.
    truth, guess
        Columns: records of equal value belong together, or are put together.

    Returns
    -------
    dict
        `precision`, `recall`, `f1` (1 where there is nothing to find), `pairs`, `true_pairs`. Counted by group, never
        pair by pair.
    """
    counted = labelled.group_by(t=labelled[truth], g=labelled[guess]).agg(n=labelled.count())

    def pairs(*keys: str) -> ir.Table:
        sizes = counted.group_by(*keys).agg(n=counted["n"].sum())
        return sizes.agg((sizes["n"] * (sizes["n"] - 1)).sum().fill_null(0).name("_".join(keys)))

    found = pairs("t", "g").cross_join(pairs("g")).cross_join(pairs("t")).to_pandas().iloc[0]
    both, guessed, true = (int(found[name]) // 2 for name in ("t_g", "g", "t"))
    return {
        "precision": round(both / guessed, 6) if guessed else 1.0,
        "recall": round(both / true, 6) if true else 1.0,
        "f1": round(2 * both / (guessed + true), 6) if guessed + true else 1.0,
        "pairs": guessed,
        "true_pairs": true,
    }


def score(identities: ir.Table, customers: ir.Table, people: ir.Table | None, truth: ir.Table | None) -> pd.DataFrame:
    """How right are customers and accounts, beside the rule of equal e-mail addresses and beside no matching?

    Parameters
    ----------
    identities, customers
        Public tables.
    people
        The clean table, for the naive rules.
    truth
        `source`, `person_id`, `human_id`, `account_id` of a made book, or None.

    Returns
    -------
    pandas.DataFrame
        `what`, `rule`, `precision`, `recall`, `f1`, `pairs`, `true_pairs`; empty without a truth.
    """
    if truth is None:
        return pd.DataFrame(columns=COLUMNS)
    known = identities.select("source", "person_id", "customer_id")
    found = known.inner_join(customers.select("customer_id", _account="account_id"), "customer_id")
    every = truth.select("source", "person_id", "human_id", true_account="account_id").inner_join(found, ["source", "person_id"])
    rows = [{"what": "customers, all ids", "rule": "this page", **pair_scores(every, "human_id", "customer_id")}]
    if people is not None:
        alone = people["source"] + "\x1f" + people["person_id"]
        mail = people["email"].strip().lower()
        firm = people["company"].strip().lower()
        delivered = people["account_source"] + "\x1f" + people["account_id"]
        naive = people.select(
            "source",
            "person_id",
            alone=alone,
            mail=ibis.coalesce(mail, alone),
            firm=ibis.coalesce(delivered, firm, alone),
        )
        # each is counted by several rules
        told = every.inner_join(naive, ["source", "person_id"]).cache()
        rules = {"this page": "customer_id", "same e-mail": "mail", "no matching": "alone"}
        rows += [
            {"what": "customers, records with data", "rule": rule, **pair_scores(told, "human_id", column)}
            for rule, column in rules.items()
        ]
        told = _were_customers_right(told).cache()
        rules = {
            "this page": "_account",
            "the same, were all customers right": "_of_human",
            "same account id or company as written": "firm",
            "no matching": "alone",
        }
        rows += [
            {"what": "accounts, records with data", "rule": rule, **pair_scores(told, "true_account", column)}
            for rule, column in rules.items()
        ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _were_customers_right(told: ir.Table) -> ir.Table:
    """With `_of_human`: of the accounts that a human's records were put into the largest, for each of them.

    What is missing then no better matching of persons brings: nothing that was delivered ties them to their account.
    """
    sizes = told.group_by("_account").agg(_size=told.count())
    each = told.select("human_id", "_account").distinct().inner_join(sizes, "_account")
    order = ibis.window(group_by="human_id", order_by=[ibis.desc("_size"), "_account"])
    first = each.mutate(_n=ibis.row_number().over(order)).filter(lambda t: t["_n"] == 0)
    return told.inner_join(first.select("human_id", _of_human="_account"), "human_id")


def say_score(scores: pd.DataFrame) -> str:
    """In one sentence or two: how right is it?

    Parameters
    ----------
    scores
        As from :func:`score`.
    """
    if scores.empty:
        return "No truth comes with this book: whether these customers are right shows in the pairs laid out for review."
    rows = scores[scores["what"] == "customers, records with data"].set_index("rule")
    if rows.empty:
        return "This book has no people with data to score."
    ours, naive = rows.loc["this page"], rows.loc["same e-mail"]
    told = (
        f"Of the pairs put together here {ours['precision']:.1%} are right, and {ours['recall']:.1%} of the right ones "
        f"are found (F1 {ours['f1']:.3f}); equal e-mail addresses alone reach {naive['precision']:.1%} and "
        f"{naive['recall']:.1%} (F1 {naive['f1']:.3f})."
    )
    return told if ours["f1"] > naive["f1"] else told + " The naive rule wins here."
