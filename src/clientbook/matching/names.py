"""What is left of a name when script, spelling and short forms are taken away? For comparison only."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# Letters that carry no accent which could be taken off.
_LETTERS = str.maketrans({"ø": "o", "đ": "d", "ł": "l", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th", "ı": "i"})
_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
_OTHER = re.compile(r"[^\x00-\x7f]")

# Surnames whose reading is not the commonest one of the sign (Table of General Standard Chinese Characters, surname
# readings); of two signs first.
_SURNAMES = dict(
    pair.split(":")
    for pair in """
    尉迟:yuchi 尉遲:yuchi 万俟:moqi 万侯:moqi 单于:chanyu 單于:chanyu 长孙:zhangsun 長孫:zhangsun 澹台:tantai 澹臺:tantai
    单:shan 單:shan 曾:zeng 解:xie 仇:qiu 区:ou 區:ou 朴:piao 查:zha 翟:zhai 盖:ge 蓋:ge 缪:miao 繆:miao 员:yun 員:yun
    乐:yue 樂:yue 黑:he 折:she 种:chong 秘:bi 冼:xian 洗:xian 召:shao 宓:fu 尹:yin 覃:qin 郇:xun 逄:pang 隗:wei 牟:mu
    令狐:linghu 幺:yao 载:zai 能:nai 那:na 祭:zhai 哈:ha 谌:chen 諶:chen 适:kuo 余:yu 吕:lu 呂:lu
    """.split()
)
_COMPOUND = frozenset(
    "欧阳 歐陽 司马 司馬 诸葛 諸葛 上官 司徒 东方 東方 独孤 獨孤 南宫 南宮 夏侯 皇甫 慕容 公孙 公孫 宇文 轩辕 軒轅 令狐 "
    "尉迟 尉遲 长孙 長孫 澹台 澹臺 万俟 单于 單于".split()
)

# Short forms and the name they stand for, in several languages; where one stands for two, for what both begin with.
_SHORT = """
alex:alexander sandy:alexander xander:alexander sasha:alexander sascha:alexander lex:alexander alexandra:alexander
aleksandr:alexander aleksandra:alexander alexandre:alexander alessandro:alexander
andi:andreas andy:andreas andrew:andreas drew:andreas andre:andreas andrei:andreas andrey:andreas
tony:anthony ant:anthony antony:anthony toni:anton
art:arthur archie:archibald gus:augustus
babs:barbara barb:barbara babsi:barbara barbie:barbara
ben:benjamin benny:benjamin benni:benjamin bennie:benjamin benji:benjamin
basti:sebastian seb:sebastian bernie:bernard bert:albert al:albert bertie:albert albie:albert
beth:elizabeth betty:elizabeth betsy:elizabeth bess:elizabeth bessie:elizabeth eliza:elizabeth lizzie:elizabeth
liz:elizabeth lizzy:elizabeth libby:elizabeth elisabeth:elizabeth lisbeth:elizabeth elsie:elizabeth lisa:elizabeth
lilibeth:elizabeth liza:elizabeth sissi:elizabeth elsbeth:elizabeth
bill:william billy:william will:william willie:william willy:william wilhelm:william liam:william willi:william
bob:robert bobby:robert rob:robert robbie:robert bobbie:robert robin:robert bertl:robert
charlie:charles chuck:charles charley:charles chas:charles karl:charles carl:charles
chris:christopher kit:christopher christoph:christopher kris:christopher topher:christopher
christy:christina tina:christina christine:christina chrissy:christina kristina:christina christel:christina
conny:cornelia connie:constance cathy:katharina kate:katharina katie:katharina kathi:katharina katherine:katharina
catherine:katharina kathy:katharina kitty:katharina katrin:katharina kaethe:katharina katya:katharina
ekaterina:katharina kathrin:katharina cathryn:katharina kathryn:katharina kat:katharina cath:katharina
dan:daniel danny:daniel dani:daniel dave:david davy:david davey:david dick:richard rick:richard ricky:richard
rich:richard richie:richard ricki:richard dickie:richard
deb:deborah debbie:deborah debby:deborah dima:dmitriy dmitri:dmitriy dmitry:dmitriy mitya:dmitriy
don:donald donnie:donald donny:donald dot:dorothy dottie:dorothy dolly:dorothy dora:dorothea
doug:douglas ed:edward eddie:edward eddy:edward ned:edward ted:edward teddy:edward eduard:edward ned:edward
ellie:eleanor nell:eleanor nellie:eleanor nelly:eleanor nora:eleanor elly:eleanor ella:eleanor
ernie:ernest fanny:frances fran:frances frannie:frances francie:frances
frank:francis frankie:francis franz:francis frantz:francis franziska:franziska franzi:franziska
fred:frederick freddie:frederick freddy:frederick fritz:frederick friedrich:frederick frederic:frederick
frits:frederick fredrick:frederick gabi:gabriele gabby:gabriele gabe:gabriel geli:angelika angie:angela
gerd:gerhard gerry:gerald jerry:gerald gene:eugene geoff:geoffrey jeff:geoffrey jeffrey:geoffrey
georgie:george georg:george jorg:george gina:regina ginny:virginia greg:gregory grete:margaret gretel:margaret
hal:henry harry:henry hank:henry heinz:henry heinrich:henry henri:henry harri:henry heini:henry
hannes:johann hans:johann johannes:johann jo:josef joe:joseph joey:joseph josef:joseph sepp:joseph jos:joseph
jose:joseph pepe:joseph giuseppe:joseph jack:john johnny:john jon:john johnnie:john ian:john jock:john jackie:john
jake:jacob jakob:jacob jim:james jimmy:james jamie:james jimmie:james jem:james
jenny:jennifer jen:jennifer jenni:jennifer jess:jessica jessi:jessica jessie:jessica josh:joshua
judy:judith jule:julia ken:kenneth kenny:kenneth kosta:konstantin kostja:konstantin konsti:konstantin
larry:lawrence laurie:lawrence laurence:lawrence lorenz:lawrence len:leonard lenny:leonard leo:leopold
lou:louis louie:louis lew:lewis lewie:lewis ludwig:louis lotte:charlotte lottie:charlotte charly:charlotte
lori:lorraine lucy:lucia lulu:luise luke:lucas lukas:lucas luca:lucas
madge:margaret maggie:margaret meg:margaret peggy:margaret peg:margaret margarete:margaret margarethe:margaret
greta:margaret marge:margaret margie:margaret mags:margaret margot:margaret rita:margaret daisy:margaret
manni:manfred manny:emanuel marty:martin matt:matthew matty:matthew matthias:matthew matze:matthew mathew:matthew
mattias:matthew max:maximilian maxi:maximilian meli:melanie melli:melanie mel:melanie
mick:michael mickey:michael mike:michael mikey:michael michi:michael mickie:michael mischa:michael misha:michael
mikhail:michael michel:michael miguel:michael moll:mary molly:mary polly:mary may:mary mae:mary mamie:mary
minnie:wilhelmina mina:wilhelmina nan:anne nancy:anne annie:anne nance:anne anna:anne ann:anne hannah:anne anni:anne
nastya:anastasiya anastasia:anastasiya nat:nathaniel nate:nathaniel nathan:nathaniel
nick:nicholas nicky:nicholas nico:nicholas niklas:nicholas nicolas:nicholas klaus:nicholas claus:nicholas
nikolaus:nicholas niko:nicholas ollie:oliver oli:oliver olli:oliver olly:oliver
pat:patrick paddy:patrick patty:patricia patsy:patricia trish:patricia tricia:patricia
pete:peter pierre:peter pedro:peter petra:petra phil:philip philipp:philip phillip:philip pippa:philippa pip:philip
ray:raymond reggie:reginald reg:reginald resi:theresa tess:theresa tessa:theresa terri:theresa teresa:theresa
therese:theresa rod:rodney ron:ronald ronnie:ronald rosie:rose roz:rosalind rudi:rudolf rudy:rudolf rolf:rudolf
russ:russell sal:sarah sally:sarah sara:sarah sadie:sarah sam:samuel sammy:samuel samantha:samantha
sid:sidney simon:simon stan:stanley stanislaw:stanley steffi:stefanie stephanie:stefanie
stef:stefan steve:stephen steven:stephen stevie:stephen stefan:stephen stephan:stephen steph:stephen
stu:stuart sue:susan susie:susan suzie:susan susi:susan susanne:susan susanna:susan suzanne:susan suse:susan sanna:susan
tim:timothy timmy:timothy tobi:tobias toby:tobias tom:thomas tommy:thomas thom:thomas tomas:thomas tommie:thomas
ulli:ulrich uli:ulrich ulrike:ulrich val:valerie vicky:victoria vicki:victoria vickie:victoria viktoria:victoria
tori:victoria vic:victor vince:vincent vinnie:vincent vinzenz:vincent wally:walter walt:walter wat:walter
wolfi:wolfgang wolf:wolfgang zach:zachary zack:zachary zac:zachary izzy:isabella bella:isabella isabel:isabella
isabelle:isabella evie:eva eve:eva abby:abigail gail:abigail abe:abraham becky:rebecca becca:rebecca
cindy:cynthia dee:deirdre effie:euphemia ettie:henrietta hattie:harriet harriett:harriet jonny:jonathan
jonathon:jonathan kim:kimberly lena:helena helen:helena helene:helena nell:helena ellen:helena
mandy:amanda amy:amelia millie:emily emmy:emma em:emma georgina:georgina freya:freya gracie:grace
theo:theodor theodore:theodor olli:oliver ozzie:oswald perce:percy percival:percy tilly:mathilda matilda:mathilda
trudi:gertrud gertie:gertrud trudy:gertrud gertrude:gertrud volodya:vladimir vova:vladimir wladimir:vladimir
vanya:ivan lyosha:aleksey alexei:aleksey alexey:aleksey tanya:tatyana tatjana:tatyana natasha:natalya natalia:natalya
natalie:natalya olya:olga sveta:svetlana yura:yuriy yuri:yuriy lyuda:lyudmila ira:irina lena:elena kolya:nikolay
nikolai:nikolay serge:sergey sergei:sergey pasha:pavel zhenya:evgeniy evgeny:evgeniy eugen:eugene
"""
SHORT_FORMS = {
    short.replace("ae", "a").replace("oe", "o").replace("ue", "u"): whole
    for short, _, whole in (pair.partition(":") for pair in _SHORT.split())
}  # fmt: skip


def latin(text: str, surname: bool = False) -> str:
    """How is a name written with bare Latin letters?

    Chinese signs are read as pinyin, traditional ones like simplified ones, surnames as surnames are read; Cyrillic is
    written letter by letter; of Arabic and Hebrew, which leave out vowels, the consonants are written.

    Parameters
    ----------
    text
        Any case, any script.
    surname
        Whether it is known to be a surname, or begins with one.

    Returns
    -------
    str
        Lower case; what is no letter, mark or digit is left as it stands.
    """
    lowered = unicodedata.normalize("NFKC", text).casefold().translate(_LETTERS)
    bare = "".join(c for c in unicodedata.normalize("NFKD", lowered) if not unicodedata.combining(c))
    if not _OTHER.search(bare):
        return bare
    from anyascii import anyascii

    lead = ""
    if surname and _HAN.match(bare):
        for size in (2, 1):
            if bare[:size] in _SURNAMES:
                lead, bare = _SURNAMES[bare[:size]], bare[size:]
                break
    # what stands for hard and soft signs, and for stops of the voice, is no letter
    return lead + re.sub(r"['`]", "", anyascii(bare)).lower()


def spelled(words: str) -> str:
    """The same for `Müller`, `Mueller` and `Muller`: a key for names already in Latin letters.

    Parameters
    ----------
    words
        As from :func:`latin`.
    """
    return words.replace("ae", "a").replace("oe", "o").replace("ue", "u")


def chinese_parts(text: str) -> tuple[str, str] | None:
    """Surname and given name of a whole name in Chinese signs, which stand together: 欧阳 修, 陈 伟强.

    Parameters
    ----------
    text
        Without blanks; anything else gives None.
    """
    if not 2 <= len(text) <= 4 or any(not _HAN.match(sign) for sign in text):
        return None
    size = 2 if text[:2] in _COMPOUND and len(text) > 2 else 1
    return text[:size], text[size:]


@lru_cache(maxsize=100_000)
def sound(words: str | None) -> str | None:
    """The consonants of a name, near ones made one, so that spellings of one sound are alike.

    Parameters
    ----------
    words
        As from :func:`spelled`, or None.

    Returns
    -------
    str or None
        `mhmd` for Mohammed, Muhammad and محمد; None where nothing is left.
    """
    if not words:
        return None
    text = words.replace(" ", "")
    for letters, sign in _NEAR:
        text = text.replace(letters, sign)
    # an h at the end is written or not, as is the one that stands for the Arabic feminine
    kept = re.sub(r"(.)\1+", r"\1", re.sub(r"[aeiouyw]", "", text)).rstrip("h")
    return kept or text[:1]


_NEAR = (
    ("tsch", "c"), ("shch", "c"), ("sch", "s"), ("tch", "c"), ("sh", "s"), ("zh", "s"), ("ch", "c"), ("ph", "f"),
    ("th", "t"), ("kh", "k"), ("gh", "g"), ("ck", "k"), ("cz", "c"), ("ts", "z"), ("tz", "z"), ("q", "k"), ("x", "ks"),
    ("v", "f"), ("dt", "t"), ("j", "y"),
)  # fmt: skip


def whole_form(word: str | None) -> str | None:
    """The name that a short form stands for; any other name is its own.

    Parameters
    ----------
    word
        One word, as from :func:`spelled`, or None.
    """
    return SHORT_FORMS.get(word, word) if word else None
