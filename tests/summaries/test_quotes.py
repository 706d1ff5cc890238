"""Quotes: what stands in the text is found where it stands, and what does not is not."""

from __future__ import annotations

import unicodedata

import pytest

from mrengine.summaries.quotes import QuoteFinder, numbers_in, page_of

TEXT = (
    "The patient’s treat-\nment began “early” on 3 May; the dose was 25 mg  daily. The tumour was inoperable.\n"
    "The ﬁnal follow-\nup cost 2.5 mil\u00adlion — or 1,234 euros. 患者\n发热三天，体温39度。 ผู้ป่วยมีไข้สูง 3 วัน\n"
    "Zoë’s café stayed open. The dose was 25 mg daily again."
)


@pytest.mark.parametrize(
    ("quote", "found"),
    [
        ('The patient\'s treatment began "early" on 3 May', "The patient’s treat-\nment began “early” on 3 May"),
        ("treat-ment began", "treat-\nment began"),
        ("the dose was 25 mg daily", "the dose was 25 mg  daily"),
        ("“The tumour was inoperable.”", "The tumour was inoperable"),
        ("the tumour was inoperable", "The tumour was inoperable"),
        ("The final follow-up cost 2.5 million", "The ﬁnal follow-\nup cost 2.5 mil\u00adlion"),
        ("million - or 1,234 euros", "mil\u00adlion — or 1,234 euros"),
        ("患者发热三天", "患者\n发热三天"),
        ("ไข้สูง 3 วัน", "ไข้สูง 3 วัน"),
        (unicodedata.normalize("NFD", "Zoë's café stayed open"), "Zoë’s café stayed open"),
        ("The patient's treatment … 25 mg daily", TEXT[: TEXT.index(" daily") + 6]),
    ],
)
def test_what_stands_there_is_found_as_it_stands(quote: str, found: str) -> None:
    for text in (TEXT, unicodedata.normalize("NFD", TEXT), TEXT.replace("\n", "\r\n")):
        place = QuoteFinder(text).find(quote)
        assert place is not None
        same = "".join(unicodedata.normalize("NFC", text[slice(*place)]).split())
        assert same.strip(".") == "".join(found.split())


@pytest.mark.parametrize(
    "quote",
    [
        *("5 mg daily", "operable", "cost 2", "5 million", "was 25 mg weekly", "The tumour was operable", "", "mg"),
        *("…", "12", "患者发热四天", "The patient … Jupiter", "234 euros", "the dose … the moon", "made of cheese"),
    ],
)
def test_what_does_not_stand_there_is_not_found(quote: str) -> None:
    """Nor is a part of a word, or of a number: "5 mg" is no quote of "25 mg"."""
    assert QuoteFinder(TEXT).find(quote) is None


def test_of_two_places_the_one_in_the_chunks_own_text_counts() -> None:
    first, second = TEXT.index("dose was 25"), TEXT.rindex("dose was 25")
    finder = QuoteFinder(TEXT)
    assert finder.find("dose was 25 mg daily") == (first, first + len("dose was 25 mg  daily"))
    assert finder.find("dose was 25 mg daily", prefer_from=first + 1) == (second, second + len("dose was 25 mg daily"))
    assert finder.find("tumour was inoperable", prefer_from=len(TEXT)) is not None


def test_numbers_have_one_form() -> None:
    assert numbers_in("1,500 mg, 2.50 and three; 1.234.567") == {"1500", "2.5", "3", "1234567"}
    assert numbers_in("０.75 %, twice") == {"0.75", "2"}


def test_a_page_is_where_an_offset_lies() -> None:
    """As the chunk tells it; most documents have none."""

    class Paged:
        def page_at(self, offset: int) -> int | None:
            return 1 + offset // 100

    assert [page_of(Paged(), at) for at in (0, 99, 100)] == [1, 1, 2]
    assert page_of(object(), 5) is None
