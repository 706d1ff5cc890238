"""From names and specs to models: defaults, places, keys, prices, identities, and early errors."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from mrengine.errors import ConfigError
from mrengine.providers.models import catalog
from mrengine.providers.models.model import Model, resolve_models
from mrengine.records import Completion, ModelSpec, Price, RateLimit, Request
from mrengine.testing import fake

KEYS = {"OPENAI_API_KEY": "sk-1", "ANTHROPIC_API_KEY": "sk-2", "GEMINI_API_KEY": "sk-3"}


def one(given: Any, env: dict[str, str] = KEYS, **options: Any) -> Model:
    (model,) = resolve_models(given, env=env, **options)
    return model


@pytest.mark.parametrize(
    ("name", "kind", "shape", "wire", "url", "key"),
    [
        ("gpt-4o", "openai", "openai", "gpt-4o", "https://api.openai.com/v1", "OPENAI_API_KEY"),
        ("o3-mini", "openai", "openai", "o3-mini", "https://api.openai.com/v1", "OPENAI_API_KEY"),
        ("chatgpt-4o-latest", "openai", "openai", "chatgpt-4o-latest", "https://api.openai.com/v1", "OPENAI_API_KEY"),
        ("claude-haiku-4-5", "anthropic", "anthropic", "claude-haiku-4-5", "https://api.anthropic.com",
        "ANTHROPIC_API_KEY"),
        ("gemini-2.5-pro", "http", "openai", "gemini-2.5-pro",
         "https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY"),
        ("http://127.0.0.1:8000/v1#llama", "http", "openai", "llama", "http://127.0.0.1:8000/v1", None),
        ("https://example.org/v1/#org/claude", "http", "openai", "org/claude", "https://example.org/v1", None),
        ("http://127.0.0.1:8000/v1#claude-haiku-4-5", "http", "anthropic", "claude-haiku-4-5",
        "http://127.0.0.1:8000", None),
        ("http://h:1/v1/chat/completions#m", "http", "openai", "m", "http://h:1/v1", None),
        ("http://h:1/v1/messages#claude-x", "http", "anthropic", "claude-x", "http://h:1", None),
        ("fake", "fake", "openai", "fake", None, None),
    ],
)  # fmt: skip
def test_a_name_says_where_a_model_is(
    name: str, kind: str, shape: str, wire: str, url: str | None, key: str | None
) -> None:
    """Provider, shape, address and the variable of its key follow from the name alone."""
    model = one(name)
    assert (model.kind, model.shape, model.wire_name, model.base_url, model.key_env) == (kind, shape, wire, url, key)


@pytest.mark.parametrize(
    ("spec", "kind", "shape", "key"),
    [
        (ModelSpec("gpt-4o", provider="http"), "http", "openai", "OPENAI_API_KEY"),
        (ModelSpec("claude-opus-5", provider="http"), "http", "anthropic", "ANTHROPIC_API_KEY"),
        (ModelSpec("llama", base_url="http://h:1/v1"), "http", "openai", None),
        (
            ModelSpec("llama", base_url="http://h:1/v1", api_key_env="GEMINI_API_KEY"),
            "http",
            "openai",
            "GEMINI_API_KEY",
        ),
        (ModelSpec("any", provider="http:anthropic", base_url="http://h:1"), "http", "anthropic", None),
        (ModelSpec("any", provider="openai", base_url="http://h:1/v1"), "openai", "openai", None),
    ],
)
def test_a_spec_says_the_rest(spec: ModelSpec, kind: str, shape: str, key: str | None) -> None:
    """A vendor's key goes to the vendor, or where the spec says so, and never to an address in a name."""
    model = one(spec)
    assert (model.kind, model.shape, model.key_env) == (kind, shape, key)


