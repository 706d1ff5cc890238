"""The test server's batch APIs, OpenAI's (files, batches) and Anthropic's (message batches), on a clock of their own.

The state of a batch is computed from its rules and the clock on each request, so that a test that moves the clock sees
every state, and no thread is needed. Requests are executed then, and billed when they are.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from mrengine.testing.batch_bodies import RequestLine, openai_line, shown_file, shown_message_batch, shown_openai
from mrengine.testing.bodies import error, key_of

__all__ = ["BatchProvider", "BatchRules", "Run"]


@dataclass(frozen=True, slots=True)
class BatchRules:
    """How batches go. Times are seconds of the batches' clock, which runs ``speed`` times as fast as the real one (0:
    only ``LLMServer.advance()`` moves it).

    A batch takes ``validating_s``, then its requests are executed evenly over ``work_s``, then it takes
    ``finalizing_s``; a cancel takes ``cancelling_s``. A batch that is not done by ``window_s`` expires with what it
    has. ``create``: the fates of create calls, in order: None or "ok"; "lost" (the batch is created, the connection
    closes), "late" (the same, and it is created ``late_s`` of real time later), "garbled" (it is created, and the
    answer is no JSON), "dropped" (it is not created), "failed" (validation fails), or a status. ``upload``: the
    same for files. ``download``: the fates of fetches of answers: "cut" (half of them, then the connection closes),
    "half" (half of them, as if that were all), or a status. ``statuses``: a callable(prompt) that returns the HTTP
    status of a request, or None. ``enqueued_tokens``: words that may wait in all batches of a model; more fail as
    at OpenAI. ``max_requests``, ``max_bytes``: more get 413 or 400. ``shuffle``: answers come in any order.
    ``page``: batches in one list. ``cancelled_lines``: the error file names requests that a cancel left undone.
    """

    validating_s: float = 0.0
    work_s: float = 0.0
    finalizing_s: float = 0.0
    cancelling_s: float = 0.0
    window_s: float = 86_400.0
    speed: float = 1.0
    create: Sequence[str | None] = ()
    upload: Sequence[str | None] = ()
    download: Sequence[str | None] = ()
    late_s: float = 0.5
    statuses: Callable[[str], int | None] | None = None
    enqueued_tokens: int | None = None
    max_requests: int | None = None
    max_bytes: int | None = None
    shuffle: bool = True
    page: int = 20
    cancelled_lines: bool = False


@dataclass(slots=True)
class Run:
    """One batch. ``done_at``: when each line was executed; ``results``: of the lines that were."""

    id: str
    shape: str
    created: float
    lines: list[RequestLine]
    metadata: dict[str, Any] = field(default_factory=dict)
    file: str = ""
    model: str = ""
    key: str = ""
    words: int = 0
    visible: float = 0.0  # when lists begin to show it, in real time
    failure: tuple[str, str] | None = None
    cancel_at: float | None = None
    results: dict[int, tuple[int, bytes]] = field(default_factory=dict)  # line → status, body
    outputs: tuple[str, str] = ("", "")  # ids of output and error file; "": not written yet

    def state(self, rules: BatchRules, now: float) -> str:
        """Its state, in OpenAI's words."""
        if self.failure is not None:
            return "failed" if now >= self.created + rules.validating_s else "validating"
        ended = self.created + rules.validating_s + rules.work_s + rules.finalizing_s
        expires = self.created + rules.window_s
        if self.cancel_at is not None and self.cancel_at < min(ended, expires):  # a late cancel changes nothing
            return "cancelled" if now >= self.cancel_at + rules.cancelling_s else "cancelling"
        if ended <= expires and now >= ended:
            return "completed"
        if now >= expires:
            return "expired"
        if now < self.created + rules.validating_s:
            return "validating"
        return "in_progress" if now < self.created + rules.validating_s + rules.work_s else "finalizing"

    def executed(self, rules: BatchRules, now: float) -> int:
        """How many lines have been executed."""
        if self.failure is not None:
            return 0
        until = min(now, self.created + rules.window_s, self.cancel_at if self.cancel_at is not None else now)
        begun = self.created + rules.validating_s
        if until < begun:
            return 0
        if until >= begun + rules.work_s:
            return len(self.lines)  # also where work_s is 0
        return int(len(self.lines) * (until - begun) / rules.work_s)


