"""The contract of a batch API, and the part that both vendors have in common. The host uses it, in one thread.

A batch is sent from a file and read into one, and is never in memory as a whole. No call is tried again here: only the
caller knows whether that could make a second batch.
"""

from __future__ import annotations

import json
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeVar

from mrengine.errors import ConfigError, ModelError, ModelRefused, ModelUnavailable
from mrengine.providers.call import error_map
from mrengine.providers.http.headers import Headers
from mrengine.providers.models.model import Model

if TYPE_CHECKING:
    from mrengine.providers.http.client import Response

__all__ = [
    "UNDONE", "Answer", "BatchClient", "BatchStatus", "Limits", "Upload", "check_batches", "connect_batches",
    "has_batches",
]  # fmt: skip

ASK_S = 60.0
PAGE = 100  # batches that are listed at once
TRANSFER_S = 1800.0  # for files of some hundred megabytes, over slow lines
_T = TypeVar("_T")
UNDONE = 0  # the status of a request that was not executed


def has_batches(model: Model) -> bool:
    """Whether a model may be asked in batches: its address speaks one of the vendors' APIs."""
    return model.kind in ("openai", "anthropic", "http") and model.base_url is not None


def check_batches(models: tuple[Model, ...]) -> None:
    """ConfigError: none of the job's models may be asked in batches."""
    if not any(map(has_batches, models)):
        names = ", ".join(model.name for model in models) or "no model"
        raise ConfigError(
            "batch= needs a model of OpenAI, Anthropic or an endpoint that speaks one of their batch APIs; the job has "
            + names,
            setting="batch",
        )


def connect_batches(model: Model, folder: str) -> BatchClient:
    """The client of a model's batches. ConfigError: a header or proxy cannot be used."""
    if model.shape == "anthropic":
        from mrengine.providers.batches.anthropic import AnthropicBatches

        return AnthropicBatches(model, folder)
    from mrengine.providers.batches.openai import OpenAIBatches

    return OpenAIBatches(model, folder)


class Limits(NamedTuple):
    """The largest batch that a vendor takes."""

    requests: int
    bytes: int


class Answer(NamedTuple):
    """The outcome of one request: an HTTP status and body. ``UNDONE``: it may be asked again."""

    custom_id: str
    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """A batch as its provider shows it. ``state``: "working", "cancelling", "ended" or "failed" (as a whole, by
    ``code`` and ``why``). ``word``: the provider's own state. ``files``: those with its answers.
    """

    name: str
    state: str
    word: str
    total: int
    done: int = 0
    failed: int = 0
    code: str = ""
    why: str = field(default="", repr=False)
    files: tuple[str, ...] = ()
    token: str | None = None  # None: the vendor keeps no metadata
    job: str = ""  # the job in its metadata
    created: float = 0.0  # seconds since the epoch; 0: unknown
    source: str = ""  # the file that was uploaded for it

    @property
    def over(self) -> bool:
        """Whether it will not change any more."""
        return self.state in ("ended", "failed")


class Upload:
    """The file of a batch in the making."""

    def __init__(self, client: BatchClient, limits: Limits, folder: str) -> None:
        self._client, self._limits = client, limits
        self.file: BinaryIO = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # close() closes it
        self.requests = 0
        self.bytes = self.file.write(client.OPENING)

    def add(self, custom_id: str, body: bytes) -> bool:
        """Add a request; False: it would exceed the limits. The first is always added: the provider may refuse it."""
        line = self._client.line(custom_id, body, first=not self.requests)
        size = self.bytes + len(line) + len(self._client.CLOSING)
        if self.requests and (self.requests >= self._limits.requests or size > self._limits.bytes):
            return False
        self.bytes += self.file.write(line)
        self.requests += 1
        return True

    def finish(self) -> BinaryIO:
        """The whole file."""
        self.file.write(self._client.CLOSING)
        self.file.flush()
        return self.file

    def close(self) -> None:
        self.file.close()


