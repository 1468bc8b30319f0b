"""Which customers belong to one company, or to one household?"""

from __future__ import annotations

import re

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook.engine import Engine
from clientbook.matching.standard import FREE_MAIL, clean_company

# A domain whose people name more companies than so many gives out addresses to anybody.
MOST_COMPANIES = 10
# So many domains have to write both a word and a shorter one for it, before the one is taken for the other anywhere.
LEAST_WITNESSES = 3
# A street may be misspelt by so many letters (two that changed places are two), and by no more than a third of them.
MOST_MISSPELT = 2
# An address, phone or e-mail that more customers have is no home.
MOST_AT_HOME = 8
_LONELY = "single"


def delivered(accounts: ir.Table | None) -> pd.DataFrame:
    """The accounts that were delivered, with the keys by which they are told to be the same.

    Parameters
    ----------
    accounts
        The clean table, or None.

    Returns
    -------
    pandas.DataFrame
        The clean columns, `firm` (the name without legal form) and `host` (the domain without `www`).
    """
    names = ["source", "account_id", "name", "domain", "industry", "region", "country", "parent_account_id"]
    if accounts is None:
        return pd.DataFrame({name: pd.Series(dtype="object") for name in [*names, "firm", "host"]})
    order = ibis.window(group_by=["source", "account_id"], order_by=ibis.desc("arrival"))
    newest = accounts.mutate(_n=ibis.row_number().over(order)).filter(lambda t: t["_n"] == 0)
    rows = newest.select(*names).order_by("source", "account_id").to_pandas().astype("object")
    rows = rows.where(rows.notna(), None)
    hosts = rows["domain"].str.lower().str.replace(r"^(https?://)?(www\.)?", "", regex=True).str.replace(r"/.*$", "", regex=True)
    hosts = hosts.where(hosts.str.contains(".", regex=False, na=False) & ~hosts.isin(FREE_MAIL), None)
    return rows.assign(firm=[clean_company(name) if name else None for name in rows["name"]], host=hosts)


def with_named(given: pd.DataFrame, known: ir.Table, records: ir.Table | None, deals: ir.Table | None) -> pd.DataFrame:
    """The delivered accounts, and those whose ids several customers have, or deals name, though nobody delivered them.

    An id that one customer alone has, and no deal, says no more than that they are an account of one; it may well be a
    number of their own.

    Parameters
    ----------
    given
        As from :func:`delivered`.
    known
        `source`, `person_id`, `customer_id`.
    records
        As from :func:`clientbook.matching.standard.records`, or None.
    deals
        `account_source` and `account_id` of opportunities, or None.

    Returns
    -------
    pandas.DataFrame
        As from :func:`delivered`; of one that is only named nothing is known but `firm`, the company that at least half of
        its people name who name any.
    """
    naming = []
    if records is not None:
        people = records.inner_join(known.select("source", "person_id", "customer_id"), ["source", "person_id"])
        naming.append(people.select("account_source", "account_id", "firm", "customer_id"))
    if deals is not None:
        nobody = {name: ibis.null("string") for name in ("firm", "customer_id")}
        naming.append(deals.select("account_source", "account_id", **nobody))
    if not naming:
        return given
    rows = ibis.union(*naming) if len(naming) > 1 else naming[0]
    rows = rows.filter(rows["account_source"].notnull() & rows["account_id"].notnull()).rename(source="account_source")
    keys = ["source", "account_id"]
    listed = ibis.memtable(given[keys].astype("object"), schema=dict.fromkeys(keys, "string"))
    rows = rows.anti_join(listed, keys)
    counted = rows.group_by(*keys, "firm").agg(
        n=rows["firm"].count(), one=rows["customer_id"].min(), other=rows["customer_id"].max(),
        deal=rows["customer_id"].isnull().any(),
    ).order_by(*keys, ibis.desc("n"), "firm").to_pandas()  # fmt: skip
    told = counted.groupby(keys, as_index=False).agg(
        firm=("firm", "first"), most=("n", "first"), n=("n", "sum"), one=("one", "min"), other=("other", "max"),
        deal=("deal", "any"),
    )  # fmt: skip
    told = told[told["deal"] | (told["one"] != told["other"])]
    told["firm"] = told["firm"].where(2 * told["most"] >= told["n"], None)
    more = told.reindex(columns=given.columns).astype("object")
    return pd.concat([given, more.where(more.notna(), None)], ignore_index=True) if len(more) else given


