"""The summary from ten million transactions and the value of a million customers, beside plain lifetimes.

By hand: `python tests/benchmarks/value.py [--transactions N] [--customers N] [--only whole fit …] [--pymc PYTHON]`.
Each side has a
process of its own. PYTHON is that of an environment with `pymc-marketing`, which is no dependency of this project.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from measuring import measure, measure_python, show

MAKE = """
import numpy as np, pandas as pd
draw = np.random.default_rng(1)
n, customers = {transactions}, {transactions} // 10
rate = draw.gamma(0.8, 1.0, customers)
who = np.sort(draw.choice(customers, n, p=rate / rate.sum()))
day = pd.Timestamp("2021-01-01") + pd.to_timedelta(draw.integers(0, 1000, n), unit="D")
amount = np.round(draw.gamma(2.0, 20.0, n), 2)
pd.DataFrame(dict(customer_id=[f"c{{i:07d}}" for i in who], day=day, amount=amount)).to_parquet("{folder}/lines.parquet")
"""

OURS = """
import datetime as dt, time
import ibis
from pathlib import Path
from clientbook import value
from clientbook.engine import open as open_engine
with open_engine("duckdb", scratch=Path("{folder}/scratch")) as engine:
    began = time.perf_counter()
    lines = engine.read_parquet(Path("{folder}/lines.parquet"))
    days = lines.select(
        person_source=ibis.literal("s"), person_id="customer_id", ordered_on=lines["day"].date(),
        quantity=ibis.literal(1.0), amount="amount",
    )
    engine.write_parquet(value.summarise(value.purchases(days), dt.date(2023, 9, 28)), Path("{folder}/ours.parquet"))
    print(time.perf_counter() - began)
"""

THEIRS = """
import time
import pandas as pd
from lifetimes.utils import summary_data_from_transaction_data
began = time.perf_counter()
lines = pd.read_parquet("{folder}/lines.parquet")
summary = summary_data_from_transaction_data(lines, "customer_id", "day", "amount", observation_period_end="2023-09-27")
summary.to_parquet("{folder}/theirs.parquet")
print(time.perf_counter() - began)
"""

# Customers as the BG/NBD has them, with the parameters published for CDNOW (weeks), seen for up to 39 weeks
CLV_DATA = """
import numpy as np, pandas as pd
draw = np.random.default_rng(2)
n = {customers}
T = draw.integers(27 * 7, 39 * 7 + 1, n)
rate, leave = draw.gamma(0.2426, 1 / (4.4136 * 7), n), draw.beta(0.7929, 2.4259, n)
last, frequency, here = np.zeros(n), np.zeros(n, int), np.ones(n, bool)
while here.any():
    here &= draw.random(n) >= np.where(frequency > 0, leave, 0)
    at = last + draw.exponential(1, n) / rate
    here &= at <= T
    last, frequency = np.where(here, at, last), frequency + here
recency = np.floor(last).astype(int)
frequency = np.minimum(frequency, recency)
recency = np.where(frequency > 0, recency, 0)
monetary = np.where(frequency > 0, np.round(draw.gamma(3.0, 12.0, n), 2), 0.0)
pd.DataFrame(dict(customer_id=np.arange(n), frequency=frequency, recency=recency, T=T, monetary=monetary)).to_parquet(
    "{folder}/customers.parquet")
"""

MODEL = dict(r=0.26, alpha=6.0, a=0.48, b=2.1)
SPEND = dict(p=5.0, q=4.0, v=21.0)

CLV_OURS = """
import time
import ibis
from pathlib import Path
from clientbook import value
from clientbook.engine import open as open_engine
model = value.PurchaseModel("BG/NBD", {model}, 0.0, 0, 0)
model.fitter  # imports lifetimes, as the other side has by now
spend = value.SpendModel({spend}, 0.0, 0)
with open_engine("duckdb", scratch=Path("{folder}/scratch")) as engine:
    began = time.perf_counter()
    customers = engine.read_parquet(Path("{folder}/customers.parquet"))
    histories = value.compress(customers)
    _, unit = value.discounted_orders(model, histories, steps=12, step_days=30, rate_per_step=0.01)
    told = ibis.memtable(histories.drop(columns="customers").assign(unit=unit))
    joined = customers.inner_join(told, ["frequency", "recency", "T"])
    weight = spend.weight(joined["frequency"])
    mean = weight * joined["monetary"] + (1 - weight) * spend.population_mean
    clv = joined.select("customer_id", clv=mean * joined["unit"])
    engine.write_parquet(clv.order_by("customer_id"), Path("{folder}/clv_ours.parquet"))
    print(time.perf_counter() - began)
