"""SQL: statements with the comments above them; the rows of long INSERTs and COPYs; bodies between ``$$``."""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import chain, groupby

from mrengine.chunking.boundaries import (
    INDENT,
    ITEM,
    LINE,
    NO_CONTEXT,
    RECORD,
    SOFT,
    WHOLE,
    Boundary,
    Context,
    Stateless,
)
from mrengine.chunking.sample import Sample
from mrengine.chunking.splitters.table_heads import TableHeads, sql_head

__all__ = ["Sql", "looks"]

_VERBS = (
    "SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|WITH|SET|GRANT|REVOKE|BEGIN|COMMIT|ROLLBACK|START|TRUNCATE|COPY|COMMENT|LOCK"
    "|UNLOCK|USE|REPLACE|MERGE|CALL|EXEC|EXECUTE|DECLARE|PRAGMA|VACUUM|ANALYZE|EXPLAIN|SHOW|DO|IF|PRINT|DELIMITER|RENAME|ATTACH"
    "|DETACH|CLUSTER|REINDEX|REFRESH|SECURITY|SAVEPOINT|RELEASE|VALUES|TABLE|PREPARE|GO|CONNECT|PROMPT|REM|SPOOL|WHENEVER|EXIT"
    "|ANALYSE|LOAD|HANDLER|CHECKPOINT|NOTIFY|LISTEN|FETCH|OPEN|CLOSE|DESCRIBE|DESC|SOURCE|OPTIMIZE|PURGE|FLUSH|KILL|BACKUP|RESTORE"
)


def _any_verb() -> str:
    """An expression for the verbs, in small letters or capitals: one branch for each first letter."""
    branches = (
        f"[{first}{first.lower()}](?i:{'|'.join(verb[1:] for verb in verbs)})"
        for first, verbs in groupby(sorted(_VERBS.split("|")), key=lambda verb: verb[0])
    )
    return rf"(?:{'|'.join(branches)})\b"


_BEGIN = re.compile(rf"\n({INDENT})(?:(--|/\*|#)|(\()|(?=[A-Za-z])(?={_any_verb()})|(?=\\\w|\.\w))")
_ABOVE = re.compile(r"[ \t]*(?:--|/\*|\*|#|\*/)")
_ROW_GAP = re.compile(r"\),\s*(?=\()")
_QUOTING = re.compile(r"\$\w*\$")
_COPY = re.compile(r"\nCOPY [^\n]{1,2000} FROM stdin[^\n]*;[^\n]*\n", re.IGNORECASE)
_LAST = 400  # characters of the line above
_LONG_LINE = 2000
_DEEPEST = 60


