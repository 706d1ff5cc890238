# ruff: noqa: E501, PIE804 - texts, line by line
"""Texts whose units are records: logs, clinical data, dumps, conversations, commits."""

from __future__ import annotations

import json
import random
import textwrap
from collections.abc import Callable

from bench.chunking_judge import Builder, Labelled
from bench.chunking_made import wrapped
from bench.chunking_made_words import sentence, words

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
