# ruff: noqa: E501, PLW2901 - texts, line by line
"""Labelled texts of the kinds that people read: prose, Markdown, clauses, code. All of it is invented.

Each generator takes a source of chance and a size in characters, and gives a text that knows where its units are.
"""

from __future__ import annotations

import random
import textwrap
from collections.abc import Callable

from bench.chunking_judge import Builder, Labelled
from bench.chunking_made_code import CODE
from bench.chunking_made_words import sentence, words

__all__ = ["MADE", "wrapped"]

Chance = random.Random

_FOREIGN = {
    "de": ("Die Wohnung in der Hauptstr. 5 wurde am 3. Mai besichtigt", "Herr Dr. Müller kam z. B. um ca. 8 Uhr",
           "Vgl. hierzu Abs. 2 Nr. 4 des Gesetzes", "Der Patient nahm bzw. erhielt evtl. 5 mg", "Am 24. Dezember war er im Krankenhaus"),
    "fr": ("M. Dupont habite au bd. Victor", "Voir l'art. 12 du code et la p. 5", "Mme. Martin arrive av. midi",
           "Le prof. Petit a lu env. 300 pages"),
    "es": ("La Sra. López vive en la Av. Central", "El Dr. García vio el art. 5 de la ley", "Véase la pág. 12 y la fig. 3",
           "Ud. debe venir el lunes"),
    "it": ("Il sig. Rossi abita qui", "Il dott. Bianchi cita l'art. 3 del codice", "Si veda la pag. 10 del vol. 2"),
    "pt": ("O Sr. Silva mora na Av. Paulista", "A Dra. Costa leu o art. 5 da lei", "Veja a pág. 3 do livro"),
    "ru": ("Он живёт на ул. Ленина с 1990 г. и работает", "Это проф. Иванов и акад. Петров", "См. рис. 3 и стр. 15 книги",
           "Она приехала в г. Москву вчера"),
    "pl": ("Pan prof. Nowak mieszka przy ul. Długiej", "Zob. art. 5 ust. 2 ustawy", "To jest np. woda i tzw. chleb"),
    "nl": ("Dhr. Jansen woont hier o.a. met mevr. Bakker", "Zie art. 3 en blz. 12 van het boek", "Dit kost ca. 40 euro"),
    "sv": ("Dr. Svensson kom kl. 8 på morgonen", "Det är t.ex. vatten eller bl.a. bröd", "Se kap. 3 i boken"),
    "cs": ("Pan prof. Novák bydlí v ul. Dlouhé", "Viz čl. 5 odst. 2 zákona", "To je např. voda"),
    "tr": ("Prof. Yılmaz bu konuyu anlattı", "Atatürk Cad. 5 numarada oturuyor", "Bkz. Madde 3 ve s. 12"),
    "el": ("Ο κ. Παπαδόπουλος μένει εδώ", "Βλ. σελ. 12 και αρ. 5 του νόμου", "Είναι π.χ. νερό"),
}  # fmt: skip


def prose_plain(chance: Chance, size: int) -> Labelled:
    """Paragraphs in one line each; the sentences are the units."""
    made = Builder()
    while made.length < size:
        for _ in range(chance.randrange(2, 9)):
            made.unit(sentence(chance)).add(" ")
        made.add("\n\n")
    return made.done()


def wrapped(made: Builder, chance: Chance, count: int, width: int, indent: str = "", first: str = "") -> None:
    """A paragraph wrapped at ``width``, with its sentences as units."""
    said = [sentence(chance) for _ in range(count)]
    lines = textwrap.wrap(
        " ".join(said), width, initial_indent=indent + first, subsequent_indent=indent, break_long_words=False
    )
    text = "\n".join(lines)
    place = 0
    base = made.length
    for one in said:
        begin = end = -1
        for word in one.split():
            at = text.index(word, place)
            begin = at if begin < 0 else begin
            place = end = at + len(word)
        made.units.append((base + begin, base + end))
    made.add(text + "\n")


def prose_wrapped(chance: Chance, size: int) -> Labelled:
    """Wrapped at 60 to 80 columns, blank lines between paragraphs."""
    made, width = Builder(), chance.choice((60, 66, 72, 76, 80))
    while made.length < size:
        wrapped(made, chance, chance.randrange(2, 9), width)
        made.add("\n")
    return made.done()


def prose_wrapped_headed(chance: Chance, size: int) -> Labelled:
    """Like an RFC or a man page: numbered or capital headings, indented text."""
    made, number = Builder(), 0
    manual = chance.random() < 0.5
    while made.length < size:
        number += 1
        title = words(chance, 1, 4)
        heading = title.upper() if manual else f"{number}.  {title.title()}"
        made.opening(heading + "\n").add("" if manual else "\n")
        for _ in range(chance.randrange(1, 5)):
            wrapped(made, chance, chance.randrange(1, 6), 72, indent="       " if manual else "   ")
            made.add("\n")
    return made.done()


