"""The report site: whole, safe, readable by everybody, the same for the same notebooks."""

from __future__ import annotations

import base64
import datetime
import errno
import itertools
import logging
import os
import re
import time
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from browser import chromium, open_pages
from bs4 import BeautifulSoup
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from clientbook import charts, publish
from clientbook.faults import FaultError
from clientbook.site import article, glossary, swap
from clientbook.site.sanitise import Tidier

DAY = datetime.date(2024, 6, 1)
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
HOSTILE = [
    "<script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    '<img src="data:image/png;base64,x" onerror="alert(1)" alt="a">',
    "<svg onload=alert(1)><script>alert(1)</script></svg>",
    '<a href="javascript:alert(1)">a</a>',
    '<a href="java\tscript:alert(1)">a</a>',
    '<a href="&#106;avascript:alert(1)">a</a>',
    '<a href="data:text/html,<script>alert(1)</script>">a</a>',
    '<a href="vbscript:x">a</a>',
    '<iframe src="https://example.org"></iframe>',
    '<p style="background:url(https://example.org/x.png)" onclick="alert(1)" onmouseover=alert(1)>p</p>',
    '<form action="https://example.org"><input autofocus onfocus=alert(1)><button>b</button></form>',
    '<object data="https://example.org"></object><embed src="https://example.org">',
    '<meta http-equiv="refresh" content="0;url=https://example.org"><base href="https://example.org">',
    '<link rel="stylesheet" href="https://example.org/x.css"><style>@import "https://example.org/x.css";</style>',
    '<math><mi xlink:href="javascript:alert(1)">x</mi></math>',
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    '<noscript><p title="</noscript><img src=x onerror=alert(1)>"></noscript>',
    "</div></main></article></body><h1>mine</h1>",
    "<details open ontoggle=alert(1)><summary>s</summary></details>",
    "<!--><img src=x onerror=alert(1)>-->",
    '<table><tr><th><th>x<script>alert(1)</script><tr><td background="javascript:alert(1)">1</table>',
]

PIECES = [
    *("<", ">", '"', "'", "/", "=", " ", "\x00", "&lt;", "<!--", "-->", "script", "img", "svg", "a", "table", "th"),
    *("style", "title", "src", "x", "href", "onerror", "javascript:"),
]


def _shown(thing):
    """What a kernel would keep of a displayed object."""
    if hasattr(thing, "_repr_mimebundle_"):
        data, metadata = thing._repr_mimebundle_()
    else:
        data, metadata = {"text/html": thing._repr_html_(), "text/plain": repr(thing)}, {}
    return new_output("execute_result", data=data, metadata=metadata, execution_count=1)


def _html(html):
    return new_output("display_data", data={"text/html": html, "text/plain": "<x>"})


def _picture(**metadata):
    return new_output("display_data", data={"image/png": PIXEL}, metadata={"image/png": metadata} if metadata else {})


def _figure(fig, alt):
    data = base64.b64encode(charts.png(fig)).decode()
    narrow = base64.b64encode(charts.png(fig, 350)).decode()
    metadata = {"image/png": {"alt": alt, "width": 860, "height": 400, "narrow": narrow}}
    return new_output("display_data", data={"image/png": data}, metadata=metadata)


def _code(source="pass", *outputs, tags=(), **metadata):
    return new_code_cell(source, outputs=list(outputs), metadata={**({"tags": list(tags)} if tags else {}), **metadata})


def _page(folder: Path, name: str, *cells) -> publish.Page:
    folder.mkdir(parents=True, exist_ok=True)
    notebook = new_notebook(cells=list(cells))
    path = folder / f"{name}.ipynb"
    nbformat.write(notebook, path)
    return publish.Page(name, path)


def _site(**changes) -> publish.Site:
    return publish.Site(**{"title": "Shop", "book": "shop", "as_of": DAY, "run": "2024-06-01.001", **changes})


