"""Makes the small book that the notebooks are kept executed on: made people, and one of every fault.

Run by hand: `python tests/books/make_small.py`; it writes the same bytes every time.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

FOLDER = Path(__file__).parent / "small"
CUSTOMERS = 400
FIRST_DAY, DAYS = pd.Timestamp("2022-01-01"), 730

FAULTS = (
    "F90001;;12.03.2023 10:15;scarf;1;19,90\n"  # nobody's
    "F90002;K0007;31.02.2023 10:15;scarf;1;19,90\n"  # a day that is none
    "F90003;K0008;;scarf;1;19,90\n"  # no day
    "F90004;K0009;14.03.2023 11:00;scarf;two;19,90\n"  # a number in words
    "F90005;K0010;15.03.2023 11:00;<script>alert(1)</script>;1;19,90\n"
    "F90006;K0011;16.03.2023 11:00;scarf;1;19,90;one field too many\n"
    "F90007;K0012;01.01.2030 11:00;scarf;1;19,90\n"  # ahead of the book's day
)


def main() -> None:
    """Write the book."""
    draw = np.random.default_rng(20240101)
    rate = draw.gamma(1.2, 1 / 60, CUSTOMERS)
    leave = draw.beta(1.0, 5.0, CUSTOMERS)
    spend = draw.lognormal(3.6, 0.5, CUSTOMERS)
    lines = []
    for customer in range(CUSTOMERS):
        day, count = float(draw.integers(0, 500)), 0
        while day < DAYS:
            moment = FIRST_DAY + pd.Timedelta(days=int(day), minutes=int(draw.integers(540, 1140)))
            price = max(round(float(draw.normal(spend[customer], 8)), 2), 1.0)
            lines.append((moment, customer, int(draw.integers(1, 4)), price))
            count += 1
            if draw.random() < leave[customer]:
                break
            day += max(float(draw.exponential(1 / rate[customer])), 1.0)
    lines.sort()
    products = ["shirt", "jacket", "trousers", "scarf", "alteration"]
    text = "Auftrag;Kd-Nr;Datum;Artikel;Menge;Preis\n"
    for number, (moment, customer, quantity, price) in enumerate(lines):
        article, amount = products[number % 5], f"{price:.2f}".replace(".", ",")
        row = f"A{number:05d};K{customer:04d};{moment:%d.%m.%Y %H:%M};{article};{quantity};{amount}\n"
        # one order in 29 is delivered twice, one in 23 comes back after five days
        text += row * (2 if number % 29 == 0 else 1)
        if number % 23 == 0:
            back = moment + pd.Timedelta(days=5)
            text += f"S{number:05d};K{customer:04d};{back:%d.%m.%Y %H:%M};{article};-1;{amount}\n"
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "orders.csv").write_text(text + FAULTS, encoding="latin-1")


if __name__ == "__main__":
    main()