def prose_pdf(chance: Chance, size: int) -> Labelled:
    """Taken out of a PDF: no blank lines, running heads and page numbers between lines, hyphenated words."""
    width, page, row = chance.choice((70, 80, 90)), 1, 0
    units: list[tuple[int, int]] = []
    lines: list[str] = []
    column, length, text = 0, 0, []
    title = words(chance, 3, 6).title()
    while length < size:
        paragraph = chance.randrange(3, 9)
        for _ in range(paragraph):
            begin = None
            for word in sentence(chance).split():
                if column and column + 1 + len(word) > width:
                    if len(word) > 8 and word.isalpha() and chance.random() < 0.3:
                        cut = len(word) // 2
                        text.append(" " + word[:cut] + "-")
                        length += cut + 2
                        word = word[cut:]
                    text.append("\n")
                    length += 1
                    column, row = 0, row + 1
                    if row == 40:
                        head = f"\n{title}\n{page}\n\n" if page % 2 else f"\nPage {page} of 99\n\n"
                        text.append(head)
                        length += len(head)
                        row, page = 0, page + 1
                piece = " " + word if column else word
                if begin is None:
                    begin = length + len(piece) - len(word)
                text.append(piece)
                length += len(piece)
                column += len(piece)
            units.append((begin or 0, length))
        text.append("\n")
        length += 1
        column, row = 0, row + 1
    del lines
    return Labelled("".join(text), tuple(units), ())


def prose_abbreviations(chance: Chance, size: int) -> Labelled:
    """Sentences of one of twelve languages, full of abbreviations."""
    made, said = Builder(), _FOREIGN[chance.choice(sorted(_FOREIGN))]
    while made.length < size:
        for _ in range(chance.randrange(2, 7)):
            made.unit(chance.choice(said) + chance.choice("...!?")).add(" ")
        made.add("\n\n")
    return made.done()


_SCRIPTS = {
    "khmer": ("ខ្ញុំទៅផ្សារជាមួយម្តាយរបស់ខ្ញុំ", "គាត់រស់នៅក្នុងទីក្រុងភ្នំពេញ", "។", ""),
    "burmese": ("ကျွန်တော်ဈေးကိုသွားတယ်", "သူကရန်ကုန်မှာနေတယ်", "။", ""),
    "japanese": ("今日は天気がいいですか", "私は病院に行きました", "?", ""),
    "japanese!": ("これは大切なお知らせです", "すぐに来てください", "!", ""),
    "hindi": ("यह एक महत्वपूर्ण प्रश्न है", "वह कल अस्पताल गया था", "।", " "),
    "thai": ("ฉันไปตลาดกับแม่ของฉัน", "เขาอาศัยอยู่ในกรุงเทพ", "", " "),
}


def prose_scripts(chance: Chance, size: int) -> Labelled:
    """Sentences of scripts without blanks between words, or with marks of their own."""
    made, (one, other, mark, blank) = Builder(), _SCRIPTS[chance.choice(sorted(_SCRIPTS))]
    while made.length < size // 3:
        made.unit("".join(chance.choices((one, other), k=chance.randrange(1, 4))) + mark).add(blank)
    return made.done()


_NUMBERING: tuple[Callable[[int], str], ...] = (
    lambda n: f"{n}.",
    lambda n: f"§ {n}.",
    lambda n: f"§ {n}",
    lambda n: f"Section {n}.",
    lambda n: f"Article {n}",
    lambda n: f"({('i', 'ii', 'iii', 'iv', 'v', 'vi', 'vii', 'viii', 'ix', 'x')[n % 10]})",
    lambda n: f"({chr(97 + n % 26)})",
    lambda n: f"{n // 7 + 1}.{n % 7 + 1}",
    lambda n: f"{n})",
)


def clauses(chance: Chance, size: int) -> Labelled:
    """Numbered clauses, one or several sentences each, in one line, wrapped, or below their number."""
    made, numbered = Builder(), chance.choice(_NUMBERING)
    form, number = chance.randrange(3), 0
    while made.length < size:
        number += 1
        begin = made.length
        if form == 0:
            made.unit(f"{numbered(number)} " + " ".join(sentence(chance) for _ in range(chance.randrange(1, 4)))).add(
                "\n\n"
            )
        elif form == 1:
            made.opening(numbered(number)).add("\n")
            made.unit(" ".join(sentence(chance) for _ in range(chance.randrange(1, 4)))).end(begin).add("\n\n")
        else:
            wrapped(made, chance, chance.randrange(1, 4), 72, first=f"{numbered(number)} ")
            made.end(begin)
            made.add("\n" if chance.random() < 0.5 else "")
    return made.done()


