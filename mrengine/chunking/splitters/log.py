"""Logs: an event begins with a line that opens with a time, a level or an address, and takes in the lines below.

So the lines of a stack trace, of a statement or of an object over several lines belong to their event.
"""

from __future__ import annotations

import re

from mrengine.chunking.sample import Sample
from mrengine.chunking.splitters.forms import Formed, any_of

__all__ = ["HALF_SURE", "LEVEL", "TIMES", "Log", "looks"]

_MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_CLOCK = r"\d{1,2}:\d\d:\d\d"
_DATE = rf"(?:\d{{4}}[-/.]\d\d[-/.]\d\d|\d\d[-/.](?:\d\d|{_MONTH})[-/.](?:\d{{4}}|\d\d)|\d{{8}})"
LEVEL = (
    "(?:TRACE|DEBUG|DBG|VERBOSE|INFO|INF|NOTICE|NOTE|WARN|WARNING|WRN|ERROR|ERR|SEVERE|FATAL|CRITICAL|CRIT|ALERT"
    "|EMERG|PANIC|LOG|STATEMENT|DETAIL|HINT|CONTEXT"
    "|trace|trce|debug|info|notice|warn|warning|error|fatal|critical|dbug|fail|crit)"
)
# What begins an event: a time, perhaps behind a word or two (host, level, container, stream).
TIMES = (
    rf"[\[(<\"']?{_DATE}[T ,_]{{1,2}}{_CLOCK}",  # 2024-03-01 12:00:00, in brackets or not
    rf"(?:<\d{{1,3}}>(?:1[ ])?)?{_MONTH}[ ]+\d{{1,2}}[ ,](?:\d{{4}}[ ])?[ ]*{_CLOCK}",  # syslog, old
    r"<\d{1,3}>1[ ]\d{4}-\d\d-\d\dT",  # syslog, new
    rf"\[?{_DAY},?[ ](?:{_MONTH}[ ]+\d{{1,2}}|\d{{1,2}}[ ]{_MONTH}[ ]\d{{4}})[ ]{_CLOCK}",  # Apache's errors
    r"[\w.:-]{2,60}[ ]\S{1,40}[ ]\S{1,60}[ ]\[\d{1,2}/\w{3}/\d{4}:\d\d:\d\d",  # a request
    rf"[\[(]?{LEVEL}[\])]?[ :|-]{{1,6}}[\[(]?{_DATE}[T ,]{_CLOCK}",  # the level first
    rf"[IWEFDV]\d{{4}}[ ]{_CLOCK}",  # glog, klog
    rf"\d\d-\d\d[ ]{_CLOCK}\.\d+",  # logcat
    r"\[[ ]*\d{1,9}\.\d{3,9}\][ ]",  # a kernel's
    rf"[\[(]?{_CLOCK}(?:[.,]\d+)?[\])]?[ |:-]",  # the time of day alone
    rf"[\w.@/-]{{2,40}}[ ]*[|:][ ]*[\[(]?{_DATE}[T ]{{1,2}}{_CLOCK}",  # a container or file, a bar, a time
    rf"(?:\[[^\]\n]{{1,40}}\][ ]?){{1,3}}[\[(]?{_DATE}[T ]{_CLOCK}",  # a thread, a time
    rf"[\w.-]{{1,40}}[ ](?:{LEVEL}[ ])?[\[(]?{_DATE}[T ]{_CLOCK}",  # a word, a time
    r"(?:time|ts|timestamp|at|t)=[\"']?\d{4}-?\d\d",  # logfmt
    r"# Time: \d",  # MySQL's slow queries
    r"\[?1[0-9]{9}(?:\.\d+|\d{3})?\]?[ :]",  # seconds since 1970
)
_LEVELS = (
    rf"[\[(]{LEVEL}[ ]*[\])](?=[ :-])",
    rf"{LEVEL}(?=[ ]{{0,5}}[:|\[(-]|[ ]{{2}}|[ ]+[\w.$]+(?:[:\[]|[ ]-))",
    r"level=\w",
    rf"\d{{1,6}}[ ](?:silly|verbose|http|timing|{LEVEL})[ ]",  # numbered, as npm writes them
)
_FORMS = (*TIMES, *_LEVELS, r"\{[ ]?\"\w")
_SURE = len(TIMES)
_FIRST = "#[(IWEFDVTNCAPSLHiwefdtncal0123456789"
HALF_SURE = 0.6  # many lines do not begin with a time
_NEAR = 90  # characters in which a time stands


class Log(Formed):
    """Events and their lines."""

    name = "log"
    forms = _FORMS


_TRACE = re.compile(
    r"\s+(?:at[ ]|File[ ]\"|\.\.\.[ ]\d)|Caused by:|Traceback|goroutine[ ]\d|[\w.$]+(?:Exception|Error):"
)

# Lines of an object that is written over several: two or three times as many as the events that have one.
_OF_OBJECT = re.compile(r"[ \t]+[\"\]}\[{]|[\]}{][,\s]*$")


def _may_begin(line: str) -> bool:
    """Whether it is worth to look whether a line begins an event."""
    return ":" in line[:_NEAR] or (line[0] in _FIRST and (line[1:2] not in "abcghjklmopqsuvwxyz " or line[0].isdigit()))


def looks(sample: Sample) -> float:
    """How much a text looks like a log: many lines that begin with a time, and what is indented or a trace between."""
    match = any_of(_FORMS).match
    if not any(_may_begin(line) and match(line) for line in sample.few):
        return 0.0
    if sample.fences and not match(sample.lines[0]):
        return 0.0  # a text that quotes one
    events = sure = inner = objects = parts = 0
    for line in sample.lines:
        form = match(line) if line[0] == "{" or _may_begin(line) else None
        if form:
            events += 1
            sure += (form.lastindex or 1) <= _SURE
            objects += form.lastindex == len(_FORMS)
        elif line[0] in " \t}]" or _TRACE.match(line):
            inner += 1
            parts += _OF_OBJECT.match(line) is not None
    count = len(sample.lines)
    if sure >= 2 and sure > 0.12 * (count - parts):
        return 0.92
    if events > 3 and objects < 0.5 * events:
        known = events + inner
        if (events > 0.6 * count and known > 0.85 * count) or (events > 0.25 * count and known > 0.96 * count):
            return 0.91
    return HALF_SURE if sure > 4 and sure > 0.05 * count else 0.0
