"""Resolves a model's name to the place that serves it: which provider, at which address, with which variable's key."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast
from urllib.parse import urlsplit

from mrengine.errors import ConfigError
from mrengine.providers.models import keys
from mrengine.records import ModelSpec

__all__ = [
    "ENTRY_POINTS", "OPENAI", "SDKS", "VENDORS", "AnyKey", "ResolvedModel", "check_sdk", "custom_class",
    "names_proxy", "of_plugin", "place", "plugins",
]  # fmt: skip

ENTRY_POINTS = "mrengine.providers"
OPENAI, ANTHROPIC = "https://api.openai.com/v1", "https://api.anthropic.com"
GEMINI = "https://generativelanguage.googleapis.com/v1beta/openai"
VENDORS = (OPENAI, ANTHROPIC, GEMINI)
SDKS = {"openai": 3, "anthropic": 2}  # with their first major versions on httpx2, as in setup.cfg
_NAMES = (
    "gpt-*, o1*, o3*, o4*, chatgpt-* (OpenAI), claude-* (Anthropic), gemini-* (Google), local, "
    "local:/path/to/model.gguf, http(s)://host:port/v1#name, fake"
)
_OTHERS = "for others give ModelSpec(name, provider=…, base_url=…)"
_BY_NAME = (
    (re.compile(r"gpt-|chatgpt-|o\d"), "openai"),
    (re.compile(r"claude-"), "anthropic"),
    (re.compile(r"gemini-"), "gemini"),
    (re.compile(r"local(?::|$)"), "local"),
    (re.compile(r"fake$"), "fake"),
    (re.compile(r"https?://"), "http"),
)
_SECRET = re.compile(r"(?:^|[&_.-])(?:\w*key|token|sig|signature|secret|password|code)=", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """The place where a model is served. ``origin``: its provider, as a part of the model's identity."""

    name: str
    wire_name: str
    kind: str
    shape: str
    origin: str
    base_url: str | None = None
    key_envs: tuple[str, ...] = ()
    preloads: tuple[str, ...] = ()


class AnyKey(dict[str, str]):
    """An environment without a missing key, for estimates, which call nothing and use no value."""

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name) or ("-" if not name.lower().endswith(("_base_url", "_proxy")) else default)


def plugins() -> dict[str, Any]:
    """The entry points of the group ``mrengine.providers``, by name: providers of other packages."""
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def of_plugin(spec: ModelSpec) -> ModelSpec:
    """The spec with a plugin as its provider: if a package brings the provider "acme", "acme:large" is its model
    "large", and "acme" its model of that name.
    """
    if spec.provider is not None or spec.base_url is not None or _by_name(spec.name):
        return spec
    name, _, rest = spec.name.partition(":")
    return replace(spec, name=rest or name, provider=name) if name in plugins() else spec


def place(spec: ModelSpec, env: Mapping[str, str]) -> ResolvedModel:
    """Find a model's place. ConfigError: unknown name, missing key, missing package."""
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
    brought = "".join(f", {name}:NAME (a plugin)" for name in sorted(plugins()))
    message = f"unknown model {spec.name!r}; understood are {_NAMES}{brought}; {_OTHERS}"
    raise ConfigError(message, setting="models")


def check_sdk(place: ResolvedModel) -> None:
    """ConfigError if the SDK through which a model is asked is missing or too old."""
    sdk = place.kind
    if sdk not in SDKS or all(importlib.util.find_spec(package) is not None for package in (sdk, "httpx2")):
        return
    missing = importlib.util.find_spec(sdk) is None
    what = f"is missing: pip install {sdk}" if missing else f"is too old: pip install '{sdk}>={SDKS[sdk]}'"
    straight = "http" if _by_name(place.wire_name) == sdk else f"http:{sdk}"
    raise ConfigError(
        f"{place.name} is asked through the SDK {sdk!r}, which {what}; or go without it, with "
        f'ModelSpec({place.wire_name!r}, provider="{straight}"), or as {place.base_url}#{place.wire_name}',
        setting="models",
    )


def _by_name(name: str) -> str | None:
    return next((kind for pattern, kind in _BY_NAME if pattern.match(name)), None)


