# ruff: noqa: C901, E501, PIE804 - texts, line by line
"""Labelled texts in the forms of real programs: frameworks' logs, contracts, manifests, dumps, chats. All is invented.

The kinds are those of ``chunking_made`` and ``chunking_records``, the forms are others: a rule that fits only its own
generator fails here.
"""

from __future__ import annotations

import json
import random
import textwrap
from collections.abc import Callable

from bench.chunking_judge import Builder, Labelled
from bench.chunking_made import wrapped
from bench.chunking_made_words import sentence, words

__all__ = ["WILD"]

Chance = random.Random

_NAMES = ("Ana", "Bo Chen", "Carla M.", "Deniz", "Eva Lund", "Farid")


def _clock(chance: Chance, tick: int) -> tuple[int, int, int, int]:
    return tick // 3600 % 24, tick // 60 % 60, tick % 60, chance.randrange(1000)


# Logs ---------------------------------------------------------------------------------------------------------------

_JAVA = "java.lang.IllegalStateException: {0}\n\tat com.example.A.run(A.java:12)\n\tat com.example.B.go(B.java:7) ~[b-1.0.jar:1.0]\n\t... 12 common frames omitted\nCaused by: java.io.IOException: {1}\n\tat com.example.C.read(C.java:99)\n\t... 3 more\n"
_PYTHON = 'Traceback (most recent call last):\n  File "/srv/app/a.py", line 12, in run\n    return self.go(x)\n  File "/srv/app/b.py", line 7, in go\n    raise ValueError("{0}")\nValueError: {1}\n'
_PHP = "Stack trace:\n#0 /srv/a.php(12): A->run()\n#1 /srv/b.php(7): go('{0}')\n#2 {{main}}\n  thrown in /srv/b.php on line 7\n"
_GO = "goroutine 1 [running]:\nmain.run(0x1, 0x2)\n\t/srv/main.go:12 +0x1d\nmain.main()\n\t/srv/main.go:7 +0x20\nexit status 2\n"
_NODE = "TypeError: {0}\n    at run (/srv/app.js:12:3)\n    at processTicksAndRejections (node:internal/process/task_queues:95:5) {{\n  code: 'E_FAIL'\n}}\n"
_DOTNET = "      System.InvalidOperationException: {0}\n         at App.Run() in /srv/App.cs:line 12\n         at App.Main()\n"
_LOGS = {
    "gunicorn": ("[2024-05-0{d} {h:02}:{m:02}:{s:02} +0000] [{n}] [{level}] {said}\n", _PYTHON),
    "spring": ("2024-05-0{d}T{h:02}:{m:02}:{s:02}.{ms:03}+02:00 {level:>5} {n} --- [nio-8080-exec-{d}] c.e.demo.Service : {said}\n", _JAVA),
    "log4j": ("{h:02}:{m:02}:{s:02},{ms:03} [pool-{d}] {level} com.example.Job - {said}\n", _JAVA),
    "nginx": ("2024/05/0{d} {h:02}:{m:02}:{s:02} [error] {n}#0: *{ms} {said}, client: 10.0.0.{d}, server: example.org\n", ""),
    "syslog": ("May  {d} {h:02}:{m:02}:{s:02} host app[{n}]: {said}\n", ""),
    "klog": ("I050{d} {h:02}:{m:02}:{s:02}.{ms:03}000       1 server.go:{n}] {said}\n", _GO),
    "rails": ("I, [2024-05-0{d}T{h:02}:{m:02}:{s:02}.{ms:03}000 #{n}]  INFO -- : {said}\n", ""),
    "postgres": ("2024-05-0{d} {h:02}:{m:02}:{s:02}.{ms:03} UTC [{n}] LOG:  {said}\n", "\tSELECT a,\n\t       b\n\tFROM t\n\tWHERE x = '{0}'\n"),
    "dotnet": ("{small}: Example.Hosting.Worker[{d}]\n      {said}\n", _DOTNET),
    "logfmt": ("time=2024-05-0{d}T{h:02}:{m:02}:{s:02}Z level={small} msg=\"{said}\" request={n}\n", ""),
    "compose": ("web_{d}  | {said}\n", ""),
    "serilog": ("[{h:02}:{m:02}:{s:02} INF] {said}\n", _DOTNET),
    "php": ("[0{d}-May-2024 {h:02}:{m:02}:{s:02} UTC] PHP Warning:  {said}\n", _PHP),
    "python basic": ("{level}:app.views:{said}\n", _PYTHON),
    "celery": ("[2024-05-0{d} {h:02}:{m:02}:{s:02},{ms:03}: {level}/ForkPoolWorker-{d}] {said}\n", _PYTHON),
    "winston": ("2024-05-0{d}T{h:02}:{m:02}:{s:02}.{ms:03}Z [{small}]: {said}\n", _NODE),
    "dmesg": ("[{n:>5}.{ms:03}000] usb 1-{d}: {said}\n", ""),
    "iso bare": ("2024-05-0{d} {h:02}:{m:02}:{s:02} {said}\n", "    {0}\n    {1}\n"),
    "android": ("05-0{d} {h:02}:{m:02}:{s:02}.{ms:03}  {n}  {n} E ActivityManager: {said}\n", ""),
    "epoch": ("1714557{ms:03}.{ms:03} {level} {said}\n", ""),
    "apache error": ("[Wed May 0{d} {h:02}:{m:02}:{s:02}.{ms:03}123 2024] [core:error] [pid {n}] {said}\n", ""),
}  # fmt: skip