def test_the_default_model_follows_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenAI before Anthropic before the embedded one; with nothing, an error that says what to do."""
    assert one(None, KEYS).name == catalog.DEFAULTS["openai"]
    assert one(None, {"ANTHROPIC_API_KEY": "k"}).name == catalog.DEFAULTS["anthropic"]
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name == "xllamacpp" else found(name))
    assert one(None, {}).kind == "local"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"OPENAI_API_KEY.*mrengine\[local\]"):
        resolve_models(None, env={})


def test_base_urls_of_the_environment_are_used() -> None:
    """OPENAI_BASE_URL and ANTHROPIC_BASE_URL; a server of one's own may want no key."""
    env = {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1/", "ANTHROPIC_BASE_URL": "http://127.0.0.1:2/v1"}
    assert (one("gpt-4o", env).base_url, one("gpt-4o", env).key_env) == ("http://127.0.0.1:1/v1", None)
    assert one("claude-opus-5", env).base_url == "http://127.0.0.1:2"
    assert one("gpt-4o", KEYS | env).key_env == "OPENAI_API_KEY"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("gpt5", "understood are gpt"),
        ("gpt-4o", "set OPENAI_API_KEY"),
        ("gemini-2.5-pro", "set GEMINI_API_KEY"),
        (ModelSpec("x", base_url="http://h/v1", api_key_env="MY_KEY"), "set MY_KEY"),
        ("http://127.0.0.1:1/v1", "#name"),
        (ModelSpec("x", base_url="ftp://h"), "base_url"),
        (ModelSpec("x", base_url="http://h:99999/v1"), "base_url"),
        (ModelSpec("x", base_url="http://user:hunter2@h/v1"), "password"),
        (ModelSpec("x", provider="nobody"), "unknown provider 'nobody'"),
        (ModelSpec("x", provider=dict), "complete"),
        (ModelSpec("fake", params={"f": object()}), "params"),
        ([], "empty"),
        ([3], "not of type int"),
        (3, "a list of these, not of type int"),
        (ModelSpec("gpt-4o", api_key_env="sk-1234"), "not the key itself"),
        (ModelSpec("gpt-4o", api_key_env="gsk_1234"), "not the key"),
        (ModelSpec("fake", params="x"), "ModelSpec.params"),
        (ModelSpec("fake", price=0.1), "ModelSpec.price"),
        (ModelSpec("fake", context_window=-1), "ModelSpec.context_window"),
        (ModelSpec("http://h/v1#m", headers="X: secret"), "ModelSpec.headers"),
        (["fake", "fake"], "twice"),
    ],
)
def test_mistakes_are_reported_early_with_the_way_out(given: Any, told: str) -> None:
    """Each error names what is wrong; none shows a password."""
    with pytest.raises(ConfigError) as caught:
        resolve_models(given, env={})
    assert told in str(caught.value)
    assert "hunter2" not in str(caught.value)


