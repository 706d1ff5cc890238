"""Labelled texts of the kinds that machines write, or people to each other: tables, logs, markup, talk. All invented.

Each generator takes a source of chance and a size in characters, and gives a text that knows where its units are.
"""

# ruff: noqa: E501 - lines of logs, markup and messages are long
from __future__ import annotations

import json
import random
from collections.abc import Callable

from bench.chunking_judge import Builder, Labelled
from bench.chunking_made import sentence, words

__all__ = ["RECORDS"]

Chance = random.Random

_NAMES = ("Alice", "Bob Miller", "Dr. Chen", "Łukasz", "Maria Rossi", "O'Neil", "Jean-Luc", "system", "Ewa K.")


def _number(chance: Chance) -> str:
    return f"{chance.random() * 1000:.{chance.randrange(4)}f}"


# Tables -----------------------------------------------------------------------------------------------------------


def csv_quoted(chance: Chance, size: int) -> Labelled:
    """Fields in quotes, over several lines, with quotes and separators inside."""
    separator = chance.choice(",;\t|")
    newline = chance.choice(("\n", "\r\n"))
    made = Builder()
    made.opening(separator.join(("id", "name", "remark", "value"))).add(newline)
    while made.length < size:
        said = [sentence(chance, 4, 10) for _ in range(chance.randrange(1, 5))]
        if chance.random() < 0.3:
            said.append('she said ""no"" to it, ' + separator + " again")
        text = chance.choice((" ", newline, newline * 2)).join(said)
        made.unit(f'{made.length}{separator}{words(chance, 1, 3)}{separator}"{text}"{separator}{_number(chance)}')
        made.add(newline)
    return made.done()


def csv_sentences(chance: Chance, size: int) -> Labelled:
    """One line a record; cells have sentences, some in quotes."""
    separator = chance.choice((";", "\t", ",", "|"))
    made = Builder()
    made.opening(separator.join(("patient", "date", "finding", "plan"))).add("\n")
    while made.length < size:
        cells = [sentence(chance, 3, 9) + " " + sentence(chance, 3, 9) for _ in range(2)]
        cells = [f'"{cell}"' if separator == "," else cell for cell in cells]
        made.unit(separator.join((str(made.length), f"2024-0{chance.randrange(1, 9)}-11", *cells))).add("\n")
    return made.done()


def csv_numbers(chance: Chance, size: int) -> Labelled:
    """Numbers alone; many columns."""
    columns = chance.randrange(3, 14)
    made = Builder()
    made.opening(",".join(f"column_{n}" for n in range(columns))).add("\n")
    while made.length < size:
        made.unit(",".join(_number(chance) for _ in range(columns))).add("\n")
    return made.done()


# Logs -------------------------------------------------------------------------------------------------------------

_LEVELS = ("INFO", "DEBUG", "WARN", "ERROR")


def _java_trace(chance: Chance) -> str:
    frames = "".join(
        f"\n\tat com.example.{chance.choice(('web', 'db', 'core'))}.Service{chance.randrange(30)}.run(Service.java:{chance.randrange(900)})"
        for _ in range(chance.randrange(2, 12))
    )
    text = f"\njava.lang.IllegalStateException: {sentence(chance, 3, 8)}{frames}"
    if chance.random() < 0.5:
        text += f"\nCaused by: java.io.IOException: {words(chance, 2, 5)}{frames[: frames.find(chr(10), 2)]}\n\t... {chance.randrange(40)} more"
    return text


def _python_trace(chance: Chance) -> str:
    frames = "".join(
        f'\n  File "/srv/app/module{chance.randrange(9)}.py", line {chance.randrange(900)}, in {words(chance, 1, 2)}\n    result = call(first, second)'
        for _ in range(chance.randrange(1, 8))
    )
    return f"\nTraceback (most recent call last):{frames}\nValueError: {sentence(chance, 3, 7)}"


