"""Labelled texts whose units lie one inside the other: YAML, markup, diffs, SQL, HL7. All of it is invented."""

# ruff: noqa: E501 - lines of markup and messages are long
from __future__ import annotations

import json
import random
from collections.abc import Callable

from bench.chunking_judge import Builder, Labelled
from bench.chunking_made_words import NAMES, figure, sentence, words

__all__ = ["BUNDLES", "NESTED"]

Chance = random.Random


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
                f"{dash}- name: {words(chance, 1, 2)}\n{dash}  value: {figure(chance)}\n{dash}  tags: [a, b]"
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
            made.unit(f"<name>{chance.choice(NAMES)}</name>").add(gap(2))
            for _ in range(chance.randrange(1, 4)):
                inner = made.length
                made.opening('<entry typeCode="DRIV">').add(gap(3))
                made.unit(
                    f'<code code="{chance.randrange(9999)}-{chance.randrange(9)}" displayName="{sentence(chance, 2, 6)}"/>'
                ).add(gap(3))
                made.unit(f"<text>{sentence(chance)} {sentence(chance)}</text>").add(gap(2)).add("</entry>").end(
                    inner
                ).add(gap(2))
            made.unit(f'<value unit="mg" value="{figure(chance)}"/>').add(gap(1)).add("</record>").end(begin).add(
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
                + f'<value xsi:type="PQ" value="{figure(chance)}" unit="mg"/>'
                + gap
                + "</observation></entry>"
            ).add(gap)
        made.add("</section></component>").end(begin).add(gap)
    return made.add("</structuredBody></component></ClinicalDocument>").done()


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
                made.unit(f"{number}\t{sentence(chance, 3, 9)}\t{figure(chance)}").add("\n")
            made.add("\\.\n\n")
            continue
        gap = "\n" if kind else ""
        made.opening(f"INSERT INTO `{name}` (`id`, `note`, `value`) VALUES").add(gap or " ")
        count = chance.randrange(3, 40)
        for number in range(count):
            made.unit(f"({number},'{sentence(chance, 3, 9)}',{figure(chance)})").add(
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
                    f"OBX|{number}|NM|{chance.randrange(9999)}-{chance.randrange(9)}^{words(chance, 1, 3)}^LN||{figure(chance)}|mg/dL|1-2|N|||F"
                ).add(end)
                if chance.random() < 0.3:
                    made.unit(f"NTE|1||{sentence(chance)} {sentence(chance, 3, 9)}").add(end)
            made.end(inner)
        made.end(begin)
    return made.done()


def _resource(chance: Chance) -> dict[str, object]:
    """A resource as FHIR has them, from some hundred tokens to two thousand."""
    name = chance.choice(("Patient", "Observation", "Condition", "DiagnosticReport"))
    codes = [{"system": "http://example.org", "code": figure(chance), "display": words(chance, 2, 6)} for _ in range(2)]
    value = {"code": {"coding": codes}, "valueQuantity": {"value": chance.random(), "unit": "mg"}}
    return {
        "resourceType": name,
        "id": f"{chance.randrange(10**12):x}",
        "text": {"status": "generated", "div": f"<div>{words(chance, 5, 200)}</div>"},
        "identifier": [{"system": "urn:oid:1.2.36", "value": figure(chance)} for _ in range(chance.randrange(1, 5))],
        "component": [value] * chance.choice((0, 0, 2, 5, 12)),
    }


def _json_fhir(indent: int | None) -> Callable[[Chance, int], Labelled]:
    def make(chance: Chance, size: int) -> Labelled:
        """A bundle; the resources are the units."""
        made = Builder()
        made.add('{"resourceType": "Bundle", "entry": [')
        while made.length < size:
            made.unit(json.dumps(_resource(chance), indent=indent)).add(", " if indent is None else ",\n")
        made.unit(json.dumps(_resource(chance))).add("]}")
        return made.done()

    return make


NESTED: dict[str, Callable[[Chance, int], Labelled]] = {
    "yaml stream": yaml_stream,
    "yaml one": yaml_one,
    "xml lines": _xml(lines=True),
    "xml one line": _xml(lines=False),
    "xml cda": xml_cda,
    "html": html_page,
    "diff commits": _diff(commits=True),
    "diff": _diff(commits=False),
    "diff context": _diff(commits=False, context=True),
    "sql statements": sql_statements,
    "sql dump": sql_dump,
    "hl7": hl7,
}

# JSON keeps its objects whole whatever that costs a small chunk, so no fill is promised for these below 500 tokens.
BUNDLES: dict[str, Callable[[Chance, int], Labelled]] = {
    "json fhir": _json_fhir(None),
    "json fhir indented": _json_fhir(2),
}
