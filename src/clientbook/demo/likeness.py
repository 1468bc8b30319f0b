"""How close does the made company come to real ones?"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

MEASURES = ("orders per customer", "days between orders", "order value / median")
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)

# Online Retail II (UCI, doi 10.24432/C5CG6D) is not shipped; its figures were measured by tests/benchmarks/demo.py.
ONLINE_RETAIL_RETURNED = 0.062
ONLINE_RETAIL = {
    "orders per customer": (1.0, 1.0, 3.0, 6.0, 12.0, 39.0),
    "days between orders": (5.0, 13.0, 31.0, 70.0, 147.0, 377.0),
    "order value / median": (0.35, 0.58, 1.0, 1.63, 2.88, 12.93),
}


def likeness(directory: Path) -> pd.DataFrame:
    """How are orders, the days between them and their values spread, here and in two real shops?

    Parameters
    ----------
    directory : path
        Of a made company.

    Returns
    -------
    pandas.DataFrame
        `measure` (one of `MEASURES`), `company`, and a column a quantile (`10 %` to `99 %`). An order is what one true
        customer bought on one day.
    """
    companies = {"made company": shape(made_orders(Path(directory))), "CDNOW": shape(cdnow())}
    rows = [
        (measure, company, *np.quantile(found[measure], QUANTILES))
        for measure in MEASURES
        for company, found in companies.items()
    ]
    rows += [(measure, "Online Retail II", *ONLINE_RETAIL[measure]) for measure in MEASURES]
    told = pd.DataFrame(rows, columns=["measure", "company", *(f"{q:.0%}".replace("%", " %") for q in QUANTILES)])
    return told.sort_values("measure", key=lambda names: names.map(MEASURES.index), kind="stable", ignore_index=True)


def returned(directory: Path) -> float:
    """The share of what the made company's shop sells that comes back.

    Parameters
    ----------
    directory : path
        Of a made company.
    """
    text = str(directory).replace("'", "''")
    sold = duckdb.connect().execute(f"SELECT sum(total) FROM read_parquet('{text}/shop/orders/*.parquet')").fetchone()[0]
    return float(pd.read_csv(Path(directory) / "shop" / "returns.csv")["refund"].sum() / sold)


def made_orders(folder: Path) -> pd.DataFrame:
    """The orders of true customers in all three systems that take them: `customer`, `day`, `value`."""
    text = str(folder).replace("'", "''")
    return (
        duckdb.connect()
        .execute(f"""
        WITH lines AS (
          SELECT 'shop' AS source, customer_no AS id, try_cast(placed AS TIMESTAMP) AS stamp, total AS value
            FROM read_parquet('{text}/shop/orders/*.parquet')
          UNION ALL SELECT 'crm', KONTAKT, DATUM, WERT FROM read_parquet('{text}/erp/auftraege/*.parquet')
          UNION ALL SELECT 'pos', KartenNr, try_strptime(Zeit, '%d.%m.%Y %H:%M'), CAST(replace(Betrag, ',', '.') AS DOUBLE)
            FROM read_csv('{text}/pos/bons.csv', delim=';', encoding='latin-1', all_varchar=true))
        SELECT human_id AS customer, stamp::DATE AS day, sum(value) FILTER (value >= 0) AS value
        FROM lines JOIN read_parquet('{text}/truth/people.parquet') AS p
          ON p.source = lines.source AND p.person_id = lines.id
        WHERE stamp IS NOT NULL GROUP BY ALL HAVING sum(value) FILTER (value >= 0) > 0 ORDER BY customer, day""")
        .df()
    )


def cdnow() -> pd.DataFrame:
    """The orders of a CD shop, as the lifetimes package brings them: `customer`, `day`, `value`."""
    package = Path(importlib.util.find_spec("lifetimes").submodule_search_locations[0])
    path = package / "datasets" / "CDNOW_master.txt"
    table = pd.read_csv(path, sep=r"\s+", skiprows=1, header=None, names=["customer", "day", "pieces", "value"])
    table["day"] = pd.to_datetime(table["day"].astype(str), format="%Y%m%d")
    return table.groupby(["customer", "day"], as_index=False)["value"].sum().query("value > 0")


def shape(orders: pd.DataFrame) -> dict[str, np.ndarray]:
    """Orders per customer, days between a customer's orders, and order values in units of their median.

    Parameters
    ----------
    orders
        `customer`, `day`, `value`.
    """
    gap = orders.sort_values(["customer", "day"]).groupby("customer")["day"].diff().dropna()
    return {
        "orders per customer": orders.groupby("customer").size().to_numpy(),
        "days between orders": (pd.to_timedelta(gap).dt.days).to_numpy(),
        "order value / median": (orders["value"] / orders["value"].median()).to_numpy(),
    }
