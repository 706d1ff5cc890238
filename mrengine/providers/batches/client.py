"""The contract of a batch API, and what both vendors' have in common. The host alone uses it, in one thread.

A batch is made of a file on disk and read into one: neither is ever in memory as a whole. No call is tried again here:
whoever asks knows what it would mean.
"""

from __future__ import annotations

import json
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeVar

from mrengine.errors import ModelError, ModelRefused, ModelUnavailable
from mrengine.providers.call import error_map
from mrengine.providers.http.headers import Headers
from mrengine.providers.models.model import Model

if TYPE_CHECKING:
    from mrengine.providers.http.client import Response

__all__ = ["UNDONE", "Answer", "BatchClient", "BatchStatus", "Limits", "Upload"]

ASK_S = 60.0
PAGE = 100  # batches that are listed at once
TRANSFER_S = 1800.0  # of files of some hundred megabytes, over slow lines
_T = TypeVar("_T")
UNDONE = 0  # the status of a request that was not executed


class Limits(NamedTuple):
    """What a vendor takes in one batch."""

    requests: int
    bytes: int


class Answer(NamedTuple):
    """What became of one request: an HTTP status and body; ``UNDONE``: it may be asked again."""

    custom_id: str
    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """A batch as its provider shows it. ``state``: "working", "cancelling", "ended" or "failed" (as a whole; ``code``
    and ``why`` say what for). ``word``: the provider's own. ``files``: where its answers are.
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
    job: str = ""  # what its metadata say of whose it is
    created: float = 0.0  # seconds since the epoch; 0: not told
    source: str = ""  # the file that was uploaded for it

    @property
    def over(self) -> bool:
        """Whether nothing of it will change any more."""
        return self.state in ("ended", "failed")


class Upload:
    """The file of a batch in the making. ``add()`` is False where a request does not fit any more."""

    def __init__(self, client: BatchClient, limits: Limits, folder: str) -> None:
        self._client, self._limits = client, limits
        self.file: BinaryIO = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # whoever has this closes it
        self.requests = 0
        self.bytes = self.file.write(client.OPENING)

    def add(self, custom_id: str, body: bytes) -> bool:
        """Add a request, if it is within the limits. The first one is always taken: the provider says if it is not."""
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
    """One model's batches at one endpoint. Every call raises ModelError, whose ``sent`` is False where the provider
    cannot have got it.
    """

    LIMITS: Limits
    ROOT: str  # the path of the list of batches
    AFTER: str  # the parameter that asks for the page behind a batch
    OPENING = b""
    CLOSING = b""

    def __init__(self, model: Model, folder: str) -> None:
        """``folder``: where files may be made that nobody else reads."""
        assert model.base_url is not None
        self.model, self._folder = model, folder
        self._headers = Headers(replace(model, kind="http"))  # no SDK adds its key
        # Here, so that a host without batches loads no TLS: under uWSGI it may not even be there.
        from mrengine.providers.http.client import HttpClient
        from mrengine.providers.http.proxies import resolve

        route = resolve(model.base_url, verify=model.spec.verify, proxy=model.spec.proxy)
        self._client = HttpClient(model.base_url, route=route)

    # what a vendor's API is

    @abstractmethod
    def line(self, custom_id: str, body: bytes, *, first: bool) -> bytes:
        """One request, as it stands in the file."""

    @abstractmethod
    def prepare(self, file: BinaryIO, *, token: str, job: str) -> str:
        """Whatever has to be sent before, and costs nothing; what ``create`` is told of it."""

    @abstractmethod
    def create(self, file: BinaryIO, prepared: str, *, token: str, job: str) -> BatchStatus:
        """Create a batch of a file. An error that may have come after the batch was made has ``sent`` True."""

    @abstractmethod
    def seen(self, data: Mapping[str, Any]) -> BatchStatus:
        """A batch object. KeyError, TypeError: it is none."""

    @abstractmethod
    def answers(self, batch: BatchStatus) -> Iterator[Answer]:
        """What became of its requests, in any order; those that are missing were not executed."""

    @abstractmethod
    def tidy(self, batch: BatchStatus) -> None:
        """Remove what was uploaded for it, once all of its answers are kept."""

    def sweep(  # noqa: B027  # most vendors take no uploads
        self, job: str, *, tokens: Collection[str], seen: Collection[BatchStatus], live: Collection[str]
    ) -> None:
        """Remove what was uploaded for a job and is of no batch under way: ``tokens`` are of those that may be in the
        making, ``live`` the names of those that are, ``seen`` all of the job.
        """

    # what they share

    def look(self, name: str) -> BatchStatus:
        """A batch as it is now."""
        return self.shown(self.asked("GET", f"{self.ROOT}/{name}"))

    def cancel(self, name: str) -> BatchStatus:
        """Ask for its end. One that is over stays as it is."""
        try:
            return self.shown(self.asked("POST", f"{self.ROOT}/{name}/cancel", b"{}"))
        except ModelError as error:
            if error.status not in (400, 404, 409):
                raise
            return self.look(name)

    def pages(self) -> Iterator[list[BatchStatus]]:
        """All batches of the account, the newest first."""
        after = ""
        while True:
            page, more = self.listed(self.asked("GET", f"{self.ROOT}?limit={PAGE}{after}"))
            yield page
            if not more or not page:
                return
            after = f"&{self.AFTER}={page[-1].name}"

    def since(self, created: float) -> Iterator[BatchStatus]:
        """All batches that were made since then, the newest first; with those of which that is not told."""
        for page in self.pages():
            yield from (batch for batch in page if not 0 < batch.created < created)
            if page and all(0 < batch.created < created for batch in page):
                return

    def first_name(self, batch: BatchStatus) -> str | None:
        """The custom_id of one of its answers; None: it has none."""
        first = next(iter(self.answers(batch)), None)
        if first is None and batch.done:
            message = f"{self.model.name}: the answers of a batch came by halves"
            raise ModelUnavailable(message, model=self.model.name, status=200)
        return None if first is None else first.custom_id

    def newest(self) -> str:
        """The id of the newest batch; "" where there is none."""
        first = next(self.pages(), [])
        return first[0].name if first else ""

    def found(self, *, token: str, since: str, known: Collection[str], requests: int) -> list[BatchStatus]:
        """Batches that may be one whose create call has not answered: made after ``since``, not ``known``, of as many
        requests; where the vendor keeps metadata, that with the ``token``, and no other.
        """
        candidates: list[BatchStatus] = []
        for page in self.pages():
            for batch in page:
                if batch.token is not None and batch.token == token:
                    return [batch]
                if batch.name == since:
                    return candidates
                if batch.token is None and batch.name not in known and batch.total == requests:
                    candidates.append(batch)
        return candidates

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    @property
    def hidden(self) -> list[str]:
        """Values that no message may repeat."""
        return self._headers.hidden

    def asked(
        self,
        method: str,
        path: str,
        body: bytes | BinaryIO | None = None,
        *,
        kind: str = "application/json",
        into: BinaryIO | None = None,
    ) -> Response:
        """One request; after a 401 with headers that can be renewed, once more. ModelError: it is no success."""
        seen = self._headers.version
        response = self._sent(method, path, body, kind, into)
        if response.status == 401 and self._headers.renewable:
            self._headers.renew(seen)
            response = self._sent(method, path, body, kind, into)
        if 200 <= response.status < 300:
            return response
        raise error_map.from_status(
            response.status, response.headers, response.body, model=self.model.name, hidden=self.hidden, texts=()
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
        except Exception as error:  # noqa: BLE001  # as in RemoteProvider: what was sent is not kept as its context
            failed = error_map.from_exception(error, model=self.model.name)
        raise failed

    def shown(self, response: Response) -> BatchStatus:
        """The batch that an answer shows."""
        return self._read(response, self.seen)

    def listed(self, response: Response) -> tuple[list[BatchStatus], bool]:
        """A page of the list of batches, and whether there is more."""
        return self._read(response, lambda data: ([self.seen(one) for one in data["data"]], bool(data.get("has_more"))))

    def _read(self, response: Response, read: Callable[[Any], _T]) -> _T:
        try:
            return read(json.loads(response.body))
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
        message = f"{self.model.name}: its server does not speak the expected batch API: check the base URL"
        raise ModelRefused(message, model=self.model.name, status=response.status, scope="model")

    @contextmanager
    def download(self, path: str) -> Iterator[Iterator[Any]]:
        """The JSON values of a file's lines. Lines that are none are left out: their requests count as not executed."""
        with tempfile.TemporaryFile(dir=self._folder) as file:
            response = self.asked("GET", path, into=file)
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
