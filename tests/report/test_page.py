"""The page: bounded, closed to the network, and no text from outside is ever markup."""

from __future__ import annotations

import base64
import importlib
import re
from collections.abc import Callable
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mrengine.report import write_report
from mrengine.report.page import render
from mrengine.report.story import read_story
from tests.report.logs import write

TAGS = (
    "script",
    "img src=x",
    "svg",
    "iframe",
    "body",
    "a href=javascript:alert(1)",
    "style",
    "math",
    "details open",
    "input autofocus",
)
HANDLERS = ("onerror=alert(1)", "onload=alert(1)", "onfocus=alert(1)", "ontoggle=alert(1)", "onpointerover=alert(1)")
FORMS = (
    "<{t} {h}>",
    '"><{t} {h}>',
    "'><{t} {h}>",
    "</text></svg><{t} {h}>",
    "--><{t} {h}>",
    "]]><{t} {h}>",
    "</title></style><{t} {h}>",
    '" {h} x="',
)
PAYLOADS = sorted({form.format(t=tag, h=handler) for form in FORMS for tag in TAGS for handler in HANDLERS})


class Markup(HTMLParser):
    """The tags of a page, each with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_no_payload_becomes_markup(tmp_path: Path) -> None:
    """Over 300 payloads, everywhere where a name, a message or a model is shown."""
    assert len(PAYLOADS) >= 200
    known = None
    for number in range(0, len(PAYLOADS), 40):
        text = "".join(PAYLOADS[number : number + 40])[:4000]
        write(tmp_path / str(number), chunks=12, failed=(2, 5), text=text)
        for one in (text, PAYLOADS[number]):
            folder = tmp_path / f"{number}-{len(one)}"
            write(folder, chunks=12, failed=(2, 5), text=one)
            markup = Markup(render(read_story(folder), read_story(folder)))
            names = {tag for tag, _ in markup.tags}
            known = known or names
            assert names == known
            assert sum(tag == "script" for tag, _ in markup.tags) == 1
            for _, attributes in markup.tags:
                assert not any(name.startswith("on") for name in attributes)
                assert not str(attributes.get("href") or "#").startswith("javascript")


def test_the_policy_forbids_every_request_and_every_other_script(tmp_path: Path) -> None:
    write(tmp_path / "j")
    page = render(read_story(tmp_path / "j"))
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    code = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    assert policy is not None
    assert code is not None
    assert "default-src 'none'" in policy[1]
    assert base64.b64encode(sha256(code[1].encode()).digest()).decode() in policy[1]
    assert "http" not in re.sub(r"Content-Security-Policy|http-equiv", "", page)


@pytest.mark.parametrize(
    ("chunks", "most"), [(10_000, 300_000), pytest.param(100_000, 2_000_000, marks=pytest.mark.system)]
)
def test_the_page_is_bounded(tmp_path: Path, chunks: int, most: int) -> None:
    write(tmp_path / "j", chunks=chunks, workers=5, slots=8, runs=3, failed=range(0, chunks, 7))
    write_report(tmp_path / "j", tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size < most


def test_a_job_that_has_done_nothing_has_a_page(tmp_path: Path) -> None:
    write(tmp_path / "j", chunks=3, runs=1, close=False)
    story = read_story(tmp_path / "j")
    story.tasks, story.calls, story.notes, story.failures = type(story.tasks)(), type(story.calls)(), [], []
    assert "No task has ended yet" in render(story)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it_without_a_request_or_an_error(
    tmp_path: Path, scheme: str, require: Callable[[str], str], require_packages: Callable[..., None]
) -> None:
    """Chromium, on a phone's width too: tips at the pointer and by keyboard, nothing wider than the screen."""
    chromium = require("chromium")
    require_packages("playwright")
    playwright = importlib.import_module("playwright.sync_api")
    write(tmp_path / "j", chunks=1_500, runs=2, failed=(5,))
    write(tmp_path / "few", chunks=30, failed=(5,))
    write_report(tmp_path / "j", tmp_path / "many.html", against=tmp_path / "few")
    write_report(tmp_path / "few", tmp_path / "few.html")
    with playwright.sync_playwright() as run:
        browser = run.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            for name in ("many", "few"):
                _look(browser, tmp_path / f"{name}.html", scheme)
        finally:
            browser.close()


def _look(browser: object, path: Path, scheme: str) -> None:
    page = browser.new_page(color_scheme=scheme, viewport={"width": 360, "height": 740})  # type: ignore[attr-defined]
    requests: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    mark = page.locator("svg.wide [data-tip]").first
    mark.hover(force=True)
    assert page.locator("#tip").inner_text()
    page.mouse.move(0, 0)
    page.locator("svg.wide [tabindex='0']").first.focus()
    first = page.locator("#tip").inner_text()
    page.keyboard.press("ArrowRight")
    assert page.locator("#tip").inner_text()
    assert page.locator("#tip").is_visible()
    assert first
    assert len(page.screenshot()) > 10_000
    assert requests == [path.as_uri()]
    assert errors == []
    page.close()