class BatchClient(ABC):
    """One model's batches at one endpoint. Every call raises ModelError, whose ``sent`` is False if the provider cannot
    have received it.
    """

    LIMITS: Limits
    ROOT: str  # the path of the list of batches
    AFTER: str  # the parameter that asks for the page behind a batch
    OPENING = b""
    CLOSING = b""

    def __init__(self, model: Model, folder: str) -> None:
        """``folder``: a private one, for temporary files."""
        assert model.base_url is not None
        self.model, self._folder = model, folder
        self._headers = Headers(replace(model, kind="http"))  # no SDK adds its key
        # Here, so that a host without batches loads no TLS: under uWSGI it may not even be there.
        from mrengine.providers.http.client import client_of

        self._client = client_of(model.spec, model.base_url)

    # what differs between vendors

    @abstractmethod
    def line(self, custom_id: str, body: bytes, *, first: bool) -> bytes:
        """One request as a part of the file."""

    @abstractmethod
    def prepare(self, file: BinaryIO, *, token: str, job: str) -> str:
        """Send what must be sent before ``create``, which costs nothing; returns what ``create`` needs of it."""

    @abstractmethod
    def create(self, file: BinaryIO, prepared: str, *, token: str, job: str) -> BatchStatus:
        """Create a batch of a file. ``sent`` of an error is True if the batch may have been made all the same."""

    @abstractmethod
    def batch_in(self, data: Mapping[str, Any]) -> BatchStatus:
        """Read a batch object. KeyError, TypeError: it is none."""

    @abstractmethod
    def answers(self, batch: BatchStatus) -> Iterator[Answer]:
        """The outcomes of its requests, in any order; those that are missing were not executed."""

    @abstractmethod
    def tidy(self, batch: BatchStatus) -> None:
        """Remove the files of a batch whose answers have all been kept."""

    def sweep(  # noqa: B027  # most vendors take no uploads
        self, job: str, *, tokens: Collection[str], batches: Collection[BatchStatus], live: Collection[str]
    ) -> None:
        """Remove the job's uploads, except those of batches under way. ``tokens``: of batches that may be in the
        making; ``live``: the names of those that run; ``batches``: all those of the job.
        """

    # what they share

    def look(self, name: str) -> BatchStatus:
        """A batch as it is now."""
        return self.read_batch(self.ask("GET", f"{self.ROOT}/{name}"))

    def cancel(self, name: str) -> BatchStatus:
        """Ask for its cancellation. One that is over stays as it is."""
        try:
            return self.read_batch(self.ask("POST", f"{self.ROOT}/{name}/cancel", b"{}"))
        except ModelError as error:
            if error.status not in (400, 404, 409):
                raise
            return self.look(name)

    def pages(self) -> Iterator[list[BatchStatus]]:
        """All batches of the account, the newest first."""
        after = ""
        while True:
            page, more = self.read_page(self.ask("GET", f"{self.ROOT}?limit={PAGE}{after}"))
            yield page
            if not more or not page:
                return
            after = f"&{self.AFTER}={page[-1].name}"

    def since(self, created: float) -> Iterator[BatchStatus]:
        """All batches made since then, and those of unknown age, the newest first."""
        for page in self.pages():
            yield from (batch for batch in page if not 0 < batch.created < created)
            if page and all(0 < batch.created < created for batch in page):
                return

    def first_name(self, batch: BatchStatus) -> str | None:
        """The custom_id of one of its answers; None: it has none."""
        first = next(iter(self.answers(batch)), None)
        if first is None and batch.done:
            # The files of a batch that just ended may still be incomplete: looked at later, they are whole.
            message = f"{self.model.name}: the answers of a batch are not complete yet"
            raise ModelUnavailable(message, model=self.model.name, status=200)
        return None if first is None else first.custom_id

    def newest(self) -> str:
        """The id of the newest batch; "" where there is none."""
        first = next(self.pages(), [])
        return first[0].name if first else ""

    def candidates(self, *, token: str, since: str, known: Collection[str], requests: int) -> list[BatchStatus]:
        """The batches that a create call without an answer may have made: those after ``since``, not ``known``, of as
        many requests; if the vendor keeps metadata, only the one with the ``token``.
        """
        found: list[BatchStatus] = []
        for page in self.pages():
            for batch in page:
                if batch.token is not None and batch.token == token:
                    return [batch]
                if batch.name == since:
                    return found
                if batch.token is None and batch.name not in known and batch.total == requests:
                    found.append(batch)
        return found

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | BinaryIO | None = None,
        *,
        kind: str = "application/json",
        into: BinaryIO | None = None,
    ) -> Response:
        """Make one request, and once more after a 401 with renewable headers. ModelError: it did not succeed."""
        response = self._headers.renewed(lambda: self._sent(method, path, body, kind, into))
        if 200 <= response.status < 300:
            return response
        name, hidden = self.model.name, self._headers.hidden
        raise error_map.from_status(
            response.status, response.headers, response.body, model=name, hidden=hidden, texts=()
        )

    def _sent(self, method: str, path: str, body: bytes | BinaryIO | None, kind: str, into: Any) -> Response:
        headers = {"user-agent": "mrengine", **self._headers.current}
        if body is not None:
            headers["content-type"] = kind
        slow = into is not None or not isinstance(body, (bytes, type(None)))
        failed: ModelError
        try:
            head = self._client.head(method, path, headers)
            return self._client.send(head, body, timeout_s=TRANSFER_S if slow else ASK_S, into=into)
        except Exception as error:  # noqa: BLE001  # as in RemoteProvider: whatever it is, it is no context of ours
            failed = error_map.from_exception(error, model=self.model.name)
        raise failed

    def read_batch(self, response: Response) -> BatchStatus:
        """Read a batch from an answer."""
        return self._read(response, self.batch_in)

    def read_page(self, response: Response) -> tuple[list[BatchStatus], bool]:
        """Read a page of the list of batches, and whether there are more."""

        def page(data: Any) -> tuple[list[BatchStatus], bool]:
            return [self.batch_in(one) for one in data["data"]], bool(data.get("has_more"))

        return self._read(response, page)

    def _read(self, response: Response, read: Callable[[Any], _T]) -> _T:
        try:
            return read(json.loads(response.body))
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError):
            pass
        message = f"{self.model.name}: its server does not speak the expected batch API: check the base URL"
        raise ModelRefused(message, model=self.model.name, status=response.status, scope="model")

    @contextmanager
    def download(self, path: str) -> Iterator[Iterator[Any]]:
        """The JSON values of a file's lines. Other lines are skipped: their requests count as not executed."""
        with tempfile.TemporaryFile(dir=self._folder) as file:
            response = self.ask("GET", path, into=file)
            if response.body:  # it came compressed
                file.write(response.body)
            file.seek(0)
            yield _values(file)


def _values(file: BinaryIO) -> Iterator[Any]:
    for line in file:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and isinstance(value.get("custom_id"), str):
            yield value