def employers(records: ir.Table | None) -> pd.DataFrame:
    """Which company does each e-mail domain stand for?

    Parameters
    ----------
    records
        As from :func:`clientbook.matching.standard.records`, or None.

    Returns
    -------
    pandas.DataFrame
        `domain`, `firm`: the company that most of its people name; providers of mail are left out.
    """
    if records is None:
        return pd.DataFrame({"domain": pd.Series(dtype="object"), "firm": pd.Series(dtype="object")})
    rows = records.filter(records["work"].notnull() & records["firm"].notnull())
    counted = rows.group_by("firm", domain=rows["work"]).agg(n=rows.count())
    counted = counted.order_by("domain", ibis.desc("n"), "firm").to_pandas()
    told = counted.groupby("domain").agg(firm=("firm", "first"), most=("n", "first"), n=("n", "sum"), firms=("firm", "size"))
    told = told[(told["firms"] <= MOST_COMPANIES) & (2 * told["most"] >= told["n"])]
    return told.reset_index()[["domain", "firm"]]


def abbreviations(named: pd.DataFrame) -> dict[str, str]:
    """Which words in companies' names are short for others, such as `htl` for `hotel`?

    No list knows what a trade abbreviates. But whose addresses have one domain work for one company: where they write it
    in two ways that differ in one word, and one of the two begins like the other and has its letters in their order,
    the one is short for the other. A word that several are witnessed for stands for the commonest, if that has half.

    Parameters
    ----------
    named
        `domain`, `firm` (without legal form); each pair once or more often.

    Returns
    -------
    dict of str to str
        The whole word for each short one.
    """
    named = named[["domain", "firm"]].dropna().drop_duplicates()
    named = named[named.groupby("domain")["firm"].transform("size").between(2, MOST_COMPANIES)]
    named = named.assign(words=named["firm"].str.split(" "), length=named["firm"].str.count(" "))
    both = named.merge(named, on=["domain", "length"], suffixes=("", "_other"))
    both = both[both["firm"] < both["firm_other"]].reset_index(drop=True)[["domain", "words", "words_other"]]
    differing = both.explode(["words", "words_other"])
    differing = differing[differing["words"] != differing["words_other"]]
    differing = differing[~differing.index.duplicated(keep=False)]
    shorter = differing["words"].str.len() < differing["words_other"].str.len()
    witnessed = differing.assign(
        short=differing["words"].where(shorter, differing["words_other"]),
        whole=differing["words_other"].where(shorter, differing["words"]),
    ).groupby(["short", "whole"])["domain"].nunique().rename("n").reset_index()  # fmt: skip
    short = [_is_short(*pair) for pair in zip(witnessed["short"], witnessed["whole"], strict=True)]
    witnessed = witnessed[np.array(short, dtype=bool)].sort_values(["n", "whole"], ascending=[False, True])
    witnessed = witnessed.assign(of=witnessed.groupby("short")["n"].transform("sum"))
    witnessed = witnessed[(witnessed["n"] >= LEAST_WITNESSES) & (2 * witnessed["n"] >= witnessed["of"])]
    return witnessed.drop_duplicates("short").set_index("short")["whole"].to_dict()


def _is_short(short: str, whole: str) -> bool:
    begins = len(short) > 1 and len(short) < len(whole) and short[0] == whole[0]
    return begins and re.match(".*".join(map(re.escape, short)), whole) is not None