def _go_trace(chance: Chance) -> str:
    frames = "".join(
        f"\nmain.{chance.choice(('run', 'serve'))}(0xc000, 0x1)\n\t/src/app/main.go:{chance.randrange(400)} +0x1d"
        for _ in range(chance.randrange(1, 6))
    )
    return f"\npanic: runtime error: index out of range\n\ngoroutine 1 [running]:{frames}"


def _node_trace(chance: Chance) -> str:
    frames = "".join(
        f"\n    at Object.handle (/app/src/file{chance.randrange(9)}.js:{chance.randrange(400)}:{chance.randrange(60)})"
        for _ in range(chance.randrange(1, 9))
    )
    return f"\nTypeError: Cannot read properties of undefined (reading 'x'){frames}"


def _dotnet_trace(chance: Chance) -> str:
    frames = "".join(
        f"\n   at App.Service.Run(String name) in C:\\src\\Service.cs:line {chance.randrange(900)}"
        for _ in range(chance.randrange(1, 9))
    )
    return f"\nSystem.InvalidOperationException: {words(chance, 3, 8)}{frames}\n   --- End of inner exception stack trace ---"


_TRACES = {"java": _java_trace, "python": _python_trace, "go": _go_trace, "node": _node_trace, "dotnet": _dotnet_trace}


def _log(name: str) -> Callable[[Chance, int], Labelled]:
    def make(chance: Chance, size: int) -> Labelled:
        made, clock = Builder(), 0
        form = chance.randrange(5)
        while made.length < size:
            clock += chance.randrange(1, 50)
            time = f"{clock // 3600 % 24:02}:{clock // 60 % 60:02}:{clock % 60:02}"
            level = chance.choice(_LEVELS)
            head = (
                f"2024-03-01 {time},123 {level:5} [main] c.e.App - ",
                f"2024-03-01T{time}.123Z {level} app: ",
                f"[2024-03-01 {time}] {level}: ",
                f"{time}.123 [worker-1] {level} com.example.App - ",
                f"Mar  1 {time} host app[123]: ",
            )[form]
            text = head + (sentence(chance) if chance.random() < 0.8 else sentence(chance) + " " + sentence(chance))
            if chance.random() < 0.25:
                text += _TRACES[name](chance)
            made.unit(text).add("\n")
        return made.done()

    return make


def log_json(chance: Chance, size: int) -> Labelled:
    """Requests, with objects and plain lines between."""
    made, clock = Builder(), 0
    while made.length < size:
        clock += 7
        kind = chance.randrange(3)
        time = f"{clock // 3600 % 24:02}:{clock // 60 % 60:02}:{clock % 60:02}"
        if kind == 0:
            text = json.dumps({"ts": f"2024-03-01T{time}Z", "level": "info", "msg": sentence(chance)})
        elif kind == 1:
            text = f"2024-03-01T{time}Z INFO {sentence(chance)}"
        else:
            text = f"2024-03-01T{time}Z ERROR {words(chance, 2, 5)}\n{json.dumps({'a': [1, 2], 'b': words(chance, 2, 5)}, indent=2)}"
        made.unit(text).add("\n")
    return made.done()


def log_access(chance: Chance, size: int) -> Labelled:
    """Requests as web servers note them."""
    made = Builder()
    while made.length < size:
        made.unit(
            f'10.0.{chance.randrange(255)}.{chance.randrange(255)} - - [10/Oct/2024:13:{chance.randrange(10, 60)}:36 +0000] "GET /a/{words(chance, 1, 2)}?q=1 HTTP/1.1"'
            f' {chance.choice((200, 404, 500))} {chance.randrange(9999)} "https://example.org/" "Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101"'
        ).add("\n")
    return made.done()


# YAML -------------------------------------------------------------------------------------------------------------