FINAL = frozenset({"completed", "failed", "expired", "cancelled"})
Answer = tuple[int, bytes]  # status, body
Execute = Callable[[str, Mapping[str, Any], str, float], Answer]


class Dropped(Exception):
    """Close the connection without a byte."""


class Cut(Exception):
    """Send half of the data, then close the connection."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.data = data


class _Call(NamedTuple):
    """One request to either API; ``path``: what is behind the resource's name."""

    method: str
    path: list[str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


class BatchProvider:
    """All files and batches. ``execute(shape, body, key, at)`` answers one request of a batch and bills it; ``at``: by
    the real clock, plus what tests have moved the batches' clock.
    """

    def __init__(
        self, rules: BatchRules, execute: Execute, words: Callable[[str, Mapping[str, Any]], int], real: float
    ) -> None:
        """``real``: the real clock, now."""
        self.rules, self._execute, self._words = rules, execute, words
        self._began, self._epoch, self._real = real, time.time(), real
        self.advanced = 0.0  # how far the clock was moved
        self._random = random.Random(1)  # seeded: a test that fails fails again
        self._create, self._upload, self._download = list(rules.create), list(rules.upload), list(rules.download)
        self.files: dict[str, tuple[dict[str, Any], bytes]] = {}
        self.runs: list[Run] = []
        self._number = 0

    @property
    def _now(self) -> float:
        """The batches' clock, as of the last request."""
        return self._epoch + self.advanced + (self._real - self._began) * self.rules.speed

    def facts(self, real: float) -> list[dict[str, Any]]:
        """The batches, as tests want to see them."""
        self._work(real)
        return [
            {
                "id": run.id,
                "state": self._state(run),
                "requests": len(run.lines),
                "executed": len(run.results),
                "custom_ids": [line.custom_id for line in run.lines],
                "metadata": run.metadata,
                "failure": run.failure,
            }
            for run in self.runs
        ]

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes, real: float) -> Answer:
        """The answer to a request of either API; Dropped."""
        self._work(real)
        path, _, query = target.partition("?")
        parts = path.strip("/").split("/")
        parts = parts[parts.index("v1") + 1 :] if "v1" in parts else parts  # base URLs may have a path of their own
        shape = "anthropic" if parts[0] == "messages" else "openai"
        values = {name: values[0] for name, values in parse_qs(query).items()}
        call = _Call(method, parts[2:] if shape == "anthropic" else parts[1:], values, headers, body)
        try:
            return self._files(call) if parts[0] == "files" else self._batches(shape, call)
        except LookupError:
            return _error(404, "not_found", "no such object")
        except ValueError:
            return _error(400, "invalid_request_error", "that is not what was expected")

    def _files(self, call: _Call) -> Answer:
        if call.method == "POST" and not call.path:
            return self._uploaded(call)
        if call.method == "GET" and not call.path:
            shown = [facts for facts, _ in self.files.values()]
            return _json({"object": "list", "data": shown, "has_more": False})
        name = call.path[0]
        facts, data = self.files[name]
        if call.method == "DELETE":
            del self.files[name]
            return _json({"id": name, "object": "file", "deleted": True})
        return self._fetched(data) if call.path[1:] == ["content"] else _json(facts)

    def _fetched(self, data: bytes) -> Answer:
        fate, refusal = _fate(self._download)
        if refusal is not None:
            return refusal
        if fate == "cut":
            raise Cut(data)
        return 200, data[: len(data) // 2] if fate == "half" else data

    def _uploaded(self, call: _Call) -> Answer:
        if self.rules.max_bytes is not None and len(call.body) > self.rules.max_bytes:
            return _error(413, "file_too_large", "the file is too large")
        fields = _multipart(call.headers.get("content-type", ""), call.body)
        if fields is None or fields.get("purpose", ("", b""))[1] != b"batch" or "file" not in fields:
            return _error(400, "invalid_request_error", "files need a file, and the purpose batch")
        fate, refusal = _fate(self._upload)
        if refusal is not None:
            return refusal
        facts = self._file(fields["file"][1], fields["file"][0], "batch")
        if fate == "lost":
            raise Dropped
        return _json(facts)

    def _file(self, data: bytes, name: str, purpose: str) -> dict[str, Any]:
        self._number += 1
        facts = shown_file(f"file-{self._number}", data, name, purpose, self._now)
        self.files[facts["id"]] = (facts, data)
        return facts

    def _batches(self, shape: str, call: _Call) -> Answer:
        if call.method == "POST" and not call.path:
            return self._created(shape, call)
        if call.method == "GET" and not call.path:
            return self._listed(shape, call)
        run = {run.id: run for run in self._visible(shape)}[call.path[0]]  # KeyError: 404
        if call.method == "POST" and call.path[1:] == ["cancel"]:
            if self._state(run) not in FINAL and run.cancel_at is None:
                run.cancel_at = self._now
        elif call.path[1:] == ["results"]:
            return self._results(run)
        elif call.method == "DELETE":
            self.runs.remove(run)
            return _json({"id": run.id, "type": "message_batch_deleted"})
        return _json(self._shown(run, call))

    def _visible(self, shape: str) -> list[Run]:
        return [run for run in self.runs if run.shape == shape and run.visible <= self._real]

    def _state(self, run: Run) -> str:
        return run.state(self.rules, self._now)

    def _created(self, shape: str, call: _Call) -> Answer:
        rules, body = self.rules, json.loads(call.body)
        lines = self._lines(shape, body)
        if isinstance(lines, str):
            return _error(400, "invalid_request_error", lines)
        if (rules.max_requests is not None and len(lines) > rules.max_requests) or (
            rules.max_bytes is not None and len(call.body) > rules.max_bytes
        ):
            return _error(413 if shape == "anthropic" else 400, "request_too_large", "too many requests")
        fate, refusal = _fate(self._create)
        if refusal is not None:
            return refusal
        run = self._run(shape, body, lines)
        run.key = key_of(call.headers)
        if fate == "failed":
            run.failure = ("invalid_file", "on demand")
        if fate == "late":
            run.visible = self._real + rules.late_s
        if fate in ("lost", "late"):
            raise Dropped  # the client cannot know that the batch exists; it must look in the list
        if fate == "garbled":
            return 200, b"<html>a proxy's page</html>"
        return _json(self._shown(run, call))

    def _run(self, shape: str, body: Any, lines: list[RequestLine]) -> Run:
        self._number += 1
        name = f"batch_{self._number}" if shape == "openai" else f"msgbatch_{self._number}"
        run = Run(name, shape, self._now, lines, dict(body.get("metadata") or {}), body.get("input_file_id", ""))
        run.model = str(lines[0].body.get("model"))
        run.words = sum(self._words(shape, line.body) for line in lines)
        limit = self.rules.enqueued_tokens
        queue = [one for one in self.runs if one.model == run.model and self._state(one) not in FINAL]
        waiting = sum(one.words for one in queue if one.failure is None)
        if limit is not None and shape == "openai" and waiting + run.words > limit:
            message = f"Enqueued token limit reached for {run.model} in organization org-1. Limit: {limit:,} enqueued "
            message += "tokens. Please try again once some in_progress batches have been completed."
            run.failure = ("token_limit_exceeded", message)
        self.runs.append(run)
        return run

    def _lines(self, shape: str, body: Any) -> list[RequestLine] | str:
        """The requests of a batch; a str: what is wrong with them."""
        if shape == "anthropic":
            lines = [RequestLine(one["custom_id"], one["params"]) for one in body["requests"]]
        else:
            if body.get("endpoint") != "/v1/chat/completions" or body.get("completion_window") != "24h":
                return "endpoint is /v1/chat/completions, and completion_window 24h"
            if body["input_file_id"] not in self.files:
                return "no such file"
            _, data = self.files[body["input_file_id"]]
            lines = [openai_line(line) for line in data.splitlines() if line.strip()]
        names = [line.custom_id for line in lines]
        if not names or len(set(names)) < len(names) or any(not 0 < len(name) <= 64 for name in names):
            return "each request needs a custom_id of its own"
        return lines

    def _listed(self, shape: str, call: _Call) -> Answer:
        runs = self._visible(shape)[::-1]  # the newest first
        after = call.query.get("after") or call.query.get("after_id")
        if after is not None:
            runs = runs[[run.id for run in runs].index(after) + 1 :]
        size = min(int(call.query.get("limit", 20)), self.rules.page)
        page = [self._shown(run, call) for run in runs[:size]]
        first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
        return _json({"object": "list", "data": page, "first_id": first, "last_id": last, "has_more": len(runs) > size})

    def _shown(self, run: Run, call: _Call) -> dict[str, Any]:
        if run.shape == "openai":
            return shown_openai(run, self._state(run), self.rules.window_s)
        return shown_message_batch(run, self._state(run), self.rules.window_s, f"http://{call.headers.get('host', '')}")

    def _work(self, real: float) -> None:
        """Set the clock, and execute what is due by now."""
        self._real = real
        for run in self.runs:
            for index in range(len(run.results), run.executed(self.rules, self._now)):
                # Caches see the requests at their own times, also where one look finds many of them due.
                ago = self._now - run.created - self.rules.validating_s - self.rules.work_s * index / len(run.lines)
                run.results[index] = self._executed(run, run.lines[index], real + self.advanced - ago)
            if run.shape == "openai" and self._state(run) in FINAL and run.outputs == ("", ""):
                run.outputs = self._written(run, self._state(run))

    def _executed(self, run: Run, line: RequestLine, at: float) -> Answer:
        status = self.rules.statuses(line.prompt) if self.rules.statuses is not None else None
        if status is not None and status != 200:
            return status, _error(status, "invalid_request_error" if status < 429 else "api_error", "on demand")[1]
        return self._execute(run.shape, line.body, run.key, at)

    def _written(self, run: Run, state: str) -> tuple[str, str]:
        """The ids of the output and the error file; "-" for one that would be empty."""
        good = [run.lines[at].openai(at, *answer) for at, answer in run.results.items() if answer[0] == 200]
        bad = [run.lines[at].openai(at, *answer) for at, answer in run.results.items() if answer[0] != 200]
        rest = [line for at, line in enumerate(run.lines) if at not in run.results]
        if state == "expired" or (state == "cancelled" and self.rules.cancelled_lines):
            bad += [line.undone(f"batch_{state}") for line in rest]
        names = []
        for lines, name in ((good, "output"), (bad, "error")):
            if self.rules.shuffle:
                self._random.shuffle(lines)
            file = f"{run.id}_{name}.jsonl"
            names.append(self._file(_json_lines(lines), file, "batch_output")["id"] if lines else "-")
        return names[0], names[1]

    def _results(self, run: Run) -> Answer:
        state = self._state(run)
        if state not in FINAL:
            return _error(404, "not_found_error", "the batch has not ended")
        lines = [line.anthropic(run.results.get(at), state) for at, line in enumerate(run.lines)]
        if self.rules.shuffle:
            self._random.shuffle(lines)
        return self._fetched(_json_lines(lines))


def _fate(fates: list[Any]) -> tuple[str | None, Answer | None]:
    """The next fate of a script, and the answer if it is a status. Dropped: that is its fate."""
    fate = fates.pop(0) if fates else None
    if fate == "dropped":
        raise Dropped
    refusal = _error(int(fate), f"status_{fate}", "on demand") if fate is not None and fate.isdigit() else None
    return fate, refusal


def _multipart(kind: str, body: bytes) -> dict[str, tuple[str, bytes]] | None:
    """The fields of a form, each with its file name and value."""
    if "boundary=" not in kind:
        return None
    mark = b"--" + kind.partition("boundary=")[2].strip('"').encode()
    fields = {}
    for part in body.split(mark)[1:-1]:
        head, _, value = part.partition(b"\r\n\r\n")
        named = dict(
            one.strip().split("=", 1) for one in head.decode("latin-1").replace("\r\n", ";").split(";") if "=" in one
        )
        fields[named.get("name", "").strip('"')] = (named.get("filename", "").strip('"'), value[:-2])
    return fields


def _json_lines(values: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def _json(value: Any) -> Answer:
    return 200, json.dumps(value).encode()


def _error(status: int, code: str, message: str) -> Answer:
    return status, error(code, message)
