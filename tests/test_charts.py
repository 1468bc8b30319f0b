"""One look for every figure, table and number."""

from __future__ import annotations

import datetime
import io
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from hypothesis import given, settings
from hypothesis import strategies as st

from clientbook import charts
from clientbook.site import axes, figures, numbers
from clientbook.site.article import markdown
from clientbook.site.display import KeyNumbers
from clientbook.site.sanitise import Tidier, plain

NB = "\u00a0"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (23570, "23,570"),
        (np.int64(684), "684"),
        (684.0, "684"),
        (999_999, "999,999"),
        (1_067_370, f"1.07{NB}M"),
        (2.5e9, f"2.5{NB}bn"),
        (1234.5678, "1,230"),
        (999_999.6, f"1{NB}M"),
        (999.96, "1,000"),
        (0.24263, "0.243"),
        (0.000012345, "0.0000123"),
        (-4.25, "−4.25"),
        (float("nan"), "–"),
        (None, "–"),
        (pd.NA, "–"),
        (float("inf"), "∞"),
    ],
)
def test_numbers_are_rounded_for_people(value, text):
    assert charts.number(value) == text


@pytest.mark.parametrize(
    ("value", "currency", "text"),
    [
        (35.171, "GBP", "£35.17"),
        (1234.4, "EUR", "€1,230"),
        (4517, "USD", "$4,520"),
        (0, "USD", "$0"),
        (-12.5, "USD", "−$12.50"),
        (-0.001, "USD", "$0.00"),
        (1.5e6, "CHF", f"CHF{NB}1.5{NB}M"),
        (20, None, "20"),
        (None, "EUR", "–"),
    ],
)
def test_money_carries_its_currency(value, currency, text):
    assert charts.money(value, currency) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.4351, "43.5"), (1, "100"), (0, "0"), (0.00012, "<0.1"), (1e-300, "<0.1"), (0.001, "0.1"), (0.0012, "0.12"), (-0.19, "−19"), (1.5, "150"), (0.9999, ">99.9")],
)
def test_percent_takes_fractions_and_never_rounds_up_to_all_or_down_to_nothing(value, text):
    assert charts.percent(value) == f"{text}{NB}%"


@pytest.mark.parametrize(("value", "text"), [(0.04, "+4.0"), (-0.0862, "−8.6"), (0, "+0.0"), (-0.0001, "0.0")])
def test_points_are_differences_with_their_sign(value, text):
    assert numbers.points(value) == f"{text}{NB}points" and numbers.column([value, value], "points")[1] == f"{text}{NB}points"
    assert numbers.points(None) == "–"


@given(st.floats(min_value=0, max_value=1, allow_nan=False))
def test_a_share_is_said_as_a_bound_just_where_it_is_below_a_thousandth(value):
    said = charts.percent(value)
    assert said.startswith("<") == (0 < value < 0.001) and said.startswith(">") == (0.9995 <= value < 1)
    assert numbers.share(value).startswith("<") == (0 < value < 0.001)
    # an axis has to tell its ticks apart
    assert not numbers.on_axis("percent")(value).startswith("<")


def test_a_column_keeps_its_bounds_and_its_decimals():
    told = numbers.column([0.5123, 0.00004, 0.0, 0.99999, 0.25], "percent")
    assert told == [f"51.2{NB}%", f"<0.1{NB}%", f"0.0{NB}%", f">99.9{NB}%", f"25.0{NB}%"]


def test_fields_of_a_heat_map_say_small_shares_by_the_same_rule():
    fig = charts.heatmap(pd.DataFrame([[0.5, 0.0000402], [0.0, 0.12]]), finding="f", format="percent")
    assert [text.get_text() for text in fig.axes[0].texts] == [f"50{NB}%", f"<0.1{NB}%", f"0{NB}%", f"12{NB}%"]


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        (1, 1, "100.0%"),
        (0.99987, 1, ">99.9%"),
        (0.9994, 1, "99.9%"),
        (0.25, 1, "25.0%"),
        (1, 0, "100%"),
        (0.998, 0, ">99%"),
        (0, 0, "0%"),
        (0.0004, 1, "<0.1%"),
        (0.004, 0, "<1%"),
        (0.00004, 3, "<0.100%"),
    ],
)
def test_a_share_in_a_sentence_is_never_rounded_up_to_all(value, places, text):
    assert numbers.share(value, places) == text


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15))
def test_a_number_is_never_far_from_what_is_said(value):
    said = charts.number(value).replace("−", "-").replace(",", "").split(NB)
    factor = {"M": 1e6, "bn": 1e9, "tn": 1e12}[said[1]] if len(said) > 1 else 1
    assert float(said[0]) * factor == pytest.approx(value, rel=0.00501, abs=1e-12)