def _read(tmp_path, *cells) -> article.Article:
    page = _page(tmp_path / "in", "04_value", *cells)
    return article.read(page.name, page.notebook)


@pytest.fixture
def pages(tmp_path):
    table = charts.table(
        pd.DataFrame({"name": ["<script>alert(1)</script>", "Ann"], "clv": [1.5, 1234.5], "n": [3, 50]}),
        caption="Best customers",
        n="n",
    )
    fig = charts.bars(["A", "B"], [0.6, 0.4], finding="A brings most", format="percent")
    return [
        _page(
            tmp_path / "in",
            "00_overview",
            new_markdown_cell("# Who are our customers?\n\nA page for all."),
            _code("as_of = '2024-01-01'", tags=["parameters"]),
            _code("as_of = '2024-06-01'", tags=["injected-parameters"]),
            _code(
                "charts.answer('…')",
                _shown(charts.answer("We have **2 customers**, worth $5 to $6. Keep them. See [Value](04_value.html).")),
            ),
            _code("charts.key_numbers(…)", _shown(charts.key_numbers([{"name": "Customers", "value": 2}]))),
        ),
        _page(
            tmp_path / "in",
            "04_value",
            new_markdown_cell("# What is each worth?"),
            _code("show()", _figure(fig, 'Bars: A 60 %, B "40 %".'), _shown(table)),
            new_markdown_cell("#### Too deep\n\n| a | b |\n|---|--:|\n| x | 1 |\n\n# A second title"),
            _code("frame", _html(pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})._repr_html_())),
            _code("hostile", *[_html(each) for each in HOSTILE]),
            _code("wide", _html(pd.DataFrame([range(100_000, 100_040)])._repr_html_())),
        ),
    ]


@pytest.fixture
def report(pages, tmp_path):
    numbers = [{"name": "Value", "value": 5e6, "unit": "EUR", "better": "higher", "n": 2, "low": 4e6, "high": 6e6}]
    site = _site(key_numbers=numbers, notes=["3 rows <b>rejected</b>"])
    return publish.publish(site, pages, tmp_path / "out")


def _soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text("utf-8"), "html.parser")


# ---- what is written


def test_the_folder_is_whole_and_latest_leads_to_it(report, tmp_path):
    assert report == tmp_path / "out" / "shop" / "2024-06-01"
    assert {each.name for each in report.iterdir()} == {
        "index.html",
        "00_overview.html",
        "04_value.html",
        "glossary.html",
    }
    latest = report.parent / "latest"
    assert latest.readlink() == Path("2024-06-01") and (latest / "index.html").is_file()
    assert {each.name for each in report.parent.iterdir()} == {"2024-06-01", "latest"}


def test_index_gives_numbers_questions_and_answers(report):
    index = _soup(report / "index.html")
    assert index.h1.get_text() == "Shop"
    assert "1 June 2024" in index.get_text() and "2024-06-01.001" in index.get_text()
    assert index.find("dd", class_="value").get_text() == "€5\u00a0M"
    links = [(a["href"], a.get_text()) for a in index.main.select("li a")]
    assert links == [("00_overview.html", "Who are our customers?"), ("04_value.html", "What is each worth?")]
    assert index.main.select_one("li p").get_text() == "We have 2 customers, worth $5 to $6."
    assert "3 rows <b>rejected</b>" in index.get_text()


