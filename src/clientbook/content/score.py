"""How far is the audit from the truth of a made company?"""

from __future__ import annotations

import ibis.expr.types as ir
import pandas as pd

from clientbook.content.audit import REASONS


def score(audited: ir.Table, truth: ir.Table | None) -> pd.DataFrame:
    """How often is each reason right, beside the rule that every message was right?

    Parameters
    ----------
    audited
        The table `message_audit`.
    truth
        The made company's true reasons, or None.

    Returns
    -------
    pandas.DataFrame
        `reason` (last: `verdict`, `stage_at_send`), `n` (messages for which it truly holds), `precision`, `recall`,
        `agreement` (share of all messages judged alike) and `naive` (the agreement of “everything was right”); empty
        without truth.
    """
    columns = ["reason", "n", "precision", "recall", "agreement", "naive"]
    if truth is None:
        return pd.DataFrame(columns=columns)
    names = [*REASONS, "verdict", "stage_at_send"]
    t = truth.select("source", "message_id", **{f"true_{name}": truth[name] for name in names})
    both = audited.inner_join(t, ["source", "message_id"])
    sums = {"all": both.count()}
    for name in REASONS:
        said, true = both[name].fill_null(False), both[f"true_{name}"]
        sums |= {f"{name}.true": true.cast("int64").sum(), f"{name}.said": said.cast("int64").sum()}
        sums |= {f"{name}.both": (said & true).cast("int64").sum()}
    for name in ("verdict", "stage_at_send"):
        sums[f"{name}.alike"] = both[name].identical_to(both[f"true_{name}"]).cast("int64").sum()
    sums["verdict.naive"] = both["true_verdict"].isin(["right", "operational"]).cast("int64").sum()
    sums["stage_at_send.naive"] = both["true_stage_at_send"].isnull().cast("int64").sum()
    told = both.aggregate(**sums).to_pandas().iloc[0]
    n, rows = float(told["all"]), []
    for name in REASONS:
        true, said, hit = (float(told[f"{name}.{what}"] or 0) for what in ("true", "said", "both"))
        agreement = (n - true - said + 2 * hit) / n
        rows.append((name, int(true), hit / said if said else None, hit / true if true else None, agreement, 1 - true / n))
    for name in ("verdict", "stage_at_send"):
        rows.append((name, int(n), None, None, told[f"{name}.alike"] / n, told[f"{name}.naive"] / n))
    return pd.DataFrame(rows, columns=columns).astype({"precision": float, "recall": float})
