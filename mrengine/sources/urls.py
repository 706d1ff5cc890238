"""``Url``, the source, and the rules that its text and its host's addresses must satisfy.

Nothing is fetched here; ``fetch`` connects only to addresses that ``judged()`` has returned.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from mrengine.errors import ConfigError, UrlRefused
from mrengine.sources.addresses import address_of, refusal

__all__ = ["Target", "Url", "judged", "parse", "refused"]

LONGEST = 8192  # characters
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\.?")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS = frozenset({"host", "connection", "content-length", "transfer-encoding", "accept-encoding", "te", "upgrade"})
_LOCAL_ZONES = ("localhost", "local", "internal", "localdomain", "home.arpa", "intranet", "lan", "svc", "corp", "home")
# Ports of protocols that a request can be mistaken for; the list of the Fetch standard.
_BAD_PORTS = frozenset((
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77,
    79, 87, 95, 101, 102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161,
    179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636,
    989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6379, 6566, 6665, 6666, 6667, 6668,
    6669, 6679, 6697, 10080, 11211,
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Url:
    """A page or file of the web as a document, fetched through a guard when it is read.

    Addresses of the own network are refused, unless ``allow_private``: every address that the host resolves to is
    judged, again at every redirect, and the connection goes to a judged one. ``headers``: sent to the host of ``url``
    alone. ``timeout_s``: for the whole fetch. ``max_bytes``: as sent, and once unpacked. ``env_proxy``: use the proxy
    of the environment. ``fetches_per_s``: at most so many from one host, after a few at once; 0: no limit.
    """

    url: str
    allow_private: bool = field(default=False, kw_only=True)
    headers: Mapping[str, str] | None = field(default=None, kw_only=True, repr=False)
    timeout_s: float = field(default=30.0, kw_only=True)
    max_bytes: int = field(default=50_000_000, kw_only=True)
    max_redirects: int = field(default=5, kw_only=True)
    env_proxy: bool = field(default=False, kw_only=True)
    fetches_per_s: float = field(default=4.0, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.url, str):
            raise ConfigError(f"a Url is made of a str, not of {type(self.url).__name__}", setting="url")
        for name in ("timeout_s", "max_bytes", "max_redirects", "fetches_per_s"):
            _check_number(name, getattr(self, name), zero=name in ("max_redirects", "fetches_per_s"))
        headers: Mapping[Any, Any] = self.headers or {}
        for name, value in headers.items():
            good = isinstance(name, str) and isinstance(value, str) and _HEADER.fullmatch(name)
            if not good or re.search(r"[\r\n\0]", value) or name.lower() in _OURS:
                raise ConfigError(f"the header {str(name)[:40]!r} cannot be sent", setting="headers")

    def __str__(self) -> str:
        return self.url


def _check_number(name: str, value: Any, *, zero: bool) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not (0 if zero else 1e-9) <= value < float("inf"):
        raise ConfigError(f"{name} is a number above 0{' or 0' * zero}, not {value!r}", setting=name)


class Target(NamedTuple):
    """A URL, taken apart: ``host`` in ASCII and lower case, without brackets; ``path`` with the query, as sent."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        """The host, and the port unless it is the scheme's own, as in a Host header."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == (443 if self.scheme == "https" else 80) else f"{name}:{self.port}"

    @property
    def shown(self) -> str:
        """The URL for messages, without its query, which may hold a key."""
        path, query, _ = self.path.partition("?")
        return f"{self.scheme}://{self.authority}{path}{query and '?…'}"


def refused(shown: str, why: str, *, rule: str) -> UrlRefused:
    """The error of a URL that a rule of the guard refuses. ``shown``: the URL as messages may have it."""
    return UrlRefused(f"{shown}: {why}", rule=rule, url=shown)


def parse(url: str) -> Target:
    """Take a URL apart without resolving its host. UrlRefused: also for what different programs read differently."""
    shown = _shown(url)
    if len(url) > LONGEST:
        raise UrlRefused(f"a URL of {len(url)} characters: at most {LONGEST}", rule="length", url=shown)
    scheme, colon, rest = url.partition(":")
    if not colon or scheme.lower() not in ("http", "https"):
        raise refused(shown, "only http and https are fetched", rule="scheme")
    if _UNSAFE.search(url) or not rest.startswith("//") or rest.startswith("///"):
        raise refused(shown, "a URL must not contain blanks, backslashes or control characters", rule="syntax")
    try:
        parts = urlsplit(url)
        port, netloc = parts.port, parts.netloc
    except ValueError:
        raise refused(shown, "its host or port is malformed", rule="syntax") from None
    if "@" in netloc:
        raise refused(shown, "a URL must not contain a name and password; headers= can carry them", rule="userinfo")
    secure = parts.scheme == "https"
    port = (443 if secure else 80) if port is None else port
    if port in _BAD_PORTS:
        raise refused(shown, f"port {port} belongs to another protocol", rule="port")
    host = _host(netloc, shown)
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    if parts.query:
        path += "?" + quote(parts.query, safe="/?%:@!$&'()*+,;=~-._[]|{}^\"")
    return Target(parts.scheme, host, port, path)