def test_every_page_says_what_it_is_and_where_to_go(report):
    for path in report.glob("*.html"):
        soup = _soup(path)
        assert soup.html["lang"] == "en" and len(soup.find_all("h1")) == 1 and soup.title.get_text()
        policy = soup.find("meta", attrs={"http-equiv": "Content-Security-Policy"})["content"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "script-src" not in policy
        assert soup.find("a", class_="skip")["href"] == "#main" and soup.find(id="main")
        assert "@media print" in soup.style.get_text()
        assert path.stat().st_size < publish.PAGE_LIMIT
        for link in soup.find_all("a", href=True):
            target = link["href"].split("#")[0]
            assert not target or (report / target).is_file()
    value = _soup(report / "04_value.html")
    assert value.find("a", rel="prev")["href"] == "00_overview.html"
    assert _soup(report / "00_overview.html").find("a", rel="next")["href"] == "04_value.html"
    assert value.select_one(".pages [aria-current]")["href"] == "04_value.html"


def test_answer_stands_first_and_code_is_one_click_away(report):
    page = _soup(report / "00_overview.html")
    assert page.h1.find_next_sibling()["class"] == ["answer"]
    assert page.select_one(".answer strong").get_text() == "2 customers"
    summaries = [each.get_text() for each in page.select("details.code > summary")]
    assert summaries == ["Parameters’ defaults", "Parameters of this run", "Code", "Code"]
    assert not page.find("details", open=True)
    assert page.select("details .highlight span")


def test_headings_are_in_order_and_tables_have_real_heads(report):
    value = _soup(report / "04_value.html")
    levels = [int(tag.name[1]) for tag in value.find_all(re.compile("^h[1-6]$"))]
    assert levels[:3] == [1, 2, 2] and all(b - a <= 1 for a, b in itertools.pairwise(levels))
    assert all(th.get_text(strip=True) and th.get("scope") for th in value.find_all("th"))
    assert all(table.find_parent(class_="scroll") for table in value.find_all("table"))
    assert value.find("img")["alt"] == 'Bars: A 60 %, B "40 %".' and value.find("source")["media"]


def test_glossary_has_the_words():
    words = {word for group in glossary.GROUPS for word in group.words}
    stages = {"Need", "Research", "Decide", "Adopt", "Use", "Recommend"}
    fields = {"Frequency", "Recency", "T", "P(alive)", "CLV", "Holdout", "RMSE", "Bias", "Decile capture"}
    kept = {"Book", "Source", "Person", "Identity", "Customer", "Account", "Event", "Message", "Content", "Topic"}
    assert stages | fields | kept <= words


def test_personal_data_is_marked_on_every_page(pages, tmp_path):
    marked = publish.publish(_site(personal=True), pages, tmp_path / "out")
    assert all("Personal data." in path.read_text("utf-8") for path in marked.glob("*.html"))
    plain = publish.publish(_site(), pages, tmp_path / "other")
    assert not any("Personal data." in path.read_text("utf-8") for path in plain.glob("*.html"))


def test_same_notebooks_same_bytes(report, pages, tmp_path):
    site = _site(
        key_numbers=[{"name": "Value", "value": 5e6, "unit": "EUR", "better": "higher", "n": 2, "low": 4e6, "high": 6e6}],
        notes=["3 rows <b>rejected</b>"],
    )
    again = publish.publish(site, pages, tmp_path / "again")
    assert {p.name: p.read_bytes() for p in report.iterdir()} == {p.name: p.read_bytes() for p in again.iterdir()}


# ---- what a notebook brings


def test_streams_tags_and_scripts_stay_behind(tmp_path):
    body = _read(
        tmp_path,
        new_markdown_cell("# Q?"),
        _code("noisy()", new_output("stream", name="stderr", text="Warn: /home/x"), new_output("stream", text="1/3")),
        _code("a_secret = 1", _html("<p>kept</p>"), tags=["remove-input"]),
        _code("b", _html("<p>dropped</p>"), tags=["remove-output"]),
        _code("c_gone", _html("<p>gone</p>"), tags=["remove-cell"]),
        _code("js", new_output("display_data", data={"application/javascript": "alert(1)", "text/plain": "<js>"})),
        _code("svg", new_output("display_data", data={"image/svg+xml": "<svg/>"}), alt="A drawing"),
        _code("x", new_output("execute_result", data={"text/plain": "<b>\x1b[31m5\x1b[0m"}, execution_count=1)),
    ).body
    for absent in ("Warn:", "1/3", "a_secret", "dropped", "gone", "alert(1)", "\x1b"):
        assert absent not in body
    for present in ("<p>kept</p>", "&lt;js&gt;", 'alt="A drawing"', "&lt;b&gt;5", "noisy"):
        assert present in body


def test_title_answer_and_names_fall_back(tmp_path):
    bare = _read(tmp_path, _code("x"))
    assert (bare.title, bare.answer, bare.first_sentence, bare.label) == ("Value", "", "", "Value")


@pytest.mark.parametrize(
    ("answer", "first"),
    [
        ("It is 1.2 M, e.g. in France. Second.", "It is 1.2 M, e.g. in France."),
        ("**Half** is *lost*! And more", "Half is lost!"),
        ("共两人。其余。", "共两人。"),
        ("No end", "No end"),
        ("- one\n- two", "one two"),
    ],
)
def test_first_sentence(tmp_path, answer, first):
    assert _read(tmp_path, _code("x", _shown(charts.answer(answer)))).first_sentence == first


def test_every_fault_of_every_page_is_named_and_nothing_is_published(tmp_path):
    one = _page(
        tmp_path,
        "01_a",
        new_markdown_cell("# Q"),
        _code("p", _picture()),
        _code("q", _picture(alt=" ")),
        new_markdown_cell(f"![](data:image/png;base64,{PIXEL})"),
        _code("r", _html(f'<img src="data:image/png;base64,{PIXEL}">')),
        _code("s", _picture(alt="good")),
        _code("t", _picture(), alt="good"),
    )
    secret = new_output("error", ename="ValueError", evalue="secret", traceback=["secret"])
    two = _page(tmp_path, "02_b", _code("x", secret))
    with pytest.raises(FaultError) as raised:
        publish.publish(_site(), [one, two], tmp_path / "out")
    found = [(fault.file, re.search(r"[Cc]ell \d+", fault.message)[0].lower()) for fault in raised.value.faults]
    assert found == [("01_a.ipynb", f"cell {n}") for n in (2, 3, 4, 5)] + [("02_b.ipynb", "cell 1")]
    assert "alternative text" in str(raised.value) and "secret" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_unreadable_notebook_is_a_fault(tmp_path):
    path = tmp_path / "x.ipynb"
    for text in (None, "", "{}", "not json"):
        if text is not None:
            path.write_text(text)
        with pytest.raises(FaultError, match=r"x\.ipynb"):
            publish.publish(_site(), [publish.Page("x", path)], tmp_path / "out")


def test_pictures_of_markdown(tmp_path):
    cell = new_markdown_cell("# Q\n\n![A dot](attachment:dot.png) ![away](https://example.org/x.png)")
    cell["attachments"] = {"dot.png": {"image/png": PIXEL}}
    body = _read(tmp_path, cell).body
    assert f'src="data:image/png;base64,{PIXEL}"' in body and 'alt="A dot"' in body
    assert "example.org" not in body and "away" in body


@pytest.mark.parametrize("name", ["../x", "index", "Glossary", "a b", "", "x/y"])
def test_a_page_needs_a_files_name(name, tmp_path):
    with pytest.raises(ValueError, match="page"):
        publish.publish(_site(), [publish.Page(name, tmp_path)], tmp_path / "out")


@pytest.mark.parametrize("book", ["", "..", ".x", "a/b", " a"])
def test_a_book_needs_a_folders_name(book, tmp_path):
    with pytest.raises(ValueError, match="folder"):
        publish.publish(_site(book=book), [], tmp_path / "out")


def test_a_heavy_page_is_published_with_a_warning(tmp_path, caplog):
    page = _page(tmp_path, "01_a", _code("x", _html(f"<p>{'word ' * 250_000}</p>")))
    with caplog.at_level(logging.WARNING):
        publish.publish(_site(), [page], tmp_path / "out")
    assert "01_a.html" in caplog.text


# ---- hostile data


@pytest.mark.parametrize("html", HOSTILE)
def test_nothing_hostile_passes(html):
    soup = BeautifulSoup(Tidier().tidy(html), "html.parser")
    for tag in soup.find_all(True):
        assert tag.name not in {"script", "style", "iframe", "object", "embed", "form", "input", "meta", "base", "svg"}
        assert not any(name.startswith("on") or name == "style" for name in tag.attrs)
        assert not tag.get("href", "").lower().startswith(("javascript", "data", "vbscript"))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=25))
