"""Decides whether a network address may be fetched from, by an explicit table for IPv4 and IPv6. Pure.

``ipaddress.is_private`` is no guard: it is False for most of these on Python 3.11. The table follows IANA's
special-purpose registries (RFC 6890 and its updates), and what clouds and networks use beside them.
"""

from __future__ import annotations

import ipaddress
import re

__all__ = ["Address", "address_of", "refusal"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_V4 = (
    ("0.0.0.0/8", "this network"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "shared by carriers"),
    ("127.0.0.0/8", "loopback"),
    ("168.63.129.16/32", "a cloud's own services"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "reserved for protocols"),
    ("192.0.2.0/24", "for documentation"),
    ("192.88.99.0/24", "a relay of 6to4"),
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "for benchmarks"),
    ("198.51.100.0/24", "for documentation"),
    ("203.0.113.0/24", "for documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
)
# Of IPv6 only 2000::/3 is given out to the world; the rest is refused, with the reason where there is one.
_GLOBAL = ipaddress.IPv6Network("2000::/3")
_V6 = (
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("64:ff9b:1::/48", "a local NAT64"),
    ("100::/64", "to be discarded"),
    ("2001::/32", "Teredo"),
    ("2001::/23", "reserved for protocols"),
    ("2001:db8::/32", "for documentation"),
    ("3ffe::/16", "returned by its owners"),
    ("3fff::/20", "for documentation"),
    ("5f00::/16", "of segment routing"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
)
_REFUSED_V4 = tuple((ipaddress.IPv4Network(network), why) for network, why in _V4)
_REFUSED_V6 = tuple((ipaddress.IPv6Network(network), why) for network, why in _V6)
_ISATAP = (0x00005EFE, 0x02005EFE)  # the middle of its interface identifiers (RFC 5214)
# (prefix, what it is, bits behind the IPv4 address that it carries)
_CARRIERS = (
    (ipaddress.IPv6Network("::ffff:0:0/96"), "an IPv4-mapped address", 0),
    (ipaddress.IPv6Network("::ffff:0:0:0/96"), "an IPv4-translated address", 0),
    (ipaddress.IPv6Network("::/96"), "an IPv4-compatible address", 0),
    (ipaddress.IPv6Network("64:ff9b::/96"), "a NAT64 address", 0),
    (ipaddress.IPv6Network("2002::/16"), "a 6to4 address", 80),
)
_NUMBER = re.compile(r"0[xX][0-9A-Fa-f]*|[0-9]+")


def refusal(address: Address) -> str | None:
    """Why nothing may be fetched from an address; None: it may be."""
    if isinstance(address, ipaddress.IPv4Address):
        return next((why for network, why in _REFUSED_V4 if address in network), None)
    if address.scope_id:
        return "of one link"
    why = next((why for network, why in _REFUSED_V6 if address in network), None)
    if why is not None:
        return why
    # Networks with IPv6 alone reach most of the web by NAT64: not the form is refused, but the address inside it.
    for network, what, behind in _CARRIERS:
        if address in network:
            inner = refusal(ipaddress.IPv4Address(int(address) >> behind & 0xFFFFFFFF))
            return None if inner is None else f"{what} of one that is {inner}"
    if int(address) >> 32 & 0xFFFFFFFF in _ISATAP:
        inner = refusal(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        return None if inner is None else f"an ISATAP address of one that is {inner}"
    return None if address in _GLOBAL else "reserved"


def address_of(host: str) -> tuple[Address, bool] | None:
    """The address that a URL's host spells, and whether in the usual way; None: it is a name.

    What ``inet_aton`` takes is an address, too: one to four numbers, each decimal, octal (0…) or hexadecimal (0x…).
    ValueError: it ends in a number and is no address; resolvers disagree about what that means.
    """
    if host.startswith("["):
        return ipaddress.IPv6Address(host[1:-1]), True
    parts = host.removesuffix(".").split(".")
    if not _NUMBER.fullmatch(parts[-1]):
        return None
    if len(parts) > 4 or not all(_NUMBER.fullmatch(part) for part in parts):
        raise ValueError(host)
    numbers = [_number(part) for part in parts]
    if any(number > 255 for number in numbers[:-1]) or numbers[-1] >= 256 ** (5 - len(numbers)):
        raise ValueError(host)
    value = numbers[-1] + sum(number << 8 * (3 - place) for place, number in enumerate(numbers[:-1]))
    address = ipaddress.IPv4Address(value)
    return address, str(address) == host


def _number(text: str) -> int:
    if text[:2].lower() == "0x":
        return int(text[2:] or "0", 16)
    return int(text, 8) if text[0] == "0" else int(text)
