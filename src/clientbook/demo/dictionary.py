# ruff: noqa: E501 (tables of text, a row a line)
"""What stands in the truth, column by column?"""

from __future__ import annotations

_WHO = "true human, p- and a number"
_ACCOUNT = "true account: a- a company, h- a household (somebody alone is a household of one)"
_TEXT = """
people|Whose is each person record of each source (cookies of `web` too)? Key: source, person_id. The crawler's cookie stands in no row.
source|text||source
person_id|text||id as delivered
human_id|text||{who}
account_id|text||{account}
created_at|timestamp|UTC|when the record was written; empty for cookies
is_duplicate|bool||a second record of a human within the source
name_form|text||current, maiden (before a change of name), double (both, with a hyphen)
script|text||latin, native (simplified for Chinese), traditional
address_is_old|bool||address from before a move
email_kind|text||private, business, household (a relative's), role_mailbox
phone_is_shared|bool||the household's landline
humans|Who are they? Key: human_id.
human_id|text||{who}
account_id|text||{account}
is_business|bool||contact of a company
persona|text||true persona
role|text||buying role; empty for private people
given_name|text||in Latin letters
family_name|text||today's, in Latin letters
maiden_name|text||before the change of name; empty without one
given_name_native|text||in native script; empty where that is Latin
family_name_native|text||the same
given_name_traditional|text||in traditional characters; Chinese names only
family_name_traditional|text||the same
culture|text||where the name is from
sex|text||m, f
birth_date|date||true birth date
email|text||private address
business_email|text||business address; empty for private people
phone|text||mobile, in house style
is_twin|bool||has a twin in the household
is_namesake|bool||has a parent or child of the same name in the household
name_changed_at|timestamp|UTC|marriage; empty without one
moved_at|timestamp|UTC|move; empty without one
found_at|timestamp|UTC|first contact with the company
social_reach|integer|followers|true reach
accounts|Which companies and households are there? Key: account_id.
account_id|text||{account}
kind|text||company, household
name|text||company's name without legal form
legal_form|text||legal form
domain|text||company's domain
industry|text||industry
members|integer|humans|how many belong to it
parent_account_id|text||company that it belongs to
account_records|Whose is each account of the CRM? Key: source, source_account_id.
source|text||crm
source_account_id|text||id as delivered
account_id|text||{account}
delivered_name|text||as the CRM spells it
true_name|text||with its legal form
spoiled|Which cells are spoiled? Key: source, table, row_key, column. Old names and addresses, shared contacts and gaps are no spoiling: see `people`.
source|text||source
table|text||canonical table
row_key|text||person_id
column|text||canonical column; a part of a full name is named by its part
kind|text||kind of spoiling
delivered|text||what was written (of a part of a full name: the part; Latin-1 sources lose marks beside)
true_value|text||what it should be (phones: house style +49 170 2345678)
curable|bool||can be put right from the cell itself
cured_value|text||what it is then; empty: the cell should be emptied
rates|How often was each kind of spoiling asked for, and how often made? Key: cells, kind.
cells|text||source.table.column
kind|text||kind of spoiling
asked|number|share|as `clientbook.demo.rates()` has it
able|integer|cells|that this kind could have spoiled
spoiled|integer|cells|that it did spoil (a spoiling that changes nothing is none)
rejects|Which delivered rows can be used for nothing? Key: source, table, row_key.
source|text||source
table|text||canonical table
row_key|text||order_id (each such order has one row)
column|text||canonical column at fault
delivered|text||what stands there; empty: nothing
kind|text||kind of fault
doubles|Which rows were delivered twice, equal in all columns? Key: source, table, row_key, product_id.
source|text||source
table|text||canonical table
row_key|text||order_id
product_id|text||product
value|What is each customer worth? Key: human_id. Margin: amount less returned amount, less product cost of what was kept.
human_id|text||{who}
account_id|text||{account}
ever_buys|bool||is a buyer at all, by now or later
orders_per_year|number|orders a year|true rate, in mean season, at `as_of`
regularity|number||shape of the gamma distributed gaps: 1 random, above regular, below in bursts
season|text||yearly profile
is_wholesale|bool||orders many times what others do
quit_log_odds|number|log-odds|of not coming back after an order with which nothing went wrong
first_order_at|timestamp|UTC|first order (may lie before the history, or after `as_of`)
dropped_at|timestamp|UTC|when buying ended or will end; empty for those who never buy
dropped_for|text||why
order_amount|number|EUR|expected amount of an order, net of discount
order_cost|number|EUR|expected product cost of an order
return_share|number|share|expected share of an order that comes back
order_margin|number|EUR|expected margin of an order
is_alive|bool||will the customer still buy after `as_of`
p_alive|number|probability|of that, from the own history and the true parameters (without an order yet: from the persona's share of buyers)
expected_orders|number|orders|in the 12 months after `as_of`, knowing is_alive
expected_margin|number|EUR|expected_orders times order_margin
expected_orders_from_history|number|orders|the same, knowing p_alive only: the best that anybody could know
expected_margin_from_history|number|EUR|expected_orders_from_history times order_margin
past_orders|integer|orders|in the three years before `as_of`
past_margin|number|EUR|of these, what still comes back after `as_of` taken off already
future_orders|integer|orders|in the 12 months from `as_of`, as they will come
future_amount|number|EUR|of these, net of discount
future_margin|number|EUR|of these
stages|Where did each account stand on each topic? Key: subject_id, topic, valid_from. A year beyond `as_of` included.
subject_type|text||account
subject_id|text||{account}
topic|text||topic
journey_id|text||journey
stage|text||true stage
valid_from|timestamp|UTC|from then
valid_to|timestamp|UTC|to then, exclusive
journeys|Which journeys were made? Key: journey_id.
journey_id|text||journey
subject_id|text||{account}
topic|text||topic
opened_at|timestamp|UTC|opening
closed_at|timestamp|UTC|close
is_won|bool||led to an order
won_at|timestamp|UTC|first order of the journey
decides_at|timestamp|UTC|first time in decide before the order; empty: never
sample_at|timestamp|UTC|a sample was sent; empty: none
transitions|The chain that walks to a first order are drawn from. Key: stage_from, stage_to.
stage_from|text||empty: the walk begins
stage_to|text||adopt: the order; left: gone
probability|number|probability|of this step
stays|How long does a stage last, how often does it show? Key: stage.
stage|text||stage
shape|number||of the gamma distributed stay (adopt, use and recommend are cut short by the next order)
mean_days|number|days|mean stay
visits_per_month|number|visits in 30 days|of a human of mean activity alone in the account
emissions|What does a visit in a stage begin with? Key: stage, event_name.
stage|text||stage
event_name|text||event
probability|number|probability|of this event
effects|Which events truly move people, and how much? Key: effect.
effect|text||event
outcome|text||what it acts on
log_odds|number|log-odds|added to the outcome's log-odds; empty for the mailing
difference|number|probability|the same as a difference in probability
difference_is|text||of what, over whom
n|integer||how many it happened to
messages|What was wrong with each message? Key: message_id. As of the time of sending; consents, cases, deals, content and topics as delivered, persons, accounts and stages as they truly are.
message_id|text||id as delivered
source|text||newsletter
human_id|text||{who}
account_id|text||{account}
sent_at|timestamp|UTC|time of sending
stage_at_send|text||true stage of the account on the message's topic; empty: no journey open
no_consent|bool||no consent in force for purpose and channel
open_complaint|bool||a complaint of the human was open
after_close|bool||for need, research or decide, though a deal on its topic had closed and none is open
over_cap|bool||more than the cap to the account in the 30 days up to it
over_preference|bool||against the channels, topics or frequency that the human stated last (each of the three apart)
duplicate|bool||the same piece had gone to the account less than 30 days before
wrong_topic|bool||the account has open deals, none on its topic
wrong_stage|bool||its piece is neither for the true stage nor for the one after; no journey open: false
verdict|text||first reason that holds, right, or operational
experiments|Who was in the randomised mailing? Key: experiment, human_id.
experiment|text||name
human_id|text||{who}
source|text||newsletter
person_id|text||subscriber
arm|text||treated, control
sent_at|timestamp|UTC|time of sending (control: would have been)
uplift|number|probability|of a further order within 30 days because of it
is_extra_order|bool||it did make one
extra_order_at|timestamp|UTC|when
responsiveness|How does each human answer? Key: human_id. `clientbook.demo.answer` puts it together.
human_id|text||{who}
account_id|text||{account}
best_weekday|integer|0 Monday|best day
best_hour|integer|hour|best hour, local time
order_margin|number|EUR|expected margin of an order
open_email|number|log-odds|of an open, by channel, at a bad hour
open_sms|number|log-odds|the same
open_post|number|log-odds|the same
open_phone|number|log-odds|the same
likes_*|number|share|of the human's interest, a column a topic
response_model|The coefficients of the answers. Key: parameter.
parameter|text||name
value|number||log-odds, EUR for cost.*; order.*: probability that a click of a customer (truth/value: since first_order_at, before dropped_at) brings an order, by the stage on the piece's topic
content|What is each piece truly for? Key: content_id.
content_id|text||id as delivered
topic|text||true topic
stage|text||true stage
appeal|number|log-odds|of an open and a click
is_stage_untold|bool||the stage is not delivered
is_topic_untold|bool||the topic is not delivered
referrals|Who brought whom? Key: referred_human_id.
human_id|text||{who}
referred_human_id|text||{who}
referred_at|timestamp|UTC|when
cases|How was each case handled? Key: case_id.
case_id|text||id as delivered
human_id|text||{who}
handled|text||well, badly, no complaint
planted|Which accounts have a story? Key: what.
what|text||thirty_irrelevant_emails: two contacts, thirty e-mails in thirty days, none opened
account_id|text||{account}
"""