def without(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """As if these were not installed."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in packages else found(name))


@pytest.mark.parametrize(("name", "sdk"), [("gpt-4o", "openai"), ("o3", "openai"), ("claude-opus-5", "anthropic")])
def test_a_vendors_name_means_its_sdk_whatever_is_installed(
    name: str, sdk: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the SDK is missing the error says how to get it, and how to go without; an estimate needs none."""
    address = one(name).base_url
    without(monkeypatch, sdk)
    with pytest.raises(ConfigError, match=f"pip install {sdk};.*{address}#{name}") as caught:
        one(name)
    assert f'ModelSpec({name!r}, provider="http")' in str(caught.value)
    assert one(name, keys=False).kind == sdk
    with pytest.raises(ConfigError, match=f"pip install {sdk};"):
        one(ModelSpec("fake", fallbacks=(name,)))
    for straight in (ModelSpec(name, provider="http"), f"{address}#{name}"):
        assert (one(straight).kind, one(straight).shape) == ("http", sdk)


def test_an_sdk_that_is_too_old_is_reported_from_a_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was built on another HTTP library; a name that is no vendor's keeps its shape on the way straight."""
    without(monkeypatch, "httpx2")
    with pytest.raises(ConfigError, match=r"too old: pip install 'anthropic>=2'.*provider=\"http:anthropic\""):
        one(ModelSpec("lab-model", provider="anthropic", base_url="http://h:1"))


@pytest.mark.parametrize("name", ["gpt-4o", "claude-opus-5"])
def test_a_job_goes_on_by_the_other_client(name: str) -> None:
    """Address, key, shape and identity are the same with ``provider="http"``."""
    through, straight = one(name), one(ModelSpec(name, provider="http"))
    assert (through.kind, straight.kind) == (through.shape, "http")
    for fact in ("name", "wire_name", "shape", "base_url", "key_env", "identity", "price"):
        assert getattr(straight, fact) == getattr(through, fact)


def test_the_embedded_models_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot be done without."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"mrengine\[local\]"):
        one("local")


def test_two_endpoints_of_one_name_are_reported_apart() -> None:
    """By their addresses, so that limits and results have one meaning."""
    models = resolve_models(["http://h:1/v1#m", "http://h:2/v1#m", "fake"], env={})
    assert [model.name for model in models] == ["m@http://h:1/v1", "m@http://h:2/v1", "fake"]
    assert [model.index for model in models] == [0, 1, 2]


def test_limits_are_found_by_either_name_and_by_the_spec() -> None:
    """limits= wins over the spec's."""
    url = "http://h:1/v1#m"
    assert one(url, limits={"m": RateLimit(tpm=1)}).limits == RateLimit(tpm=1)
    assert one(url, limits={url: RateLimit(tpm=2)}).limits == RateLimit(tpm=2)
    assert one(ModelSpec("fake", limits=RateLimit(rpm=3))).limits == RateLimit(rpm=3)
    assert one(ModelSpec("fake", limits=RateLimit(rpm=3)), limits={"fake": RateLimit(rpm=4)}).limits == RateLimit(rpm=4)


def test_prices_and_windows_are_known_unknown_or_given() -> None:
    """A dated snapshot has its model's figures; an unknown model has None, never 0; the spec wins."""
    known = one("gpt-4o-mini-2024-07-18")
    assert (known.context_window, known.max_output) == (128000, 16384)
    assert known.price == Price(0.15, 0.6, 0.075, 0.15, 0.15)
    unknown = one("http://h:1/v1#some-model")
    assert (unknown.context_window, unknown.max_output, unknown.price) == (None, None, None)
    assert one("gpt-4o-audio-preview").price is None
    given = one(ModelSpec("gpt-4o", price=Price(1, 2), context_window=5, max_output=6))
    assert (given.price, given.context_window, given.max_output) == (Price(1, 2), 5, 6)


def test_the_table_is_sound() -> None:
    """It has a day, and every row positive figures, cached input no dearer than fresh."""
    table = json.loads(Path(catalog.__file__).with_name("prices.json").read_text())
    assert catalog.date() == table["date"]
    assert set(catalog.DEFAULTS.values()) <= set(table["models"])
    for name in table["models"]:
        entry = catalog.catalog().find(name)
        assert entry is not None
        assert entry.price is not None
        assert 0 < entry.price.input <= entry.price.output
        assert entry.price.cached is None or entry.price.cached <= entry.price.input
        assert entry.max_output is None or entry.context_window is None or entry.max_output <= entry.context_window


def test_an_identity_tells_models_apart_and_holds_no_secret() -> None:
    """Name, provider and params; not the address, nor keys, headers or proxies."""
    base = one(ModelSpec("m", base_url="http://h:1/v1"))
    same = one(ModelSpec("m", base_url="http://h:2/v1", headers={"x": "s3cret"}, proxy="http://u:s3cret@p:1"))
    other = one(ModelSpec("m", base_url="http://h:1/v1", params={"seed": 1}))
    assert base.identity == same.identity != other.identity
    assert "s3cret" not in repr(same)


def test_a_model_travels_to_workers() -> None:
    """Through cloudpickle."""
    model = one(fake(lambda request: "x", name="f"), limits={"f": RateLimit(tpm=5)})
    assert cloudpickle.loads(cloudpickle.dumps(model)).name == "f"


class Echo:
    """A provider of somebody else's."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec

    def complete(self, request: Request) -> Completion:
        return Completion(f"{self.spec.name}: {request.prompt}")

    def close(self) -> None:
        pass


def test_a_provider_class_and_an_entry_point_are_called_with_the_spec(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to bring a provider of one's own."""
    import importlib.metadata

    from mrengine.providers.connect import connect

    point = importlib.metadata.EntryPoint("echo", f"{__name__}:Echo", "mrengine.providers")
    monkeypatch.setattr(importlib.metadata.EntryPoint, "load", lambda self: Echo)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point] if group == point.group else [])
    for provider in (Echo, "echo"):
        model = one(ModelSpec("e", provider=provider))
        assert model.kind == "custom"
        assert model.identity.count("Echo") == 1
        assert connect(model).complete(Request("e", "hi")).text == "e: hi"


@pytest.mark.parametrize("name", ["stream", "max_tokens", "messages", "n"])
def test_params_hold_nothing_that_a_call_hangs_on(name: str) -> None:
    """A stream is no answer, and a limit that the budget does not know is none."""
    with pytest.raises(ConfigError, match=f"cannot hold {name}: .*complete"):
        one(ModelSpec("fake", params={"seed": 1, name: 5}))


def test_fallbacks_are_resolved_with_their_model() -> None:
    """Their mistakes are early, too."""
    model = one(ModelSpec("fake", fallbacks=("gpt-4o", ModelSpec("m", base_url="http://h:1/v1"))))
    assert [other.name for other in model.fallbacks] == ["gpt-4o", "m"]
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        one(ModelSpec("fake", fallbacks=("gpt-4o",)), {})


def test_what_to_preload_follows_from_the_job() -> None:
    """SDKs, TLS and requests, each only where it is needed."""
    assert one("gpt-4o").preloads == ("openai", "tls")
    assert one("http://127.0.0.1:1/v1#m").preloads == ()
    assert one("http://h:1/v1#m", {"http_proxy": "http://p:1"}).preloads == ("requests",)
    assert one("fake").preloads == ()