def yaml_stream(chance: Chance, size: int) -> Labelled:
    """Documents with block scalars, lists of mappings, comments."""
    made = Builder()
    while made.length < size:
        made.opening("---").add("\n")
        begin = made.length
        if chance.random() < 0.5:
            made.opening(f"# {sentence(chance, 3, 8)}").add("\n")
        made.unit(f"kind: {words(chance, 1, 2)}").add("\n")
        inner = made.length
        made.opening("metadata:").add(f"\n  name: {words(chance, 1, 2)}\n  labels:\n    app: x\n    tier: y").end(
            inner
        ).add("\n")
        inner = made.length
        made.opening("items:").add("\n")
        dash = chance.choice(("", "  "))
        for _ in range(chance.randrange(1, 6)):
            made.unit(
                f"{dash}- name: {words(chance, 1, 2)}\n{dash}  value: {_number(chance)}\n{dash}  tags: [a, b]"
            ).add("\n")
        made.end(inner)
        inner = made.length
        made.opening("data:").add("\n")
        for _ in range(chance.randrange(1, 3)):
            said = "\n    ".join(sentence(chance, 3, 9) for _ in range(chance.randrange(1, 6)))
            made.unit(f"  {words(chance, 1, 2)}: |\n    {said}").add("\n")
        made.end(inner).end(begin)
    return made.done()


def yaml_one(chance: Chance, size: int) -> Labelled:
    """One document: nested mappings with comments between."""
    made = Builder()
    while made.length < size:
        begin = made.length
        if chance.random() < 0.4:
            made.opening(f"# {sentence(chance, 3, 9)}").add("\n")
        made.opening(f"{words(chance, 1, 2)}_{made.length}:").add("\n")
        for _ in range(chance.randrange(1, 4)):
            inner = made.length
            made.opening(f"  {words(chance, 1, 2)}:").add("\n")
            for _ in range(chance.randrange(1, 4)):
                made.unit(f"    {words(chance, 1, 2)}: {sentence(chance, 3, 9)}").add("\n")
            made.end(inner)
        made.end(begin)
    return made.done()


# Markup -----------------------------------------------------------------------------------------------------------


def _xml(*, lines: bool) -> Callable[[Chance, int], Labelled]:
    def make(chance: Chance, size: int) -> Labelled:
        made = Builder()
        gap = (lambda depth: "\n" + "  " * depth) if lines else (lambda depth: "")
        made.opening('<?xml version="1.0" encoding="UTF-8"?>').add("\n")
        made.opening('<records xmlns="urn:example" version="2">').add(gap(1))
        while made.length < size:
            begin = made.length
            if chance.random() < 0.2:
                made.opening(f"<!-- {words(chance, 3, 8)} -->").add(gap(1))
            made.opening(f'<record id="{made.length}" status="{words(chance, 1, 2)}">').add(gap(2))
            made.unit(f"<name>{chance.choice(_NAMES)}</name>").add(gap(2))
            for _ in range(chance.randrange(1, 4)):
                inner = made.length
                made.opening('<entry typeCode="DRIV">').add(gap(3))
                made.unit(
                    f'<code code="{chance.randrange(9999)}-{chance.randrange(9)}" displayName="{sentence(chance, 2, 6)}"/>'
                ).add(gap(3))
                made.unit(f"<text>{sentence(chance)} {sentence(chance)}</text>").add(gap(2)).add("</entry>").end(
                    inner
                ).add(gap(2))
            made.unit(f'<value unit="mg" value="{_number(chance)}"/>').add(gap(1)).add("</record>").end(begin).add(
                gap(1)
            )
        return made.add("</records>").done()

    return make


def html_page(chance: Chance, size: int) -> Labelled:
    """Headings, paragraphs, lists, tables; on lines or not."""
    gap = chance.choice(("\n", "", "\n  "))
    made = Builder()
    made.opening("<!DOCTYPE html><html><head><title>A title</title></head><body>").add(gap)
    while made.length < size:
        level = chance.randrange(1, 4)
        made.opening(f"<h{level}>{words(chance, 2, 5)}</h{level}>").add(gap)
        for _ in range(chance.randrange(1, 4)):
            kind = chance.randrange(4)
            if kind < 2:
                made.unit(
                    f'<p class="x">{sentence(chance)} <a href="https://example.org/?a=b">{words(chance, 1, 3)}</a>, <b>{words(chance, 1, 2)}</b>. {sentence(chance)}</p>'
                ).add(gap)
            elif kind == 2:
                made.opening("<ul>").add(gap)
                for _ in range(chance.randrange(2, 8)):
                    made.unit(f"<li>{sentence(chance, 4, 12)}</li>").add(gap)
                made.add("</ul>").add(gap)
            else:
                made.opening("<table><thead><tr><th>name</th><th>value</th></tr></thead><tbody>").add(gap)
                for _ in range(chance.randrange(3, 12)):
                    made.unit(f"<tr><td>{words(chance, 1, 3)}</td><td>{sentence(chance, 3, 8)}</td></tr>").add(gap)
                made.add("</tbody></table>").add(gap)
    return made.add("</body></html>").done()


