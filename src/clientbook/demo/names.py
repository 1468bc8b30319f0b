# ruff: noqa: E501, B905 (tables of text, a row a line)
"""Which names do the made people bear?

Common names of several cultures, each in native script and in Latin letters. German surnames and Slavic
surnames are composed from stems, Chinese given names from characters, so that a million people do not
share a few hundred names. Nobody in here is anybody.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import NamedTuple

import numpy as np

_DE_M = """Andreas Thomas Michael Stefan Christian Peter Klaus Jürgen Wolfgang Uwe Frank Markus Matthias Jens Lars Torsten Sven
Tobias Sebastian Florian Alexander Daniel Jan Felix Maximilian Lukas Jonas Paul Leon Finn Elias Noah Moritz Philipp Benjamin
Johannes Georg Heinrich Karl Friedrich Rainer Bernd Dieter Günter Manfred Hans Werner Helmut Gerhard Ralf Holger Dirk Oliver
Marco Dominik Patrick Simon Fabian Niklas Tim Kai Björn Jörg Rüdiger Volker Ulrich Kurt Otto Emil Anton Oskar Henry Theo Ludwig
Konstantin Vincent Julian David Rolf Urs Beat Reto""".split()
_DE_F = """Sabine Petra Monika Andrea Susanne Claudia Birgit Gabriele Angelika Ursula Karin Heike Martina Anja Silke Kerstin
Nicole Stefanie Katrin Julia Anna Lena Laura Lisa Sarah Katharina Christina Sandra Melanie Nadine Jessica Vanessa Hannah Mia
Emma Sophie Marie Charlotte Johanna Clara Frieda Greta Elisabeth Margarete Renate Helga Ingrid Brigitte Gisela Christa Erika
Hildegard Waltraud Barbara Cornelia Daniela Tanja Simone Bettina Ulrike Antje Anke Maike Jana Franziska Theresa Paula Ida Mathilda
Luise Käthe Bärbel Jördis Regula Vreni Ruth Judith Miriam Verena""".split()
_DE_COMMON = """Müller Schmidt Schneider Fischer Weber Meyer Wagner Becker Schulz Hoffmann Schäfer Koch Bauer Richter Klein Wolf
Schröder Neumann Schwarz Zimmermann Braun Krüger Hofmann Hartmann Lange Schmitt Werner Krause Lehmann Köhler Maier König Mayer
Huber Kaiser Fuchs Peters Lang Scholz Möller Weiß Jung Hahn Schubert Vogel Friedrich Keller Günther Frank Berger Winkler Roth
Beck Lorenz Baumann Franke Albrecht Schuster Simon Ludwig Böhm Winter Kraus Martin Schumacher Krämer Vogt Stein Jäger Otto Sommer
Groß Seidel Heinrich Brandt Haas Schreiber Graf Schulte Dietrich Ziegler Kuhn Kühn Pohl Engel Horn Busch Bergmann Thomas Voigt
Sauer Arnold Wolff Pfeiffer""".split()
_DE_STEM = """Stein Berg Ober Unter Nieder Wald Feld Bach Linden Buch Eichen Rosen Löwen Hirsch Falken Silber Gold Kessel Mühl
Brunn Kirch Burg Heid Moos Ried Birk Erl Hasel Korn Roggen Sand Kies Fels Kalten Warm Grün Blau Roth Weiden""".split()
_DE_TAIL = """mann meier müller bauer berger hofer huber acher egger inger bach feld stein burg brunner kamp stedt loh wald
thaler reiter hauser gruber moser leitner steiner""".split()
_FR_M = "Jean Pierre Michel Philippe Alain François René Étienne Jérôme Frédéric Sébastien Benoît Loïc Mathéo Hugo Gaël Cédric Rémi".split()
_FR_F = "Françoise Hélène Céline Aurélie Élodie Chloé Zoé Amélie Noémie Maëlle Geneviève Anaïs Margaux Camille Léa Inès Agnès Solène".split()
_FR_S = """Lefèvre Béranger Dupré Guérin Fournier Mercier Chevalier Girard Bonnet Lambert Renard Gauthier Perrin Morel Léger Bélanger
Château Duchêne Rivière Forêt Boulanger Charpentier Delacroix Rousseau Marchand Tisserand Couturier Lemaître""".split()
_ES_M = "José Javier Jesús Ramón Andrés Martín Rubén Sergio Iván Óscar Tomás João Luís Nuno Giovanni Matteo Nicolò Salvatore Luca".split()
_ES_F = "María Lucía Inés Begoña Núria Ángela Belén Sofía Inês Conceição Giulia Chiara Niccolina Francesca Teresa Elisa".split()
_ES_S = """García Martínez López Sánchez Gómez Jiménez Muñoz Álvarez Gutiérrez Núñez Ibáñez Peña Araújo Gonçalves Simões Magalhães
Rossi Ferrari Esposito Bianchi Colombo Ricci Conti Galli D'Angelo Sartori Lombardi Moretti""".split()
_TR_M = "Mehmet Ahmet Mustafa Hüseyin Ömer Çağlar Gökhan Şükrü Işık Uğur Emre Barış Jiří Tomáš Łukasz Paweł Zoltán Gábor Håkon Jørgen".split()
_TR_F = "Ayşe Fatma Gülşen Özlem Çiğdem Şebnem Büşra Yağmur Jiřina Božena Agnieszka Małgorzata Zsófia Márta Åsa Søs Ingrid Elif".split()
_TR_S = """Yılmaz Öztürk Şahin Çelik Yıldız Doğan Aydın Güneş Koç Kılıç Novák Dvořák Černý Kowalski Wiśniewski Wójcik Zieliński
Nagy Szabó Tóth Kovács Sørensen Ødegård Åkesson Lindström""".split()
_RU_M = """Александр Дмитрий Сергей Андрей Алексей Максим Иван Михаил Николай Владимир Павел Роман Виктор Юрий Олег Игорь
Константин Георгий Тимур Ярослав Милош Драган Зоран Никола Стефан""".split()
_RU_F = """Анна Мария Елена Ольга Наталья Татьяна Ирина Светлана Екатерина Юлия Анастасия Виктория Дарья Ксения Людмила Галина
Оксана Жанна Вера Надежда Милица Полина""".split()
_RU_STEM = """Иван Петр Сидор Смирн Кузнец Попов Соколов Лебед Козл Новик Морозов Волк Зайц Соловь Виноград Богдан Воробь Федор Михайл
Беля Тарас Жук Голуб Орл Макар Андре Ковал Гончар Мельник Ткач Кравц Бондар Швец Чернов""".split()
_RU_TAIL = [("ов", "ова"), ("енко", "енко"), ("ин", "ина"), ("ский", "ская"), ("чук", "чук")]
_RU_LATIN = dict(
    zip(
        "абвгдеёжзийклмнопрстуфхцчшщъыьэюя",
        """a b v g d e e zh z i y k l m n o p r s t u f kh ts ch sh shch - y - e yu ya""".split(),
    )
)
_AR_M = """محمد:Mohammed أحمد:Ahmad علي:Ali حسن:Hassan حسين:Hussein عمر:Omar خالد:Khaled يوسف:Youssef إبراهيم:Ibrahim مصطفى:Mustafa
عبدالله:Abdullah سعيد:Said طارق:Tariq كريم:Karim سمير:Samir نبيل:Nabil رامي:Rami زياد:Ziad بلال:Bilal جمال:Jamal""".split()
_AR_F = """فاطمة:Fatima عائشة:Aisha مريم:Maryam زينب:Zeinab ليلى:Layla نور:Nour هدى:Huda سارة:Sara رانيا:Rania دينا:Dina سلمى:Salma
ياسمين:Yasmin أمينة:Amina خديجة:Khadija سميرة:Samira رنا:Rana لينا:Lina منى:Mona""".split()
_AR_S = """الحسن:Al-Hassan المصري:Al-Masri الخطيب:Al-Khatib حداد:Haddad نجار:Najjar خوري:Khoury منصور:Mansour صالح:Saleh ناصر:Nasser
عباس:Abbas حمدان:Hamdan سليمان:Suleiman الشامي:Al-Shami قاسم:Qasim فارس:Fares درويش:Darwish الزين:Al-Zein عيسى:Issa رشيد:Rashid
بكر:Bakr يعقوب:Yaqoub جابر:Jaber غانم:Ghanem شاهين:Shahin العلي:Al-Ali حمود:Hammoud مراد:Murad زيدان:Zidan عثمان:Othman ربيع:Rabie""".split()
# character : pinyin : traditional form where it differs
_ZH_S = """王:Wang 李:Li 张:Zhang:張 刘:Liu:劉 陈:Chen:陳 杨:Yang:楊 赵:Zhao:趙 黄:Huang:黃 周:Zhou 吴:Wu:吳 徐:Xu 孙:Sun:孫 胡:Hu 朱:Zhu
高:Gao 林:Lin 何:He 郭:Guo 马:Ma:馬 罗:Luo:羅 梁:Liang 宋:Song 郑:Zheng:鄭 谢:Xie:謝 韩:Han:韓 唐:Tang 冯:Feng:馮 于:Yu 董:Dong 萧:Xiao:蕭
程:Cheng 曹:Cao 袁:Yuan 邓:Deng:鄧 许:Xu:許 傅:Fu 沈:Shen 曾:Zeng 彭:Peng 吕:Lü:呂 苏:Su:蘇 卢:Lu:盧 蒋:Jiang:蔣 蔡:Cai 贾:Jia:賈 丁:Ding
魏:Wei 薛:Xue 叶:Ye:葉 阎:Yan:閻 余:Yu 潘:Pan 杜:Du 戴:Dai 夏:Xia 钟:Zhong:鐘 汪:Wang 田:Tian 任:Ren 姜:Jiang 范:Fan 方:Fang 石:Shi 姚:Yao
谭:Tan:譚 廖:Liao 邹:Zou:鄒 单:Shan:單 解:Xie 区:Ou:區 欧阳:Ouyang:歐陽 司马:Sima:司馬""".split()
_ZH_M = "伟:wei:偉 强:qiang:強 军:jun:軍 明:ming 国:guo:國 建:jian 志:zhi 文:wen 华:hua:華 杰:jie:傑 浩:hao 宇:yu 博:bo 峰:feng 鹏:peng:鵬 龙:long:龍 辉:hui:輝 俊:jun".split()
_ZH_F = "丽:li:麗 芳:fang 娜:na 静:jing:靜 敏:min 秀:xiu 娟:juan 英:ying 慧:hui 美:mei 玉:yu 萍:ping 红:hong:紅 兰:lan:蘭 雪:xue 琳:lin 婷:ting 佳:jia".split()

