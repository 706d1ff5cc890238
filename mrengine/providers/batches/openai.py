"""OpenAI's batches, which many servers speak: https://platform.openai.com/docs/guides/batch."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from typing import Any, BinaryIO

from mrengine.errors import ModelError, ModelRefused
from mrengine.providers.batches.client import UNDONE, Answer, BatchClient, BatchStatus, Limits
from mrengine.providers.http.openai_chat import PATH

__all__ = ["OpenAIBatches"]

_STATES = {
    "cancelling": "cancelling", "completed": "ended", "expired": "ended", "cancelled": "ended", "failed": "failed",
}  # fmt: skip
_COPY = 1 << 20
FILES = 1000  # that are listed at once


class OpenAIBatches(BatchClient):
    """A batch is made of an uploaded file; its successes and failures come in a file each."""

    ROOT, AFTER = "/batches", "after"
    LIMITS = Limits(50_000, 200_000_000)

    def line(self, custom_id: str, body: bytes, *, first: bool) -> bytes:
        parts = custom_id.encode(), PATH.encode(), body
        return b'{"custom_id":"%b","method":"POST","url":"/v1%b","body":%b}\n' % parts

    def prepare(self, file: BinaryIO, *, token: str, job: str) -> str:
        return self._uploaded(file, f"{_prefix(job)}{token}.jsonl")

    def create(self, file: BinaryIO, prepared: str, *, token: str, job: str) -> BatchStatus:
        wanted = {
            "input_file_id": prepared,
            "endpoint": f"/v1{PATH}",
            "completion_window": "24h",
            "metadata": {"mrengine_job": job, "mrengine_batch": token},
        }
        return self.read_batch(self.ask("POST", "/batches", json.dumps(wanted).encode()))

    def _uploaded(self, file: BinaryIO, name: str) -> str:
        mark = f"mrengine-{name.encode().hex()}"  # the file cannot hold it: no line of JSON begins with two hyphens
        disposition = "Content-Disposition: form-data; name="
        opening = (
            f'--{mark}\r\n{disposition}"purpose"\r\n\r\nbatch\r\n--{mark}\r\n{disposition}"file"; filename="{name}"\r\n'
            "Content-Type: application/jsonl\r\n\r\n"
        )
        with tempfile.TemporaryFile(dir=self._folder) as form:  # a form in a file, as it may be larger than memory
            form.write(opening.encode())
            file.seek(0)
            while part := file.read(_COPY):
                form.write(part)
            form.write(f"\r\n--{mark}--\r\n".encode())
            response = self.ask("POST", "/files", form, kind=f"multipart/form-data; boundary={mark}")
        file_id = self._read(response, lambda data: data["id"])
        if not isinstance(file_id, str):
            raise ModelRefused(f"{self.model.name}: its server gave an uploaded file no id", model=self.model.name)
        return file_id

    def batch_in(self, data: Mapping[str, Any]) -> BatchStatus:
        counts = data.get("request_counts") or {}
        errors = (data.get("errors") or {}).get("data") or [{}]
        files = tuple(data[key] for key in ("output_file_id", "error_file_id") if data.get(key))
        word, metadata = data["status"], data.get("metadata") or {}
        return BatchStatus(
            name=data["id"],
            state=_STATES.get(word, "working"),
            word=word,
            total=int(counts.get("total") or 0),
            done=int(counts.get("completed") or 0),
            failed=int(counts.get("failed") or 0),
            code=str(errors[0].get("code") or ""),
            why=str(errors[0].get("message") or ""),
            files=files,
            token=str(metadata.get("mrengine_batch", "")),
            job=str(metadata.get("mrengine_job", "")),
            created=float(data.get("created_at") or 0),
            source=str(data.get("input_file_id") or ""),
        )

    def answers(self, batch: BatchStatus) -> Iterator[Answer]:
        for name in batch.files:
            with self.download(f"/files/{name}/content") as values:
                yield from map(_answer, values)

    def tidy(self, batch: BatchStatus) -> None:
        self._remove(batch.source, *batch.files)

    def _remove(self, *names: str) -> None:
        for name in filter(None, names):
            with suppress(ModelError):  # a file that stays costs nothing, and is kept for a month
                self.ask("DELETE", f"/files/{name}")

    def sweep(
        self, job: str, *, tokens: Collection[str], batches: Collection[BatchStatus], live: Collection[str]
    ) -> None:
        going = [batch for batch in batches if batch.name in live or batch.token in tokens]
        over = {name for batch in batches if batch not in going for name in (batch.source, *batch.files)}
        kept = {name for batch in going for name in (batch.source, *batch.files)}
        kept_names = {f"{_prefix(job)}{token}.jsonl" for token in tokens}
        with suppress(ModelError):  # as in tidy()
            for id_, name in list(self._files()):
                mine = name.startswith(_prefix(job)) and name not in kept_names
                if (mine or id_ in over) and id_ not in kept:
                    self._remove(id_)

    def _files(self) -> Iterator[tuple[str, str]]:
        """The id and name of each file of the account."""
        after = ""
        while True:
            response = self.ask("GET", f"/files?limit={FILES}{after}")
            page, more = self._read(response, _page)
            yield from page
            if not more or not page:
                return
            after = f"&after={page[-1][0]}"


def _page(data: Any) -> tuple[list[tuple[str, str]], bool]:
    """The ids and names in a list of files, and whether there are more."""
    return [(str(one.get("id")), str(one.get("filename"))) for one in data["data"]], bool(data.get("has_more"))


def _prefix(job: str) -> str:
    """The beginning of the names of all files that are uploaded for a job."""
    return f"mrengine-{job}-"


def _answer(line: Mapping[str, Any]) -> Answer:
    response = line.get("response")
    if not isinstance(response, Mapping) or not isinstance(response.get("status_code"), int):
        return Answer(line["custom_id"], UNDONE, b"")
    body = json.dumps(response.get("body"), ensure_ascii=False).encode("utf-8", "replace")
    return Answer(line["custom_id"], response["status_code"], body)