def _log(name: str) -> Callable[[Chance, int], Labelled]:
    form, trace = _LOGS[name]

    def make(chance: Chance, size: int) -> Labelled:
        made, tick = Builder(), chance.randrange(80000)
        while made.length < size:
            tick += chance.randrange(1, 30)
            hour, minute, second, ms = _clock(chance, tick)
            level = chance.choice(("INFO", "WARN", "ERROR", "DEBUG"))
            event = form.format(
                **{
                    "d": chance.randrange(1, 9),
                    "h": hour,
                    "m": minute,
                    "s": second,
                    "ms": ms,
                    "n": chance.randrange(10, 9999),
                },
                **{
                    "level": level,
                    "small": {"INFO": "info", "WARN": "warn", "ERROR": "fail", "DEBUG": "dbug"}[level],
                    "said": sentence(chance, 4, 16),
                },
            )
            if trace and chance.random() < 0.2:
                event += trace.format(sentence(chance, 3, 9), words(chance, 3, 9))
            made.unit(event)
        return made.done()

    return make


def log_slow_query(chance: Chance, size: int) -> Labelled:
    """MySQL's: three lines of comment and a statement."""
    made = Builder()
    while made.length < size:
        made.unit(
            f"# Time: 2024-05-01T12:{chance.randrange(10, 60)}:00.123456Z\n# User@Host: app[app] @  [10.0.0.1]  Id: {chance.randrange(99)}\n"
            f"# Query_time: 2.{chance.randrange(999)}  Lock_time: 0.000 Rows_sent: 1\nSET timestamp=1714557600;\n"
            f"SELECT * FROM t WHERE note = '{sentence(chance, 3, 9)}';\n"
        )
    return made.done()


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


# Clinical data ------------------------------------------------------------------------------------------------------


def fhir_json(chance: Chance, size: int) -> Labelled:
    """A bundle, indented or not."""
    indent = chance.choice((2, 4, None))
    entries, total = [], 0
    while total < size:
        entries.append(
            {"fullUrl": f"urn:uuid:{total}", "resource": {"resourceType": "Observation", "id": str(total), "status": "final",
             "code": {"coding": [{"system": "http://loinc.example", "code": f"{chance.randrange(9999)}-4", "display": words(chance, 2, 4)}]},
             "valueQuantity": {"value": chance.randrange(90), "unit": "mg"}, "note": [{"text": sentence(chance)}]}}
        )  # fmt: skip
        total += len(json.dumps(entries[-1], indent=indent))
    text = json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}, indent=indent)
    units, place = [], text.index('"entry"')
    decode = json.JSONDecoder().raw_decode
    for _ in entries:
        place = text.index("{", place)
        units.append((place, decode(text, place)[1]))
        place = units[-1][1]
    return Labelled(text, tuple(units), ())


