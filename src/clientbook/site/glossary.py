"""The words of the report, each in a sentence or two that need no other."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Group:
    """Words that are read together."""

    title: str
    lead: str
    words: dict[str, str]


GROUPS = (
    Group(
        "Who and what",
        "The report keeps apart what a system has recorded from whom it is about.",
        {
            "Book": "One company’s folder: what its data is, the data itself, and what was worked out from it.",
            "Source": "A system the data came from, such as the shop, the till or the newsletter.",
            "Person": "A record of somebody in one source. The same human being is often several persons.",
            "Identity": "The link from a person to a customer, with the probability that it is right.",
            "Customer": "One human being, however many records there are, with one set of best-known details.",
            "Account": "The company or household that customers belong to. Somebody without one is an account of one.",
            "Event": "One touchpoint: something a person did, or the company did with them, at a time.",
            "Message": "Something the company sent to one person.",
            "Content": "A piece that a message or a page carries, such as an article, a case study or a manual.",
            "Topic": "What a piece, an event or a deal is about: a product line or a solution.",
            "Opportunity": "A possible deal on a topic: open, won or lost.",
            "Consent": "What a customer allows. Without it, nothing is sent.",
            "Preference": "What a customer would like, such as a channel or an hour. It is never taken for consent.",
            "Run": "One making of this report from the data as of a date.",
            "Data as of": "Everything before that day began, in the book’s timezone, counts; nothing from it on does.",
        },
    ),
    Group(
        "The journey",
        "A customer or account takes its way through six stages for each topic, and may go back.",
        {
            "Journey": "The way through the stages for one topic, from the first sign of interest to its close.",
            "Stage": "Where on a journey somebody is. It is judged from what they do, so it has a probability.",
            "Need": "“Do I have a problem, and is there a way?” They read, search, or come by a recommendation.",
            "Research": "“What would solve it for somebody like me?” They compare, download, register, ask.",
            "Decide": "“Is this one right, at what terms?” They look at prices, fill a cart, ask for a demo.",
            "Adopt": "“How do I get going?” A first order or a won deal, then the first steps with it.",
            "Use": "“How do I get more out of it?” Further orders, service, events for users.",
            "Recommend": "“Whom do I tell?” Reviews, references, referrals, orders on further topics.",
        },
    ),
    Group(
        "What a customer does",
        "Three numbers for each customer are enough to say how likely they are to buy again.",
        {
            "Purchase": "Order lines with a quantity above zero; those of one customer on one day are one purchase.",
            "Return": "Goods or money back. It lowers a customer’s value and never counts as a purchase.",
            "Frequency": "How many times a customer bought again: the days with a purchase, less the first.",
            "Recency": "Days from a customer’s first purchase to the last one. Large is good: they stayed long.",
            "T": "Days from a customer’s first purchase to the last day observed: how long we could watch them.",
            "Margin": "What is left of an order after returns and the cost of the goods.",
        },
    ),
    Group(
        "What a customer is worth",
        "Estimates of the future, made from the past; each comes with how far it may be off.",
        {
            "P(alive)": "The probability that a customer has not left for good. Nobody says so when they leave, "
            "so it is inferred from how long the silence is for their rhythm.",
            "Expected orders": "How many orders a customer is expected to make in the time ahead.",
            "CLV": "Customer lifetime value: the margin expected in the time ahead, with later money counted "
            "for less. Past money is not in it.",
            "Value": "What a customer is expected to bring: CLV, net of returns and cost, with an interval.",
            "Tier": "A to E: customers ranked by CLV and cut by their share of the total. A brings the most.",
            "Loss-maker": "A customer whose orders cost more than they bring, once returns and costs are counted.",
            "Horizon": "How far ahead an estimate looks. A year unless the page says otherwise.",
            "Discount": "How much less money is worth for each year that one has to wait for it.",
            "BG/NBD, MBG/NBD": "Models of when customers buy and leave. Both need frequency, recency and T alone.",
            "Gamma-Gamma": "A model of how much customers spend on an order. It draws customers with few "
            "orders towards the average.",
        },
    ),
    Group(
        "How sure we are",
        "A number without its error is a rumour.",
        {
            "Holdout": "The last part of the data, kept from the model, then compared with what it foretold.",
            "Backtest": "That comparison: stand at an earlier date, foretell, and see what then happened.",
            "Naive rule": "The simplest forecast, such as “the same again”. A model has to beat it.",
            "Interval": "A low and a high end between which the true number lies as often as the page says.",
            "RMSE": "Root mean squared error: the typical size of the errors, large ones counting more. Small is good.",
            "Bias": "How much too high (above zero) or too low the forecasts are on the whole.",
            "Decile capture": "Of what the best tenth of customers really brought, the share that the tenth "
            "picked by the model brought. 100 % is a perfect pick.",
            "Calibration": "Whether things said to be 70 % likely happen in 70 % of the cases.",
            "n": "How many cases a number rests on. Below 30 it is grey: a hint, no more.",
            "Median": "The one in the middle: half lie below, half above.",
        },
    ),
)