def in_full(firms: pd.Series, short: dict[str, str]) -> pd.Series:
    """What are these names with every word written out?

    Parameters
    ----------
    firms
        Names of companies, without legal form.
    short
        As from :func:`abbreviations`.
    """
    if not short:
        return firms
    words = "|".join(map(re.escape, sorted(short)))
    return firms.str.replace(rf"(?<!\S)(?:{words})(?!\S)", lambda found: short[found[0]], regex=True)


def companies(accounts: pd.DataFrame, firms: list[str], employed: pd.DataFrame) -> pd.DataFrame:
    """Which names, domains and delivered accounts are one company?

    Parameters
    ----------
    accounts
        As from :func:`delivered`.
    firms
        Names of companies that people give, without legal form.
    employed
        As from :func:`employers`.

    Returns
    -------
    pandas.DataFrame
        `kind` (`delivered`, `name`, `domain`), `key` (source and id with a unit separator between them, or the name, or
        the domain), `company` (the smallest delivered key of the same company, else its smallest name or domain).
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    keys = [
        ("delivered", f"{source}\x1f{number}") for source, number in zip(accounts["source"], accounts["account_id"], strict=True)
    ]
    several = namesakes(accounts)
    links = []
    for key, firm, host in zip(keys, accounts["firm"], accounts["host"], strict=True):
        links += [(key, ("name", firm))] if firm and firm not in several else []
        links += [(key, ("domain", host))] if host else []
    links += [
        (("domain", domain), ("name", firm))
        for domain, firm in zip(employed["domain"], employed["firm"], strict=True)
        if firm not in several
    ]
    nodes = sorted({*keys, *(("name", firm) for firm in firms), *(end for link in links for end in link)})
    place = {node: i for i, node in enumerate(nodes)}
    left = np.array([place[a] for a, _ in links], dtype=int)
    right = np.array([place[b] for _, b in links], dtype=int)
    if not nodes:
        return pd.DataFrame({name: pd.Series(dtype="object") for name in ("kind", "key", "company")})
    graph = coo_matrix((np.ones(len(links)), (left, right)), shape=(len(nodes),) * 2)
    _, label = connected_components(graph, directed=False)
    told = pd.DataFrame(nodes, columns=["kind", "key"]).assign(label=label)
    rank = told["kind"].map({"delivered": 0, "name": 1, "domain": 2})
    heads = told.assign(rank=rank).sort_values(["rank", "key"]).groupby("label")["key"].first()
    return told.assign(company=told["label"].map(heads)).drop(columns="label")


def namesakes(accounts: pd.DataFrame) -> set[str]:
    """Which names of companies stand for several companies: those that one system holds more than once, by several domains?

    Parameters
    ----------
    accounts
        As from :func:`delivered`.
    """
    hosts = accounts.dropna(subset=["firm", "host"]).groupby(["source", "firm"])["host"].nunique()
    return set(hosts[hosts > 1].index.get_level_values("firm"))


def resolve(
    known: ir.Table, golden: ir.Table, records: ir.Table | None, accounts: ir.Table | None, engine: Engine,
    deals: ir.Table | None = None,
) -> tuple[ir.Table, ir.Table, ir.Table]:  # fmt: skip
    """Which account does each customer belong to?

    By the account whose id one of their records has, delivered or only named (:func:`with_named`), else the company that one
    names, else the domain of a business e-mail; else customers who live together are a household; else the customer is
    alone. Of several records the one that was changed last counts. A company's name is read with its words in full, as
    :func:`abbreviations` finds them.

    Parameters
    ----------
    known
        `source`, `person_id`, `customer_id`.
    golden
        The customers, as from :func:`clientbook.matching.clusters.golden`.
    records
        As from :func:`clientbook.matching.standard.records`, or None.
    accounts
        The clean table, or None.
    engine
        Where intermediate results are staged.
    deals
        `account_source` and `account_id` of opportunities, or None.

    Returns
    -------
    customers, resolved_accounts, account_identities
        The customers with `account_id`, and the two public tables, ordered.
    """
    given = delivered(accounts)
    firms: list[str] = []
    if records is not None:
        records, given, firms = _written_out(records, given)
    given = with_named(given, known, records, deals)
    employed = employers(records)
    same = companies(given, firms, employed)
    ids = same[["company"]].drop_duplicates()
    hashed = ibis.memtable(same.astype("object"), schema={"kind": "string", "key": "string", "company": "string"})
    hashed = hashed.mutate(account_id="a" + ("account\x1f" + hashed["company"]).hexdigest("sha256")[:16])

    def keyed(kind: str) -> ir.Table:
        return hashed.filter(hashed["kind"] == kind).select(_key="key", _account="account_id")

    chosen = None
    if records is not None and len(ids):
        rows = known.select("source", "person_id", "customer_id").inner_join(records, ["source", "person_id"])
        rows = rows.mutate(_delivered=rows["account_source"] + "\x1f" + rows["account_id"])
        votes = []
        # a name of several companies says less than a domain
        several = ibis.memtable(pd.DataFrame({"_key": sorted(namesakes(given))}), schema={"_key": "string"})
        name = keyed("name")
        ways = [
            (keyed("delivered"), "_delivered"), (name.anti_join(several, "_key"), "firm"), (keyed("domain"), "domain"),
            (name.semi_join(several, "_key"), "firm"),
        ]  # fmt: skip
        for rank, (keys, column) in enumerate(ways):
            found = rows.inner_join(keys, rows[column] == keys["_key"])
            votes.append(
                found.select(
                    "customer_id",
                    "changed_at",
                    "source",
                    "person_id",
                    account=found["_account"],
                    rank=ibis.literal(rank),
                )
            )
        votes = ibis.union(*votes)
        order = ibis.window(
            group_by="customer_id",
            order_by=["rank", ibis.desc("changed_at", nulls_first=False), "source", "person_id", "account"],
        )
        votes = votes.mutate(_n=ibis.row_number().over(order))
        chosen = votes.filter(votes["_n"] == 0).select("customer_id", _company="account")
    customers = (
        golden.left_join(chosen, "customer_id").drop("customer_id_right")
        if chosen is not None
        else golden.mutate(_company=ibis.null("string"))
    )
    customers = _households(customers, known, records, engine)
    own = "a" + customers["customer_id"].substr(1)
    customers = customers.mutate(
        account_id=ibis.coalesce(customers["_company"], customers["_household"], own),
        _kind=ibis.cases(
            (customers["_company"].notnull(), "company"),
            (customers["_household"].notnull(), "household"),
            else_=_LONELY,
        ),
    )
    customers = engine.keep(customers)
    owned = keyed("delivered")
    parts = owned["_key"].split("\x1f")
    identified = owned.select(source=parts[0], source_account_id=parts[1], account_id=owned["_account"])
    return customers, _resolved(customers, given, hashed), identified.order_by("source", "source_account_id")


def _written_out(records: ir.Table, given: pd.DataFrame) -> tuple[ir.Table, pd.DataFrame, list[str]]:
    """The records and the delivered accounts with the names of companies in full, and the names that the records have."""
    named = records.filter(records["firm"].notnull()).select("firm", domain="work").distinct().to_pandas().astype("object")
    hosts = given[["host", "firm"]].rename(columns={"host": "domain"})
    short = abbreviations(pd.concat([named, hosts], ignore_index=True))
    firms = pd.DataFrame({"firm": named["firm"].unique()})
    firms = firms.assign(_full=in_full(firms["firm"], short))
    other = firms[firms["firm"] != firms["_full"]]
    if len(other):
        spelled = ibis.memtable(other.astype("object"), schema={"firm": "string", "_full": "string"})
        records = records.left_join(spelled, "firm").drop("firm_right")
        records = records.mutate(firm=ibis.coalesce(records["_full"], records["firm"])).drop("_full")
    return records, given.assign(firm=in_full(given["firm"], short)), sorted(set(firms["_full"]))


def _households(customers: ir.Table, known: ir.Table, records: ir.Table | None, engine: Engine) -> ir.Table:
    """With `_household`: an id for those of no company who live together.

    Two live together who share street, house and postcode, and the surname too, be the street misspelt; or who share a
    phone or an e-mail. Who shares the address alone lives together where addresses of this book are homes, not blocks of
    flats: where at least half of those that several customers have are shared by two of one surname or contact.
    """
    if records is None:
        return customers.mutate(_household=ibis.null("string"))
    private = customers.filter(customers["_company"].isnull()).select("customer_id")
    rows = known.select("source", "person_id", "customer_id").semi_join(private, "customer_id")
    rows = rows.inner_join(records.select("source", "person_id", "last", "way", "house", "zip", "dialled", "mail", "role"),
                           ["source", "person_id"])  # fmt: skip
    whole = rows["house"].notnull() & rows["zip"].notnull()
    home = whole.ifelse(rows["way"] + "\x1f" + rows["zip"], ibis.null("string"))
    rows = engine.keep(rows.select(
        "customer_id", home=home, family=home + "\x1f" + rows["last"], phone="dialled",
        mail=rows["role"].ifelse(ibis.null("string"), rows["mail"]),
        street=rows["way"], door=rows["zip"] + "\x1f" + rows["house"] + "\x1f" + rows["last"],
    ))  # fmt: skip

    def held(name: str) -> ir.Table:
        pairs = rows.filter(rows[name].notnull()).select(key=name, customer_id="customer_id").distinct()
        window = ibis.window(group_by="key")
        counted = pairs.mutate(n=pairs.count().over(window), first=pairs["customer_id"].min().over(window))
        return counted.filter((counted["n"] > 1) & (counted["n"] <= MOST_AT_HOME))

    ties = [held(name).select(l="first", r="customer_id") for name in ("family", "phone", "mail")]
    ties.append(_misspelt(rows))
    close = engine.keep(ibis.union(*ties).filter(lambda t: t["l"] != t["r"]).distinct())
    homes = engine.keep(held("home").select("key", l="first", r="customer_id"))
    tied = ibis.union(close.select(c="l"), close.select(c="r")).distinct().mutate(tied=ibis.literal(1))
    told = homes.left_join(tied, homes["r"] == tied["c"])
    by_home = told.group_by("key").agg(n=told["tied"].sum().fill_null(0))
    share = by_home.aggregate(share=(by_home["n"] >= 2).cast("float64").mean()).to_pandas()["share"].iloc[0]
    if share >= 0.5:
        close = close.union(homes.select("l", "r").filter(lambda t: t["l"] != t["r"]))
    edges = close.distinct().order_by("l", "r").to_pandas()
    if edges.empty:
        return customers.mutate(_household=ibis.null("string"))
    frame = _components(edges)
    found = ibis.memtable(frame, schema={"_member": "string", "_head": "string"})
    named = "a" + ("household\x1f" + found["_head"]).hexdigest("sha256")[:16]
    found = found.select("_member", _household=named)
    return customers.left_join(found, customers["customer_id"] == found["_member"]).drop("_member")


def _misspelt(rows: ir.Table) -> ir.Table:
    """Ties `l`, `r` between families of one name, postcode and house number whose streets are nearly the same."""
    families = rows.filter(rows["door"].notnull() & rows["street"].notnull()).group_by("door", "street")
    families = families.agg(c=rows["customer_id"].min(), n=rows["customer_id"].nunique())
    families = families.filter(families["n"] <= MOST_AT_HOME).drop("n")
    both = families.inner_join(families.view(), "door", rname="{name}_other")
    off = both["street"].levenshtein(both["street_other"])
    near = (off <= MOST_MISSPELT) & (3 * off <= both["street"].length())
    return both.filter((both["street"] < both["street_other"]) & near).select(l="c", r="c_other")


def _components(edges: pd.DataFrame) -> pd.DataFrame:
    """Each end of an edge and the smallest end that it hangs together with."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    ends = np.unique(np.concatenate([edges["l"].to_numpy(object), edges["r"].to_numpy(object)]).astype(str))
    left, right = (np.searchsorted(ends, edges[side].to_numpy(str)) for side in "lr")
    graph = coo_matrix((np.ones(len(edges)), (left, right)), shape=(len(ends),) * 2)
    _, label = connected_components(graph, directed=False)
    _, first, inverse = np.unique(label, return_index=True, return_inverse=True)
    return pd.DataFrame({"_member": ends, "_head": ends[first[inverse.ravel()]]}).astype("object")