def _shown(url: str) -> str:
    """A URL for messages, without userinfo, query and fragment, also where it cannot be parsed."""
    head = re.split(r"[?#]", url, maxsplit=1)[0]
    head = re.sub(r"(?<=/)[^/\\]*@", "…@", head)[:200]
    clean = "".join(char if char.isprintable() else "\ufffd" for char in head)
    return clean + ("?…" if "?" in url else "")


def _host(netloc: str, shown: str) -> str:
    if netloc.startswith("["):
        inside, bracket, rest = netloc[1:].partition("]")
        if not bracket or "%" in inside or (rest and not rest.startswith(":")):
            raise refused(shown, "its address is malformed", rule="syntax")
        try:
            return str(ipaddress.IPv6Address(inside))
        except ValueError:
            raise refused(shown, "its address is malformed", rule="syntax") from None
    name = netloc.rpartition(":")[0] if re.search(r":\d*$", netloc) else netloc
    host = _ascii(name)
    if host is None or len(host) > 254 or not _HOST.fullmatch(host):
        raise refused(shown, "its host is not a valid name", rule="host")
    return host


def _ascii(name: str) -> str | None:
    """A host's name as resolvers take it. None: it cannot be a name."""
    folded = unicodedata.normalize("NFKC", name).casefold() if not name.isascii() else name.lower()
    for dot in "\u3002\uff0e\uff61":
        folded = folded.replace(dot, ".")
    if folded.isascii():
        return folded
    if folded.replace(".", "").isdecimal():
        return None  # digits of another script: some programs take them for an address
    try:
        import idna

        return idna.encode(folded, uts46=True).decode("ascii").lower()
    except (ImportError, UnicodeError):  # IDNAError is one
        return None


def judged(target: Target, *, allow_private: bool, timeout_s: float) -> list[tuple[int, tuple[Any, ...]]]:
    """(address family, socket address) of every address of a host, for ``socket.connect``.

    UrlRefused: one of them may not be fetched from, or there is none.
    """
    _judge_spelling(target, allow_private)
    addresses: list[tuple[int, tuple[Any, ...]]] = []
    for family, _, _, _, place in _resolved(target, timeout_s):
        if family not in (socket.AF_INET, socket.AF_INET6):
            continue
        try:
            address = ipaddress.ip_address(str(place[0]))
        except ValueError:
            continue
        why = None if allow_private else refusal(address)
        if why is not None:  # also where the others are fine: a public host has no private address
            raise _private(target, f"{address} is {why}")
        if (family, tuple(place)) not in addresses:
            addresses.append((int(family), tuple(place)))
    if not addresses:
        raise _unknown(target)
    return addresses


def _judge_spelling(target: Target, allow_private: bool) -> None:
    """Refuse hosts by their text alone, before any resolver is asked about them."""
    name = target.host.removesuffix(".")
    try:
        spelled = address_of(f"[{target.host}]" if ":" in target.host else target.host)
    except ValueError:
        raise refused(target.shown, "its host looks like an address but is not one", rule="host") from None
    if spelled is not None:
        address, usual = spelled
        why = None if allow_private else refusal(address)
        if why is not None:
            raise _private(target, f"{address} is {why}")
        if not usual:  # "0x7f.1": other programs may read another address in it
            raise refused(target.shown, f"write its address as {address}", rule="spelling")
    elif not allow_private and _is_of_own_network(name):
        raise _private(target, "such names belong to the own network")


def _is_of_own_network(name: str) -> bool:
    """Whether resolvers find this name in a network's own zone, or by its search list: "router", "x.lan"."""
    return "." not in name or name.endswith(tuple(f".{zone}" for zone in _LOCAL_ZONES))


def _private(target: Target, why: str) -> UrlRefused:
    message = f"{target.shown} is refused: {why}; Url(…, allow_private=True) fetches it all the same"
    return UrlRefused(message, rule="address", url=target.shown)


def _unknown(target: Target) -> UrlRefused:
    return refused(target.shown, "its host has no address", rule="resolve")


def _resolved(target: Target, timeout_s: float) -> list[Any]:
    """The answers of the resolver, which has no timeout: a thread asks it, and is left behind if it takes too long."""
    answers: list[Any] = []
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            answers.extend(socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            errors.append(error)

    thread = threading.Thread(target=ask, daemon=True, name="mrengine-resolve")
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        raise refused(target.shown, "its host was not resolved in time", rule="timeout_s")
    if errors:
        raise _unknown(target) from None
    return answers
