"""The test server's batch APIs, OpenAI's (files, batches) and Anthropic's (message batches), on a clock of their own.

A batch's life is computed from its rules and the clock whenever somebody looks, so that a test that moves the clock
sees every state, and no thread is needed. What is executed is billed then, and only then.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from mrengine.testing.batch_bodies import RequestLine, openai_line, shown_file, shown_message_batch, shown_openai

__all__ = ["BatchProvider", "BatchRules", "Run"]


@dataclass(frozen=True, slots=True)
class BatchRules:
    """How batches go. Times in seconds of the batches' clock, which runs ``speed`` times as fast as the real one (0:
    only ``LLMServer.advance()`` moves it).

    A batch takes ``validating_s``, then its requests are executed evenly over ``work_s``, then come ``finalizing_s``;
    ``cancelling_s`` after a cancel. One that is not through by ``window_s`` expires with what it has. ``create``: what
    becomes of each create call, in order: None or "ok"; "lost" (it is created, the connection closes), "late" (the
    same, and it is created ``late_s`` of real time later), "dropped" (it is not created), "failed" (validation fails),
    or a status. ``upload``: the same for files. ``download``: of each fetch of answers: "cut" (half of it, then the
    connection closes), "half" (half of it, as if that were all), or a status. ``statuses``: a callable(prompt) that
    gives the HTTP status of a request, or None. ``enqueued_tokens``: words that may wait in all batches of a model;
    what is above fails as OpenAI has it. ``max_requests``, ``max_bytes``: 413 or 400 above. ``shuffle``: answers
    come in any order. ``page``: how many batches a list holds. ``cancelled_lines``: whether requests that a cancel
    struck stand in the error file.
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
    visible: float = 0.0  # of real time
    failure: tuple[str, str] | None = None
    cancel_at: float | None = None
    results: dict[int, tuple[int, bytes]] = field(default_factory=dict)  # line → status, body
    outputs: tuple[str, str] = ("", "")  # ids of output and error file

    def state(self, rules: BatchRules, now: float) -> str:
        """OpenAI's word for what it does now."""
        if self.failure is not None:
            return "failed" if now >= self.created + rules.validating_s else "validating"
        ended = self.created + rules.validating_s + rules.work_s + rules.finalizing_s
        expires = self.created + rules.window_s
        if self.cancel_at is not None and self.cancel_at < min(ended, expires):
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
            return len(self.lines)
        return int(len(self.lines) * (until - begun) / rules.work_s)


FINAL = frozenset({"completed", "failed", "expired", "cancelled"})
Answer = tuple[int, bytes]  # status, body
Execute = Callable[[str, Mapping[str, Any], str, float], Answer]


class Dropped(Exception):
    """The connection closes without a byte."""


