"""Labelled source code in several languages: functions with what stands above them. All of it is invented."""

# ruff: noqa: E501 - texts, line by line
from __future__ import annotations

import random
from collections.abc import Callable

from bench.chunking_judge import Builder, Labelled
from bench.chunking_made_words import sentence

__all__ = ["CODE"]

Chance = random.Random


def _name(chance: Chance) -> str:
    return "_".join(chance.choices(("load", "save", "find", "row", "item", "user", "count", "state"), k=2)) + str(
        chance.randrange(99)
    )


def _statements(chance: Chance, indent: str, end: str, count: int) -> str:
    forms = ("{0} = {1}({0}, {2})", "{1}({0})", "{0} = {0} + {2}", '{1}({0}, {0}, "{0} of {1}")')
    lines = (
        indent + chance.choice(forms).format(_name(chance), _name(chance), chance.randrange(99)) + end + "\n"
        for _ in range(count)
    )
    return "".join(line + ("\n" if chance.random() < 0.15 else "") for line in lines)


def code_python(chance: Chance, size: int) -> Labelled:
    """Functions with decorators, comments, doc strings, and classes with methods."""
    made = Builder().add("import os\nimport sys\n\n\n")
    while made.length < size:
        if chance.random() < 0.3:
            made.opening(f'class {_name(chance).title()}:\n    """{sentence(chance, 3, 8)}"""').add("\n\n")
            for _ in range(chance.randrange(1, 4)):
                _python_function(made, chance, "    ")
            made.add("\n")
        else:
            _python_function(made, chance, "")
            made.add("\n")
    return made.done()


def _python_function(made: Builder, chance: Chance, indent: str) -> None:
    begin = made.length
    if chance.random() < 0.3:
        made.opening(f"{indent}# {sentence(chance, 4, 9)}").add("\n")
    if chance.random() < 0.4:
        made.opening(f"{indent}@{_name(chance)}").add("\n")
    if chance.random() < 0.3:
        made.opening(
            f'{indent}def {_name(chance)}(\n{indent}    first: int,\n{indent}    second: str = "x",\n{indent}) -> int:'
        ).add("\n")
    else:
        made.opening(f"{indent}def {_name(chance)}(first, second=None):").add("\n")
    if chance.random() < 0.5:
        made.unit(f'{indent}    """{sentence(chance, 5, 12)}"""').add("\n")
    made.add(_statements(chance, indent + "    ", "", chance.randrange(2, 9)))
    made.add(f"{indent}    return first\n").end(begin).add("\n")


_BRACED = {
    "typescript": ("/**\n * {0}\n */\n", "export async function {1}(first: number, second?: string): Promise<void> {{\n", ";", "  ", "export class {1} {{\n"),
    "go": ("// {1} {0}\n", "func {1}(first int, second string) error {{\n", "", "\t", "type {1} struct {{\n"),
    "java": ("/**\n * {0}\n */\n@Override\n", "public int {1}(int first, String second) {{\n", ";", "    ", "public class {1} {{\n"),
    "c": ("/* {0} */\n", "static int {1}(int first, const char *second)\n{{\n", ";", "    ", "struct {1} {{\n"),
    "rust": ("/// {0}\n#[inline]\n", "pub fn {1}(first: i32, second: &str) -> i32 {{\n", ";", "    ", "pub struct {1} {{\n"),
    "shell": ("# {0}\n", "{1}() {{\n", "", "  ", "if true; then # {1}\n"),
    "javascript": ("// {0}\n", "const {1} = (first, second) => {{\n", ";", "  ", "class {1} {{\n"),
}  # fmt: skip


def _braced(language: str) -> Callable[[Chance, int], Labelled]:
    comment, head, end, indent, _ = _BRACED[language]

    def make(chance: Chance, size: int) -> Labelled:
        made = Builder()
        if language == "shell":
            made.add("#!/bin/sh\nset -e\n\n")
        while made.length < size:
            begin, name = made.length, _name(chance)
            if chance.random() < 0.7:
                made.opening(comment.format(sentence(chance, 4, 12), name))
            made.opening(head.format("", name))
            made.add(_statements(chance, indent, end, chance.randrange(2, 9)))
            made.add("}\n").end(begin).add("\n")
        return made.done()

    return make


CODE: dict[str, Callable[[Chance, int], Labelled]] = {
    "code python": code_python,
    **{f"code {language}": _braced(language) for language in _BRACED},
}
