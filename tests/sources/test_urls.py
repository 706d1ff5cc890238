# ruff: noqa: E501
"""What may be fetched: by the text of a URL and the addresses of its host. Nothing is sent anywhere."""

from __future__ import annotations

import ipaddress
import pickle
import socket

import pytest

import mrengine
from mrengine.errors import ConfigError, SourceError, UrlRefused
from mrengine.sources.addresses import refusal
from mrengine.sources.urls import Url, judged, parse
from tests.sources.pages import Resolver

PUBLIC = {
    "www.example.com": [["93.184.216.34"]],
    "example.com": [["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"]],
    "xn--bcher-kva.example.org": [["8.8.8.8"]],
    "strasse.de": [["8.8.8.8"]],
    "xn--strae-oqa.de": [["8.8.8.8"]],
    "xn--fsqu00a.xn--0zwm56d": [["9.9.9.9"]],
    "v6.example.com": [["2a00:1450:4001:81b::200e"]],
    "nat64.example.com": [["64:ff9b::5db8:d822"]],
    "sixtofour.example.com": [["2002:5db8:d822::1"]],
    "mapped.example.com": [["::ffff:93.184.216.34"]],
    "under_score.example.com": [["1.1.1.1"]],
    "127.0.0.1.example.com": [["1.0.0.1"]],
    "localhost.example.com": [["1.0.0.1"]],
    "1and1.com": [["82.165.229.87"]],
    "0x.org": [["82.165.229.88"]],
    # of hosts that must not be reached
    "inside.example.com": [["10.1.2.3"]],
    "one-of-two.example.com": [["93.184.216.34", "127.0.0.1"]],
    "six-of-two.example.com": [["93.184.216.34", "fe80::1"]],
    "nowhere.example.com": [[]],
}
GOOD = [
    "http://example.com", "https://example.com", "HTTPS://EXAMPLE.COM/", "http://example.com:80/", "https://example.com:443/x",
    "http://example.com:8080/", "https://example.com:8443/a/b?c=d&e=%20f", "http://example.com/#part", "https://example.com?q=1",
    "http://example.com/a%2Fb", "http://example.com/ä/ö?ü=ß", "http://www.example.com./", "http://bücher.example.org/",
    "http://BÜCHER.example.org/", "http://ｅｘａｍｐｌｅ.com/", "http://example。com/", "https://例子.测试/", "http://xn--bcher-kva.example.org/",
    "http://v6.example.com/", "http://nat64.example.com/", "http://sixtofour.example.com/", "http://mapped.example.com/",
    "http://under_score.example.com/", "http://127.0.0.1.example.com/", "http://localhost.example.com/", "http://1and1.com/", "http://0x.org/",
    "http://1.1.1.1/", "http://8.8.8.8:8080/dns", "http://9.255.255.255/", "http://11.0.0.0/", "http://100.63.255.255/", "http://100.128.0.0/",
    "http://126.255.255.255/", "http://128.0.0.1/", "http://169.253.255.255/", "http://169.255.0.0/", "http://172.15.255.255/",
    "http://172.32.0.0/", "http://192.167.255.255/", "http://192.169.0.0/", "http://198.17.255.255/", "http://198.20.0.0/",
    "http://223.255.255.255/", "http://168.63.129.15/", "http://168.63.129.17/", "http://[2606:4700:4700::1111]/",
    "http://[2a00:1450:4001:81b::200e]:8080/x", "http://[2400:cb00::1]/", "http://[::ffff:8.8.8.8]/", "http://[64:ff9b::808:808]/",
    "http://[2002:808:808::1]/", "https://example.com/" + "a" * 2000, "http://example.com/a@b:c", "http://example.com/?u=http://127.0.0.1/",
    "https://example.com/path;param?a[]=1&b={x}|y",
]  # fmt: skip
BAD = {
    "scheme": [
        "ftp://example.com/", "file:///etc/passwd", "file://example.com/x", "gopher://example.com/", "data:text/plain,x", "javascript:alert(1)",
        "dict://127.0.0.1:11211/", "jar:http://example.com!/", "ws://example.com/", "//example.com/", "example.com", "", "http", "netdoc:///etc/passwd",
        "\thttp://example.com/",
    ],
    "userinfo": [
        "http://user@example.com/", "http://user:secret@example.com/", "http://example.com@127.0.0.1/", "https://@example.com/",
        "http://a:b@c:d@example.com/", "http://127.0.0.1:80@example.com/", "http://example.com%2f@127.0.0.1/",
        "http://example.com:80@127.0.0.1/", "http://example.com%23@127.0.0.1/", "http://user%40127.0.0.1@/", "http://example.com&@127.0.0.1/",
    ],
    "syntax": [
        "http://exa mple.com/", "http://example.com\\@127.0.0.1/", "http:\\\\127.0.0.1\\", "http:/127.0.0.1/", "http:127.0.0.1", "http:///127.0.0.1/",
        "http://example.com/\r\nHost: x", "http://example.com/\n", "http://exam\tple.com/", "http://example.com:99999/", "http://example.com:8o/",
        "http://[::1/", "http://[fe80::1%25eth0]/", "http://[v1.x]/", "http://[127.0.0.1]/", "http://[::1]x/", "http://exam\u200bple.com/", "http://example.com/\0",
        "http://example.com/\u202e", "http://[12345::]/", "http://example.com:-80/",
        "http://[::ffff:0x7f.1]/", "http://[fe80::1%lo]/", "http://[fe80::1%251]/", "http://[::1%25lo]/", "http://[::1%00]/", "http://[::1]./",
        "http://[::ffff:127.0.0.1.]/", "http://127.0.0.1:80:80/", "http://example.com%0d%0aHost:%20x/", "http://loc\u200dalhost/",
        "http://example.com\u2028.evil/", "http://example.com\x85/", "http://example.com/\x0b", "http://example.com\x00.evil.com/", "http://[127.0.0.1]:80/",
        "http://[0x7f000001]/", "http://[2130706433]/", "http://[1:2:3:4:5:6:7:8:9]/",
    ],
    "length": ["http://example.com/" + "a" * 9000],
    "port": [f"http://example.com:{port}/" for port in (22, 25, 110, 143, 6379, 11211, 0, 6667, 53)],
    "host": [
        "http://", "http://:80/", "http://.com/", "http://a..b/", "http://-x.com/", "http://exa$mple.com/", "http://%31%32%37.0.0.1/", "http://127.0.0.1%00/",
        "http://1.2.3.4.5/", "http://256.0.0.1/", "http://127.0.0.999/", "http://4294967296/", "http://0x100000000/", "http://08.0.0.1/",
        "http://۱۲۷.۰.۰.۱/", "http://१२७.0.0.१/", "http://localhost%00.example.com/", "http://127.0.0.08/",
        "http://example.1/", "http://" + "a" * 64 + ".com/", "http://0x7f.1.x.1/",
        "http://127.0.0.1../", "http://127.0.0.1%20/", "http://⑴27.0.0.1/", "http://127…1/", "http://%6c%6fcalhost/", "http://0o177.0.0.1/",
        "http://0b1111111.0.0.1/", "http://1e1.0.0.1/", "http://+127.0.0.1/", "http://127.-1/", "http://٢١٣٠٧٠٦٤٣٣/", "http://໑໒໗.໐.໐.໑/",
        "http://localhost%2eexample.com/", "http://127.0.0.1;example.com/", "http://127.0.0.1,example.com/",
    ],
    "address": [
        "http://127.0.0.1/", "http://127.0.0.1:8080/x", "http://127.255.255.254/", "http://127.1/", "http://127.0.1/", "http://2130706433/",
        "http://0x7f000001/", "http://0x7f.0x0.0x0.0x1/", "http://0177.0.0.1/", "http://017700000001/", "http://0x7f.1/", "http://0/", "http://0.0.0.0/",
        "http://127.0.0.1./", "http://①②⑦.⓪.⓪.①/", "http://127。0。0。1/", "http://127．0．0．1/", "http://127｡0｡0｡1/", "http://１２７.０.０.１/",
        "http://localhost/", "http://LOCALHOST:80/", "http://localhost./", "http://foo.localhost/", "http://ｌｏｃａｌｈｏｓｔ/", "http://db.internal/",
        "http://metadata.google.internal/", "http://printer.local/", "http://localhost.localdomain/", "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/",
        "http://10.0.0.1/", "http://10.255.255.255/", "http://172.16.0.1/", "http://172.31.255.255/", "http://192.168.0.1/", "http://192.168.1.1:8443/",
        "http://100.64.0.1/", "http://100.127.255.255/", "http://100.100.100.200/", "http://169.254.169.254/latest/meta-data/", "http://169.254.0.1/",
        "http://2852039166/", "http://0xa9fea9fe/", "http://0251.0376.0251.0376/", "http://168.63.129.16/", "http://192.0.0.192/", "http://192.0.2.1/",
        "http://198.18.0.1/", "http://198.19.255.255/", "http://198.51.100.7/", "http://203.0.113.9/", "http://192.88.99.1/", "http://224.0.0.1/",
        "http://239.255.255.250/", "http://240.0.0.1/", "http://255.255.255.255/", "http://0.1.2.3/",
        "http://[::1]/", "http://[::]/", "http://[0:0:0:0:0:0:0:1]/", "http://[fe80::1]/", "http://[febf::1]/", "http://[fec0::1]/", "http://[feff::1]/",
        "http://[fc00::1]/", "http://[fd00:ec2::254]/", "http://[ff02::1]/", "http://[2001:db8::1]/", "http://[3fff::1]/", "http://[100::1]/",
        "http://[2001::1]/", "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/", "http://[2001:10::1]/", "http://[2001:2::1]/", "http://[5f00::1]/",
        "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[::ffff:10.0.0.1]/", "http://[::ffff:169.254.169.254]/", "http://[::127.0.0.1]/",
        "http://[::ffff:0:127.0.0.1]/", "http://[64:ff9b::7f00:1]/", "http://[64:ff9b::a9fe:a9fe]/", "http://[64:ff9b::10.0.0.1]/",
        "http://[64:ff9b:1::1]/", "http://[2002:7f00:1::]/", "http://[2002:a9fe:a9fe::]/", "http://[2002:c0a8:101::1]/", "http://[2a00::5efe:10.0.0.1]/",
        "http://[2a00::200:5efe:7f00:1]/", "http://[1::1]/", "http://[4000::1]/", "http://[3ffe::1]/",
        "http://ip6-localhost/", "http://metadata/computeMetadata/v1/", "http://router/", "http://wpad./", "http://kubernetes.default.svc/",
        "http://127.000.000.001/", "http://00000000177.0.0.1/", "http://0300.0250.1.1/", "http://192.168.257/", "http://𝟏𝟐𝟕.𝟎.𝟎.𝟏/", "http://0x7f。1/",
        "http://169.254.170.2/v2/credentials", "http://[0000:0000:0000:0000:0000:ffff:7f00:0001]/", "http://[2002:6440:1::]/", "http://locaⅼhost/",
        "http://inside.example.com/", "http://one-of-two.example.com/", "http://six-of-two.example.com/",
        "http://0x7F.1/", "http://0X7f.0X0.0X0.0X1/", "HtTp://127.0.0.1/", "http://127.0.0.1.:80/", "http://0x7f000001./", "http://0177.1./",
        "http://[::FFFF:127.0.0.1]/", "http://[0::0:1]/", "http://[2001:0:7f00:1::]/", "http://[2001:0:5db8:d822:0:0:80ff:fffe]/",
        "http://[64:ff9b::c0a8:1]/", "http://[64:FF9B::192.168.0.1]/", "http://[64:ff9b::0.0.0.0]/", "http://[64:ff9b:1:fffe::a00:1]/",
        "http://[64:ff9b::6440:1]/", "http://[64:ff9b::a83f:8110]/", "http://[2002:A00:1::]/", "http://[2002:a83f:8110::1]/", "http://[2002:0:1::]/",
        "http://[::7f00:1]/", "http://[::a9fe:a9fe]/", "http://[0:0:0:0:ffff:0:7f00:1]/", "http://[2a01:4f8::200:5efe:10.0.0.1]/",
        "http://[2a01:4f8::5efe:a9fe:a9fe]/", "http://¹²⁷.⁰.⁰.¹/", "http://₁₂₇.₀.₀.₁/", "http://127․0․0․1/", "http://l\xadocalhost/", "http://localhost。/",
        "http://LoCaLhOsT.:8080/", "http://x.local./", "http://FOO.INTERNAL/", "http://127.0.0.0x1/", "http://127.0.0.01/", "http://𝟚𝟙𝟛𝟘𝟟𝟘𝟞𝟜𝟛𝟛/",
        "http://０ｘ７ｆ０００００１/", "http://[fec0::ffff:1]/", "http://[fd12:3456:789a::1]:80/", "http://[ff05::1:3]/", "http://[::ffff:a83f:8110]/",
        "http://[64:ff9b::7f00:1]:443/", "http://[2002:c000:aa::]/", "http://ⅼocalhost/", "http://ℓocalhost/", "http://①②⑦。1/", "http://0000:80/",
        "http://00.00.00.00/", "http://0xffffffff/", "http://[::ffff:0:0]/", "http://017777777777/", "http://169.254.43518/", "http://0xa9.0xfe.0xa9fe/",
        "http://instance-data/", "http://host.docker.internal/", "http://a.home.arpa/", "http://x.localdomain/",
    ],
    "spelling": ["http://0x5db8d822/", "http://1572395042/", "http://0135.0270.0330.0042/", "http://8.8.2056/", "http://8.8.8.8./"],
    "resolve": ["http://nowhere.example.com/", "http://unknown.example.net/"],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    resolver = Resolver({name: list(answers) for name, answers in PUBLIC.items()})
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    return resolver


def test_there_are_enough_of_them() -> None:
    assert len(GOOD) >= 50
    assert sum(map(len, BAD.values())) >= 200


@pytest.mark.parametrize("url", GOOD)
def test_a_good_url_is_judged_good(url: str) -> None:
    """Every address that it may be fetched from is one of the world's."""
    target = parse(url)
    places = judged(target, allow_private=False, timeout_s=10)
    assert places
    assert all(refusal(ipaddress.ip_address(place[0])) is None for _, place in places)
    assert target.path.isascii()
    assert target.path.startswith("/")


@pytest.mark.parametrize(("rule", "url"), [(rule, url) for rule, urls in BAD.items() for url in urls])
def test_a_bad_url_is_refused_and_the_rule_said(rule: str, url: str) -> None:
    """Nothing of its userinfo and query stands in the error."""
    with pytest.raises(UrlRefused) as caught:
        judged(parse(url), allow_private=False, timeout_s=10)
    assert caught.value.rule == rule
    assert "secret" not in str(caught.value)
    assert str(caught.value).isprintable()
    assert isinstance(caught.value, SourceError)
    if rule in ("address", "scheme"):
        with pytest.raises(mrengine.UrlRefused):
            "".join(mrengine.read_source(mrengine.Url(url)))


def test_every_address_of_the_table_is_refused_in_every_form_that_carries_it() -> None:
    """Mapped, compatible, translated, NAT64, 6to4 and ISATAP."""
    for inner in (
        "127.0.0.1",
        "10.9.8.7",
        "100.64.3.2",
        "169.254.169.254",
        "168.63.129.16",
        "192.168.3.4",
        "224.0.0.251",
        "0.0.0.0",
    ):
        number = int(ipaddress.IPv4Address(inner))
        for prefix, shift in (
            ("::ffff:0:0", 0),
            ("::ffff:0:0:0", 0),
            ("::", 0),
            ("64:ff9b::", 0),
            ("2002::", 80),
            ("2a00::5efe:0:0", 0),
        ):
            address = ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | number << shift)
            assert refusal(address), address