def test_quantity_and_date():
    assert charts.quantity(1.74, "orders") == f"1.74{NB}orders"
    assert charts.quantity(5000, "GBP") == "£5,000"
    assert charts.quantity(0.25, "share") == f"25{NB}%"
    assert charts.quantity(None, "orders") == "–"
    assert charts.date(datetime.date(2024, 6, 1)) == "1 June 2024"
    with pytest.raises(ValueError, match="no format 'euros'"):
        charts.formatter("euros")


def test_importing_sets_nothing_and_loads_nothing():
    code = (
        "import sys; from clientbook import charts, publish;"
        "heavy = {'matplotlib', 'seaborn', 'pandas', 'nbconvert', 'bleach'} & set(sys.modules);"
        "assert not heavy, heavy;"
        "import matplotlib as m; before = dict(m.rcParams);"
        "fig = charts.bars(['a'], [1], finding='f', detail='d'); charts.png(fig);"
        "assert dict(m.rcParams) == before; import matplotlib.pyplot as plt; assert not plt.get_fignums()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ---- tables


def _soup(shown):
    return BeautifulSoup(shown._repr_html_(), "html.parser")


def test_table_is_accessible_and_says_what_it_leaves_out():
    frame = pd.DataFrame({"name": [f"c{i}" for i in range(1254)], "clv": 10.5, "n": [12] + [40] * 1253})
    shown = charts.table(frame, caption="Best", formats={"clv": "money"}, labels={"clv": "CLV"}, n="n", currency="EUR", limit=20)
    soup = _soup(shown)
    assert soup.caption.get_text() == "Best"
    assert [(th.get_text(), th["scope"]) for th in soup.thead.find_all("th")] == [
        ("name", "col"),
        ("CLV", "col"),
        ("n", "col"),
    ]
    assert len(soup.tbody.find_all("tr")) == 20
    assert soup.tbody.tr["class"] == ["small"]
    assert soup.tbody.td.get_text() == "€10.50"
    assert soup.tbody.td["class"] == ["number"]
    assert "… and 1,234 more rows" in soup.get_text()
    assert "fewer than 30" in soup.get_text()
    box = soup.find(class_="scroll")
    assert box["tabindex"] == "0" and box["aria-label"] == "Best"
    assert "… and 1,234 more rows" in repr(shown)
    with pytest.raises(KeyError, match="cvl"):
        charts.table(frame, caption="x", formats={"cvl": "money"})


def test_table_takes_every_kind_of_column_and_index():
    frame = pd.DataFrame(
        {
            "when": pd.to_datetime(["2024-01-01", None]),
            "ok": [True, False],
            "share": [0.4351, 0.7],
            "x": [2.333, np.nan],
            "big": [1_067_370, 3],
            "it": ["€", None],
        },
        index=pd.Index(["a", "b"], name="tier"),
    )
    rows = charts.table(frame, caption="c", formats={"share": "percent", "it": lambda x: f"<{x}>"}).rows
    assert rows[0] == ["a", "2024-01-01", "yes", f"43.5{NB}%", "2.33", f"1.07{NB}M", "<€>"]
    assert rows[1][:5] == ["b", "–", "no", f"70.0{NB}%", "–"]
    assert charts.table(frame.head(0), caption="none").rows == []
    assert charts.table(pd.DataFrame(), caption="nothing")._repr_html_()


@settings(max_examples=80, deadline=None)
@given(st.lists(st.text(), min_size=1, max_size=4), st.text(), st.text(min_size=1))
def test_any_text_in_a_frame_is_only_text(values, caption, column):
    html = charts.table(pd.DataFrame({column: values}), caption=caption)._repr_html_()
    names = {tag.name for tag in BeautifulSoup(html, "html.parser").find_all(True)}
    assert names <= set(["style", "div", "table", "caption", "span", "code", "thead", "tbody", "tr", "th", "td", "p"])
    tidied = Tidier().tidy(html)
    for tag in BeautifulSoup(tidied, "html.parser").find_all(True):
        assert tag.name in set(["div", "table", "caption", "span", "code", "thead", "tbody", "tr", "th", "td", "p"])
        assert set(tag.attrs) <= {"class", "scope", "role", "tabindex", "aria-label"}


def test_what_has_to_be_read_gets_room_and_what_is_short_stays_on_a_line():
    frame = pd.DataFrame(
        {
            "id": ["c82e0387dd3c33dd2", "x"],
            "why": ["same surname; same first name; same postcode", ""],
            "how": ["learned on one half year and held against the next one, as far as it goes", "-"],
            "n": [1, 20_000],
        }
    )
    head = _soup(charts.table(frame, caption="c")).thead
    assert [th["class"] for th in head.find_all("th")] == [["text", "short"], ["text", "words"], ["text", "words", "long"], ["number"]]
    for row in _soup(charts.table(frame, caption="c")).tbody.find_all("tr"):
        assert [cell["class"] for cell in row.find_all(["th", "td"])] == [th["class"] for th in head.find_all("th")]


def test_backticks_are_code_in_our_words_and_themselves_in_data():
    frame = pd.DataFrame({"meaning": ["`open` <i> is not"], "value": ["`rm`"]})
    shown = charts.table(frame, caption="Nobody: `clientbook lab <x>` asks. It keeps `labels.csv`.", formats={"meaning": "prose"})
    soup = _soup(shown)
    assert [code.get_text() for code in soup.caption.find_all("code")] == ["clientbook lab <x>", "labels.csv"]
    assert soup.find(class_="scroll")["aria-label"] == "Nobody: clientbook lab <x> asks."
    assert soup.caption.find(class_="added").get_text() == "It keeps labels.csv."
    first, second = soup.tbody.find_all(["th", "td"])
    assert (first.code.get_text(), first.get_text(), second.get_text()) == ("open", "open <i> is not", "`rm`")
    assert "`" not in repr(shown).splitlines()[0]
    empty = charts.table(frame.head(0), caption="Answers in `labels.csv`")
    assert _soup(empty).p.code.get_text() == "labels.csv"
    card = charts.key_numbers([{"name": "a", "value": 1, "note": "see `x`"}])
    assert BeautifulSoup(card._repr_html_(), "html.parser").find(class_="note").code.get_text() == "x"


@settings(max_examples=120, deadline=None)
@given(st.text())
def test_any_text_escaped_into_markdown_comes_out_as_it_is(value):
    html = Tidier().tidy(markdown(f"Best: **{charts.escape('x' + value)}** so far"))
    expected = " ".join(f"x{value}".replace("\x00", "\ufffd").split())
    if expected.isprintable():
        assert plain(html) == " ".join(f"Best: {expected} so far".split())
    assert {tag.name for tag in BeautifulSoup(html, "html.parser").find_all(True)} <= {"p", "strong"}


# ---- figures


@pytest.fixture
def frame():
    return pd.DataFrame({"a": np.arange(10.0), "b": np.arange(10.0)[::-1]}, index=pd.date_range("2024-01-01", periods=10))


def _all_kinds(frame):
    values = np.random.default_rng(1).gamma(2, 50, 500)
    return {
        "bars": charts.bars(list("abc"), [3, -1, 2], finding="f", detail="d", low=[2, -2, 1], high=[4, 0, 3]),
        "lines": charts.lines(frame, finding="f", marks={"cut": frame.index[4]}, bands={"a": (frame.a - 1, frame.a)}),
        "histogram": charts.histogram(values, finding="f $5 and $6", xlabel="x", format="money", currency="USD"),
        "counts": charts.histogram([1, 1, 2, 3], finding="f"),
        "scatter": charts.scatter([1, 2], [3, 4], finding="f", labels=["p", "q"], sizes=[1, 9]),
        "calibration": charts.calibration([1, 2], [1, 3], finding="f", naive=[2, 2]),
        "heatmap": charts.heatmap(pd.DataFrame([[1, np.nan], [0, 4]]), finding="f"),
        "large heatmap": charts.heatmap(pd.DataFrame(np.arange(900.0).reshape(30, 30)), finding="f"),
    }


def test_every_figure_is_the_same_picture_each_time(frame):
    first, second = ({name: (charts.png(fig), charts.png(fig, 350)) for name, fig in _all_kinds(frame).items()} for _ in range(2))
    assert first == second
    assert all(len(wide) + len(narrow) < 120_000 for wide, narrow in first.values())


def test_nothing_at_all_can_be_drawn():
    charts.png(charts.histogram([], finding="f"))
    charts.png(charts.bars([], [], finding="f"))
    charts.png(charts.lines({"a": [np.nan]}, x=[1], finding="f"))


def test_bars_say_what_they_leave_out():
    fig = charts.bars(range(25), range(25), finding="f", detail="d", limit=20)
    assert any("5 more left out" in text.get_text() for text in fig.texts)
    assert len(fig.axes[0].patches) == 20


def _boxes(fig, texts):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    return [text.get_window_extent(canvas.get_renderer()) for text in texts if text.get_text()]


def _apart(boxes):
    return not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[i + 1 :])