def fhir_xml(chance: Chance, size: int) -> Labelled:
    """The same in XML."""
    made = Builder()
    gap = (lambda depth: "\n" + "\t" * depth) if chance.random() < 0.7 else (lambda depth: "")
    made.opening('<?xml version="1.0" encoding="UTF-8"?>' + gap(0) + '<Bundle xmlns="http://hl7.org/fhir">').add(gap(1))
    while made.length < size:
        begin = made.length
        made.add(
            "<entry>"
            + gap(2)
            + "<resource>"
            + gap(3)
            + "<Observation>"
            + gap(4)
            + f'<id value="{made.length}"/>'
            + gap(4)
        )
        made.add(
            f'<code><coding><code value="{chance.randrange(9999)}-4"/><display value="{words(chance, 2, 4)}"/></coding></code>'
            + gap(4)
        )
        made.add(
            f'<note><text value="{sentence(chance)}"/></note>'
            + gap(3)
            + "</Observation>"
            + gap(2)
            + "</resource>"
            + gap(1)
            + "</entry>"
        )
        made.end(begin).add(gap(1))
    return made.add("</Bundle>").done()


def hl7_even(chance: Chance, size: int) -> Labelled:
    """Admissions of one length, a third to a half of a chunk of 512 tokens."""
    return hl7_adt(chance, size, even=True)


def hl7_adt(chance: Chance, size: int, *, even: bool = False) -> Labelled:
    """Admissions, with notes that hold repeated fields and escapes."""
    made, end = Builder(), chance.choice(("\r", "\n"))
    while made.length < size:
        begin = made.length
        for segment in (
            f"MSH|^~\\&|ADT1|GOOD HEALTH|LAB|X|20240501120000||ADT^A01^ADT_A01|{made.length}|P|2.8",
            "EVN|A01|20240501120000", f"PID|1||{chance.randrange(10**6)}^5^M11^ADT1^MR||EVERYWOMAN^EVE^E||19620320|F||2106-3|153 FERNWOOD DR.^^CITY^ST^35292",
            f"NK1|1|{words(chance, 1, 2)}^X|FTH", f"PV1|1|I|2000^2012^01||||004777^{chance.choice(_NAMES)}^A.", f"AL1|1||^{words(chance, 2, 5)}||{sentence(chance, 3, 6)}",
            f"NTE|1||{sentence(chance)}\\.br\\{sentence(chance)}" if even else f"NTE|1||{sentence(chance, 3, 6)}\\.br\\{words(chance, 2, 4)}",
        ):  # fmt: skip
            if even or segment[:3] not in ("NK1", "AL1", "NTE") or chance.random() < 0.6:
                made.unit(segment).add(end)
        made.end(begin)
    return made.done()


# Dumps --------------------------------------------------------------------------------------------------------------


def mysqldump(chance: Chance, size: int) -> Labelled:
    """With its comments, conditional statements and long INSERTs."""
    made = Builder()
    made.add(
        "-- MySQL dump 10.13  Distrib 8.0.36, for Linux (x86_64)\n--\n-- Host: localhost    Database: shop\n-- ------------------------------------------------------\n\n/*!40101 SET NAMES utf8mb4 */;\n\n"
    )
    while made.length < size:
        name = f"t{chance.randrange(99)}"
        made.opening(f"--\n-- Table structure for table `{name}`\n--").add("\n\n")
        made.unit(f"DROP TABLE IF EXISTS `{name}`;").add("\n")
        made.unit(
            f"CREATE TABLE `{name}` (\n  `id` int NOT NULL AUTO_INCREMENT,\n  `note` text,\n  PRIMARY KEY (`id`)\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;"
        ).add("\n\n")
        made.opening(f"--\n-- Dumping data for table `{name}`\n--").add("\n\n")
        made.add(f"LOCK TABLES `{name}` WRITE;\n")
        made.opening(f"INSERT INTO `{name}` VALUES").add(" ")
        count = chance.randrange(5, 60)
        for number in range(count):
            made.unit(f"({number},'{sentence(chance, 3, 9)}',NULL,'it\\'s {words(chance, 1, 4)}')").add(
                ";\n" if number == count - 1 else ","
            )
        made.add("UNLOCK TABLES;\n\n")
    return made.done()


