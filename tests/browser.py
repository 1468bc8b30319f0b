"""A real browser for the tests: opens every page of a report the way a reader does, and says what it saw."""

from __future__ import annotations

import html
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PHONE, DESK = {"width": 375, "height": 812}, {"width": 1280, "height": 900}
# A sheet of A4 within the margins of the report, at 96 dots an inch.
SHEET = {"width": 673, "height": 986}
_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Contrast is what takes time, a look at the page for every word. It follows from how an element and those around it are
# styled: of many elements styled alike, such as the cells of a table, the first few stand for all.
_MARK_ALIKE = """() => {
    const told = ['color', 'backgroundColor', 'backgroundImage', 'fontSize', 'fontWeight', 'opacity', 'textShadow', 'filter',
        'mixBlendMode', 'position', 'display', 'visibility', 'float', 'transform', 'top', 'left', 'marginTop', 'marginLeft', 'textIndent'];
    const known = new Map(), counted = [];
    const mark = (each, around, placed) => {
        const style = getComputedStyle(each);
        const words = [...each.childNodes].filter(node => node.nodeType === Node.TEXT_NODE).map(node => node.data.trim()).join('');
        const look = JSON.stringify([around, each.tagName, each.className, Math.min(words.length, 2), ...told.map(name => style[name])]);
        if (!known.has(look)) known.set(look, known.size);
        const id = known.get(look);
        counted[id] = (counted[id] || 0) + 1;
        // what may lie over something else is looked at wherever it is
        placed = placed || !['static', 'relative'].includes(style.position) || !each.namespaceURI.endsWith('xhtml');
        let alike = counted[id] > 3 && !placed;
        for (const child of each.children) alike = mark(child, id, placed) && alike;
        each.toggleAttribute('data-alike', alike);
        return alike;
    };
    mark(document.body, -1, false);
}"""
_AXE = "([context, options]) => axe.run(context, options).then(found => found.violations)"
_AXE_RUNS = (
    ({"include": [["html"]]}, {"resultTypes": ["violations"], "rules": {"color-contrast": {"enabled": False}}}),
    ({"exclude": [[":not([data-alike]) > [data-alike]"]]}, {"resultTypes": ["violations"], "runOnly": ["color-contrast"]}),
)


@dataclass(frozen=True)
class Seen:
    """What a browser saw of one page."""

    name: str
    size: int
    requests: list[str] = field(default_factory=list)  # beyond the page's own file
    violations: list[str] = field(default_factory=list)  # of accessibility, as axe finds them
    overflow: int = 0  # pixels that stick out to the side of a phone
    cut: list[str] = field(default_factory=list)  # tables wider than a sheet of A4
    ran: list[str] = field(default_factory=list)  # dialogs, changed titles, script that was let in
    title: str = ""


def open_pages(folder: Path, *, screenshots: Path | None = None, axe: bool = True) -> list[Seen]:
    """What does a reader's browser make of every page in a folder?

    Parameters
    ----------
    folder
        A published report.
    screenshots
        A folder for ``<page>-1280.png`` and ``<page>-375.png``.
    axe
        Whether to look for faults of accessibility, at both widths and with all details open.

    Returns
    -------
    list of Seen
        One for each page, in the order of their names. Skips the test where there is no Chromium; with CI
        set, that fails it.
    """
    pages = sorted(Path(folder).glob("*.html"))
    with chromium() as browser:
        return [_look(browser, page, screenshots, axe) for page in pages]


@contextmanager
def chromium() -> Iterator:
    """A headless Chromium of the system's."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        path = None
    if path is None:
        absent = "Chromium or playwright is not installed"
        pytest.fail(absent) if os.environ.get("CI") else pytest.skip(absent)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def _look(browser, page: Path, screenshots: Path | None, axe: bool) -> Seen:
    requests, ran = [], []
    address = page.resolve().as_uri()
    # As a reader has it: script allowed by the browser, the page's own policy in force.
    context = browser.new_context(viewport=DESK, java_script_enabled=True)
    tab = context.new_page()
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("dialog", lambda dialog: (ran.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    tab.goto(address)
    written = re.search(r"<title>(.*?)</title>", page.read_text("utf-8"), re.S)
    # What the file says, before anything could change it.
    title = html.unescape(written[1]).strip() if written else ""
    # Whatever could react to a reader does so now.
    tab.evaluate("""() => { for (const each of document.querySelectorAll('main :not(a)')) {
        each.dispatchEvent(new MouseEvent('click', {bubbles: false, cancelable: true}));
        each.dispatchEvent(new MouseEvent('mouseover')); } }""")
    if tab.title() != title:
        ran.append("the title was changed")
    ran += [f"script: {each}" for each in tab.eval_on_selector_all("script", "all => all.map(s => s.outerHTML)")]
    ran += tab.evaluate("""() => [...document.querySelectorAll('*')].flatMap(each => [...each.attributes]
        .filter(a => a.name.startsWith('on') || /^\\s*javascript:/i.test(a.value)).map(a => a.name + '=' + a.value))""")
    if tab.url != address:
        ran.append(f"left for {tab.url}")
    if screenshots:
        tab.goto(address)
        _shoot(tab, screenshots / f"{page.stem}-1280.png")
    tab.set_viewport_size(PHONE)
    tab.goto(address)
    overflow = tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    if screenshots:
        _shoot(tab, screenshots / f"{page.stem}-375.png")
    tab.set_viewport_size(SHEET)
    tab.emulate_media(media="print")
    cut = tab.evaluate("""width => [...document.querySelectorAll('table')]
        .filter(each => each.getBoundingClientRect().right > width + 1).map(each => each.caption?.innerText ?? each.innerText)""",
        SHEET["width"])  # fmt: skip
    context.close()
    return Seen(
        name=page.stem,
        size=page.stat().st_size,
        requests=[url for url in requests if url != address and not url.startswith("data:")],
        violations=_violations(browser, address) if axe else [],
        overflow=overflow,
        cut=[words[:80] for words in cut],
        ran=ran,
        title=title,
    )


def _violations(browser, address: str) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    found = []
    # axe is a script, which the page's policy would keep out as well.
    context = browser.new_context(viewport=DESK, bypass_csp=True)
    tab = context.new_page()
    tab.goto(address)
    tab.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    tab.evaluate(Axe().axe_script)
    for width in (DESK, PHONE):
        tab.set_viewport_size(width)
        tab.evaluate(_MARK_ALIKE)
        for fault in [each for run in _AXE_RUNS for each in tab.evaluate(_AXE, run)]:
            places = "; ".join(node["html"][:120] for node in fault["nodes"][:3])
            found.append(f"{fault['id']} at {width['width']} px: {places}")
    context.close()
    return found


def _shoot(tab, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tab.screenshot(path=path, full_page=True)