def test_no_sequence_of_markup_passes(parts):
    out = Tidier().tidy("".join(parts))
    for tag in BeautifulSoup(out, "html.parser").find_all(True):
        assert tag.name not in {"script", "style", "svg"} and not any(name.startswith("on") for name in tag.attrs)
        assert not tag.get("href", "").lower().startswith("javascript")


def test_hostile_site_fields_are_text(pages, tmp_path):
    bad = "<script>alert(1)</script>"
    site = _site(title=bad, run=bad, notes=[bad], key_numbers=[{"name": bad, "value": bad}])
    for path in publish.publish(site, pages, tmp_path / "out").glob("*.html"):
        assert not _soup(path).find("script")


# ---- swapped in whole


def _publish(tmp_path, text, day=DAY):
    page = _page(tmp_path / "in", "01_a", new_markdown_cell(f"# {text}?"))
    return publish.publish(_site(as_of=day), [page], tmp_path / "out")


@pytest.mark.parametrize("exchange", [True, False])
def test_a_second_report_takes_the_place_of_the_first(tmp_path, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr(swap, "_exchange", lambda new, place: False)
    _publish(tmp_path, "first")
    out = _publish(tmp_path, "second")
    assert "second?" in (out / "01_a.html").read_text() and "first?" not in (out / "index.html").read_text()
    assert {each.name for each in out.parent.iterdir()} == {"2024-06-01", "latest"}


def test_latest_never_goes_back(tmp_path):
    _publish(tmp_path, "new", DAY)
    old = _publish(tmp_path, "old", DAY - datetime.timedelta(days=30))
    assert (old.parent / "latest").readlink() == Path("2024-06-01")
    newer = _publish(tmp_path, "newer", DAY + datetime.timedelta(days=30))
    assert (newer.parent / "latest").readlink() == Path("2024-07-01")


@pytest.mark.parametrize("second", [True, False])
def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch, second):
    if second:
        _publish(tmp_path, "first")
    write, count = Path.write_bytes, iter(range(100))

    def full(path, data):
        if next(count) == 1:
            raise OSError(errno.ENOSPC, "no space")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space"):
        _publish(tmp_path, "broken")
    left = {each.name for each in (tmp_path / "out" / "shop").iterdir()}
    assert left == ({"2024-06-01", "latest"} if second else set())
    if second:
        assert "first?" in (tmp_path / "out" / "shop" / "latest" / "index.html").read_text()