def _tables() -> dict[str, tuple[str, list[tuple[str, str, str, str]]]]:
    from .world import TOPICS

    found: dict = {}
    for line in _TEXT.format(who=_WHO, account=_ACCOUNT).strip().split("\n"):
        parts = line.split("|")
        if len(parts) == 2:
            columns: list = []
            found[parts[0]] = (parts[1], columns)
        elif parts[0] == "likes_*":
            columns += [("likes_" + topic, *parts[1:]) for topic in TOPICS]
        else:
            columns.append(tuple(parts))
    return found


def dictionary() -> list[tuple[str, str, str, str, str]]:
    """Every column of the truth.

    Returns
    -------
    list of (table, column, type, unit, meaning)
        Types: text, bool, integer, number, date, timestamp. In the order of the files' columns.
    """
    return [(table, *column) for table, (_, columns) in _tables().items() for column in columns]


def as_markdown() -> str:
    """The dictionary as a page."""
    lines = [
        "# The made company's truth",
        "",
        "Nothing reads these files but to score. Times are UTC. The book's own tables are described by `clientbook.yaml`.",
        "",
    ]
    for table, (about, columns) in _tables().items():
        lines += [
            f"## {table}.parquet",
            "",
            about,
            "",
            "| column | type | unit | meaning |",
            "| --- | --- | --- | --- |",
        ]
        lines += [f"| {name} | {kind} | {unit} | {meaning} |" for name, kind, unit, meaning in columns] + [""]
    return "\n".join(lines)
