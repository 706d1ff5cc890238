"""From a model's name to the place that serves it: which provider, at which address, with the key of which variable."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from mrengine.errors import ConfigError
from mrengine.records import ModelSpec

__all__ = ["ENTRY_POINTS", "OPENAI", "VENDORS", "ResolvedModel", "custom_class", "place"]

ENTRY_POINTS = "mrengine.providers"
OPENAI, ANTHROPIC = "https://api.openai.com/v1", "https://api.anthropic.com"
GEMINI = "https://generativelanguage.googleapis.com/v1beta/openai"
VENDORS = (OPENAI, ANTHROPIC, GEMINI)
UNDERSTOOD = (
    "gpt-*, o1*, o3*, o4*, chatgpt-* (OpenAI), claude-* (Anthropic), gemini-* (Google), local, "
    "local:/path/to/model.gguf, http(s)://host:port/v1#name, fake; for others give "
    "ModelSpec(name, provider=…, base_url=…)"
)
_BY_NAME = (
    (re.compile(r"gpt-|chatgpt-|o\d"), "openai"),
    (re.compile(r"claude-"), "anthropic"),
    (re.compile(r"gemini-"), "gemini"),
    (re.compile(r"local(?::|$)"), "local"),
    (re.compile(r"fake$"), "fake"),
    (re.compile(r"https?://"), "http"),
)
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """Where a model is served. ``origin`` is its provider as part of the model's identity."""

    name: str
    wire_name: str
    kind: str
    shape: str
    origin: str
    base_url: str | None = None
    key_env: str | None = None
    preloads: tuple[str, ...] = ()


def place(spec: ModelSpec, env: Mapping[str, str]) -> ResolvedModel:
    """Find a model's place. Raises ConfigError: unknown name, missing key, missing package."""
    provider = spec.provider
    if provider is not None and not isinstance(provider, str):
        return _custom(spec, provider)
    if provider is None:
        provider = "http" if spec.base_url and not _by_name(spec.name) else _by_name(spec.name)
    if provider in ("openai", "anthropic"):
        return _vendor(spec, provider, env)
    if provider in ("http", "http:openai", "http:anthropic"):
        return _http(spec, provider.removeprefix("http").removeprefix(":"), env)
    if provider == "gemini":
        return _at(spec, "http", "openai", spec.name, spec.base_url or GEMINI, "GEMINI_API_KEY", env)
    if provider == "local":
        return _local(spec)
    if provider == "fake":
        return ResolvedModel(spec.name, spec.name, "fake", "openai", "fake")
    if provider is not None:
        return _custom(spec, custom_class(provider))
    raise ConfigError(f"unknown model {spec.name!r}; understood are {UNDERSTOOD}", setting="models")


def _by_name(name: str) -> str | None:
    return next((kind for pattern, kind in _BY_NAME if pattern.match(name)), None)


def _vendor(spec: ModelSpec, name: str, env: Mapping[str, str]) -> ResolvedModel:
    """Through the vendor's SDK where it is installed; else straight, which says and hears the same."""
    kind = name if importlib.util.find_spec(name) is not None else "http"
    return _at(spec, kind, name, spec.name, spec.base_url, f"{name.upper()}_API_KEY", env)


def _http(spec: ModelSpec, shape: str, env: Mapping[str, str]) -> ResolvedModel:
    """An endpoint without an SDK. A key goes to it only when ``api_key_env`` says which, or it is the vendor's own."""
    url, name = spec.base_url, spec.name
    if name.startswith(("http://", "https://")):
        address, _, fragment = name.partition("#")
        url, name = url or address, fragment
        if not name:
            raise ConfigError("which model? write http://host:port/v1#name", setting="models")
    shape = shape or ("anthropic" if name.startswith("claude-") else "openai")
    if url is None:
        if _by_name(name) == "gemini":
            return _at(spec, "http", "openai", name, GEMINI, "GEMINI_API_KEY", env)
        return _at(spec, "http", shape, name, None, f"{shape.upper()}_API_KEY", env)
    return _at(spec, "http", shape, name, url, None, env)