def test_the_two_renames_undo_themselves(tmp_path, monkeypatch):
    monkeypatch.setattr(swap, "_exchange", lambda new, place: False)
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "x").write_text("kept")
    with pytest.raises(OSError):
        swap.swap_in(tmp_path / "absent", tmp_path / "place")
    assert (tmp_path / "place" / "x").read_text() == "kept" and len(list(tmp_path.iterdir())) == 1


def test_where_there_are_no_links_latest_is_a_copy(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("links are not allowed")

    monkeypatch.setattr(os, "symlink", refuse)
    _publish(tmp_path, "first")
    out = _publish(tmp_path, "second")
    latest = out.parent / "latest"
    assert not latest.is_symlink() and "second?" in (latest / "index.html").read_text()
    assert {each.name for each in out.parent.iterdir()} == {"2024-06-01", "latest"}


def test_what_a_killed_build_left_is_swept_up_later(tmp_path):
    parent = tmp_path / "out" / "shop"
    for name, age in ((".building-old", 2 * 86_400), (".building-new", 60)):
        (parent / name).mkdir(parents=True)
        os.utime(parent / name, (time.time() - age,) * 2)
    _publish(tmp_path, "x")
    assert {each.name for each in parent.glob(".*")} == {".building-new"}


# ---- in a real browser


def test_every_page_in_a_real_browser(report):
    for seen in open_pages(report):
        assert seen.requests == [], seen.name
        assert seen.violations == [], seen.name
        assert seen.ran == [], seen.name
        assert seen.overflow <= 0, seen.name
        assert seen.size < publish.PAGE_LIMIT, seen.name


def test_a_fault_of_contrast_is_found_in_whichever_row_it_is(tmp_path):
    plain = "<tr><td>as it should be</td><td>so too</td></tr>"
    odd = {
        "even": plain,
        "cell": "<tr><td style='color: #bbb'>pale</td><td>so too</td></tr>",
        "row": "<tr style='background: #555'><td>dark on dark</td><td>so too</td></tr>",
    }
    for name, row in odd.items():
        table = f"<table><tbody>{''.join([plain] * 30 + [row] + [plain] * 10)}</tbody></table>"
        page = f"<!doctype html><html lang='en'><head><title>{name}</title></head><body><main><h1>A table</h1>{table}</main></body></html>"
        (tmp_path / f"{name}.html").write_text(page, encoding="utf-8")
    faults = {page.name: [each.split(":")[0] for each in page.violations] for page in open_pages(tmp_path)}
    found = ["color-contrast at 1280 px", "color-contrast at 375 px"]
    assert faults == {"even": [], "cell": found, "row": found}


def test_words_have_room_and_numbers_stand_on_one_line(tmp_path):
    reasons = "same street and house; same surname; same postcode; same city; first names one letter apart"
    frame = pd.DataFrame(
        {
            **{f"id_{side}": ["c82e0387dd3c33dd2"] * 3 for side in "ab"}, "source": ["newsletter"] * 3,
            "probability": [0.8094, 0.9, 1.0], "for": [reasons] * 3, "against": ["different e-mail; different street", "", ""],
            **{f"number of the {name}": [12_345.6, 2.0, 3.0] for name in ("first", "second", "third")},
        }
    )  # fmt: skip
    page = _page(tmp_path / "in", "03_matching", new_markdown_cell("# Who?"), _code("t", _shown(charts.table(frame, caption="c"))))
    report = publish.publish(_site(), [page], tmp_path / "out")
    measure = """() => [...document.querySelectorAll('tbody td, tbody th')].map(cell => {
        const range = document.createRange(); range.selectNodeContents(cell);
        const lines = new Set([...range.getClientRects()].map(r => Math.round(r.top)));
        return [cell.className, cell.getBoundingClientRect().width, lines.size]; })"""
    with chromium() as browser:
        for width, room, most in ((1280, 160, 4), (390, 140, 6)):
            tab = browser.new_page(viewport={"width": width, "height": 900})
            tab.goto((report / "03_matching.html").as_uri())
            for kind, wide, lines in tab.evaluate(measure):
                if "words" in kind:
                    assert wide >= room and lines <= most, (width, kind, wide, lines)
                else:
                    assert lines <= 1, (width, kind)
            assert tab.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), width


def test_backticks_are_code_wherever_our_words_become_a_page(tmp_path):
    changes = (publish.Since("Since then", "<p>No key number changed.</p>", ("`clientbook.yaml` <changed>",), False),)
    described = [{"title": "t", "lead": "in `store`", "figures": [], "tables": []}]
    site = _site(notes=["see `labels.csv`"], changes=changes, dictionary=described)
    page = _page(tmp_path / "in", "04_value", new_markdown_cell("# What?"))
    report = publish.publish(site, [page], tmp_path / "out")
    told = [code.get_text() for name in ("index", "dictionary") for code in _soup(report / f"{name}.html").main.find_all("code")]
    assert told == ["labels.csv", "clientbook.yaml", "store"]
    assert "<changed>" in _soup(report / "index.html").get_text()
    assert "`" not in (report / "index.html").read_text("utf-8")