def test_long_names_of_bars_and_fields_do_not_lie_on_each_other():
    long = ["reach people by their own channel and hour", "act on the one customer view, not on the silos", "short",
            "recover late orders in order of value"]  # fmt: skip
    fig = charts.bars(long, [3, 1, 2, 4], finding="f", low=[1, 0, 1, 3], high=[4, 2, 3, 5])
    assert _apart(_boxes(fig, fig.axes[0].get_yticklabels()))
    few = ["the same, one human", "similar, one human", "different, one human", "the same, strangers", "similar, strangers"]
    many = [f"{name}, orders several pieces of a thing" for name in few]
    for names in (few, many):
        fig = charts.heatmap(pd.DataFrame(np.arange(10.0).reshape(2, 5), columns=names), finding="f")
        for width in (figures.WIDTH, figures.NARROW):
            fig.set_size_inches(width / 100, 4)
            axes.fit_below(fig)
            labels = fig.axes[0].get_xticklabels()
            assert [" ".join(label.get_text().split()) for label in labels] == names
            # leaning names lie beside each other, but their boxes overlap
            assert labels[0].get_rotation() or _apart(_boxes(fig, labels))
            assert width == figures.NARROW or not labels[0].get_rotation()


def test_histogram_counts_every_value_or_says_so():
    fig = charts.histogram([1] * 99 + [1000], finding="f", upto=0.98)
    assert sum(bar.get_height() for bar in fig.axes[0].patches) == 99
    assert any("1 above 1 not shown" in text.get_text() for text in fig.texts)


