"""Labelled texts of the kinds that machines write, or people to each other: tables, logs, markup, talk. All invented.

Each generator takes a source of chance and a size in characters, and gives a text that knows where its units are.
"""

# ruff: noqa: E501 - lines of logs, markup and messages are long
from __future__ import annotations

import json
import random
from collections.abc import Callable

from bench.chunking_judge import Builder, Labelled
from bench.chunking_made_words import NAMES, figure, sentence, words
from bench.chunking_nested import NESTED

__all__ = ["RECORDS"]

Chance = random.Random

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
        made.unit(f'{made.length}{separator}{words(chance, 1, 3)}{separator}"{text}"{separator}{figure(chance)}')
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
        made.unit(",".join(figure(chance) for _ in range(columns))).add("\n")
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
        made.unit(mark.format(chance.choice(NAMES)) + _turn(chance)).add(gap)
    return made.done()


def chat_exports(chance: Chance, size: int) -> Labelled:
    """As messengers write them."""
    made, clock = Builder(), 0
    form = chance.randrange(5)
    while made.length < size:
        clock += chance.randrange(1, 9)
        hour, minute, name = clock // 60 % 12 + 1, clock % 60, chance.choice(NAMES)
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
            f"From: {chance.choice(NAMES)} <a@example.org>\nSent: Monday, March 4, 2024 9:{chance.randrange(10, 60)} AM\nTo: b@example.org\nSubject: Re: {words(chance, 2, 5)}"
        ).add("\n\n")
        for _ in range(chance.randrange(1, 4)):
            made.unit(sentence(chance)).add(" ").unit(sentence(chance)).add("\n\n")
        made.add(f"Regards,\n{chance.choice(NAMES)}").end(begin).add("\n\n")
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


RECORDS: dict[str, Callable[[Chance, int], Labelled]] = {
    "csv quoted": csv_quoted,
    "csv sentences": csv_sentences,
    "csv numbers": csv_numbers,
    **{f"log {name}": _log(name) for name in _TRACES},
    "log json": log_json,
    "log access": log_access,
    "chat speakers": chat_speakers,
    "chat exports": chat_exports,
    "chat mail": chat_mail,
    "subtitles": subtitles,
    **NESTED,
}
