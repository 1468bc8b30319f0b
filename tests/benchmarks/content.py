"""The audit of twenty million messages: every reason, as of the time of sending.

By hand: `python tests/benchmarks/content.py [--messages N]`. Messages, consents, wishes, cases, deals and stages are made
by DuckDB, twenty messages a customer, five customers to two accounts.
"""

from __future__ import annotations

import argparse
import tempfile

from measuring import measure_python, show

MAKE = """
import duckdb
n = {messages}; customers = n // 20; accounts = customers * 2 // 5
c = duckdb.connect()
c.execute("set threads = 2")
c.execute("set memory_limit = '2GB'")
c.execute("set temp_directory = '{folder}/spill'")
def put(name, query):
    c.execute(f"copy ({{query}}) to '{folder}/{{name}}.parquet' (format parquet)")
def whole(salt, most):
    return f"(hash(i * 31 + {{salt}}) % {{most}})"
day = "timestamp '2023-01-01' + to_seconds(({{}} % 94608000)::bigint)"
topic, stage = "'t' || {{}}", "(['need','research','decide','adopt','use','recommend'])[1 + {{}}::int]"
put("messages", f\"\"\"select 'n' as source, 'm' || i message_id, 'crm' person_source, 'p' || {{whole(1, customers)}} person_id,
    timestamp '2023-01-01' + to_seconds((i * 94608000 / {{n}})::bigint) sent_at,
    (['email','email','email','post','sms','phone'])[1 + {{whole(2, 6)}}::int] channel, 'newsletter' message_type,
    (['brand','product','sales','service'])[1 + {{whole(3, 4)}}::int] sender, 'n' content_source,
    'x' || {{whole(4, 1000)}} content_id, null::varchar topic, 'marketing' purpose, {{whole(5, 10)}} = 0 is_operational,
    case when {{whole(6, 4)}} = 0 then sent_at + interval 1 hour end opened_at, null::timestamp clicked_at,
    null::timestamp replied_at, null::timestamp unsubscribed_at, 0.002::double as cost, i arrival from range({{n}}) r(i)\"\"\")
put("content", f\"\"\"select 'n' as source, 'x' || i content_id, 'title' title, {{topic.format(whole(7, 8))}} topic,
    {{stage.format(whole(8, 6))}} stage, 'article' format, i arrival from range(1000) r(i)\"\"\")
put("identities", f"select 'crm' as source, 'p' || i person_id, 'c' || i customer_id, 1.0::double as probability from range({{customers}}) r(i)")
put("customers", f"select 'c' || i customer_id, 'a' || (i * 2 // 5) account_id from range({{customers}}) r(i)")
person = f"'crm' as source, 'crm' person_source, 'p' || {{whole(9, customers)}} person_id"
put("consents", f\"\"\"select {{person}}, 'marketing' purpose, case when {{whole(10, 5)}} = 0 then 'withdrawn' else 'given' end status,
    {{day.format(whole(11, 94608000))}} indicated_at, case when {{whole(12, 2)}} = 0 then 'email' end channel,
    null::timestamp valid_to, i arrival from range({{customers * 3 // 2}}) r(i)\"\"\")
put("preferences", f\"\"\"select {{person}}, {{day.format(whole(13, 94608000))}} stated_at, null::varchar channel,
    case when {{whole(14, 3)}} = 0 then {{topic.format(whole(15, 8))}} end topic, null::double as weekday, null::double as hour,
    case when {{whole(16, 2)}} = 0 then 4.0::double end max_per_period, 30.0::double as period_days, i arrival
    from range({{customers // 10}}) r(i)\"\"\")
put("cases", f\"\"\"select {{person}}, 'k' || i case_id, {{day.format(whole(17, 94608000))}} opened_at,
    opened_at + to_days(({{whole(18, 9)}})::int) closed_at, 'complaint: late' reason, i arrival
    from range({{customers // 8}}) r(i)\"\"\")
put("opportunities", f\"\"\"select {{person}}, 'o' || i opportunity_id, {{day.format(whole(19, 94608000))}} opened_at,
    opened_at + to_days(({{whole(20, 90)}})::int) closed_at, {{topic.format(whole(21, 8))}} topic,
    null::varchar account_source, null::varchar account_id, i arrival from range({{customers // 10}}) r(i)\"\"\")
put("stage_intervals", f\"\"\"select 'account' subject_type, 'a' || {{whole(22, accounts)}} subject_id,
    {{topic.format(whole(23, 8))}} topic, 'j' || i journey_id, {{stage.format(whole(24, 6))}} stage,
    {{day.format(whole(25, 94608000))}} valid_from, valid_from + to_days(({{whole(26, 120)}})::int) valid_to,
    0.7::double as probability, 'filtered' as method from range({{customers * 2}}) r(i)\"\"\")
"""

AUDIT = """
import time
from pathlib import Path
from clientbook.book import ContactPolicy
from clientbook.content import audit
from clientbook.engine import open as open_engine
folder = Path("{folder}")
with open_engine("duckdb", scratch=folder / "scratch", memory="{memory}", threads=2) as engine:
    # who measures reads at the end: a bar of progress would fill the pipe
    engine.connection.raw_sql("SET enable_progress_bar = false")
    read = lambda name: engine.read_parquet(folder / f"{{name}}.parquet")
    began = time.perf_counter()
    names = ("consents", "preferences", "cases", "opportunities", "identities", "customers", "stage_intervals")
    found = audit.Circumstances(**{{name: read(name) for name in names}})
    known = audit.learn(found, "complaint", engine)
    sent = audit.keep(engine, audit.sendings(read("messages"), read("content"), known.identities, known.customers))
    engine.write_parquet(audit.audit(sent, known, ContactPolicy(), engine), folder / "audit.parquet")
    print(time.perf_counter() - began)
    told = read("audit")
    told = told.group_by("verdict").agg(n=told.count()).to_pandas()
    print(told.sort_values("n", ascending=False).to_string(index=False))
"""


def main() -> None:
    """Make the messages, audit them, and show what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000_000)
    parser.add_argument("--memory", default="3GB", help="an upper bound for the engine")
    parser.add_argument("--folder", default=None, help="where to make them; default: a temporary folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        measure_python(MAKE.format(messages=given.messages, folder=folder))
        told = measure_python(AUDIT.format(folder=folder, memory=given.memory))
        rows = [
            ("audit, seconds", told.printed.strip().splitlines()[0][:6], "120"),
            ("peak memory, GB", f"{told.megabytes / 1000:.2f}", "6"),
        ]
        show(f"Audit of {given.messages:,} messages", rows)
        print("\n".join(told.printed.strip().splitlines()[1:]))


if __name__ == "__main__":
    main()