def test_show_carries_words_and_two_sizes(monkeypatch):
    from PIL import Image

    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **kw: shown.append((data, kw)))
    charts.show(charts.bars(["a"], [1], finding="Of `x`", detail="`d`"), alt=" One\n`bar`. ")
    (data, more), *_ = shown
    metadata = more["metadata"]["image/png"]
    picture = Image.open(io.BytesIO(data["image/png"]))
    assert metadata["alt"] == "One bar." and more["raw"]
    assert picture.size == (2 * metadata["width"], 2 * metadata["height"])
    assert not picture.info.get("Software") and metadata["narrow"]
    with pytest.raises(ValueError, match="alternative text"):
        charts.show(charts.bars(["a"], [1], finding="f"), alt=" ")


def test_palette_holds_on_white_and_for_the_colour_blind():
    assert len(set(charts.PALETTE)) == len(charts.PALETTE) == 7


def test_key_numbers_and_answer():
    cards = charts.key_numbers(
        [{"name": "<b>", "value": 0.284, "unit": "share", "low": 0.27, "high": 0.3, "n": 23570, "better": "higher"}]
    )
    html = cards._repr_html_()
    assert "&lt;b&gt;" in html and f"28.4{NB}%" in html and f"27{NB}% to 30{NB}%" in html
    assert f"n{NB}={NB}23,570" in repr(cards)
    data, metadata = charts.answer("**Half** of $5")._repr_mimebundle_()
    assert data["text/markdown"] == "**Half** of &#36;5"
    assert metadata == {"clientbook": {"role": "answer"}}