class Cut(Exception):
    """Half of it comes, then the connection closes."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.data = data


class BatchProvider:
    """All files and batches. ``execute(shape, body, key, at)`` answers one request, and bills it; ``at``: of the real
    clock, as far as it has been moved.
    """

    def __init__(
        self, rules: BatchRules, execute: Execute, words: Callable[[str, Mapping[str, Any]], int], real: float
    ) -> None:
        """``real``: the real clock, now."""
        self.rules, self._execute, self._words = rules, execute, words
        self._began, self._epoch = real, time.time()
        self.advanced = 0.0  # how far the clock was moved
        self._random = random.Random(1)
        self._create, self._upload, self._download = list(rules.create), list(rules.upload), list(rules.download)
        self.files: dict[str, tuple[dict[str, Any], bytes]] = {}
        self.runs: list[Run] = []
        self._number = 0

    def advance(self, seconds: float) -> None:
        """Move the batches' clock."""
        self.advanced += seconds

    def now(self, real: float) -> float:
        """The batches' clock."""
        return self._epoch + self.advanced + (real - self._began) * self.rules.speed

    def facts(self, real: float) -> list[dict[str, Any]]:
        """What a test is told of each batch."""
        self._work(real)
        now = self.now(real)
        return [
            {
                "id": run.id,
                "state": run.state(self.rules, now),
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
        asked = {name: values[0] for name, values in parse_qs(query).items()}
        parts = path.strip("/").split("/")
        parts = parts[parts.index("v1") + 1 :] if "v1" in parts else parts
        try:
            if parts[0] == "files":
                return self._files(method, parts[1:], headers, body, real)
            shape = "anthropic" if parts[0] == "messages" else "openai"
            rest = parts[2:] if shape == "anthropic" else parts[1:]
            return self._batches(shape, method, rest, headers, asked, body, real)
        except LookupError:
            return _error(404, "not_found", "no such object")
        except ValueError:
            return _error(400, "invalid_request_error", "that is not what was expected")

    # files

    def _files(self, method: str, rest: list[str], headers: Mapping[str, str], body: bytes, real: float) -> Answer:
        if method == "POST" and not rest:
            return self._uploaded(headers, body, real)
        if method == "GET" and not rest:
            shown = [facts for facts, _ in self.files.values()]
            return _json({"object": "list", "data": shown, "has_more": False})
        facts, data = self.files[rest[0]]
        if method == "DELETE":
            del self.files[rest[0]]
            return _json({"id": rest[0], "object": "file", "deleted": True})
        return self._fetched(data) if rest[1:] == ["content"] else _json(facts)

    def _fetched(self, data: bytes) -> Answer:
        fate = self._download.pop(0) if self._download else None
        if fate is not None and fate.isdigit():
            return _error(int(fate), f"status_{fate}", "on demand")
        if fate == "cut":
            raise Cut(data)
        return 200, data[: len(data) // 2] if fate == "half" else data

    def _uploaded(self, headers: Mapping[str, str], body: bytes, real: float) -> Answer:
        if self.rules.max_bytes is not None and len(body) > self.rules.max_bytes:
            return _error(413, "file_too_large", "the file is too large")
        fields = _multipart(headers.get("content-type", ""), body)
        if fields is None or fields.get("purpose", ("", b""))[1] != b"batch" or "file" not in fields:
            return _error(400, "invalid_request_error", "files need a file, and the purpose batch")
        fate = self._upload.pop(0) if self._upload else None
        if fate == "dropped":
            raise Dropped
        if fate is not None and fate.isdigit():
            return _error(int(fate), f"status_{fate}", "on demand")
        facts = self._file(fields["file"][1], fields["file"][0], "batch", real)
        if fate == "lost":
            raise Dropped
        return _json(facts)

    def _file(self, data: bytes, name: str, purpose: str, real: float) -> dict[str, Any]:
        self._number += 1
        facts = shown_file(f"file-{self._number}", data, name, purpose, self.now(real))
        self.files[facts["id"]] = (facts, data)
        return facts

    # batches

    def _batches(
        self,
        shape: str,
        method: str,
        rest: list[str],
        headers: Mapping[str, str],
        asked: Mapping[str, str],
        body: bytes,
        real: float,
    ) -> Answer:
        if method == "POST" and not rest:
            return self._created(shape, json.loads(body), body, real, headers)
        if method == "GET" and not rest:
            return self._listed(shape, asked, real, headers)
        run = {run.id: run for run in self._visible(shape, real)}[rest[0]]
        if method == "POST" and rest[1:] == ["cancel"]:
            if run.state(self.rules, self.now(real)) not in FINAL and run.cancel_at is None:
                run.cancel_at = self.now(real)
        elif rest[1:] == ["results"]:
            return self._results(run, real)
        elif method == "DELETE":
            self.runs.remove(run)
            return _json({"id": run.id, "type": "message_batch_deleted"})
        return _json(self._shown(run, real, headers))

    def _visible(self, shape: str, real: float) -> list[Run]:
        return [run for run in self.runs if run.shape == shape and run.visible <= real]

    def _created(self, shape: str, asked: Any, body: bytes, real: float, headers: Mapping[str, str]) -> Answer:
        rules = self.rules
        lines = self._lines(shape, asked)
        if isinstance(lines, str):
            return _error(400, "invalid_request_error", lines)
        if (rules.max_requests is not None and len(lines) > rules.max_requests) or (
            rules.max_bytes is not None and len(body) > rules.max_bytes
        ):
            return _error(413 if shape == "anthropic" else 400, "request_too_large", "too many requests")
        fate = self._create.pop(0) if self._create else None
        if fate == "dropped":
            raise Dropped
        if fate is not None and fate.isdigit():
            return _error(int(fate), f"status_{fate}", "on demand")
        run = self._run(shape, asked, lines, real)
        run.key = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
        if fate == "failed":
            run.failure = ("invalid_file", "on demand")
        if fate == "late":
            run.visible = real + rules.late_s
        if fate in ("lost", "late"):
            raise Dropped
        return _json(self._shown(run, real, headers))

    def _run(self, shape: str, asked: Any, lines: list[RequestLine], real: float) -> Run:
        self._number += 1
        now = self.now(real)
        name = f"batch_{self._number}" if shape == "openai" else f"msgbatch_{self._number}"
        run = Run(name, shape, now, lines, dict(asked.get("metadata") or {}), asked.get("input_file_id", ""))
        run.model = str(lines[0].body.get("model"))
        run.words = sum(self._words(shape, line.body) for line in lines)
        limit = self.rules.enqueued_tokens
        waiting = sum(
            one.words
            for one in self.runs
            if one.model == run.model and one.state(self.rules, now) not in FINAL and one.failure is None
        )
        if limit is not None and shape == "openai" and waiting + run.words > limit:
            message = f"Enqueued token limit reached for {run.model} in organization org-1. Limit: {limit:,} enqueued "
            message += "tokens. Please try again once some in_progress batches have been completed."
            run.failure = ("token_limit_exceeded", message)
        self.runs.append(run)
        return run

    def _lines(self, shape: str, asked: Any) -> list[RequestLine] | str:
        if shape == "anthropic":
            lines = [RequestLine(one["custom_id"], one["params"]) for one in asked["requests"]]
        else:
            if asked.get("endpoint") != "/v1/chat/completions" or asked.get("completion_window") != "24h":
                return "endpoint is /v1/chat/completions, and completion_window 24h"
            found = self.files.get(asked["input_file_id"])
            if found is None:
                return "no such file"
            lines = [openai_line(line) for line in found[1].splitlines() if line.strip()]
        names = [line.custom_id for line in lines]
        if not names or len(set(names)) < len(names) or any(not 0 < len(name) <= 64 for name in names):
            return "each request needs a custom_id of its own"
        return lines

    def _listed(self, shape: str, asked: Mapping[str, str], real: float, headers: Mapping[str, str]) -> Answer:
        runs = self._visible(shape, real)[::-1]  # the newest first
        after = asked.get("after") or asked.get("after_id")
        if after is not None:
            names = [run.id for run in runs]
            runs = runs[names.index(after) + 1 :]
        size = min(int(asked.get("limit", 20)), self.rules.page)
        page = [self._shown(run, real, headers) for run in runs[:size]]
        ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
        return _json({"object": "list", "data": page, **ends, "has_more": len(runs) > size})

    def _shown(self, run: Run, real: float, headers: Mapping[str, str]) -> dict[str, Any]:
        now = self.now(real)
        if run.shape == "openai":
            return shown_openai(run, run.state(self.rules, now), self.rules.window_s)
        return shown_message_batch(
            run, run.state(self.rules, now), self.rules.window_s, f"http://{headers.get('host', '')}"
        )

    # the work

    def _work(self, real: float) -> None:
        """Execute what is due by now."""
        now = self.now(real)
        for run in self.runs:
            for index in range(len(run.results), run.executed(self.rules, now)):
                ago = now - run.created - self.rules.validating_s - self.rules.work_s * index / len(run.lines)
                run.results[index] = self._executed(run, run.lines[index], real + self.advanced - ago)
            if run.shape == "openai" and run.state(self.rules, now) in FINAL and run.outputs == ("", ""):
                run.outputs = self._written(run, run.state(self.rules, now), real)

    def _executed(self, run: Run, line: RequestLine, at: float) -> Answer:
        status = self.rules.statuses(line.prompt) if self.rules.statuses is not None else None
        if status is not None and status != 200:
            return status, _error(status, "invalid_request_error" if status < 429 else "api_error", "on demand")[1]
        return self._execute(run.shape, line.body, run.key, at)

    def _written(self, run: Run, state: str, real: float) -> tuple[str, str]:
        good = [run.lines[at].openai(at, *answer) for at, answer in run.results.items() if answer[0] == 200]
        bad = [run.lines[at].openai(at, *answer) for at, answer in run.results.items() if answer[0] != 200]
        rest = [line for at, line in enumerate(run.lines) if at not in run.results]
        if state == "expired" or (state == "cancelled" and self.rules.cancelled_lines):
            bad += [line.undone(f"batch_{state}") for line in rest]
        names = []
        for lines, name in ((good, "output"), (bad, "error")):
            if self.rules.shuffle:
                self._random.shuffle(lines)
            data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
            names.append(self._file(data, f"{run.id}_{name}.jsonl", "batch_output", real)["id"] if lines else "-")
        return names[0], names[1]

    def _results(self, run: Run, real: float) -> Answer:
        state = run.state(self.rules, self.now(real))
        if state not in FINAL:
            return _error(404, "not_found_error", "the batch has not ended")
        lines = [line.anthropic(run.results.get(at), state) for at, line in enumerate(run.lines)]
        if self.rules.shuffle:
            self._random.shuffle(lines)
        return self._fetched(b"".join(json.dumps(line).encode() + b"\n" for line in lines))


def _multipart(kind: str, body: bytes) -> dict[str, tuple[str, bytes]] | None:
    """The fields of a form, each with its file name."""
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


def _json(value: Any) -> Answer:
    return 200, json.dumps(value).encode()


def _error(status: int, code: str, message: str) -> Answer:
    body = {"type": "error", "error": {"message": message, "type": code, "code": code, "param": None}}
    return status, json.dumps(body).encode()