def test_who_means_it_may_fetch_from_the_own_network() -> None:
    """The other rules stay."""
    assert judged(parse("http://127.0.0.1:8000/"), allow_private=True, timeout_s=10)[0][1] == ("127.0.0.1", 8000)
    for url, rule in (
        ("ftp://127.0.0.1/", "scheme"),
        ("http://a@127.0.0.1/", "userinfo"),
        ("http://127.1/", "spelling"),
    ):
        with pytest.raises(UrlRefused) as caught:
            judged(parse(url), allow_private=True, timeout_s=10)
        assert caught.value.rule == rule


def test_a_url_is_a_value() -> None:
    """Its headers are seen nowhere; what cannot be sent is refused when it is made."""
    url = Url("http://example.com/?key=secret", headers={"Authorization": "Bearer secret-token"})
    assert "secret-token" not in repr(url)
    assert pickle.loads(pickle.dumps(url)) == url
    assert "key" not in parse(url.url).shown
    for wrong in (
        {"headers": {"X": "a\r\nb"}}, {"headers": {"Host": "x"}}, {"headers": {"a b": "x"}}, {"timeout_s": 0}, {"max_bytes": -1}, {"max_redirects": True},
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            Url("http://example.com", **wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        Url(b"http://example.com")  # type: ignore[arg-type]