def clauses_in_lists(chance: Chance, size: int) -> Labelled:
    """An introduction that ends with a colon, then items that end with semicolons."""
    made = Builder()
    marks = chance.choice(
        (("(i)", "(ii)", "(iii)", "(iv)", "(v)"), ("a)", "b)", "c)", "d)", "e)"), ("-",) * 5, ("•",) * 5)
    )
    while made.length < size:
        made.unit(sentence(chance)).add("\n\n")
        made.opening(sentence(chance)[:-1] + " the following:").add("\n")
        count = chance.randrange(2, 6)
        for number, mark in enumerate(marks[:count]):
            made.unit(f"{mark} {words(chance, 5, 25)}{'.' if number == count - 1 else ';'}").add("\n")
        made.add("\n")
    return made.done()


def record_lines(chance: Chance, size: int) -> Labelled:
    """One record a line, with sentences inside."""
    made, number = Builder(), 0
    form = chance.randrange(4)
    while made.length < size:
        number += 1
        said = " ".join(sentence(chance) for _ in range(chance.randrange(1, 4)))
        head = (f"#{number:05d} ", f"[{number}] ", f"ENTRY-{number} | ", f"2024-03-{number % 28 + 1:02d} ")[form]
        made.unit(head + said).add("\n")
    return made.done()


def plain_headings(chance: Chance, size: int) -> Labelled:
    """Short titles alone in a paragraph, as a word processor's text export has them."""
    made = Builder()
    while made.length < size:
        made.opening(words(chance, 1, 5).title()).add("\n\n")
        for _ in range(chance.randrange(1, 4)):
            for _ in range(chance.randrange(2, 6)):
                made.unit(sentence(chance)).add(" ")
            made.add("\n\n")
    return made.done()


# Markdown ---------------------------------------------------------------------------------------------------------


def _paragraph(made: Builder, chance: Chance) -> None:
    if chance.random() < 0.5:
        wrapped(made, chance, chance.randrange(2, 6), 76)
        made.add("\n")
        return
    for _ in range(chance.randrange(2, 6)):
        made.unit(sentence(chance)).add(" ")
    made.add("\n\n")


def markdown_atx(chance: Chance, size: int) -> Labelled:
    """Headings with number signs, paragraphs, fences."""
    made = Builder()
    while made.length < size:
        made.opening("#" * chance.randrange(1, 5) + " " + words(chance, 1, 6).title()).add("\n\n")
        for _ in range(chance.randrange(1, 4)):
            _paragraph(made, chance)
        if chance.random() < 0.3:
            code = "".join(f"    x_{n} = call({n})\n" for n in range(chance.randrange(2, 7)))
            made.unit("```python\ndef f():\n" + code + "```").add("\n\n")
    return made.done()


def markdown_setext(chance: Chance, size: int) -> Labelled:
    """Headings with a rule below them."""
    made = Builder()
    while made.length < size:
        title = words(chance, 1, 6).title()
        made.opening(title + "\n" + chance.choice("=-") * len(title)).add("\n\n")
        for _ in range(chance.randrange(1, 4)):
            _paragraph(made, chance)
    return made.done()


def markdown_lists(chance: Chance, size: int) -> Labelled:
    """Lists behind an introduction, some nested."""
    made = Builder()
    while made.length < size:
        if chance.random() < 0.3:
            made.opening("## " + words(chance, 1, 5).title()).add("\n\n")
        _paragraph(made, chance)
        made.opening(sentence(chance)[:-1] + ", namely the following:").add("\n\n")
        for number in range(chance.randrange(2, 7)):
            begin = made.length
            made.unit(f"{number + 1}. {sentence(chance)}" if number % 2 else f"- {sentence(chance)}")
            made.add("\n")
            for _ in range(chance.choice((0, 0, 2))):
                made.unit(f"  - {sentence(chance, 3, 8)}").add("\n")
            made.end(begin)
        made.add("\n")
    return made.done()


def markdown_tables(chance: Chance, size: int) -> Labelled:
    """Tables: the header and its rule belong to the first row."""
    made = Builder()
    while made.length < size:
        _paragraph(made, chance)
        made.opening("| name | value | remark |\n| --- | ---: | --- |").add("\n")
        for _ in range(chance.randrange(3, 15)):
            made.unit(f"| {words(chance, 1, 3)} | {chance.random():.3f} | {sentence(chance, 3, 9)} |").add("\n")
        made.add("\n")
    return made.done()


MADE: dict[str, Callable[[Chance, int], Labelled]] = {
    "prose plain": prose_plain,
    "prose wrapped": prose_wrapped,
    "prose headed": prose_wrapped_headed,
    "prose pdf": prose_pdf,
    "prose abbreviations": prose_abbreviations,
    "prose scripts": prose_scripts,
    "clauses": clauses,
    "clauses in lists": clauses_in_lists,
    "record lines": record_lines,
    "plain headings": plain_headings,
    "markdown atx": markdown_atx,
    "markdown setext": markdown_setext,
    "markdown lists": markdown_lists,
    "markdown tables": markdown_tables,
    **CODE,
}
