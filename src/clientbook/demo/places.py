# ruff: noqa: E501, B905 (tables of text, a row a line)
"""Where do the made people and companies live, and what are the companies called?"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

# postcode, city, region, country, telephone area code
_CITIES = """10115 Berlin Berlin DE 30|10437 Berlin Berlin DE 30|12043 Berlin Berlin DE 30|14059 Berlin Berlin DE 30|20095 Hamburg Hamburg DE 40
20251 Hamburg Hamburg DE 40|22765 Hamburg Hamburg DE 40|80331 München Bayern DE 89|80796 München Bayern DE 89|81541 München Bayern DE 89
50667 Köln Nordrhein-Westfalen DE 221|50825 Köln Nordrhein-Westfalen DE 221|60311 Frankfurt_am_Main Hessen DE 69|60594 Frankfurt_am_Main Hessen DE 69
70173 Stuttgart Baden-Württemberg DE 711|70565 Stuttgart Baden-Württemberg DE 711|40213 Düsseldorf Nordrhein-Westfalen DE 211|04109 Leipzig Sachsen DE 341
04229 Leipzig Sachsen DE 341|01067 Dresden Sachsen DE 351|01309 Dresden Sachsen DE 351|30159 Hannover Niedersachsen DE 511|90402 Nürnberg Bayern DE 911
28195 Bremen Bremen DE 421|44135 Dortmund Nordrhein-Westfalen DE 231|45127 Essen Nordrhein-Westfalen DE 201|47051 Duisburg Nordrhein-Westfalen DE 203
44787 Bochum Nordrhein-Westfalen DE 234|42103 Wuppertal Nordrhein-Westfalen DE 202|33602 Bielefeld Nordrhein-Westfalen DE 521|53111 Bonn Nordrhein-Westfalen DE 228
48143 Münster Nordrhein-Westfalen DE 251|76133 Karlsruhe Baden-Württemberg DE 721|68159 Mannheim Baden-Württemberg DE 621|86150 Augsburg Bayern DE 821
65183 Wiesbaden Hessen DE 611|41061 Mönchengladbach Nordrhein-Westfalen DE 2161|38100 Braunschweig Niedersachsen DE 531|24103 Kiel Schleswig-Holstein DE 431
09111 Chemnitz Sachsen DE 371|52062 Aachen Nordrhein-Westfalen DE 241|06108 Halle Sachsen-Anhalt DE 345|39104 Magdeburg Sachsen-Anhalt DE 391
79098 Freiburg Baden-Württemberg DE 761|23552 Lübeck Schleswig-Holstein DE 451|55116 Mainz Rheinland-Pfalz DE 6131|99084 Erfurt Thüringen DE 361
18055 Rostock Mecklenburg-Vorpommern DE 381|34117 Kassel Hessen DE 561|66111 Saarbrücken Saarland DE 681|14467 Potsdam Brandenburg DE 331
69117 Heidelberg Baden-Württemberg DE 6221|64283 Darmstadt Hessen DE 6151|97070 Würzburg Bayern DE 931|93047 Regensburg Bayern DE 941
37073 Göttingen Niedersachsen DE 551|74072 Heilbronn Baden-Württemberg DE 7131|89073 Ulm Baden-Württemberg DE 731|72070 Tübingen Baden-Württemberg DE 7071
78462 Konstanz Baden-Württemberg DE 7531|87435 Kempten Bayern DE 831|94032 Passau Bayern DE 851|26122 Oldenburg Niedersachsen DE 441
1010 Wien Wien AT 1|1070 Wien Wien AT 1|8010 Graz Steiermark AT 316|4020 Linz Oberösterreich AT 732|5020 Salzburg Salzburg AT 662|6020 Innsbruck Tirol AT 512
8001 Zürich Zürich CH 44|8400 Winterthur Zürich CH 52|3011 Bern Bern CH 31|4051 Basel Basel-Stadt CH 61|6003 Luzern Luzern CH 41|9000 St._Gallen St._Gallen CH 71"""
_STREET_STEM = """Linden Haupt Bahnhof Schiller Goethe Garten Kirch Schul Mozart Rosen Berg Wald Mühlen Markt Burg Park Birken Ahorn Buchen Eichen
Tannen Wiesen Feld Brunnen Kloster Post Rathaus Turm Ring See Bach Ufer Sonnen Blumen Kastanien Ulmen Weinberg Amsel Finken Lerchen""".split()
_STREET_TAIL = ("straße", "straße", "straße", "weg", "gasse", "platz", "allee", "ring")
_HOUSE = """Bergkrone Seeblick Alpenrose Goldener_Hirsch Schwarzer_Adler Rosengarten Waldhof Sonnenhof Krone Lindenhof Drei_Könige Kaiserhof
Parkblick Weißes_Rössl Edelweiß Mühlbach Burgstern Talblick Abendstern Morgenrot Silberdistel Turmfalke Hafenlicht Nordwind Brunnenhof
Klosterhof Felsenkeller Steinbock Auerhahn Kornblume Schwanensee Lavendel Mohnblume Zur_Post Bellevue Panorama Central Astoria Kranich
Möwe Sternwarte Ankerplatz Weinstube Birkenhain Fürstenhof Rheingold Elbterrassen Isartor Marienhof Sankt_Georg""".split()
COMPANY_KINDS = ("Hotel", "Air", "Schule", "Boutique", "Restaurant", "Kanzlei")
LEGAL_FORMS = ("GmbH", "AG", "GmbH & Co. KG", "e.K.", "OHG", "")
FREE_MAIL = ("gmail.com", "gmx.de", "web.de", "t-online.de", "outlook.com", "icloud.com", "yahoo.de", "posteo.de")


@lru_cache(maxsize=1)
def cities() -> dict[str, np.ndarray]:
    """Columns postcode, city, region, country, area, as arrays of text."""
    parts = zip(*(row.split() for row in _CITIES.replace("\n", "|").split("|")))
    columns = {
        name: np.array([word.replace("_", " ") for word in part], dtype=object)
        for name, part in zip(("postcode", "city", "region", "country", "area"), parts)
    }
    columns["weight"] = np.where(columns["country"] == "DE", 1.0, 0.7)
    return columns


@lru_cache(maxsize=1)
def streets() -> np.ndarray:
    """Street names."""
    return np.array([stem + tail for stem in _STREET_STEM for tail in dict.fromkeys(_STREET_TAIL)], dtype=object)


@lru_cache(maxsize=1)
def house_names() -> np.ndarray:
    """What a hotel, a restaurant, a boutique is called."""
    return np.array([name.replace("_", " ") for name in _HOUSE], dtype=object)
