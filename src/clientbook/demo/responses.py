"""What would a person answer to a piece?

One function for the making of the company's history and for scoring what-if policies afterwards. Every number
is in `COEFFICIENTS` and stands in truth/response_model.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from .draw import logistic

COEFFICIENTS = {
    "open.fits": 0.75,
    "open.no_journey": -0.25,
    "open.unfit": -0.6,
    "open.interest": 0.35,
    "open.best_day": 0.4,
    "open.best_hour": 0.8,
    "open.hour_width": 2.5,
    "open.pressure": -0.28,
    "open.pressure_from": 4.0,
    "click.base": -1.75,
    "click.fits": 0.75,
    "click.unfit": -0.5,
    "click.interest": 0.3,
    "reply.base": -2.6,
    "reply.fits": 0.5,
    "reply.phone": 2.2,
    "unsubscribe.base": -6.4,
    "unsubscribe.pressure": 0.16,
    "unsubscribe.unfit": 0.7,
    "order.none": 0.006,
    "order.need": 0.003,
    "order.research": 0.008,
    "order.decide": 0.06,
    "order.adopt": 0.02,
    "order.use": 0.05,
    "order.recommend": 0.03,
    "cost.email": 0.002,
    "cost.sms": 0.07,
    "cost.post": 0.95,
    "cost.phone": 4.2,
}


def probabilities(
    open_logit,
    interest,
    best_day,
    best_hour,
    stage,
    piece_stage,
    appeal,
    weekday,
    hour,
    recent,
    phone,
    coefficients=COEFFICIENTS,
) -> SimpleNamespace:
    """Chances of each answer, all arguments arrays of one length.

    Parameters
    ----------
    open_logit : log-odds of an open by this channel at a bad hour
    interest : share of the topic among the person's likes times the number of topics
    best_day, best_hour : the person's own
    stage, piece_stage : codes of `world.STAGES`; stage -1: no journey on that topic
    appeal : of the piece
    weekday, hour : of sending; hour may be a fraction
    recent : messages to the account in the 30 days up to it
    phone : bool, is it a call
    coefficients : the weights of the log-odds

    Returns
    -------
    SimpleNamespace
        opens, clicks, replies (given the step before), unsubscribes, orders (given a click: of a customer, who has
        ordered and has not left; of a call or a letter the click is not seen).
    """
    c = coefficients
    fits = (stage >= 0) & ((piece_stage == stage) | (piece_stage == stage + 1))
    unfit = (stage >= 0) & ~fits
    keen = np.clip(np.log(np.maximum(interest, 1e-3)), -1.5, 1.5)
    off = np.abs(hour - best_hour)
    off = np.minimum(off, 24 - off)
    pressure = np.log1p(np.maximum(recent - c["open.pressure_from"], 0))
    opens = logistic(
        open_logit
        + c["open.fits"] * fits
        + c["open.unfit"] * unfit
        + c["open.no_journey"] * (stage < 0)
        + c["open.interest"] * keen
        + c["open.best_day"] * (weekday == best_day)
        + c["open.best_hour"] * np.exp(-((off / c["open.hour_width"]) ** 2))
        + c["open.pressure"] * pressure
        + appeal
    )
    clicks = logistic(c["click.base"] + c["click.fits"] * fits + c["click.unfit"] * unfit + c["click.interest"] * keen + appeal)
    replies = logistic(c["reply.base"] + c["reply.fits"] * fits + c["reply.phone"] * phone)
    unsubscribes = logistic(
        c["unsubscribe.base"]
        + c["unsubscribe.pressure"] * np.maximum(recent - c["open.pressure_from"], 0)
        + c["unsubscribe.unfit"] * unfit
    )
    orders = np.array([c["order." + name] for name in ("none", "need", "research", "decide", "adopt", "use", "recommend")])[
        stage + 1
    ]
    return SimpleNamespace(opens=opens, clicks=clicks, replies=replies, unsubscribes=unsubscribes, orders=orders)


def is_customer(first_order, dropped, at):
    """Who has ordered, and has not left? Nobody else orders because of a message.

    Parameters
    ----------
    first_order, dropped : moments of the first order and of leaving, of whatever kind `at` is
    at : the moments that are asked about

    Returns
    -------
    array of bool
    """
    return (first_order <= at) & (at < dropped)
