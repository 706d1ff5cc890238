# ruff: noqa: C901, E501 - texts, line by line
"""Texts with titles and markup: contracts, manuals, Markdown, tables, pages, configuration."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

from bench.chunking_judge import Builder, Labelled
from bench.chunking_made import wrapped
from bench.chunking_made_words import sentence, words
from bench.chunking_wild_records import _NAMES, Chance

# Contracts and laws -------------------------------------------------------------------------------------------------


def _roman(number: int) -> str:
    return ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII", "XIII", "XIV", "XV")[number % 15]


def _contract(style: str) -> Callable[[Chance, int], Labelled]:
    def heading(number: int, title: str) -> str:
        return {
            "article": f"ARTICLE {_roman(number)}\n{title.upper()}",
            "dotted": f"{number}. {title.upper()}",
            "section": f"Section {number}. {title.title()}.",
            "german": f"§ {number} {title.title()}",
            "french": f"Article {number} - {title.title()}",
            "spanish": f"CLÁUSULA {number}ª.- {title.upper()}",
            "russian": f"Статья {number}. {title.title()}",
            "chinese": f"第{number}条 {title}",
            "bracket": f"[{number}] {title.title()}",
        }[style]

    def mark(number: int, n: int) -> str:
        if style in ("german", "chinese"):
            return f"({n})"
        return f"{number}.{n}" if style in ("dotted", "russian", "french") else f"({'abcdefghijklmnop'[n % 16]})"

    def make(chance: Chance, size: int) -> Labelled:
        made, number, gap = Builder(), 0, chance.choice(("\n", "\n\n"))
        width = chance.choice((0, 0, 76))
        while made.length < size:
            number += 1
            made.opening(heading(number, words(chance, 1, 4))).add("\n\n" if gap == "\n\n" else "\n")
            for n in range(1, chance.randrange(3, 8)):
                said = f"{mark(number, n)} {sentence(chance)} {sentence(chance)}"
                made.unit("\n".join(textwrap.wrap(said, width, break_long_words=False)) if width else said).add(gap)
        return made.done()

    return make


def rfc(chance: Chance, size: int) -> Labelled:
    """Pages with heads and feet, indented paragraphs, figures."""
    made, row, page, section = Builder(), 0, 1, 0
    while made.length < size:
        if row > 40:
            made.add(
                f"\n\n\nDoe                        Informational                 [Page {page}]\n\f\nRFC 9999                     A Protocol                 May 2024\n\n\n"
            )
            row, page = 0, page + 1
        if chance.random() < 0.3:
            section += 1
            made.opening(f"{section}.  {words(chance, 1, 4).title()}").add("\n\n")
        wrapped(made, chance, chance.randrange(1, 4), 72, indent="   ")
        made.add("\n")
        row += 5
    return made.done()


def manual_page(chance: Chance, size: int) -> Labelled:
    """Formatted by man: capitals at the margin, options with indented descriptions."""
    made = Builder()
    made.opening("NAME").add("\n").unit(f"       tool - {words(chance, 3, 6)}").add("\n\n")
    while made.length < size:
        made.opening(words(chance, 1, 3).upper()).add("\n")
        for _ in range(chance.randrange(2, 6)):
            said = "\n".join(
                "              " + line for line in textwrap.wrap(f"{sentence(chance)} {sentence(chance)}", 64)
            )
            made.unit(
                f"       -{chance.choice('abcdefg')}, --{chance.choice(('long', 'all', 'out-file'))}=VALUE\n{said}"
            ).add("\n\n")
    return made.done()


# Markdown -----------------------------------------------------------------------------------------------------------


def markdown_styles(chance: Chance, size: int) -> Labelled:
    """Front matter, closed titles, nested lists of every mark, tables without outer bars, notes, quotations, HTML."""
    made = Builder()
    if chance.random() < 0.5:
        made.opening(f"---\ntitle: {words(chance, 2, 4)}\ntags: [a, b]\n---").add("\n\n")
    bullet = chance.choice("*+-")
    while made.length < size:
        level = chance.randrange(1, 5)
        title = words(chance, 1, 5).title()
        made.opening(
            chance.choice(
                (
                    f"{'#' * level} {title}",
                    f"{'#' * level} {title} {'#' * level}",
                    f"{title}\n{'=' * len(title)}",
                    f"{title}\n{'-' * len(title)}",
                )
            )
        ).add("\n\n")
        for _ in range(chance.randrange(1, 4)):
            kind = chance.randrange(7)
            if kind == 0:
                made.opening(f"{words(chance, 3, 7).capitalize()}:").add("\n\n")
                for n in range(chance.randrange(2, 7)):
                    made.unit(
                        chance.choice(
                            (
                                f"{bullet} {sentence(chance, 4, 12)}",
                                f"{bullet} [x] {sentence(chance, 4, 9)}",
                                f"{bullet} {sentence(chance, 4, 9)}\n  {sentence(chance, 4, 9)}",
                            )
                        )
                    ).add("\n")
                    if n % 3 == 1:
                        made.unit(f"    {bullet} {sentence(chance, 3, 9)}").add("\n")
            elif kind == 1:
                for n in range(1, chance.randrange(3, 8)):
                    made.unit(f"{n}) {sentence(chance, 4, 12)}").add("\n")
            elif kind == 2:
                made.opening("Name | Value | Note\n:--- | ---: | ---").add("\n")
                for _ in range(chance.randrange(2, 9)):
                    made.unit(f"{words(chance, 1, 3)} | {chance.randrange(99)} | {words(chance, 2, 6)}").add("\n")
            elif kind == 3:
                made.unit("> " + f"{sentence(chance)}\n> {sentence(chance)}").add("\n")
            elif kind == 4:
                made.unit(
                    "~~~ python\n"
                    + "".join(
                        f"x{n} = '{words(chance, 1, 5)}'  # {words(chance, 1, 3)}\n"
                        for n in range(chance.randrange(2, 8))
                    )
                    + "~~~"
                ).add("\n")
            else:
                made.unit(sentence(chance)).add(" ").unit(
                    f"{sentence(chance)[:-1]}[^1] with `code` and [a link](https://example.org/a_b)."
                ).add("\n")
            made.add("\n")
    return made.done()


def rst_styles(chance: Chance, size: int) -> Labelled:
    """Titles with rules above and below, directives, fields, literal blocks."""
    made = Builder()
    while made.length < size:
        title = words(chance, 1, 4).title()
        rule = chance.choice('=-~^"*') * len(title)
        made.opening(f"{rule}\n{title}\n{rule}" if chance.random() < 0.3 else f"{title}\n{rule}").add("\n\n")
        for _ in range(chance.randrange(1, 4)):
            kind = chance.randrange(4)
            if kind == 0:
                made.unit(f".. note::\n\n   {sentence(chance)}").add("\n\n")
            elif kind == 1:
                made.opening(f"{words(chance, 3, 7).capitalize()}::").add("\n\n")
                made.unit("".join(f"    {words(chance, 1, 3)} = {n}\n" for n in range(chance.randrange(2, 6)))).add(
                    "\n"
                )
            elif kind == 2:
                for _ in range(chance.randrange(2, 5)):
                    made.unit(f":param {words(chance, 1, 2).split()[0]}: {sentence(chance, 4, 9)}").add("\n")
                made.add("\n")
            else:
                wrapped(made, chance, chance.randrange(1, 4), 76)
                made.add("\n")
    return made.done()


# Tables, markup, YAML -----------------------------------------------------------------------------------------------


def tsv_notes(chance: Chance, size: int) -> Labelled:
    """Tabs, notes with sentences, empty cells."""
    made = Builder()
    mark = chance.choice(("\t", ";", "|"))
    made.opening(mark.join(("id", "name", "note", "value"))).add("\n")
    while made.length < size:
        said = f"{sentence(chance)} {sentence(chance)}".replace(";", ",")
        made.unit(
            mark.join((str(made.length), chance.choice(_NAMES), said, chance.choice(("", str(chance.randrange(99))))))
        ).add("\n")
    return made.done()


def csv_mail(chance: Chance, size: int) -> Labelled:
    """All cells quoted, with letters of several paragraphs in them."""
    made, end = Builder(), chance.choice(("\n", "\r\n"))
    made.opening('"id","from","body","stars"').add(end)
    while made.length < size:
        body = f'Dear Sir,{end}{end}{sentence(chance)} He said ""no"", and left.{end}{sentence(chance)}{end}{end}Yours'
        made.unit(f'"{made.length}","{chance.choice(_NAMES)}","{body}","{chance.randrange(5)}"').add(end)
    return made.done()


def feed(chance: Chance, size: int) -> Labelled:
    """RSS: items with CDATA."""
    made = Builder()
    made.opening('<?xml version="1.0"?>\n<rss version="2.0">\n  <channel>').add("\n")
    made.add("    <title>News</title>\n")
    while made.length < size:
        made.unit(
            f"    <item>\n      <title>{words(chance, 3, 6)}</title>\n      <link>https://example.org/{made.length}</link>\n      <description><![CDATA[<p>{sentence(chance)}</p> {sentence(chance)}]]></description>\n      <pubDate>Mon, 06 May 2024 10:00:00 GMT</pubDate>\n    </item>"
        ).add("\n")
    return made.add("  </channel>\n</rss>\n").done()


def html_docs(chance: Chance, size: int) -> Labelled:
    """Nested divisions, definition lists, tables, preformatted text, scripts."""
    made = Builder()
    made.opening(
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>A page</title></head>\n<body>\n<div id="main">'
    ).add("\n")
    while made.length < size:
        made.add('<div class="section">\n')
        made.opening(f'<h{chance.randrange(2, 5)} id="s{made.length}">{words(chance, 1, 4)}</h2>').add("\n")
        for _ in range(chance.randrange(1, 4)):
            kind = chance.randrange(4)
            if kind == 0:
                made.opening('<dl class="simple">').add("\n")
                for _ in range(chance.randrange(2, 5)):
                    made.unit(f"<dt>{words(chance, 1, 3)}</dt>\n<dd><p>{sentence(chance)}</p></dd>").add("\n")
                made.add("</dl>\n")
            elif kind == 1:
                made.unit(f"<pre>{words(chance, 2, 5)}\n  {words(chance, 2, 5)}\n</pre>").add("\n")
            else:
                made.unit(f"<p>{sentence(chance)}\n{sentence(chance)} <code>x &lt; 1</code>.</p>").add("\n")
        made.add("</div>\n")
    return made.add("</div>\n</body>\n</html>\n").done()


def kubernetes(chance: Chance, size: int) -> Labelled:
    """Manifests with block scalars and comments."""
    made = Builder()
    while made.length < size:
        made.opening("---").add("\n")
        begin = made.length
        name = words(chance, 1, 2).replace(" ", "-")
        made.add(
            f"# {words(chance, 3, 7)}\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  labels:\n    app: {name}\ndata:\n"
        )
        for n in range(chance.randrange(1, 4)):
            made.unit(
                f'  script{n}.sh: |\n    #!/bin/sh\n    # {words(chance, 2, 6)}\n    echo "{words(chance, 2, 6)}"\n\n    exit 0\n'
            )
        made.end(begin)
    return made.done()


def playbook(chance: Chance, size: int) -> Labelled:
    """A long sequence of tasks."""
    made = Builder()
    made.opening("---\n- name: A play\n  hosts: all\n  tasks:").add("\n")
    while made.length < size:
        made.unit(
            f"    - name: {words(chance, 2, 6).capitalize()}\n      ansible.builtin.command:\n        cmd: run {words(chance, 1, 4)}\n      register: out\n      when:\n        - a is defined\n        - b != '{words(chance, 1, 3)}'"
        ).add(chance.choice(("\n", "\n\n")))
    return made.done()