"""

CLV_THEIRS = """
import time
import pandas as pd
from lifetimes import BetaGeoFitter, GammaGammaFitter
bgf, ggf = BetaGeoFitter(), GammaGammaFitter()
days = dict({model})
days["alpha"] *= 7
bgf.params_, ggf.params_ = pd.Series(days), pd.Series({spend})
bgf.predict = bgf.conditional_expected_number_of_purchases_up_to_time
began = time.perf_counter()
c = pd.read_parquet("{folder}/customers.parquet")
clv = ggf.customer_lifetime_value(bgf, c["frequency"], c["recency"], c["T"], c["monetary"], time=12, discount_rate=0.01, freq="D")
c.assign(clv=clv)[["customer_id", "clv"]].to_parquet("{folder}/clv_theirs.parquet")
print(time.perf_counter() - began)
"""

# The same customers: fitted as they are, and as the histories that they share
FIT_OURS = """
import json, time
from pathlib import Path
from clientbook import value
from clientbook.engine import open as open_engine
import lifetimes
with open_engine("duckdb", scratch=Path("{folder}/scratch")) as engine:
    began = time.perf_counter()
    histories = value.compress(engine.read_parquet(Path("{folder}/customers.parquet")))
    model = value.fit_purchases(histories, "{name}")
    expected = model.expected_orders(273, histories)
    took = time.perf_counter() - began
print(json.dumps(dict(model.parameters)))
print(took)
"""

FIT_THEIRS = """
import json, time
import pandas as pd
import lifetimes
fitter = lifetimes.{fitter}()
began = time.perf_counter()
c = pd.read_parquet("{folder}/customers.parquet")
fitter.fit(c["frequency"], c["recency"] / 7, c["T"] / 7)
fitter.conditional_expected_number_of_purchases_up_to_time(39, c["frequency"], c["recency"] / 7, c["T"] / 7)
took = time.perf_counter() - began
print(json.dumps({{k: float(v) for k, v in fitter.params_.items()}}))
print(took)
"""

# Summary, net rates, fits, predictions, intervals of every customer and of the total
WHOLE = """
import datetime as dt, time
import ibis
from pathlib import Path
from clientbook import value
from clientbook.engine import open as open_engine
began = time.perf_counter()
def lap(what):
    print(f"  {{what}}: {{time.perf_counter() - began:.1f}} s", flush=True)
with open_engine("duckdb", scratch=Path("{folder}/scratch")) as engine:
    lines = engine.read_parquet(Path("{folder}/lines.parquet"))
    orders = lines.select(
        person_source=ibis.literal("s"), person_id="customer_id", ordered_on=lines["day"].date(),
        quantity=ibis.literal(1.0), amount="amount",
    )
    as_of, p = dt.date(2023, 9, 28), value.ValueParameters()
    book = value.ledger(orders).cache()
    bought = book.filter(book["is_purchase"]).select(*value.key(book), "day", "amount")
    summary = value.with_net(value.summarise(bought, as_of), value.sums(book, as_of)).cache()
    lap("summary and net rates")
    histories = value.compress(summary)
    lap(f"{{len(histories):,}} histories")
    model, spend = value.fit_purchases(histories, "{name}"), value.fit_spend(summary)
    lap("fits")
    told, bounds = value.ahead(histories, model, model, spend, p, None)
    lap("predictions and intervals")
    swing = value.resampled(model, histories, p.horizon_days, p.seed)
    engine.write_parquet(value.worth(summary, told, spend), Path("{folder}/value.parquet"))
    lap("resampled total, written")
    print(time.perf_counter() - began)
    del book, bought, summary