NICKNAMES = {
    "Alexander": "Alex",
    "Maximilian": "Max",
    "Johannes": "Hannes",
    "Benjamin": "Ben",
    "Sebastian": "Basti",
    "Michael": "Michi",
    "Katharina": "Kathi",
    "Elisabeth": "Lisbeth",
    "Susanne": "Susi",
    "Gabriele": "Gabi",
    "Christina": "Tina",
    "Stefanie": "Steffi",
    "Franziska": "Franzi",
    "Margarete": "Grete",
    "Friedrich": "Fritz",
    "Wolfgang": "Wolfi",
    "Matthias": "Matze",
    "Andreas": "Andi",
    "Thomas": "Tom",
    "Tobias": "Tobi",
    "Charlotte": "Lotte",
    "Theresa": "Resi",
    "Konstantin": "Kosta",
    "Daniela": "Dani",
    "Angelika": "Geli",
    "Aleksandr": "Sasha",
    "Dmitriy": "Dima",
    "Ekaterina": "Katya",
    "Anastasiya": "Nastya",
    "Josef": "Sepp",
    "Barbara": "Babsi",
    "Cornelia": "Conny",
    "Heinrich": "Heinz",
    "Manfred": "Manni",
    "Jessica": "Jessi",
    "Melanie": "Melli",
}