class Sql(Stateless):
    """Statements. It keeps where quoted bodies and copied rows lie."""

    name = "sql"
    outermost = RECORD
    opens = re.compile(r"[ \t]*(?:--(?!.*;$)|#|COPY .*;$|(?i:INSERT\s.*\bVALUES)$|DELIMITER|\(?$)")
    open_ends = ("(", "AS", "BEGIN")

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self._begins: list[int] = []  # of bodies and of copied rows, in characters of the document
        self._ends: list[int] = []
        self._copied: list[bool] = []
        self._open = ""
        self._read = 0
        self._base = 0
        self._heads = TableHeads(sql_head)

    def see(self, text: str, base: int) -> None:
        """Find bodies and copied rows in the text that is new."""
        self._base = base
        gone = bisect_right(self._ends, base)
        gone = min(gone, len(self._begins))
        del self._begins[:gone], self._ends[:gone], self._copied[:gone]
        end = text.rfind("\n") + 1
        place = max(0, self._read - base)
        self._read = max(self._read, base + end)
        quote = copy = -2
        found = head = None
        while place < end:
            if self._open:
                closed = text.find(self._open, place, end)
                if closed < 0:
                    return
                place = closed + len(self._open)
                self._ends.append(place + base)
                self._open = ""
            if quote < max(0, place):
                found = _QUOTING.search(text, place, end)
                quote = found.start() if found else end
            if copy < place - 1:
                head = _COPY.search(text, max(0, place - 1), end)
                copy = head.start() if head else end
            if min(quote, copy) == end:
                return
            if copy < quote and head:
                self._note(copy + 1, head.end(), "\n\\.", copied=True)
                place = head.end() - 1
            elif found:
                self._note(quote, found.end(), found.group(), copied=False)
                place = found.end()

    def _note(self, begin: int, inside: int, closing: str, *, copied: bool) -> None:
        self._begins.append((inside if copied else begin) + self._base)
        self._copied.append(copied)
        self._open = closing

    def _within(self, place: int) -> tuple[bool, bool]:
        """Whether a place lies in a body, and whether it lies among copied rows."""
        place += self._base
        index = bisect_right(self._begins, place) - 1
        if index < 0 or (index < len(self._ends) and place >= self._ends[index]):
            return False, False
        return not self._copied[index], self._copied[index]

    def boundaries(self, text: str, low: int, high: int) -> list[Boundary]:
        """Statements, then rows, then lines."""
        low = max(low, 0)
        found: list[Boundary] = []
        spans = self._spans(low, high)
        if spans and spans[0][0] <= low and spans[0][1] > high and spans[0][2]:
            return _rows(text, max(low, spans[0][0]), high)
        attached = False
        last = 0
        for match in _BEGIN.finditer(text, max(0, text.rfind("\n", 0, low)), high + 20):
            place = match.start() + 1
            if place > high:
                break
            mark = match.lastindex
            inside = spans and self._within(place)
            if inside and inside[1]:
                continue
            attached = attached and _is_comment_above(text, place)
            if mark == 3:
                if place > low and _last_mark(text, place) == ",":
                    found.append((place, ITEM, WHOLE))
                continue
            if place > low and not attached and _last_mark(text, place) in _ENDINGS:
                width = min(len(match.group(1)), _DEEPEST)
                level = RECORD + 2 * width + (_DEEPEST * 2 if inside and inside[0] else 0)
                found.append((place, min(level, ITEM - 1), WHOLE))
            attached = mark == 2
            last = place
        for begin, end, copied in spans:
            if copied and end > low and begin < high:
                found += _rows(text, max(low, begin), min(high, end - 3))
        if not found or _is_long(text, low, high):
            found += [
                (match.end(), ITEM, WHOLE)
                for match in _ROW_GAP.finditer(text, max(low, last), high)
                if match.end() > low
            ]
        if not found:
            found = [(place, LINE, SOFT) for place in _line_begins(text, low, high)]
        found.sort()
        return found

    def _spans(self, low: int, high: int) -> list[tuple[int, int, bool]]:
        """The bodies and copied rows that reach into ``low .. high``."""
        first = bisect_right(self._ends, low + self._base)
        last = bisect_right(self._begins, high + self._base)
        return [
            (
                self._begins[index] - self._base,
                self._ends[index] - self._base if index < len(self._ends) else 1 << 60,
                self._copied[index],
            )
            for index in range(first, last)
        ]

    def context(self, text: str, start: int) -> Context:
        """The INSERT or COPY whose rows go on."""
        goes_on = self._within(start)[1] and not text.startswith("\\.", start)
        if not goes_on and text[start : start + _LAST].lstrip()[:1] == "(":
            goes_on = _last_mark(text, start) == ","
        head = self._heads.above(text, self._base, start, goes_on=goes_on)
        return Context((), head) if head else NO_CONTEXT

    def after(self, text: str, level: int, low: int, high: int) -> int:
        """The next statement, or row."""
        step, place = 600, max(low, 0)
        while place < high:
            stop = min(high, place + step)
            for at, outer, _ in self.boundaries(text, place, stop):
                if outer <= level:
                    return at
            place, step = stop, 2 * step
        return 0


_ENDINGS = (";", "", "/", ".", "$", "GO")


def _last_mark(text: str, place: int) -> str:
    """The last character above a line, comments left out; "GO" for a line with that word alone."""
    for _ in range(30):
        begin = max(0, place - _LAST)
        tail = text[begin:place].rstrip()
        if not tail:
            return "" if begin == 0 else ";"
        newline = tail.rfind("\n")
        line = tail[newline + 1 :]
        if not _ABOVE.match(line):
            return "GO" if line.strip().upper() in ("GO", "BEGIN") else _uncommented(line)[-1:]
        place = begin + newline + 1
        if newline < 0:
            return ";"
    return ";"


def _uncommented(line: str) -> str:
    """A line without the comment at its end."""
    comment = line.find(" --")
    return line[:comment].rstrip() if comment >= 0 else line


def _is_comment_above(text: str, place: int) -> bool:
    """Whether nothing but blanks and comments stands between a comment and a line below it."""
    tail = text[max(0, place - _LAST) : place].rstrip()
    line = tail[tail.rfind("\n") + 1 :]
    return _ABOVE.match(line) is not None or line.endswith("*/")


def _line_begins(text: str, low: int, high: int) -> list[int]:
    found = []
    place = text.find("\n", low, high) + 1
    while place:
        found.append(place)
        place = text.find("\n", place, high) + 1
    return found


def _rows(text: str, low: int, high: int) -> list[Boundary]:
    """The copied rows behind the first of them."""
    return [(place, ITEM, WHOLE) for place in _line_begins(text, low, high)]


def _is_long(text: str, low: int, high: int) -> bool:
    """Whether the line at ``high`` is long: rows stand in it one behind another."""
    return text.rfind("\n", max(low, high - _LONG_LINE), high) < 0