"""

PYMC = """
import sys, time, warnings
warnings.simplefilter("ignore")
import pandas as pd
from pymc_marketing.clv import BetaGeoModel
c = pd.read_csv("{folder}/cdnow.csv", dtype={{"customer_id": str}})
began = time.perf_counter()
model = BetaGeoModel(data=c)
model.fit(method="map", progressbar=False)
print(time.perf_counter() - began)
"""

CDNOW_OURS = """
import time
import pandas as pd
import lifetimes
from clientbook import value
c = pd.read_parquet("{folder}/cdnow.parquet")
began = time.perf_counter()
histories = c.assign(customers=1).groupby(["frequency", "recency", "T"], as_index=False)["customers"].sum()
value.fit_purchases(histories, "BG/NBD")
print(time.perf_counter() - began)
"""


def fits(folder: Path) -> None:
    """Fit and prediction, beside plain lifetimes."""
    for name, fitter in (("BG/NBD", "BetaGeoFitter"), ("MBG/NBD", "ModifiedBetaGeoFitter")):
        ours, theirs = (measure_python(code.format(folder=folder, name=name, fitter=fitter)) for code in (FIT_OURS, FIT_THEIRS))
        one, other = (json.loads(side.printed.strip().split("\n")[-2]) for side in (ours, theirs))
        difference = max(abs(one[key] / other[key] - 1) for key in other)
        show(
            f"{name}, fit and prediction",
            compare(ours, theirs, difference, "10 times", "1e-3, relative, of a parameter"),
        )


def beside_pymc(folder: Path, python: str) -> None:
    """The BG/NBD of the CDNOW sample, beside pymc-marketing's fit by maximum a posteriori."""
    from lifetimes.utils import summary_data_from_transaction_data

    package = Path(importlib.util.find_spec("lifetimes").submodule_search_locations[0])
    lines = pd.read_csv(package / "datasets" / "CDNOW_sample.txt", sep=r"\s+", header=None, dtype=str)
    lines = lines.set_axis(["master", "customer_id", "day", "units", "amount"], axis=1)
    lines["day"] = pd.to_datetime(lines["day"])
    told = summary_data_from_transaction_data(lines, "customer_id", "day", observation_period_end="1997-09-30")
    told.to_parquet(folder / "cdnow.parquet")
    told.to_csv(folder / "cdnow.csv")
    ours, theirs = measure_python(CDNOW_OURS.format(folder=folder)), measure([python, "-c", PYMC.format(folder=folder)])
    one, other = float(ours.printed.split()[-1]), float(theirs.printed.split()[-1])
    rows = [("Clientbook", f"{one:.3f} s", ""), ("pymc-marketing, MAP", f"{other:.1f} s", "")]
    show("BG/NBD of the CDNOW sample", [*rows, ("faster by", f"{other / one:.0f} times", "at least 30 times")])


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser()
    options.add_argument("--transactions", type=int, default=10_000_000)
    options.add_argument("--customers", type=int, default=1_000_000)
    options.add_argument("--only", nargs="*", default=["summary", "clv", "fit", "whole"])
    options.add_argument("--pymc", help="the Python of an environment with pymc-marketing")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fill = dict(folder=folder, transactions=given.transactions, customers=given.customers, model=MODEL, spend=SPEND)
        if {"summary", "whole"} & set(given.only):
            measure_python(MAKE.format(**fill))
        if {"clv", "fit"} & set(given.only):
            measure_python(CLV_DATA.format(**fill))
        if "summary" in given.only:
            ours, theirs = (measure_python(code.format(**fill)) for code in (OURS, THEIRS))
            small = measure_python(OURS.format(**fill), env={**os.environ, "CLIENTBOOK_MEMORY": "1GB"})
            rows = compare(ours, theirs, summary_difference(Path(folder)), "4 times", "1e-9")
            rows.append(("memory, ratio", f"{ours.megabytes / theirs.megabytes:.2f}", "under 0.5"))
            rows.append(
                (
                    "with CLIENTBOOK_MEMORY=1GB",
                    f"{float(small.printed.split()[-1]):.1f} s, {small.megabytes:.0f} MB",
                    "",
                )
            )
            show(f"Summary from {given.transactions:,} transactions", rows)
        if "clv" in given.only:
            ours, theirs = (measure_python(code.format(**fill)) for code in (CLV_OURS, CLV_THEIRS))
            show(
                f"CLV of {given.customers:,} customers",
                compare(ours, theirs, clv_difference(Path(folder)), "10 times", "1e-6"),
            )
        if "fit" in given.only:
            fits(Path(folder))
        if "whole" in given.only:
            for name in ("MBG/NBD", "MBG/CNBD-2"):
                whole = measure_python(WHOLE.format(**fill, name=name), env={**os.environ, "CLIENTBOOK_MEMORY": "1GB"})
                print(f"\n{name}\n" + "\n".join(whole.printed.strip().split("\n")[:-1]))
                rows = [
                    ("in all", f"{float(whole.printed.split()[-1]):.1f} s", "under 120 s"),
                    ("memory", f"{whole.megabytes:.0f} MB", "under 3,000 MB"),
                ]
                show(f"Summary, fit, prediction and intervals from {given.transactions:,} order lines", rows)
        if given.pymc:
            beside_pymc(Path(folder), given.pymc)


def compare(ours, theirs, difference: float, faster: str, equal: str) -> list[tuple[str, str, str]]:
    """Both sides, without the start of Python and its imports."""
    one, other = float(ours.printed.split()[-1]), float(theirs.printed.split()[-1])
    return [
        ("Clientbook", f"{one:.1f} s, {ours.megabytes:.0f} MB", ""),
        ("lifetimes", f"{other:.1f} s, {theirs.megabytes:.0f} MB", ""),
        ("faster by", f"{other / one:.1f} times", f"at least {faster}"),
        ("largest difference", f"{difference:.1e}", f"at most {equal}"),
    ]


def summary_difference(folder: Path) -> float:
    """The largest difference in any cell of the two summaries."""
    theirs = pd.read_parquet(folder / "theirs.parquet").sort_values(["frequency", "recency", "T", "monetary_value"])
    ours = pd.read_parquet(folder / "ours.parquet").sort_values(["frequency", "recency", "T", "monetary"])
    names = {"frequency": "frequency", "recency": "recency", "T": "T", "monetary": "monetary_value"}
    return max(float(np.abs(ours[a].to_numpy(float) - theirs[b].to_numpy(float)).max()) for a, b in names.items())


def clv_difference(folder: Path) -> float:
    """The largest relative difference of a customer's CLV."""
    theirs = pd.read_parquet(folder / "clv_theirs.parquet").set_index("customer_id")["clv"]
    ours = pd.read_parquet(folder / "clv_ours.parquet").set_index("customer_id")["clv"].loc[theirs.index]
    return float((np.abs(ours - theirs) / np.maximum(np.abs(theirs), 1e-9)).max())


if __name__ == "__main__":
    main()