CULTURES = ("german", "french", "romance", "accented", "cyrillic", "arabic", "chinese")
CULTURE_SHARES = (0.72, 0.05, 0.07, 0.05, 0.04, 0.035, 0.035)


class Names(NamedTuple):
    """Parallel arrays of one kind of name: Latin letters, native script, other native script, bare ASCII, culture."""

    latin: np.ndarray
    native: np.ndarray
    other: np.ndarray
    ascii: np.ndarray
    pools: dict  # (culture, sex) -> (first code, number of codes)


def bare(text: str) -> str:
    """What is left of a name in an e-mail address?"""
    for mark, plain in (
        ("ä", "ae"),
        ("ö", "oe"),
        ("ü", "ue"),
        ("Ä", "Ae"),
        ("Ö", "Oe"),
        ("Ü", "Ue"),
        ("ß", "ss"),
        ("ø", "o"),
        ("Ø", "O"),
        ("ł", "l"),
        ("Ł", "L"),
        ("ı", "i"),
        ("å", "aa"),
        ("Å", "Aa"),
    ):
        text = text.replace(mark, plain)
    kept = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return "".join(letter for letter in kept.lower() if letter.isalnum())


def _cyrillic(word: str) -> str:
    latin = "".join(
        _RU_LATIN.get(letter.lower(), letter) if letter.islower() else _RU_LATIN.get(letter.lower(), letter).capitalize()
        for letter in word
    )
    return latin.replace("-", "")