def xml_cda(chance: Chance, size: int) -> Labelled:
    """Sections with a title, a narrative table and entries, as clinical documents have them."""
    gap = chance.choice(("\n", ""))
    made = Builder()
    made.opening(
        '<?xml version="1.0"?>'
        + gap
        + '<ClinicalDocument xmlns="urn:hl7-org:v3">'
        + gap
        + "<component><structuredBody>"
    ).add(gap)
    while made.length < size:
        begin = made.length
        made.opening(
            "<component><section>"
            + gap
            + f'<code code="{chance.randrange(9999)}-4" codeSystem="2.16.840.1.113883.6.1"/>'
            + gap
        )
        made.opening(f"<title>{words(chance, 1, 4).title()}</title>" + gap)
        made.opening('<text><table border="1"><thead><tr><th>Name</th><th>Dose</th></tr></thead><tbody>' + gap)
        for _ in range(chance.randrange(2, 7)):
            made.unit(f"<tr><td>{words(chance, 1, 3)}</td><td>{sentence(chance, 3, 8)}</td></tr>").add(gap)
        made.add("</tbody></table></text>" + gap)
        for _ in range(chance.randrange(1, 4)):
            made.unit(
                '<entry typeCode="DRIV"><observation classCode="OBS" moodCode="EVN">'
                + gap
                + f'<id root="{chance.randrange(10**9)}"/>'
                + gap
                + f'<value xsi:type="PQ" value="{_number(chance)}" unit="mg"/>'
                + gap
                + "</observation></entry>"
            ).add(gap)
        made.add("</section></component>").end(begin).add(gap)
    return made.add("</structuredBody></component></ClinicalDocument>").done()


# Conversations ----------------------------------------------------------------------------------------------------


def _turn(chance: Chance) -> str:
    said = [sentence(chance, 3, 14) for _ in range(chance.randrange(1, 5))]
    return chance.choice((" ", " ", "\n")).join(said)


def chat_speakers(chance: Chance, size: int) -> Labelled:
    """Names with a colon; blank lines between or not; turns over lines."""
    made = Builder()
    gap = chance.choice(("\n", "\n\n"))
    mark = chance.choice(("{}: ", "{}:\n", "**{}:** ", "[00:01:02] {}: "))
    while made.length < size:
        made.unit(mark.format(chance.choice(_NAMES)) + _turn(chance)).add(gap)
    return made.done()


def chat_exports(chance: Chance, size: int) -> Labelled:
    """As messengers write them."""
    made, clock = Builder(), 0
    form = chance.randrange(5)
    while made.length < size:
        clock += chance.randrange(1, 9)
        hour, minute, name = clock // 60 % 12 + 1, clock % 60, chance.choice(_NAMES)
        head = (
            f"12/31/23, {hour}:{minute:02} PM - {name}: ",
            f"[31.12.23, {hour:02}:{minute:02}:00] {name}: ",
            f"{hour:02}:{minute:02} <{name.split()[0]}> ",
            f"{name}  {hour}:{minute:02} AM\n",
            f"[{hour:02}:{minute:02}:11] <{name.split()[0]}> ",
        )[form]
        made.unit(head + _turn(chance)).add("\n\n" if form == 3 else "\n")
    return made.done()


