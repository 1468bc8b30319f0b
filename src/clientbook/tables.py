"""What are the canonical tables, and what may stand in their columns?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["id", "text", "number", "money", "time", "date", "flag"]

CONSENT_STATUSES = ("given", "refused", "withdrawn", "expired", "unknown")
STAGES = ("need", "research", "decide", "adopt", "use", "recommend")

PERSONAL_KINDS = ("name", "email", "phone", "birth_date", "address", "id", "words")


@dataclass(frozen=True)
class Column:
    """What may stand in a column?

    Parameters
    ----------
    name
        Canonical name.
    kind
        `id` (a string, as delivered), `text`, `number`, `money` (the book's currency), `time` (UTC),
        `date` or `flag`.
    meaning
        One phrase for the data dictionary.
    required
        A bad or missing value rejects the row.
    unit
        For the data dictionary, where the kind does not say it.
    planned
        A time that may lie after `as_of` and be known before: a promise, an expiry.
    personal
        The kind of personal data, one of `PERSONAL_KINDS`, or nothing.
    allowed
        The only values that may stand in it; anything else is bad.
    """

    name: str
    kind: Kind
    meaning: str
    required: bool = False
    unit: str = ""
    planned: bool = False
    personal: str = ""
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """What is a row of this table?

    Parameters
    ----------
    name
        Canonical name.
    meaning
        What a row is.
    columns
        In the order in which they are written.
    at
        The column that says when a row happened; rows of `as_of` and later are set apart by it.
    key
        The column that names a row in its own source. Where it may be missing, rows without it are never
        taken for one.
    for_next
        Whether nobody but the next run reads it: once a newer run has it too, it is deleted.
    """

    name: str
    meaning: str
    columns: tuple[Column, ...]
    at: str = ""
    key: str = ""
    for_next: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def required(self) -> tuple[str, ...]:
        """The names of the columns without which a row says nothing."""
        return tuple(column.name for column in self.columns if column.required)

    @property
    def owned_ids(self) -> tuple[str, ...]:
        """The id columns that may belong to another source, in order."""
        return tuple(c.name for c in self.columns if c.name in OWNED_IDS and not self.is_register_of(c.name))

    def is_register_of(self, id_column: str) -> bool:
        """Whether this table is where the source itself keeps these ids."""
        return REGISTERS.get(id_column) == self.name

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)


# An id in one of these columns belongs to the row's own source unless the book says whose it is; the clean table
# says so in a column of its own, `person_source` beside `person_id`.
OWNED_IDS = ("person_id", "order_id", "product_id", "account_id", "content_id", "opportunity_id")
REGISTERS = {
    "person_id": "people",
    "product_id": "products",
    "account_id": "accounts",
    "content_id": "content",
    "opportunity_id": "opportunities",
}


def owner_column(id_column: str) -> str:
    """The name of the column that says which source an id belongs to: `person_source` for `person_id`."""
    return id_column.removesuffix("_id") + "_source"


def _id(name: str, meaning: str, **more) -> Column:
    return Column(name, "id", meaning, **more)


def _text(name: str, meaning: str, **more) -> Column:
    return Column(name, "text", meaning, **more)


def _number(name: str, meaning: str, **more) -> Column:
    return Column(name, "number", meaning, **more)


def _money(name: str, meaning: str, **more) -> Column:
    return Column(name, "money", meaning, **more)


def _time(name: str, meaning: str, **more) -> Column:
    return Column(name, "time", meaning, **more)


def _date(name: str, meaning: str, **more) -> Column:
    return Column(name, "date", meaning, **more)


def _flag(name: str, meaning: str, **more) -> Column:
    return Column(name, "flag", meaning, **more)


_PERSON = _id("person_id", "the person's id in its source", required=True, personal="id")

_TABLES = (
    Table(
        "people",
        "a record of somebody in one source",
        (
            _PERSON,
            _text("full_name", "the whole name as one", personal="name"),
            _text("given_name", "first name", personal="name"),
            _text("family_name", "surname", personal="name"),
            _text("email", "e-mail address", personal="email"),
            _text("phone", "telephone number", personal="phone"),
            _date("birth_date", "date of birth", personal="birth_date"),
            _text("street", "street and house number", personal="address"),
            _text("city", "city", personal="address"),
            _text("postcode", "postcode", personal="address"),
            _text("region", "region, state or canton"),
            _text("country", "country"),
            _text("company", "employer's name"),
            _text("job_title", "job title"),
            _id("account_id", "the account the person belongs to"),
            _text("industry", "industry"),
            _text("persona", "persona given by the company"),
            _id("external_id", "a number that several systems share: loyalty card, tax id", personal="id"),
            _number("social_reach", "followers or contacts", unit="people"),
            _time("created_at", "when the record was made"),
            _time("updated_at", "when the record was last changed"),
        ),
        at="created_at",
        key="person_id",
    ),
    Table(
        "aliases",
        "two ids that are known to be the same human",
        (
            _PERSON,
            _text("other_source", "the other id's source", required=True),
            _id("other_person_id", "the other id", required=True, personal="id"),
            _time("linked_at", "when the link was seen"),
        ),
        at="linked_at",
    ),
    Table(
        "accounts",
        "a company or household",
        (
            _id("account_id", "the account's id in its source", required=True),
            _text("name", "the account's name", required=True),
            _text("domain", "web domain"),
            _text("industry", "industry"),
            _text("region", "region, state or canton"),
            _text("country", "country"),
            _id("parent_account_id", "the account it belongs to"),
        ),
        key="account_id",
    ),
    Table(
        "orders",
        "a line of an order",
        (
            _PERSON,
            _time("ordered_at", "when it was ordered", required=True),
            _id("order_id", "the order's id"),
            _id("product_id", "the product's id"),
            _number("quantity", "how many", unit="pieces"),
            _money("unit_price", "price of one piece"),
            _money("amount", "price of the line, discount already taken off"),
            _money("discount", "discount, already taken off the amount"),
            _text("currency", "currency as delivered"),
            _text("channel", "sales channel"),
            _text("campaign", "campaign that it is put down to"),
            _text("status", "status as delivered; `open` is not yet delivered"),
        ),
        at="ordered_at",
        key="order_id",
    ),
    Table(
        "deliveries",
        "a delivery of an order or of one product of it",
        (
            _id("order_id", "the order's id", required=True),
            _id("product_id", "the product's id; none means the whole order"),
            _time("promised_at", "when it was promised for; where that is a day without a clock, until its end", planned=True),
            _time("delivered_at", "when it arrived"),
        ),
    ),
    Table(
        "returns",
        "goods that came back, or an order that was cancelled",
        (
            _id("order_id", "the order's id", required=True),
            _time("returned_at", "when it came back", required=True),
            _id("product_id", "the product's id; none means the whole order"),
            _number("quantity", "how many came back", unit="pieces"),
            _money("amount", "what was paid back"),
        ),
        at="returned_at",
    ),
    Table(
        "products",
        "a product",
        (
            _id("product_id", "the product's id in its source", required=True),
            _text("name", "the product's name", required=True),
            _text("topic", "product line or solution"),
            _money("unit_cost", "cost of one piece"),
            _number("stock_quantity", "how many are in stock", unit="pieces"),
        ),
        key="product_id",
    ),
    Table(
        "events",
        "a touchpoint: something a person did, or the company did with them",
        (
            _PERSON,
            _text("event_name", "what happened", required=True),
            _time("occurred_at", "when it happened", required=True),
            _id("event_id", "the event's id"),
            _text("channel", "channel"),
            _text("device", "device"),
            _text("direction", "inbound or outbound"),
            _text("topic", "product line or solution"),
            _id("content_id", "the piece that was seen"),
            _id("session_id", "the visit's id"),
            _text("text", "the words of a search", personal="words"),
            _number("results", "how many hits the search had", unit="hits"),
        ),
        at="occurred_at",
        key="event_id",
    ),
    Table(
        "content",
        "a piece that a message or page carries",
        (
            _id("content_id", "the piece's id in its source", required=True),
            _text("title", "title", required=True),
            _text("topic", "product line or solution"),
            _text("stage", "the stage it is for", allowed=STAGES),
            _text("format", "article, video, case study, …"),
            _text("role", "the role it speaks to"),
            _text("url", "address of the page"),
            _text("text", "its words"),
        ),
        key="content_id",
    ),
    Table(
        "messages",
        "an outbound communication to one person",
        (
            _id("message_id", "the message's id in its source", required=True),
            _PERSON,
            _time("sent_at", "when it was sent", required=True),
            _text("channel", "channel"),
            _text("message_type", "newsletter, offer, invitation, …"),
            _text("sender", "the team that sent it"),
            _id("content_id", "the piece that it carries"),
            _text("topic", "product line or solution"),
            _text("purpose", "the purpose that consent is needed for; `marketing` unless given"),
            _flag("is_operational", "needed to serve an order or a contract"),
            _time("opened_at", "first opened"),
            _time("clicked_at", "first clicked"),
            _time("replied_at", "first answered"),
            _time("unsubscribed_at", "unsubscribed through it"),
            _money("cost", "cost of sending"),
        ),
        at="sent_at",
        key="message_id",
    ),
    Table(
        "opportunities",
        "an open, won or lost deal on a topic",
        (
            _id("opportunity_id", "the opportunity's id in its source", required=True),
            _time("opened_at", "when it was opened", required=True),
            _id("account_id", "the account it is with"),
            _id("person_id", "the person it is with", personal="id"),
            _text("topic", "product line or solution"),
            _text("stage_name", "the sales team's own stage"),
            _time("closed_at", "when it was won or lost"),
            _flag("is_won", "won; empty while it is open"),
            _money("amount", "worth of the deal"),
        ),
        at="opened_at",
        key="opportunity_id",
    ),
    Table(
        "opportunity_people",
        "a person's part in an opportunity",
        (
            _id("opportunity_id", "the opportunity's id", required=True),
            _PERSON,
            _text("role", "buyer, user, decider, …"),
        ),
    ),
    Table(
        "cases",
        "a question or complaint that service dealt with",
        (
            _id("case_id", "the case's id in its source", required=True),
            _PERSON,
            _time("opened_at", "when it was opened", required=True),
            _time("closed_at", "when it was closed"),
            _text("channel", "channel"),
            _text("reason", "what it was about"),
            _text("text", "the customer's words", personal="words"),
            _money("cost", "cost of dealing with it"),
        ),
        at="opened_at",
        key="case_id",
    ),
    Table(
        "surveys",
        "one person's answer to one question",
        (
            _PERSON,
            _time("asked_at", "when they were asked", required=True),
            _text("metric", "nps, csat, …"),
            _number("score", "the answer as a number"),
            _text("channel", "channel"),
            _text("text", "the answer in words", personal="words"),
        ),
        at="asked_at",
    ),
    Table(
        "referrals",
        "a person who brought another",
        (
            _PERSON,
            _id("referred_person_id", "the person who was brought", required=True, personal="id"),
            _time("referred_at", "when", required=True),
        ),
        at="referred_at",
    ),
    Table(
        "consents",
        "what a person allowed or refused at a time",
        (
            _PERSON,
            _text("purpose", "what it is for", required=True),
            _text("status", "given, refused, withdrawn, expired or unknown", required=True, allowed=CONSENT_STATUSES),
            _time("indicated_at", "when they said so", required=True),
            _text("channel", "the channel; none means all"),
            _time("valid_to", "when it runs out", planned=True),
        ),
        at="indicated_at",
    ),
    Table(
        "preferences",
        "what a person said they would like",
        (
            _PERSON,
            _time("stated_at", "when they said so", required=True),
            _text("channel", "the channel they prefer"),
            _text("topic", "the topic they want to hear of"),
            _number("weekday", "the day they prefer, 1 is Monday", unit="day of the week"),
            _number("hour", "the hour they prefer, 0 to 23", unit="hour"),
            _number("max_per_period", "how many messages they want at most", unit="messages"),
            _number("period_days", "in how many days", unit="days"),
        ),
        at="stated_at",
    ),
)

CANONICAL: dict[str, Table] = {table.name: table for table in _TABLES}


# What cleaning splits off a cell, or makes of it to compare by, beside the columns that were delivered.
DERIVED: dict[str, tuple[Column, ...]] = {
    "people": (
        _text("name_title", "title, taken off the name", personal="name"),
        _text("given_name_key", "first name in small Latin letters, to compare by", personal="name"),
        _text("family_name_key", "surname in small Latin letters, to compare by", personal="name"),
        _text("full_name_key", "whole name in small Latin letters, to compare by", personal="name"),
        _text("email_key", "e-mail address without its tag, to compare by; only one that can be an address", personal="email"),
        _text("street_name", "the street without its number", personal="address"),
        _text("house_number", "the house number", personal="address"),
        _text("company_name", "employer's name without its legal form"),
        _text("legal_form", "the employer's legal form"),
        _text("job_role", "what the job title says that they do"),
        _text("seniority", "how high the job title says that they stand"),
    ),
    "accounts": (
        _text("company_name", "the account's name without its legal form"),
        _text("legal_form", "its legal form"),
    ),
}


# `as_of` is by default the day after the newest of these.
OBSERVED_AT = ("ordered_at", "occurred_at", "sent_at", "opened_at", "asked_at")


def clean_columns(table: Table) -> tuple[Column, ...]:
    """The columns of a canonical table as cleaning writes it: with its source, the owners of ids, and its place.

    Parameters
    ----------
    table
        A canonical table.
    """
    told = [_text("source", "the system that the row came from")]
    for column in table.columns:
        if column.name in table.owned_ids:
            told.append(_text(owner_column(column.name), f"the source that the {column.name} belongs to"))
        told.append(column)
        if table.name == "orders" and column.name == "ordered_at":
            told.append(_date("ordered_on", "the day of the order in the book's time zone"))
    told += DERIVED.get(table.name, ())
    if table.name == "returns":
        told.append(_text("person_source", "the source that the person_id belongs to, where an order was turned into a return"))
        told.append(_id("person_id", "who returned it, where an order was turned into a return", personal="id"))
    told.append(_text("file", "the file that the row came from"))
    told.append(_number("row", "its number in the file, as a spreadsheet shows it", unit="rows"))
    told.append(_number("arrival", "the order of arrival, by which rows that tie in time are sorted"))
    return tuple(told)
