"""What do the next actions of made companies bring, and where is the rest lost? How right is the audit?

By hand: `python tests/benchmarks/next_actions.py BOOK…`, each a made company with a run. One estimated part after the other
is replaced by the truth; beside it every reason of the audit, as matched and with the stages as estimated, and the place of
the planted account on the list of pressure.
"""

from __future__ import annotations

import os
import sys
import time
import warnings

import pandas as pd

from clientbook import content
from clientbook.content import actions, audit
from clientbook.stage import step as open_step


def told(book: str) -> None:
    """Print what one made company shows."""
    os.environ["CLIENTBOOK_BOOK"] = book
    began = time.process_time()
    step = open_step("content")
    work = content.analyse(step)
    seconds = time.process_time() - began
    who = audit.learn(
        audit.Circumstances(**{name: step.read(name) for name in audit.Circumstances.__dataclass_fields__}),
        step.parameters.complaint, step.engine,
    )  # fmt: skip
    messages = step.read("messages")
    records = audit.keep(step.engine, actions.records_of_each(messages, who))
    now = content._begin(step.as_of, step.book.settings.timezone)
    signs = work.planned.signs
    lost = content.policy_score(step, work.planned, records, signs.sent, who, now, why=True)
    print(f"\n{book}: {seconds:.0f} CPU seconds")
    print(lost.round({"margin": 0, "a_message": 2, "of_best": 3}).to_string(index=False))
    print(content.score(work.audited, step.truth("messages")).round(3).to_string(index=False))
    planted, found = step.truth("planted"), content.worst(work.pressure, work.audited)
    if planted is not None:
        print(planted.to_pandas().to_string(index=False))
    print(found.head(3).to_string(index=False))


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    pd.set_option("display.width", 200)
    for given in sys.argv[1:]:
        told(given)