def pg_dump(chance: Chance, size: int) -> Labelled:
    """With its heads of comments, COPY and constraints."""
    made = Builder()
    made.add("--\n-- PostgreSQL database dump\n--\n\nSET statement_timeout = 0;\nSET client_encoding = 'UTF8';\n\n")
    while made.length < size:
        name = f"t{chance.randrange(99)}"
        made.opening(f"--\n-- Name: {name}; Type: TABLE; Schema: public; Owner: app\n--").add("\n\n")
        made.unit(f"CREATE TABLE public.{name} (\n    id integer NOT NULL,\n    note text\n);").add("\n\n\n")
        made.unit(f"ALTER TABLE public.{name} OWNER TO app;").add("\n\n")
        made.opening(f"--\n-- Data for Name: {name}; Type: TABLE DATA; Schema: public; Owner: app\n--").add("\n\n")
        made.opening(f"COPY public.{name} (id, note) FROM stdin;").add("\n")
        for number in range(chance.randrange(4, 50)):
            made.unit(f"{number}\t{sentence(chance, 3, 12)}").add("\n")
        made.add("\\.\n\n\n")
    return made.done()


# Conversations ------------------------------------------------------------------------------------------------------

_CHATS = {
    "whatsapp ios": "[{d}.05.24, {h:02}:{m:02}:{s:02}] {name}: {said}\n",
    "whatsapp android": "{d}/5/24, {h}:{m:02} pm - {name}: {said}\n",
    "whatsapp german": "0{d}.05.24, {h:02}:{m:02} - {name}: {said}\n",
    "irssi": "{h:02}:{m:02} <@{nick}> {line}\n",
    "weechat": "2024-05-0{d} {h:02}:{m:02}:{s:02}\t{nick}\t{line}\n",
    "energymech": "[{h:02}:{m:02}:{s:02}] <{nick}> {line}\n",
    "telegram": "{name}, [{d} May 2024 at {h:02}:{m:02}:{s:02}]:\n{said}\n\n",
    "discord": "[0{d}-May-24 {h:02}:{m:02} PM] {nick}#1234\n{said}\n\n",
    "zoom": "00:{m:02}:{s:02} {name}: {line}\n",
    "teams": "{name}   0:{m:02}\n{said}\n\n",
    "slack": "{name}  [{h}:{m:02} AM]\n{said}\n",
    "interview": "{who}: {said}\n\n",
    "court": "     {caps}:  {said}\n",
    "support": "Agent ({h:02}:{m:02}): {said}\nCustomer ({h:02}:{m:02}): {line}\n",
}  # fmt: skip


def _chat(name: str) -> Callable[[Chance, int], Labelled]:
    def make(chance: Chance, size: int) -> Labelled:
        made, tick = Builder(), chance.randrange(3000)
        form = _CHATS[name]
        while made.length < size:
            tick += chance.randrange(1, 200)
            hour, minute, second, _ = _clock(chance, tick)
            who = chance.choice(_NAMES)
            said = [sentence(chance, 3, 14) for _ in range(chance.randrange(1, 5))]
            text = form.format(
                **{
                    "d": chance.randrange(1, 9),
                    "h": hour % 12 + 1,
                    "m": minute,
                    "s": second,
                    "name": who,
                    "nick": who.split()[0].lower(),
                },
                **{
                    "said": " ".join(said),
                    "line": " ".join(said),
                    "who": chance.choice("QA"),
                    "caps": f"MR. {who.split()[0].upper()}",
                },
            )
            parts = text.split("\nCustomer") if name == "support" else [text]
            made.unit(parts[0])
            for part in parts[1:]:
                made.add("\n").unit("Customer" + part)
        return made.done()

    return make


def slack_json(chance: Chance, size: int) -> Labelled:
    """An exported channel."""
    made, indent = Builder(), chance.choice((2, 4))
    made.add("[\n")
    while made.length < size:
        message = {
            "type": "message",
            "user": f"U{chance.randrange(10**6)}",
            "text": f"{sentence(chance)} {sentence(chance)}",
            "ts": f"17145{chance.randrange(10**5)}.000100",
        }
        if made.length > 2:
            made.add(",\n")
        made.add(" " * indent).unit(textwrap.indent(json.dumps(message, indent=indent), " " * indent).lstrip())
    return made.add("\n]\n").done()