def _at(
    spec: ModelSpec, kind: str, shape: str, name: str, url: str | None, key_env: str | None, env: Mapping[str, str]
) -> ResolvedModel:
    own = url is not None and url != GEMINI
    if url is None and (from_env := env.get(f"{shape.upper()}_BASE_URL")):
        url, own = from_env, True
    url = _checked(url or (ANTHROPIC if shape == "anthropic" else OPENAI))
    if shape == "anthropic":
        url = url.removesuffix("/messages").removesuffix("/v1")  # the path of Messages begins with it
    url = url.removesuffix("/chat/completions")  # whoever gives the whole address means its base
    key_env = spec.api_key_env or key_env
    required = spec.api_key_env is not None or (key_env is not None and not own and spec.headers is None)
    if key_env is not None and not env.get(key_env):
        if required:
            raise ConfigError(f"no key for {name}: set {key_env} in the environment", setting=key_env)
        key_env = None
    return ResolvedModel(name, name, kind, shape, shape, url, key_env, _preloads(kind, url, spec, env))


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if not sound:
        raise ConfigError("base_url must look like https://host:port/v1", setting="base_url")
    if parts.username or parts.password or parts.query:
        raise ConfigError("base_url must hold no password or query: use headers= or api_key_env=", setting="base_url")
    return url.partition("#")[0].rstrip("/")


def _preloads(kind: str, url: str, spec: ModelSpec, env: Mapping[str, str]) -> tuple[str, ...]:
    """What is worth importing once, before the workers are forked."""
    wanted = [kind] if kind in ("openai", "anthropic") else []
    if url.startswith("https://"):
        wanted.append("tls")
    if any(env.get(name) or env.get(name.upper()) for name in _PROXIES):
        wanted.append("requests")
    return tuple(wanted)


def _local(spec: ModelSpec) -> ResolvedModel:
    """The embedded model. A file is known by its own name, not by the folder it happens to be in."""
    _, _, path = spec.name.partition(":")
    wire = path.replace("\\", "/").rsplit("/", 1)[-1] if path else "local"
    if importlib.util.find_spec("xllamacpp") is None and spec.base_url is None:
        raise ConfigError("the embedded model needs pip install 'mrengine[local]'", setting="models")
    return ResolvedModel(spec.name, wire, "local", "openai", "local", spec.base_url)


def _custom(spec: ModelSpec, provider: Any) -> ResolvedModel:
    from mrengine.providers.fake import FakeProvider

    if isinstance(provider, type) and issubclass(provider, FakeProvider):
        return ResolvedModel(spec.name, spec.name, "fake", "openai", "fake")
    if not isinstance(provider, type) or not all(callable(getattr(provider, n, None)) for n in ("complete", "close")):
        raise ConfigError("a provider class needs complete(request) and close()", setting="provider")
    origin = f"{provider.__module__}.{provider.__qualname__}"
    return ResolvedModel(spec.name, spec.name, "custom", "openai", origin)


def custom_class(name: str) -> type[Any]:
    """The class that an entry point of the group ``mrengine.providers`` names."""
    from importlib.metadata import entry_points

    known = entry_points(group=ENTRY_POINTS)
    for point in known:
        if point.name == name:
            return _loaded(point)
    names = ["openai", "anthropic", "http", "http:anthropic", "local", "fake", *sorted({point.name for point in known})]
    raise ConfigError(f"unknown provider {name!r}; there are {', '.join(names)}", setting="provider")


def _loaded(point: Any) -> type[Any]:
    try:
        found: type[Any] = point.load()
    except Exception as error:  # the import of somebody else's package may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(
            f"provider {point.name!r} ({point.value}) cannot be loaded: {reason}", setting="provider"
        ) from error
    return found
