"""Which customers are we made for, how much of that market do we know, and who in each account is missing?"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

_Z = 1.959964
# A role that is at the table in so many of the deals that were won belongs to an account that is known.
_USUAL_ROLE = 0.3
IDEAL_COLUMNS = ("trait", "value", "deals", "won", "low", "high", "verdict", "accounts", "approached", "customers")


def deals(opportunities: ir.Table, roles: ir.Table | None, accounts: ir.Table | None, links: ir.Table | None) -> ir.Table:
    """Which deals were closed, with whom, and were they won?

    Parameters
    ----------
    opportunities, roles
        Clean opportunities and opportunity_people; the latter may be None.
    accounts, links
        `resolved_accounts` and `account_identities`; None where there are none.

    Returns
    -------
    ibis.expr.types.Table
        `opportunity_source`, `opportunity_id`, `account_id`, `is_won` (empty: open), `region`, `industry`.
    """
    rows = opportunities.mutate(opportunity_source=opportunities["source"])
    if accounts is None or links is None or "account_id" not in rows.columns:
        empty = {name: ibis.null("string") for name in ("region", "industry")}
        account = rows["account_id"] if "account_id" in rows.columns else ibis.null("string")
        return rows.select("opportunity_source", "opportunity_id", "is_won", account_id=account, **empty)
    known = links.select(account_source="source", account_id="source_account_id", resolved="account_id")
    rows = rows.left_join(known, ["account_source", "account_id"])
    rows = rows.select("opportunity_source", "opportunity_id", "is_won", account_id=rows["resolved"])
    traits = accounts.select("account_id", "region", "industry")
    return rows.left_join(traits, "account_id").drop("account_id_right")


def ideal(closed: ir.Table, roles: ir.Table | None, accounts: ir.Table | None) -> pd.DataFrame:
    """Which region, industry and role wins, and how many such accounts are there?

    Parameters
    ----------
    closed
        As from :func:`deals`.
    roles
        Clean opportunity_people; None without.
    accounts
        `resolved_accounts`; None without.

    Returns
    -------
    pandas.DataFrame
        The public table `ideal_customer`: `won` with its 95 % interval (Wilson), `verdict` (wins more, wins less, as
        usual), and of such accounts those in the book, those with a deal and those with a won one.
    """
    over = closed.filter(closed["is_won"].notnull())
    usual = over.aggregate(n=over.count(), won=over["is_won"].sum()).to_pandas().iloc[0]
    share = float(usual["won"] or 0) / max(int(usual["n"]), 1)
    parts = []
    for trait in ("region", "industry"):
        of = over.filter(over[trait].notnull())
        each = of.group_by(value=of[trait]).agg(deals=of.count(), wins=of["is_won"].sum())
        told = each.to_pandas().assign(trait=trait)
        if accounts is not None:
            of = accounts.filter(accounts[trait].notnull() & (accounts["kind"] == "company"))
            met = closed.group_by("account_id").agg(won=closed["is_won"].fill_null(False).any())
            of = of.left_join(met, "account_id").drop("account_id_right")
            counted = of.group_by(value=of[trait]).agg(
                accounts=of.count(), approached=of["won"].count(), customers=of["won"].fill_null(False).sum()
            )
            told = told.merge(counted.to_pandas(), on="value", how="left")
        parts.append(told)
    if roles is not None:
        named = roles.filter(roles["role"].notnull()).select("opportunity_source", "opportunity_id", "role").distinct()
        both = over.inner_join(named, ["opportunity_source", "opportunity_id"])
        each = both.group_by(value=both["role"]).agg(deals=both.count(), wins=both["is_won"].sum())
        parts.append(each.to_pandas().assign(trait="role at the table"))
    rows = pd.concat([part for part in parts if len(part)] or [pd.DataFrame()], ignore_index=True)
    rows = rows.reindex(columns=["trait", "value", "deals", "wins", "accounts", "approached", "customers"])
    low, high = wilson(rows["wins"].to_numpy(float), rows["deals"].to_numpy(float))
    verdict = np.where(low > share, "wins more", np.where(high < share, "wins less", "as usual"))
    told = rows.assign(
        won=(rows["wins"].astype(float) / rows["deals"].astype(float)).round(6), low=low.round(6), high=high.round(6),
        verdict=verdict,
    )  # fmt: skip
    told = told.sort_values(["trait", "won", "value"], ascending=[True, False, True], ignore_index=True)
    return told[list(IDEAL_COLUMNS)]


def wilson(wins: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Between what bounds does a share lie, at 95 % (Wilson)?

    Parameters
    ----------
    wins, n
        Counts.
    """
    n = np.maximum(n, 1)
    share, z = wins / n, _Z**2
    middle = (share + z / (2 * n)) / (1 + z / n)
    half = _Z * np.sqrt(share * (1 - share) / n + z / (4 * n**2)) / (1 + z / n)
    return middle - half, middle + half