@pytest.mark.parametrize(
    ("given", "key"),
    [
        (ModelSpec("gpt-4o", base_url="https://proxy.example/v1"), None),
        (ModelSpec("gpt-4o", base_url="http://api.openai.com/v1"), None),
        (ModelSpec("gpt-4o", base_url="https://api.openai.com.evil.example/v1"), None),
        (ModelSpec("claude-opus-5", base_url="https://proxy.example"), None),
        (ModelSpec("gemini-2.5-pro", base_url="https://proxy.example/v1"), None),
        ("https://proxy.example/v1#gpt-4o", None),
        ("https://api.openai.com/v1#gpt-4o", "OPENAI_API_KEY"),
        ("https://eu.api.openai.com/v1#gpt-4o", "OPENAI_API_KEY"),
        (ModelSpec("my-model", base_url="https://api.groq.com/openai/v1"), "GROQ_API_KEY"),
        (ModelSpec("gpt-4o", base_url="https://proxy.example/v1", api_key_env="OPENAI_API_KEY"), "OPENAI_API_KEY"),
    ],
)
def test_a_vendors_key_goes_to_its_own_hosts_alone(given: Any, key: str | None) -> None:
    """However the address is given; elsewhere only where ``api_key_env`` says so."""
    assert one(given, KEYS | {"GROQ_API_KEY": "gsk-1"}).key_env == key


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("sk-1\u200b2345", "a zero-width space at character 5"),
        ("sk-1\n2345", "a line break"),
        ("sk-1 2345", "a space"),
        ("Bearer sk-12345", "a space"),
        ("sk-1\u20132345", "U+2013"),
        ("\ufeffsk-12345", "a byte order mark"),
        ("'sk-12345'", "quotation marks"),
    ],
)
@pytest.mark.parametrize("given", ["gpt-4o", ModelSpec("m", base_url="http://h/v1", api_key_env="OPENAI_API_KEY")])
def test_a_key_that_no_header_can_carry_is_reported_by_its_variable(key: str, told: str, given: Any) -> None:
    """Before any worker is started, and without a character of the key."""
    with pytest.raises(ConfigError, match=f"OPENAI_API_KEY.*{re.escape(told)}") as caught:
        resolve_models(given, env={"OPENAI_API_KEY": key})
    assert "2345" not in str(caught.value)
    assert resolve_models("gpt-4o", env={"OPENAI_API_KEY": " sk-1\r\n"})[0].key_env == "OPENAI_API_KEY"


def test_a_variable_of_a_header_is_checked_too() -> None:
    """Once, in the host."""
    spec = ModelSpec("m", base_url="http://h/v1", headers={"x-key": "Token ${MINE}"})
    with pytest.raises(ConfigError, match="MINE holds a line break"):
        resolve_models(spec, env={"MINE": "a\nb"})


def test_a_base_url_may_have_a_query_but_no_key() -> None:
    """Azure's version, with or without the path of the calls."""
    base = "https://x.openai.azure.com/openai/deployments/d"
    for path in ("", "/", "/chat/completions"):
        model = one(ModelSpec("d", base_url=f"{base}{path}?api-version=2024-10-21", api_key_env="GEMINI_API_KEY"))
        assert model.base_url == f"{base}?api-version=2024-10-21"
    for query in ("key=1", "api_key=1", "x=1&token=2", "subscription-key=3", "sig=4"):
        with pytest.raises(ConfigError, match="password or key"):
            resolve_models(ModelSpec("d", base_url=f"https://h/v1?{query}"), env={})


def test_several_keys_are_lanes_with_limits_of_their_own() -> None:
    """The model keeps its name; another key is named beside it."""
    env = {"A": "sk-a", "B": "sk-b"}
    spec = ModelSpec("m", base_url="http://h/v1", api_key_env=["A", "B"], limits=RateLimit(rpm=10))
    (model,) = resolve_models(spec, limits={"m (B)": RateLimit(rpm=5)}, env=env)
    assert (model.name, model.key_env, model.limits) == ("m", "A", RateLimit(rpm=10))
    assert [(lane.name, lane.key_env, lane.limits) for lane in model.lanes] == [("m (B)", "B", RateLimit(rpm=5))]
    assert model.lanes[0].identity == model.identity
    with pytest.raises(ConfigError, match="set B in"):
        resolve_models(spec, env={"A": "sk-a"})
    with pytest.raises(ConfigError, match="api_key_env"):
        resolve_models(ModelSpec("m", base_url="http://h/v1", api_key_env=["A", "A"]), env=env)


def test_fallbacks_on_takes_known_words_only() -> None:
    """A misspelt one would be a fallback that is never asked."""
    for wrong in ("overflow", ("overflows",)):
        with pytest.raises(ConfigError, match="fallbacks_on"):
            resolve_models(ModelSpec("fake", fallbacks_on=wrong), env={})