def chat_mail(chance: Chance, size: int) -> Labelled:
    """A thread: headers, paragraphs, signatures."""
    made = Builder()
    while made.length < size:
        begin = made.length
        if chance.random() < 0.5:
            made.opening("-----Original Message-----").add("\n")
        made.opening(
            f"From: {chance.choice(_NAMES)} <a@example.org>\nSent: Monday, March 4, 2024 9:{chance.randrange(10, 60)} AM\nTo: b@example.org\nSubject: Re: {words(chance, 2, 5)}"
        ).add("\n\n")
        for _ in range(chance.randrange(1, 4)):
            made.unit(sentence(chance)).add(" ").unit(sentence(chance)).add("\n\n")
        made.add(f"Regards,\n{chance.choice(_NAMES)}").end(begin).add("\n\n")
    return made.done()


def subtitles(chance: Chance, size: int) -> Labelled:
    """SRT or VTT."""
    made, number, clock = Builder(), 0, 0
    vtt, end = chance.random() < 0.5, chance.choice(("\n", "\r\n"))
    dot = "." if vtt else ","
    if vtt:
        made.opening("WEBVTT").add(end * 2)
    while made.length < size:
        number += 1
        clock += chance.randrange(1, 6)
        time = f"{clock // 3600:02}:{clock // 60 % 60:02}:{clock % 60:02}{dot}"
        head = "" if vtt and number % 2 else f"{number}{end}"
        made.unit(
            f"{head}{time}000 --> {time}900{end}"
            + end.join(words(chance, 3, 8) + chance.choice(("", ".", "?")) for _ in range(chance.randrange(1, 3)))
        )
        made.add(end * 2)
    return made.done()


# Diffs, SQL, HL7 --------------------------------------------------------------------------------------------------


def _diff(*, commits: bool, context: bool = False) -> Callable[[Chance, int], Labelled]:
    def make(chance: Chance, size: int) -> Labelled:
        made = Builder()
        while made.length < size:
            begin = made.length
            if commits:
                made.unit(
                    f"commit {chance.getrandbits(160):040x}\nAuthor: A <a@example.org>\nDate:   Mon Mar 4 10:00:00 2024 +0000\n\n    {sentence(chance, 4, 9)}\n\n    {sentence(chance)}\n\n"
                )
            for _ in range(chance.randrange(1, 3)):
                inner, name = made.length, words(chance, 1, 2) + ".py"
                if context:
                    made.opening(f"*** a/{name}\t2024-01-01\n--- b/{name}\t2024-01-02\n")
                else:
                    made.opening(
                        f"diff --git a/{name} b/{name}\nindex 1234567..89abcde 100644\n--- a/{name}\n+++ b/{name}\n"
                    )
                for _ in range(chance.randrange(1, 5)):
                    lines = "".join(
                        f"{chance.choice(' -+ ')}    {words(chance, 1, 9)}\n" for _ in range(chance.randrange(2, 12))
                    )
                    if context:
                        lines = lines.replace("\n-", "\n! ").replace("\n ", "\n  ")
                        made.unit(
                            f"***************\n*** 1,5 ****\n  {words(chance, 2, 5)}\n{lines}--- 1,5 ----\n  {words(chance, 2, 5)}\n"
                        )
                    else:
                        made.unit(
                            f"@@ -{made.length},7 +{made.length},8 @@ def f():\n     {words(chance, 2, 4)}\n{lines}"
                        )
                made.end(inner)
            if commits:
                made.add("\n").end(begin)
        return made.done()

    return make


