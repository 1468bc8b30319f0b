"""What do the next actions of made companies bring, and by which choice is the rest lost? How right is the audit?

By hand: `python tests/benchmarks/next_actions.py BOOK…`, each a made company with a run. One estimated part after the other
is replaced by the truth; beside it every reason of the audit, as matched and with the stages as estimated, with the true
accounts, and with the true people too; and the place of the planted account on the list of pressure.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from dataclasses import replace

import ibis
import pandas as pd

from clientbook import content
from clientbook.content import actions, audit
from clientbook.stage import step as open_step


def by_identities(step, found: audit.Circumstances, audited) -> pd.DataFrame:
    """Every reason as matched, with the true accounts of the customers that were matched, and with the true people.

    The stages are those of the accounts that were matched; what depends on them is told as matched alone.
    """
    people, accounts = step.truth("people"), step.truth("account_records")
    people = people.mutate(human_id=ibis.literal("c") + people["human_id"])
    true = people.select("source", "person_id", customer_id="human_id")
    own = people.select(customer_id="human_id", account_id="account_id").distinct()
    most = people.select("source", "person_id", "account_id").inner_join(found.identities, ["source", "person_id"])
    most = most.group_by("customer_id", "account_id").agg(n=most.count())
    order = ibis.window(group_by="customer_id", order_by=[ibis.desc("n"), "account_id"])
    most = most.mutate(_rank=ibis.row_number().over(order)).filter(lambda t: t["_rank"] == 0)
    whose = {"account_identities": accounts.select("source", "source_account_id", "account_id"), "stage_intervals": None}
    others = {
        "true accounts": {"customers": most.select("customer_id", "account_id")} | whose,
        "true people": {"identities": true, "customers": own} | whose,
    }
    told = content.score(audited, step.truth("messages")).drop(columns=["naive", "agreement"])
    for name, changed in others.items():
        other = replace(found, **{key: None if rows is None else audit.keep(step.engine, rows) for key, rows in changed.items()})
        known = audit.learn(other, step.parameters.complaint, step.engine)
        sent = audit.sendings(step.read("messages"), step.read("content"), known.identities, known.customers)
        sent = audit.keep(step.engine, sent)
        judged = audit.keep(step.engine, audit.audit(sent, known, step.book.settings.contact_policy, step.engine))
        right = content.score(judged, step.truth("messages"))
        right = right[~right["reason"].isin(["wrong_stage", "verdict", "stage_at_send"])].set_index("reason")
        for number in ("precision", "recall"):
            told[f"{number}, {name}"] = told["reason"].map(right[number])
    return told[told["precision"].notna()]


def told(book: str) -> None:
    """Print what one made company shows."""
    os.environ["CLIENTBOOK_BOOK"] = book
    began = time.process_time()
    step = open_step("content")
    work = content.analyse(step)
    seconds = time.process_time() - began
    found = audit.Circumstances(**{name: step.read(name) for name in audit.Circumstances.__dataclass_fields__})
    who = audit.learn(found, step.parameters.complaint, step.engine)
    messages = step.read("messages")
    records = audit.keep(step.engine, actions.records_of_each(messages, who))
    now = content._begin(step.as_of, step.book.settings.timezone)
    signs = work.planned.signs
    lost = content.policy_score(step, work.planned, records, signs.sent, who, now, why=True)
    print(f"\n{book}: {seconds:.0f} CPU seconds")
    print(lost.round({"margin": 0, "a_message": 2, "of_best": 3}).to_string(index=False))
    print(content.policy.lost_by(lost).round({"margin": 0, "of_best": 3}).to_string(index=False))
    print(by_identities(step, found, work.audited).round(3).to_string(index=False))
    planted, found = step.truth("planted"), content.worst(work.pressure, work.audited)
    if planted is not None:
        print(planted.to_pandas().to_string(index=False))
    print(found.head(3).to_string(index=False))


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    pd.set_option("display.width", 200)
    for given in sys.argv[1:]:
        told(given)
