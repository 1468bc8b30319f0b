# ruff: noqa: E501 (tables of text, a row a line)
"""What does the company sell, and what does it have to say?

The same for the whole company, whatever its size: 320 products and some 230 pieces of content.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from .draw import stream
from .world import FORMATS, STAGES, TOPIC_LABELS, TOPICS

PER_TOPIC, PER_TIER = 40, 10
_GOODS = {
    "hospitality_uniforms": "Servicehemd Kellnerweste Kochjacke Rezeptionssakko Bistroschürze Bluse Portiermantel Hausdamenkleid Poloshirt Hose",
    "airline_uniforms": "Pilotenhemd Crewblazer Flugbegleiterkleid Uniformhose Crewmantel Halstuch Schirmmütze Strickjacke Kostümrock Weste",
    "school_uniforms": "Schulpullover Schulpolo Faltenrock Schulblazer Sporthose Schulhemd Strickweste Trainingsjacke Krawatte Regenjacke",
    "made_to_measure": "Maßanzug Maßhemd Maßsakko Maßmantel Maßhose Smoking Maßweste Kostüm Cutaway Maßbluse",
    "occasion_wear": "Brautkleid Abendkleid Festanzug Cocktailkleid Dirndl Bolero Schleier Ballrobe Trachtenjanker Etuikleid",
    "alterations": "Hose_kürzen Ärmel_kürzen Taille_anpassen Futter_erneuern Reißverschluss_tauschen Saum_ändern Jacke_weiten Knöpfe_tauschen Kunststopfen Kleid_anpassen",
    "fabric": "Wollflanell Oxford-Baumwolle Leinen Seidensatin Tweed Futtertaft Loden Samt Baumwollpopeline Jersey",
    "accessories": "Seidenkrawatte Einstecktuch Hosenträger Ledergürtel Manschettenknöpfe Fliege Wollschal Handschuhe Kleiderbürste Kleidersack",
}
_GRADES = ("Basis", "Klassik", "Premium", "Atelier")
_BASE_PRICE = (42, 62, 32, 310, 150, 26, 34, 42)
_TITLES = {
    "need": (
        "Woran man merkt, dass {t} ein Thema wird",
        "Was {t} über ein Haus sagt",
        "Drei Fragen zu {t}, die selten gestellt werden",
    ),
    "research": (
        "{t}: Marktübersicht und Vergleich",
        "Was {t} kostet und was es bringt",
        "Analyse: {t} im Vergleich der Anbieter",
    ),
    "decide": ("Wie ein Kunde mit {t} gewonnen hat", "Produktblatt {t}", "Preise und Muster: {t}"),
    "adopt": ("Erste Schritte mit {t}", "{t}: Anleitung und Pflege", "Häufige Fragen zu {t}"),
    "use": ("{t} für Fortgeschrittene", "Kurs: mehr aus {t} machen", "Technisches Webinar {t}"),
    "recommend": ("Sprechen Sie über {t}", "Referenz werden: {t}", "Fokusgruppe {t}"),
}


def make_catalogue(seed: int) -> SimpleNamespace:
    """Products with price, cost and companion, and content with topic, stage, format and role.

    Returns
    -------
    SimpleNamespace
        Arrays by product: ``price``, ``cost`` (EUR), ``topic``, ``tier``, ``companion``, ``name``; arrays by piece:
        ``title``, ``piece_topic``, ``piece_stage``, ``format``, ``role``, ``appeal``; and ``taken``, how often each
        product of a (topic, tier) is chosen.
    """
    rng = stream(seed, 0, "catalogue")
    shop = SimpleNamespace()
    number = np.arange(len(TOPICS) * PER_TOPIC)
    shop.topic, shop.tier = number // PER_TOPIC, (number % PER_TOPIC) // PER_TIER
    goods = {topic: [word.replace("_", " ") for word in words.split()] for topic, words in _GOODS.items()}
    shop.name = np.array(
        [f"{goods[TOPICS[t]][i % PER_TIER]} {_GRADES[tier]}" for i, t, tier in zip(number, shop.topic, shop.tier, strict=False)],
        dtype=object,
    )
    price = np.array(_BASE_PRICE)[shop.topic] * np.array([1, 1.35, 1.9, 2.9])[shop.tier] * rng.uniform(0.6, 1.5, len(number))
    shop.price = np.maximum(np.round(price * 2) / 2 - 0.1, 4.9)
    shop.cost = np.round(shop.price * np.clip(rng.normal(0.52, 0.10, len(number)) - 0.04 * shop.tier, 0.2, 0.92), 2)
    loss = rng.choice(len(number), 6, replace=False)
    shop.cost[loss] = np.round(shop.price[loss] * rng.uniform(1.02, 1.15, 6), 2)
    shop.companion = number - number % PER_TIER + (number % PER_TIER + rng.integers(1, PER_TIER, len(number))) % PER_TIER
    shop.taken = 1 / np.arange(1, PER_TIER + 1) ** 0.9
    shop.taken /= shop.taken.sum()
    shop.scarce = rng.choice(len(number), 12, replace=False)
    _content(rng, shop)
    return shop


def _content(rng, shop):
    rows = []
    for topic in range(len(TOPICS)):
        for stage, name in enumerate(STAGES):
            for i in range(int(rng.choice([0, 2, 4, 5, 7, 9], p=[0.05, 0.15, 0.25, 0.25, 0.2, 0.1]))):
                title = _TITLES[name][i % 3].format(t=TOPIC_LABELS[topic]) + ("" if i < 3 else f" ({2022 + i // 3})")
                rows.append((title, topic, stage, FORMATS[stage][i % len(FORMATS[stage])], int(rng.integers(-1, 6))))
    title, topic, stage, kind, role = zip(*rows, strict=False)
    shop.title, shop.format = np.array(title, dtype=object), np.array(kind, dtype=object)
    shop.piece_topic, shop.piece_stage, shop.role = np.array(topic), np.array(stage), np.array(role)
    shop.appeal = np.round(rng.normal(0, 0.35, len(rows)), 3)
    shop.stage_untold = rng.random(len(rows)) < 0.05
    shop.topic_untold = ~shop.stage_untold & (rng.random(len(rows)) < 0.03)


def expected_piece(shop: SimpleNamespace) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Expected price, cost and companion's share of a line, by (topic, tier) of its order.

    Returns
    -------
    price, cost : ndarray (topics, tiers)
        EUR for one piece of the first line.
    price_next, cost_next : inside the same arrays' third axis
        Index 0 is the first line, index 1 a further line (which is the first one's companion in
        `purchases.COMPANION` of the cases).
    """
    from .purchases import COMPANION

    shape = (len(TOPICS), 4, PER_TIER)
    result = []
    for value in (shop.price, shop.cost):
        own = (value.reshape(shape) * shop.taken).sum(axis=2)
        beside = (value[shop.companion].reshape(shape) * shop.taken).sum(axis=2)
        result.append(np.stack([own, COMPANION * beside + (1 - COMPANION) * own], axis=2))
    return result[0], result[1]
