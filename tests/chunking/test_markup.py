"""XML and HTML: elements stay whole, heads stay with what follows, on one line or many."""

from __future__ import annotations

import pytest

from mrengine.chunking import safe_chunk
from mrengine.chunking.detect import detect
from tests.chunking.records import assert_cut_well, assert_same_in_pieces, assert_survives


@pytest.mark.parametrize("name", ["xml lines", "xml one line", "xml cda"])
@pytest.mark.parametrize("target", [200, 512])
def test_elements_stay_whole(name: str, target: int) -> None:
    """Attributes, comments, narrative tables."""
    assert_cut_well(name, "xml", target=target, seeds=8)


def test_blocks_of_html_stay_whole() -> None:
    """Paragraphs, items and rows; headings and table heads are never last."""
    assert_cut_well("html", "html")


def test_what_stands_in_comments_data_and_scripts_is_no_tag() -> None:
    """So depth is not lost behind them."""
    part = "<r><!-- <open> --><a><![CDATA[ <b><c> ]]></a><b>some words here</b></r>\n"
    text = '<?xml version="1.0"?>\n<all>\n' + part * 100 + "</all>\n"
    chunks = list(safe_chunk(text, target_tokens=100, overlap_tokens=0))
    assert all(chunk.text.startswith("<r>") for chunk in chunks[1:])
    page = "<script>if (a < b) { x = '<div><div>'; }</script>\n<p>Some words. And more words.</p>\n"
    text = "<!DOCTYPE html>\n<html><body>\n" + page * 100 + "</body></html>\n"
    chunks = list(safe_chunk(text, target_tokens=100, overlap_tokens=0))
    assert all(chunk.text.startswith(("<script>", "<p>")) for chunk in chunks[1:])


def test_headings_of_html_go_with_each_chunk() -> None:
    """Those above its begin, without tags; one that it begins with ends those as deep."""
    part = (
        "<h1>Part {0}</h1>\n<h2 id='x'>Some &amp; <b>more</b> {0}</h2>\n"
        + "<p>Words of some length. And more.</p>\n" * 30
    )
    text = "<!DOCTYPE html>\n<html><body>\n" + "".join(part.format(n) for n in range(9)) + "</body></html>\n"
    seen = set()
    for chunk in safe_chunk(text, target_tokens=120, overlap_tokens=0):
        number = text.count("<h1>", 0, chunk.start) - 1
        if chunk.text.startswith("<p>"):
            assert chunk.headings == (f"Part {number}", f"Some & more {number}")
            seen.add(number)
        elif chunk.text.startswith("<h1>"):
            assert chunk.headings == ()
    assert seen == set(range(9))


def test_no_cut_lies_inside_of_a_tag() -> None:
    """Nor where a block does not fit: lines that are broken are cut there, others before a tag."""
    link = '<a href="https://example.org/some/where?with=a value" title="What it is. And more">text</a>'
    for gap in ("<br />\n", " and, "):
        text = "<!DOCTYPE html>\n<html><body><p>" + (link + gap) * 200 + "</p></body></html>"
        for chunk in list(safe_chunk(text, target_tokens=120, overlap_tokens=0))[1:]:
            assert chunk.text.startswith(("<a", " and"))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("xml", '<?xml version="1.0"?><rss><channel><item><title>a</title></item></channel></rss>'),
        ("xml", '<svg xmlns="http://www.w3.org/2000/svg"><g><path d="M 0 0"/><path d="M 1 1"/></g></svg>'),
        (
            "xml",
            '<Patient xmlns="http://hl7.org/fhir">\n  <id value="1"/>\n  <name><family value="x"/></name>\n</Patient>',
        ),
        ("html", "<!DOCTYPE html>\n<html><head><title>x</title></head><body><p>y</p></body></html>"),
        ("html", "<h1>Title</h1>\n<p>Some text.</p>\n<ul><li>a</li><li>b</li></ul>"),
    ],
)
def test_markup_is_known(kind: str, text: str) -> None:
    """By its first tag and those behind."""
    assert detect(text) == kind


def test_any_pieces_and_hostile_texts() -> None:
    """The promises hold, with tags that nobody closes, and others that nobody opened."""
    assert_same_in_pieces("xml one line")
    assert_same_in_pieces("html")
    for kind in ("xml", "html"):
        for mark in (
            "<",
            "<a",
            "<p>",
            "</div>",
            "<!--",
            "<![CDATA[",
            "<?",
            "<script>",
            "<tr><th>",
            "<a>\n",
            "&",
            "<thead>",
        ):
            assert_survives(mark * (3000 // len(mark)), kind)