def sql_statements(chance: Chance, size: int) -> Labelled:
    """Tables, queries, functions with bodies, comments above."""
    made = Builder()
    while made.length < size:
        begin = made.length
        if chance.random() < 0.4:
            made.opening(f"-- {sentence(chance, 4, 10)}").add("\n")
        kind, name = chance.randrange(4), f"t{chance.randrange(99)}"
        if kind == 0:
            rows = ",\n".join(f"    c{n} VARCHAR({n + 1}) NOT NULL" for n in range(chance.randrange(2, 9)))
            made.add(f"CREATE TABLE {name} (\n{rows}\n);")
        elif kind == 1:
            made.add(
                f"SELECT a.id, b.name\nFROM {name} a\nJOIN other b ON b.id = a.id\nWHERE a.x = '{words(chance, 2, 6)}; or so'\nORDER BY 1;"
            )
        elif kind == 2:
            lines = "".join(
                f"    UPDATE {name} SET x = {chance.randrange(99)} WHERE id = {n};\n"
                for n in range(chance.randrange(1, 6))
            )
            made.add(
                f"CREATE OR REPLACE FUNCTION f_{name}() RETURNS trigger AS $$\nBEGIN\n{lines}    RETURN NEW;\nEND;\n$$ LANGUAGE plpgsql;"
            )
        else:
            made.add(f"UPDATE {name} SET note = '{sentence(chance)}' WHERE id = {chance.randrange(999)};")
        made.end(begin).add(chance.choice(("\n", "\n\n")))
    return made.done()


def sql_dump(chance: Chance, size: int) -> Labelled:
    """Long INSERTs: a row a line, or all on one; copied rows."""
    made = Builder()
    while made.length < size:
        name, kind = f"t{chance.randrange(99)}", chance.randrange(3)
        made.unit(f"DROP TABLE IF EXISTS {name};").add("\n")
        if kind == 2:
            made.opening(f"COPY public.{name} (id, note, value) FROM stdin;").add("\n")
            for number in range(chance.randrange(3, 40)):
                made.unit(f"{number}\t{sentence(chance, 3, 9)}\t{_number(chance)}").add("\n")
            made.add("\\.\n\n")
            continue
        gap = "\n" if kind else ""
        made.opening(f"INSERT INTO `{name}` (`id`, `note`, `value`) VALUES").add(gap or " ")
        count = chance.randrange(3, 40)
        for number in range(count):
            made.unit(f"({number},'{sentence(chance, 3, 9)}',{_number(chance)})").add(
                ";\n\n" if number == count - 1 else "," + gap
            )
    return made.done()


def hl7(chance: Chance, size: int) -> Labelled:
    """Messages of laboratories."""
    made = Builder()
    end = chance.choice(("\r", "\n", "\r\n"))
    while made.length < size:
        begin = made.length
        made.unit(f"MSH|^~\\&|LAB|HOSP|EHR|HOSP|20240301120000||ORU^R01|{made.length}|P|2.5").add(end)
        made.unit(f"PID|1||{chance.randrange(10**7)}^^^HOSP^MR||Doe^Jane||19700101|F|||1 Main St^^Town^ST^12345").add(
            end
        )
        for group in range(chance.randrange(1, 4)):
            inner = made.length
            made.unit(f"OBR|{group}|||{chance.randrange(9999)}^{words(chance, 1, 3)}^LN|||20240301").add(end)
            for number in range(chance.randrange(1, 7)):
                made.unit(
                    f"OBX|{number}|NM|{chance.randrange(9999)}-{chance.randrange(9)}^{words(chance, 1, 3)}^LN||{_number(chance)}|mg/dL|1-2|N|||F"
                ).add(end)
                if chance.random() < 0.3:
                    made.unit(f"NTE|1||{sentence(chance)} {sentence(chance, 3, 9)}").add(end)
            made.end(inner)
        made.end(begin)
    return made.done()


RECORDS: dict[str, Callable[[Chance, int], Labelled]] = {
    "csv quoted": csv_quoted,
    "csv sentences": csv_sentences,
    "csv numbers": csv_numbers,
    **{f"log {name}": _log(name) for name in _TRACES},
    "log json": log_json,
    "log access": log_access,
    "yaml stream": yaml_stream,
    "yaml one": yaml_one,
    "xml lines": _xml(lines=True),
    "xml one line": _xml(lines=False),
    "xml cda": xml_cda,
    "html": html_page,
    "chat speakers": chat_speakers,
    "chat exports": chat_exports,
    "chat mail": chat_mail,
    "subtitles": subtitles,
    "diff commits": _diff(commits=True),
    "diff": _diff(commits=False),
    "diff context": _diff(commits=False, context=True),
    "sql statements": sql_statements,
    "sql dump": sql_dump,
    "hl7": hl7,
}  # fmt: skip