def missing_roles(closed: ir.Table, roles: ir.Table | None) -> pd.DataFrame:
    """Who is missing in each account that we talk to: which of the roles that sit at the table when we win?

    Parameters
    ----------
    closed
        As from :func:`deals`.
    roles
        Clean opportunity_people; None without.

    Returns
    -------
    pandas.DataFrame
        The public table `missing_roles`: `account_id`, `deals`, `known`, `missing`; accounts of which somebody is missing,
        those with open deals first.
    """
    columns = ["account_id", "open_deals", "deals", "known", "missing"]
    empty = pd.DataFrame({n: pd.Series(dtype="int64" if "deals" in n else "str") for n in columns})
    if roles is None:
        return empty
    keys = ["opportunity_source", "opportunity_id"]
    named = roles.filter(roles["role"].notnull()).select(*keys, "role").distinct()
    won = closed.filter(closed["is_won"].fill_null(False)).select(*keys).semi_join(named, keys)
    at_table = won.inner_join(named, keys)
    many = int(won.count().to_pandas())
    counted = at_table.group_by("role").agg(n=at_table.count()).to_pandas()
    usual = sorted(counted.loc[counted["n"] >= _USUAL_ROLE * many, "role"]) if many else []
    if not usual:
        return empty
    rows = closed.filter(closed["account_id"].notnull()).left_join(named, keys)
    each = rows.group_by("account_id").agg(
        open_deals=rows["opportunity_id"].nunique(where=rows["is_won"].isnull()),
        deals=rows["opportunity_id"].nunique(),
        **{f"r{i}": (rows["role"] == role).fill_null(False).any() for i, role in enumerate(usual)},
    )
    known = [each[f"r{i}"].ifelse(role, ibis.null("string")) for i, role in enumerate(usual)]
    gone = [each[f"r{i}"].ifelse(ibis.null("string"), role) for i, role in enumerate(usual)]
    told = each.select(
        "account_id",
        "open_deals",
        "deals",
        known=ibis.array(known).filter(lambda x: x.notnull()).join(", "),
        missing=ibis.array(gone).filter(lambda x: x.notnull()).join(", "),
    )
    told = told.filter(told["missing"].length() > 0)
    return told.order_by(ibis.desc("open_deals"), ibis.desc("deals"), "account_id").to_pandas()


def say_ideal(told: pd.DataFrame) -> str:
    """In one sentence: where do we win more than elsewhere?

    Parameters
    ----------
    told
        As from :func:`ideal`.
    """
    more = told[told["verdict"] == "wins more"].sort_values(["low", "value"], ascending=[False, True])
    if more.empty:
        return "No region, industry or role wins more than the others beyond chance"
    words = [f"{row.value} ({row.won:.0%} of {row.deals:,} deals)" for row in more.head(3).itertuples()]
    return f"We win more than elsewhere with {' and '.join([', '.join(words[:-1]), words[-1]] if words[1:] else words)}"