def webvtt(chance: Chance, size: int) -> Labelled:
    """Voices, settings, notes, no hours."""
    made, clock = Builder(), 0
    made.opening("WEBVTT - a talk").add("\n\n")
    while made.length < size:
        clock += chance.randrange(1, 5)
        time = f"{clock // 60:02}:{clock % 60:02}"
        made.unit(
            f"{time}.000 --> {time}.900 align:start position:0%\n<v {chance.choice(_NAMES)}>{words(chance, 3, 9)}</v>\n- {words(chance, 3, 9)}"
        ).add("\n\n")
    return made.done()


def mbox(chance: Chance, size: int) -> Labelled:
    """Mails with quotations."""
    made = Builder()
    while made.length < size:
        made.opening(
            f"From a@example.org Mon May  6 10:00:00 2024\nFrom: {chance.choice(_NAMES)} <a@example.org>\nTo: list@example.org\nDate: Mon, 6 May 2024 10:00:00 +0000\nSubject: Re: {words(chance, 2, 5)}\nMessage-ID: <{made.length}@example.org>"
        ).add("\n\n")
        made.opening("On Sun, 5 May 2024, Bo wrote:").add("\n")
        made.unit("\n".join("> " + line for line in textwrap.wrap(sentence(chance), 70))).add("\n\n")
        for _ in range(chance.randrange(1, 4)):
            wrapped(made, chance, 2, 72)
            made.add("\n")
    return made.done()


# Diffs --------------------------------------------------------------------------------------------------------------


def git_log(chance: Chance, size: int) -> Labelled:
    """``git log -p --stat`` with merges, renames, new files."""
    made = Builder()
    while made.length < size:
        begin = made.length
        made.unit(
            f"commit {chance.getrandbits(160):040x}\n{'Merge: 1234567 89abcde' + chr(10) if chance.random() < 0.2 else ''}Author: A <a@example.org>\nDate:   Mon May 6 10:00:00 2024 +0200\n\n    {sentence(chance, 4, 9)}\n\n    * {sentence(chance)}\n    * {words(chance, 3, 9)}\n"
        ).add("\n")
        for _ in range(chance.randrange(1, 3)):
            name, inner = words(chance, 1, 2).replace(" ", "/") + ".c", made.length
            new = chance.random() < 0.3
            made.opening(
                f"diff --git a/{name} b/{name}\n{'new file mode 100644' + chr(10) if new else ''}index 1234567..89abcde{'' if new else ' 100644'}\n--- {'/dev/null' if new else 'a/' + name}\n+++ b/{name}\n"
            )
            for _ in range(1 if new else chance.randrange(1, 4)):
                mark = "+" if new else " -+ "
                lines = "".join(
                    f"{chance.choice(mark)}    {chance.choice(('# ', '- ', '', '* '))}{words(chance, 1, 9)}\n"
                    for _ in range(chance.randrange(3, 14))
                )
                made.unit(
                    f"@@ -{0 if new else 12},{0 if new else 7} +1,9 @@{'' if new else ' static int f(void)'}\n{lines}"
                )
            made.end(inner)
        made.end(begin).add("\n")
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


# Code ---------------------------------------------------------------------------------------------------------------

_CODE = {
    "java": ("/**\n * {said}\n * @param x {few}\n */\n@Override\npublic int {name}(final int x) {{\n{body}    return x;\n}}\n", "    foo(x, \"{few}\");\n    if (x > {n}) {{\n        bar(x);\n    }}\n"),
    "rust": ("/// {said}\n#[inline]\npub fn {name}(x: u32) -> u32 {{\n{body}    x\n}}\n", "    let y = x + {n};\n    println!(\"{few} {{}}\", y);\n"),
    "ruby": ("# {said}\ndef {name}(x)\n{body}  x\nend\n", "  puts \"{few}\"\n  return {n} if x.nil?\n"),
    "shell": ("# {said}\n{name}() {{\n{body}}}\n", "    if [ \"$1\" = \"{few}\" ]; then\n        echo {n}\n    fi\n"),
    "c": ("/* {said}\n * {few} */\nstatic int\n{name}(int x)\n{{\n{body}\treturn x;\n}}\n", "\tif (x > {n}) {{\n\t\tputs(\"{few}\");\n\t}}\n"),
    "js": ("/**\n * {said}\n */\nexport async function {name}(x) {{\n{body}  return x;\n}}\n", "  const y{n} = await go(x, '{few}');\n  items.push(y{n});\n"),
}  # fmt: skip