def test_fills_keep_their_colour_in_few_colours():
    from PIL import Image

    fig = charts.bars(["a", "b", "c"], [1.0, 2.0, 3.0], finding="One colour fills all bars", highlight=["b"])
    with Image.open(io.BytesIO(figures.png(fig))) as picture:
        seen = {colour: n for n, colour in picture.convert("RGB").getcolors(1 << 24)}
    assert len(seen) <= figures.COLOURS
    fills = {tuple(int(charts.BLUE[i : i + 2], 16) for i in (1, 3, 5)), (255, 255, 255)}
    assert all(seen.get(colour, 0) > 5_000 for colour in fills)


def test_shares_below_each_other_are_as_exact_as_they_are_known():
    assert numbers.column([1.0, 1.0, 1.0, 0.9976], "percent") == [f"100{NB}%"] * 3 + [f"99.8{NB}%"]
    assert numbers.column([0.02411, 0.00161, 0.0], "percent") == [f"2.41{NB}%", f"0.16{NB}%", f"0.00{NB}%"]


def test_an_empty_table_of_shares_draws_its_finding_alone():
    fig = charts.heatmap(pd.DataFrame(columns=["need", "use"]), finding="Nothing was sent", xlabel="x")
    assert not fig.axes[0].axison and fig.get_size_inches()[1] < 1 and fig._report_title[0] == "Nothing was sent"
    long = charts.heatmap(pd.DataFrame(columns=["need"]), finding="Nothing was sent whose stage is known " * 3, detail="share " * 30)
    assert all(len(charts.png(each, width)) for each in (fig, long) for width in (None, figures.NARROW))


def test_an_amount_that_is_long_is_written_small_and_stays_whole():
    cards = [{"name": "Expected value", "value": value, "unit": "", "notes": [], "line": ""} for value in ("CNY 353,000", "1,340")]
    soup = BeautifulSoup(KeyNumbers(tuple(cards))._repr_html_(), "html.parser")
    assert [each["class"] for each in soup.select("dd")] == [["value", "long"], ["value"]]


def test_what_a_figure_cannot_write_is_numbered_and_told_below_it(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **kinds: shown.append(data))
    fig = charts.bars(["上海 市", "Łódź", "서울 & co", "上海 市"], [3, 2, 1, 1], finding="上海 市 buys most")
    charts.show(fig, "上海 市 buys most: 3.")
    picture, below = shown
    assert picture["text/plain"] == "上海 市 buys most: 3."
    assert below["text/html"].endswith(">In the figure [1] is 上海 市, [2] is 서울.</p>")
    assert [tick.get_text() for tick in fig.axes[0].get_yticklabels()] == ["[1]", "Łódź", "[2] & co", "[1]"]
    assert fig._report_title[0] == "[1] buys most"


def test_a_figure_that_can_write_all_its_words_has_nothing_below_it(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **kinds: shown.append(data))
    frame = pd.DataFrame({"Größe": [1.0, 2], "цена": [2.0, 1]}, index=["ναι", "não"])
    charts.show(charts.heatmap(frame, finding="≥ 2 ⇄ 1 → “ok”"), "alt")
    assert len(shown) == 1


def test_numbers_of_losses_do_not_stand_in_the_names():
    figure = charts.bars(
        ["serve scarce stock by value", "stop wrong messages"], [3.99e6, -206_000], low=[3.7e6, -260_000], high=[4.2e6, -150_000],
        finding="One loses", format="money", currency="EUR",
    )  # fmt: skip
    figure.canvas.draw()
    (axes,) = figure.axes
    (loss,) = [text for text in axes.texts if "206" in text.get_text()]
    assert loss.get_window_extent().x0 > max(name.get_window_extent().x1 for name in axes.get_yticklabels())