def _same(words):
    return [(word, word, word) for word in words]


def _arabic(words):
    return [(latin, native, native) for native, latin in (word.split(":") for word in words)]


def _han(words):
    parts = [[*word.split(":"), ""][:3] for word in words]
    return [(latin, native, other or native) for native, latin, other in parts]


def _han_given(words):
    single = _han(words)
    double = [(a[0] + b[0], a[1] + b[1], a[2] + b[2]) for a in single for b in single if a is not b]
    return [(latin.capitalize(), native, other) for latin, native, other in single + double]


def _slavic(sex: int):
    return [(_cyrillic(stem + tail[sex]), stem + tail[sex], stem + tail[sex]) for tail in _RU_TAIL for stem in _RU_STEM]


def _pack(lists: dict) -> Names:
    rows, pools = [], {}
    for key, words in lists.items():
        pools[key] = (len(rows), len(words))
        rows += words
    latin, native, other = (np.array(column, dtype=object) for column in zip(*rows, strict=True))
    return Names(latin, native, other, np.array([bare(word) for word in latin], dtype=object), pools)


@lru_cache(maxsize=1)
def given_names() -> Names:
    """Given names of every culture by sex (0 male, 1 female)."""
    slavic = [[(_cyrillic(word), word, word) for word in words] for words in (_RU_M, _RU_F)]
    men = [_same(_DE_M), _same(_FR_M), _same(_ES_M), _same(_TR_M), slavic[0], _arabic(_AR_M), _han_given(_ZH_M)]
    women = [_same(_DE_F), _same(_FR_F), _same(_ES_F), _same(_TR_F), slavic[1], _arabic(_AR_F), _han_given(_ZH_F)]
    return _pack({(culture, sex): pool for culture, pair in enumerate(zip(men, women)) for sex, pool in enumerate(pair)})


@lru_cache(maxsize=1)
def family_names() -> Names:
    """Family names of every culture; Slavic ones have a form for each sex at the same place of their pool."""
    german = _DE_COMMON + sorted({stem + tail for stem in _DE_STEM for tail in _DE_TAIL})
    pools = [_same(german), _same(_FR_S), _same(_ES_S), _same(_TR_S), _slavic(0), _arabic(_AR_S), _han(_ZH_S)]
    lists = {(culture, 0): pool for culture, pool in enumerate(pools)}
    lists[4, 1] = _slavic(1)
    packed = _pack(lists)
    packed.pools.update({(culture, 1): packed.pools[culture, 0] for culture in range(7) if culture != 4})
    return packed