def _code(name: str) -> Callable[[Chance, int], Labelled]:
    head, line = _CODE[name]

    def make(chance: Chance, size: int) -> Labelled:
        made = Builder()
        made.add(
            {
                "java": "package a;\n\nimport java.util.*;\n\n",
                "c": "#include <stdio.h>\n\n",
                "js": "import go from './go.js';\n\n",
                "shell": "#!/bin/sh\nset -eu\n\n",
                "rust": "use std::fmt;\n\n",
                "ruby": "require 'set'\n\n",
            }[name]
        )
        while made.length < size:
            body = "".join(
                line.format(few=words(chance, 1, 4), n=chance.randrange(99)) for _ in range(chance.randrange(1, 5))
            )
            made.unit(
                head.format(said=sentence(chance), few=words(chance, 2, 5), name=f"f{made.length}", body=body)
            ).add("\n")
        return made.done()

    return make


# Languages ----------------------------------------------------------------------------------------------------------

_SAID = {
    "en": ("The patient took 5 mg b.i.d. and p.r.n. with water", "See Gov. Adams and Mt. Hood on fig. 3 of the atlas", "Under 42 U.S.C. § 1983 and Art. 7 the claim failed", "It weighs approx. 3.5 kg, i.e. more than Lt. Col. Ross thought", "He said . . . nothing of it"),
    "de": ("Sie wohnt in der Hauptstr. 12 bei Fr. Dr. Weiß", "Am 3. Mai 2024 kam die Lieferung lt. Rechnung Nr. 17 an", "Nach § 5 Abs. 2 S. 1 BGB gilt das ggf. nicht", "Das sind z. B. ca. 3,5 Mio. Euro bzw. etwas mehr", "Der 2. Weltkrieg endete im 20. Jh."),
    "fr": ("M. Durand et Mme Petit vivent av. Foch", "Voir art. 12, al. 3 et p. ex. la fig. 2", "Le Dr. Martin a vu env. 30 pers. hier"),
    "es": ("El Sr. Gómez y la Dra. Ruiz viven en la Av. Sol núm. 5", "Véase el art. 3 y la pág. 12, p. ej.", "Son aprox. 30 kg. de peso"),
    "it": ("Il dott. Verdi e la sig.ra Neri vivono qui", "Si veda l'art. 5, comma 2, e pag. 12", "Pesa ca. 3,5 kg. in tutto"),
    "pt": ("O Sr. Dr. Alves mora na Av. Brasil n.º 5", "Veja o art. 3 e a pág. 12 do vol. 2", "São aprox. 30 km. daqui"),
    "nl": ("Dhr. De Vries en mevr. Jansen wonen a.d. gracht", "Zie art. 5 lid 2 en blz. 12 e.v. van het boek", "Dat kost bijv. ca. 30 euro"),
    "pl": ("Prof. Kowalski mieszka przy ul. Polnej nr 5", "Zob. art. 5 ust. 2 pkt. 3 ustawy", "Waży ok. 3,5 kg, tj. więcej"),
    "ru": ("Проф. Петров живёт на ул. Мира, д. 5, кв. 12", "См. ст. 5 п. 2 и рис. 3 на стр. 12", "Это было в 1990 г. в г. Москве", "Он весит ок. 80 кг, т. е. много"),
    "uk": ("Проф. Коваль живе на вул. Миру, буд. 5", "Див. ст. 5 п. 2 і рис. 3 на стор. 12", "Це коштує 30 грн. за шт. у крамниці"),
    "cs": ("Prof. Novák bydlí v ul. Krátké č. 5", "Viz § 5 odst. 2 písm. a) zákona č. 12", "To je např. 30 Kč, tj. málo"),
    "sv": ("Dr. Berg bor på t.ex. Storg. 5 med fru", "Se s. 12 och kap. 3 i boken m.m. för mer", "Det kostar ca. 30 kr. per st. här"),
    "tr": ("Prof. Dr. Kaya bu sok. içinde oturuyor", "Bkz. s. 12 ve Şek. 3 bu kitapta", "Fiyatı yak. 30 TL. kadar"),
    "el": ("Ο κ. Νίκου μένει στην οδ. Αθηνάς αρ. 5", "Βλ. σελ. 12 και άρθρ. 3 παρ. 2 του νόμου", "Είναι π.χ. 30 χλμ. από εδώ"),
    "hu": ("Dr. Nagy a Fő u. 5. szám alatt lakik", "Lásd a 12. oldalt és pl. a 3. ábrát", "Kb. 30 kg. a súlya"),
    "ro": ("Dl. Pop locuiește pe str. Lungă nr. 5", "Vezi art. 5 alin. 2 și pag. 12 din carte", "Costă aprox. 30 de lei"),
    "fi": ("Prof. Virtanen asuu mm. Helsingissä", "Ks. s. 12 ja esim. kuva 3 kirjassa", "Se maksaa n. 30 euroa"),
    "da": ("Dr. Hansen bor bl.a. i Kbh. med sin fru", "Se s. 12 og f.eks. fig. 3 i bogen", "Det koster ca. 30 kr. pr. stk. her"),
}  # fmt: skip