_STATEMENT = re.compile(
    r"\s*(?:(?:CREATE|ALTER|DROP)\s+(?:OR\s+REPLACE\s+|GLOBAL\s+|LOCAL\s+|TEMP(?:ORARY)?\s+|UNIQUE\s+|IF\s+|UNLOGGED\s+|FOREIGN\s+"
    r"|MATERIALIZED\s+|RECURSIVE\s+|EVENT\s+|DEFAULT\s+|DEFINER\S*\s+|PUBLIC\s+|TRUSTED\s+|CONSTRAINT\s+)*(?:TABLE|VIEW|INDEX|FUNCTION|PROCEDURE"
    r"|TRIGGER|DATABASE|SCHEMA|SEQUENCE|TYPE|DOMAIN|EXTENSION|USER|ROLE|AGGREGATE|OPERATOR|CAST|RULE|POLICY|LANGUAGE|SERVER|COLLATION"
    r"|CONVERSION|VIRTUAL|TEXT|PACKAGE|SYNONYM|TABLESPACE|EVENT|ACCESS|PUBLICATION|STATISTICS|TRANSFORM)\b"
    r"|INSERT\s+(?:OR\s+\w+\s+|IGNORE\s+)?INTO\b|SELECT\b(?=.*[;*,(]|\s+\w+|$)|UPDATE\s+\S+\s+SET\b|DELETE\s+FROM\b|GRANT\s+\w+|REVOKE\s+\w+"
    r"|COPY\s+\S+|COMMENT\s+ON\b|(?:UN)?LOCK\s+TABLES|SET\s+[\w@.]+\s*(?:=|TO\b|\S)|BEGIN\s*;|COMMIT\s*;|START\s+TRANSACTION|PRAGMA\s+\w+"
    r"|TRUNCATE\s+|USE\s+[`\w]+\s*;|MERGE\s+INTO|WITH\s+\w+.*\s+AS\s*\(|EXPLAIN\b|DECLARE\s+@?\w+|REPLACE\s+INTO|DO\s+\$|\\(?:i|echo|set|connect|c|copy|ir|quit|if)\b"
    r"|VACUUM\b|ANALYZE\b|EXEC(?:UTE)?\s+\w+|CALL\s+\w+\s*\()",
    re.IGNORECASE,
)
_CLAUSE = re.compile(
    r"\s*(?:FROM|WHERE|AND|OR|JOIN|LEFT|RIGHT|INNER|ON|GROUP\s+BY|ORDER\s+BY|HAVING|LIMIT|VALUES|SET|RETURNS|LANGUAGE|AS|BEGIN|END|DECLARE"
    r"|PRIMARY|FOREIGN|UNIQUE|CONSTRAINT|KEY|REFERENCES|THEN|ELSE|CASE|WHEN|IF|RETURN|UNION|ADD|OWNER|[`\"\[]?\w+[`\"\]]?\s+(?:INT|INTEGER"
    r"|VARCHAR|CHAR|TEXT|DATE|TIMESTAMP|DATETIME|BOOLEAN|BIGINT|SMALLINT|SERIAL|NUMERIC|DECIMAL|BLOB|UUID|JSONB?|REAL|DOUBLE|FLOAT)\b)",
    re.IGNORECASE,
)


def _begins_statement(line: str) -> bool:
    """Whether a line begins like a statement. Most lines are told by their first letters."""
    return line.lstrip()[:3].upper() in _FIRST and _STATEMENT.match(line) is not None


_FIRST = frozenset(verb[:3] for verb in _VERBS.split("|")) | {
    "\\I",
    "\\EC",
    "\\SE",
    "\\CO",
    "\\C ",
    "\\QU",
    "\\IF",
    "DO ",
}


def looks(sample: Sample) -> float:
    """How much a text looks like SQL: statements that end with a semicolon."""
    if not any(_begins_statement(line) for line in chain(sample.lines[:40], sample.few)):
        return 0.0
    if not any(line[-1] == ";" or line[:2] in ("GO", "go", "Go") for line in sample.lines):
        return 0.0
    statements = clauses = comments = plain = 0
    inside = copying = False
    copied = " FROM stdin" in sample.text
    for line in sample.lines:
        body = line.lstrip()
        if (copying and not body.startswith("\\.")) or (copied and "\t" in line):
            clauses += 1
        elif body.startswith(("--", "/*", "*/")) or (body[0] == "*" and inside):
            comments += 1
            inside = "*/" not in body and (inside or body.startswith("/*"))
        elif inside:
            comments += 1
            inside = "*/" not in body
        elif _begins_statement(line):
            statements += 1
            copying = body[:4].upper() == "COPY" and "stdin" in body
        elif _CLAUSE.match(line) or body[0] in "(),'\\":
            copying = False
            clauses += 1
        else:
            plain += 1
    if not statements:
        return 0.0
    said = statements + clauses + plain
    first = next((line for line in sample.lines if not _COMMENT.match(line)), "")
    if statements + clauses > 0.5 * said and (statements > 0.08 * said or (statements > 1 and _STATEMENT.match(first))):
        return 0.96 if _STATEMENT.match(first) else 0.92 if statements > 0.3 * said else 0.85
    if not _STATEMENT.match(first):
        return 0.0
    return 0.92 if statements > 0.1 * said else 0.86 if statements > 1 and sample.lines[-1][-1] == ";" else 0.0


_COMMENT = re.compile(r"\s*(?:--|/\*|\*|#|$)")