def _vendor(spec: ModelSpec, name: str, env: Mapping[str, str]) -> ResolvedModel:
    """A vendor's model, through its SDK, whether or not that is installed: ``check_sdk`` reports a missing one."""
    azure = keys.is_at(spec.base_url or "", *keys.AZURE)  # Azure's keys have a header of their own, unlike the SDK's
    kind = "http" if azure else name
    return _at(spec, kind, name, spec.name, spec.base_url, f"{name.upper()}_API_KEY", env)


def _http(spec: ModelSpec, shape: str, env: Mapping[str, str]) -> ResolvedModel:
    """An endpoint without an SDK. It gets a key only if ``api_key_env`` names one, or if it is the vendor's own."""
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
    """A model at an address. ``key_env``: the variable of the vendor to whom the name belongs. Another host gets this
    key only if the environment names the host beside it (``OPENAI_BASE_URL``), or ``api_key_env`` says so.
    """
    has_address = url is not None
    if url is None:
        url = env.get(f"{shape.upper()}_BASE_URL") or (ANTHROPIC if shape == "anthropic" else OPENAI)
    vendors_own = keys.vendor_variable(url)
    url = _checked(url, shape)
    variables = keys.key_variables(spec.api_key_env)
    keys.check_variables(spec.headers, env)
    if not variables:
        usual = vendors_own if has_address else key_env
        if usual is not None and keys.key_in(usual, env):
            variables = (usual,)
        elif key_env is not None and vendors_own == key_env and spec.headers is None:
            raise _no_key(name, key_env)
    for variable in variables:
        if keys.key_in(variable, env) is None:
            raise _no_key(name, variable)
    return ResolvedModel(name, name, kind, shape, shape, url, variables, _preloads(kind, url, spec, env))


def _no_key(name: str, variable: str) -> ConfigError:
    if not variable.isupper():  # unlike any variable of a key: it may be the key itself, and is not shown
        message = "api_key_env names a variable that is not set: it is the name of one, and not the key"
        return ConfigError(f"no key for {name}: {message}", setting="api_key_env")
    return ConfigError(f"no key for {name}: set {variable} in the environment", setting=variable)


def _checked(url: str, shape: str) -> str:
    """A base URL with its query (``?api-version=``), and without the path of the calls, which is often given, too."""
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if not sound:
        raise ConfigError("base_url must look like https://host:port/v1", setting="base_url")
    if parts.username or parts.password or _SECRET.search(parts.query):
        raise ConfigError("base_url must hold no password or key: use headers= or api_key_env=", setting="base_url")
    if not (url.isascii() and url.isprintable() and " " not in url):
        raise ConfigError("base_url holds a space, or a character that no address has", setting="base_url")
    path = parts.path.rstrip("/")
    if shape == "anthropic":
        path = path.removesuffix("/messages").removesuffix("/v1")  # the path of Messages begins with /v1
    path = path.removesuffix("/chat/completions")
    return f"{parts.scheme}://{parts.netloc}{path}" + (f"?{parts.query}" if parts.query else "")


def names_proxy(env: Mapping[str, str]) -> bool:
    """Whether the environment names a proxy, so that ``requests`` is needed to choose one."""
    return any(env.get(name) or env.get(name.upper()) for name in ("http_proxy", "https_proxy", "all_proxy"))


def _preloads(kind: str, url: str, spec: ModelSpec, env: Mapping[str, str]) -> tuple[str, ...]:
    """The packages that are worth importing once, before the workers are forked."""
    wanted = [kind] if kind in ("openai", "anthropic") else []
    if url.startswith("https://"):
        wanted.append("tls")
    if names_proxy(env):
        wanted.append("requests")
    return tuple(wanted)


def _local(spec: ModelSpec) -> ResolvedModel:
    """The embedded model, or the file of one."""
    _, _, path = spec.name.partition(":")
    # The file's name without its folder: a file that was moved is the same model.
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
    points = plugins()
    if (point := points.get(name)) is None:
        names = ["openai", "anthropic", "http", "http:anthropic", "local", "fake", *sorted(points)]
        raise ConfigError(f"unknown provider {name!r}; there are {', '.join(names)}", setting="provider")
    try:
        return cast("type[Any]", point.load())
    except Exception as error:  # the import of a plugin may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(
            f"provider {name!r} ({point.value}) cannot be loaded: {reason}", setting="provider"
        ) from error