def _language(code: str) -> Callable[[Chance, int], Labelled]:
    def make(chance: Chance, size: int) -> Labelled:
        made = Builder()
        while made.length < size:
            for _ in range(chance.randrange(4, 14)):
                one, two = chance.choice(_SAID[code]), chance.choice(_SAID[code])
                joined = chance.choice((one, f"{one}, {two[0].lower()}{two[1:]}"))
                made.unit(joined + chance.choice("...?!")).add(" ")
            made.add("\n\n")
        return made.done()

    return make


_SCRIPTS = {
    "japanese": ("私は昨日友達と映画を見ました", "この薬は一日三回飲んでください", "彼女は本当に来るのでしょうか", "研究の結果は次の通りである"),
    "japanese half": ("ワタシハ昨日映画ヲ見マシタ", "コノ薬ハ一日三回ﾉﾝﾃﾞｸﾀﾞｻｲ", "ｶﾉｼﾞｮﾊ本当ﾆ来ﾏｽｶ"),
    "khmer": ("ខ្ញុំចង់ទៅផ្សារជាមួយមិត្តភក្តិ", "អ្នកជំងឺត្រូវលេបថ្នាំបីដងក្នុងមួយថ្ងៃ", "លទ្ធផលនៃការស្រាវជ្រាវមានដូចខាងក្រោម"),
    "burmese": ("ကျွန်တော်မနေ့ကသူငယ်ချင်းနဲ့ရုပ်ရှင်ကြည့်ခဲ့တယ်", "ဒီဆေးကိုတစ်နေ့သုံးကြိမ်သောက်ပါ", "သုတေသနရလဒ်များမှာအောက်ပါအတိုင်းဖြစ်သည်"),
    "thai": ("เมื่อวานนี้ฉันไปดูหนังกับเพื่อน", "ผู้ป่วยต้องกินยาวันละสามครั้ง", "ผลการวิจัยเป็นดังต่อไปนี้"),
    "hindi": ("मैं कल अपने दोस्त के साथ फिल्म देखने गया था", "यह दवा दिन में तीन बार लेनी है", "डॉ. शर्मा ने कहा कि सब ठीक है"),
    "arabic": ("ذهبت أمس مع صديقي لمشاهدة فيلم", "يجب تناول هذا الدواء ثلاث مرات يوميا", "هل ستأتي غدا إلى المدينة"),
    "chinese": ("昨天我和朋友一起去看了电影", "这种药每天服用三次", "研究结果如下所示", "她真的会来吗"),
    "korean": ("어제 친구와 함께 영화를 보았습니다", "이 약은 하루에 세 번 드십시오", "연구 결과는 다음과 같습니다"),
}  # fmt: skip
_STOPS = {
    "japanese": "。？！",
    "japanese half": "｡?!",
    "khmer": "។",
    "burmese": "။",
    "thai": " ",
    "hindi": "।",
    "arabic": ".؟!",
    "chinese": "。？！",
    "korean": ".?!",
}


def _script(name: str) -> Callable[[Chance, int], Labelled]:
    spaced = name in ("hindi", "arabic", "korean", "khmer")

    def make(chance: Chance, size: int) -> Labelled:
        made = Builder()
        while made.length < size // 2:
            for _ in range(chance.randrange(4, 20)):
                made.unit(chance.choice(_SCRIPTS[name]) + chance.choice(_STOPS[name])).add(" " if spaced else "")
            made.add("\n")
        return made.done()

    return make