def _resolved(customers: ir.Table, given: pd.DataFrame, hashed: ir.Table) -> ir.Table:
    counted = customers.group_by("account_id").agg(kind=customers["_kind"].max(), customers=customers.count(), **_told(customers))
    # companies that nobody of whom we know belongs to are accounts too
    empty = hashed.filter(hashed["kind"] == "delivered").select("account_id").distinct().anti_join(counted, "account_id")
    empty = empty.mutate(
        kind=ibis.literal("company"), customers=ibis.literal(0, "int64"),
        **{name: ibis.null("string") for name in _told(customers)},
    )  # fmt: skip
    every = counted.union(empty.select(*counted.columns))
    columns = ("name", "domain", "industry", "region", "country", "parent_account_id")
    if len(given):
        frame = given[["source", "account_id", *columns, "firm"]].rename(columns={"account_id": "_id"})
        rows = ibis.memtable(frame.astype("object"), schema={name: "string" for name in frame.columns})
        rows = rows.mutate(
            _key=rows["source"] + "\x1f" + rows["_id"], _parent=rows["source"] + "\x1f" + rows["parent_account_id"]
        )
        keys = hashed.filter(hashed["kind"] == "delivered").select(_key="key", account_id="account_id")
        rows = rows.inner_join(keys, "_key")
        parents = keys.select(_parent="_key", _parent_id="account_id")
        rows = rows.left_join(parents, "_parent").drop("_parent_right")
        rows = rows.mutate(parent_account_id=rows["_parent_id"])
        order = ibis.row_number().over(ibis.window(order_by=["source", "_id"]))
        rows = rows.mutate(_n=order)
        best = rows.group_by("account_id").agg(**{f"d_{c}": rows[c].argmin(rows["_n"], where=rows[c].notnull()) for c in columns})
        every = every.left_join(best, "account_id").drop("account_id_right")
    else:
        every = every.mutate(**{f"d_{c}": ibis.null("string") for c in columns})
    parent = (every["d_parent_account_id"] == every["account_id"]).ifelse(ibis.null("string"), every["d_parent_account_id"])
    return every.select(
        "account_id",
        name=ibis.coalesce(every["d_name"], every["t_name"]),
        domain=every["d_domain"],
        industry=ibis.coalesce(every["d_industry"], every["t_industry"]),
        region=ibis.coalesce(every["d_region"], every["t_region"]),
        country=ibis.coalesce(every["d_country"], every["t_country"]),
        parent_account_id=parent,
        kind="kind",
        customers="customers",
    ).order_by("account_id")


def _told(customers: ir.Table) -> dict[str, ir.Value]:
    """What the customers themselves say of their account; a person's name is no account's name."""
    if "company" not in customers.columns:
        return {f"t_{c}": ibis.null("string").max() for c in ("name", "industry", "region", "country")}
    is_company = customers["_kind"] == "company"
    told = {"t_name": customers["company"].max(where=is_company)}
    return told | {f"t_{c}": customers[c].max(where=is_company) for c in ("industry", "region", "country")}