def mixed_notes(chance: Chance, size: int) -> Labelled:
    """Prose with a log, JSON lines and a table between its paragraphs, in fences and without."""
    made = Builder()
    made.opening(f"# {words(chance, 2, 4).title()}").add("\n\n")
    while made.length < size:
        made.unit(sentence(chance)).add(" ").unit(sentence(chance)).add("\n\n")
        kind = chance.randrange(3)
        if kind == 0:
            made.add("```\n")
            for n in range(chance.randrange(60, 120)):
                trace = (
                    'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    go()\nValueError: no\n'
                    if n % 7 == 3
                    else ""
                )
                made.unit(f"2024-05-01 12:{n % 60:02}:00 ERROR {sentence(chance, 3, 9)}\n{trace}")
            made.add("```\n\n")
        elif kind == 1:
            made.add("```json\n")
            for n in range(chance.randrange(60, 120)):
                made.unit(json.dumps({"id": n, "text": sentence(chance)}) + "\n")
            made.add("```\n\n")
        else:
            made.opening("| name | value |\n| --- | --- |").add("\n")
            for _ in range(chance.randrange(3, 40)):
                made.unit(f"| {words(chance, 1, 3)} | {sentence(chance, 3, 8)} |").add("\n")
            made.add("\n")
    return made.done()


def log_with_json(chance: Chance, size: int) -> Labelled:
    """Events of one line between payloads that are pretty-printed JSON, and lines of JSON."""
    made = Builder()
    while made.length < size:
        head = f"2024-05-01 12:{chance.randrange(60):02}:00,123 INFO app.http "
        kind = chance.randrange(3)
        if kind == 0:
            made.unit(head + sentence(chance) + "\n")
        elif kind == 1:
            made.unit(
                head
                + "payload:\n"
                + json.dumps(
                    {"id": made.length, "items": [words(chance, 1, 3) for _ in range(4)], "note": sentence(chance)},
                    indent=2,
                )
                + "\n"
            )
        else:
            made.unit(json.dumps({"time": "2024-05-01T12:00:00Z", "level": "info", "msg": sentence(chance)}) + "\n")
    return made.done()


def prose_with_table(chance: Chance, size: int) -> Labelled:
    """Plain text with tables of columns between the paragraphs."""
    made = Builder()
    while made.length < size:
        for _ in range(chance.randrange(1, 4)):
            made.unit(sentence(chance)).add(" ").unit(sentence(chance)).add("\n\n")
        made.opening(f"{'Name':<24}{'Value':<12}Unit").add("\n")
        for _ in range(chance.randrange(3, 20)):
            made.unit(f"{words(chance, 1, 3)[:22]:<24}{chance.randrange(9999):<12}mg").add("\n")
        made.add("\n")
    return made.done()


WILD: dict[str, Callable[[Chance, int], Labelled]] = {
    **{f"wild log {name}": _log(name) for name in _LOGS},
    "wild log slow query": log_slow_query,
    "wild log json": log_with_json,
    **{f"wild contract {style}": _contract(style) for style in ("article", "dotted", "section", "german", "french", "spanish", "russian", "chinese", "bracket")},
    "wild rfc": rfc,
    "wild man": manual_page,
    "wild fhir json": fhir_json,
    "wild fhir xml": fhir_xml,
    "wild hl7": hl7_adt,
    "wild hl7 even": hl7_even,
    "wild mysqldump": mysqldump,
    "wild pg_dump": pg_dump,
    **{f"wild chat {name}": _chat(name) for name in _CHATS},
    "wild slack json": slack_json,
    "wild vtt": webvtt,
    "wild mbox": mbox,
    "wild git log": git_log,
    "wild markdown": markdown_styles,
    "wild rst": rst_styles,
    "wild tsv": tsv_notes,
    "wild csv mail": csv_mail,
    "wild feed": feed,
    "wild html": html_docs,
    "wild kubernetes": kubernetes,
    "wild playbook": playbook,
    **{f"wild code {name}": _code(name) for name in _CODE},
    **{f"wild {code}": _language(code) for code in _SAID},
    **{f"wild {name}": _script(name) for name in _SCRIPTS},
    "wild mixed notes": mixed_notes,
    "wild prose table": prose_with_table,
}  # fmt: skip
