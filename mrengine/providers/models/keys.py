"""Which key goes where: a vendor's key to its own hosts alone, and no key that a header could not carry."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from mrengine.errors import ConfigError

__all__ = [
    "AZURE", "VARIABLE", "check_variables", "is_at", "key_in", "key_variables", "variables_in", "vendor_variable",
]  # fmt: skip

# Hosts, with all those below them, and the variables that hold the keys of their vendors.
_HOSTS = (
    ("openai.com", "OPENAI_API_KEY"),
    ("anthropic.com", "ANTHROPIC_API_KEY"),
    ("generativelanguage.googleapis.com", "GEMINI_API_KEY"),
    ("api.groq.com", "GROQ_API_KEY"),
    ("api.mistral.ai", "MISTRAL_API_KEY"),
    ("api.deepseek.com", "DEEPSEEK_API_KEY"),
    ("api.together.xyz", "TOGETHER_API_KEY"),
    ("openrouter.ai", "OPENROUTER_API_KEY"),
    ("api.perplexity.ai", "PERPLEXITY_API_KEY"),
    ("api.x.ai", "XAI_API_KEY"),
    ("api.cerebras.ai", "CEREBRAS_API_KEY"),
    ("api.fireworks.ai", "FIREWORKS_API_KEY"),
)
AZURE = ("openai.azure.com", "cognitiveservices.azure.com", "services.ai.azure.com")
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAMES = {"\u200b": "a zero-width space", "\ufeff": "a byte order mark", "\u00a0": "a no-break space", " ": "a space"}


def is_at(url: str, *hosts: str) -> bool:
    """Whether an address is at one of the hosts, or at one below it."""
    name = (urlsplit(url).hostname or "").lower()
    return any(name == host or name.endswith(f".{host}") for host in hosts)


def variables_in(value: str) -> list[str]:
    """The variables that a header names, as ``${NAME}``."""
    return VARIABLE.findall(value)


def vendor_variable(url: str) -> str | None:
    """The variable of the vendor whose own host this is."""
    if not url.startswith("https://"):
        return None  # keys go over TLS only
    return next((variable for host, variable in _HOSTS if is_at(url, host)), None)


def key_variables(api_key_env: str | Sequence[str] | None) -> tuple[str, ...]:
    """The variables that a spec names."""
    if api_key_env is None:
        return ()
    variables: tuple[Any, ...] = (api_key_env,) if isinstance(api_key_env, str) else tuple(api_key_env)
    sound = all(isinstance(one, str) and _NAME.fullmatch(one) for one in variables)
    if not sound or not variables or len(set(variables)) < len(variables):
        # The value is not shown: it may be the key itself.
        raise ConfigError(
            "api_key_env is the name of the variable that holds the key (letters, digits, _), or a list of different "
            "ones, and not the key itself",
            setting="api_key_env",
        )
    return variables


def key_in(variable: str, env: Mapping[str, str]) -> str | None:
    """The key in a variable, without the white space around it; None: there is none. ConfigError names the variable
    and the character in it that no key has.
    """
    key = (env.get(variable) or "").strip()
    for at, character in enumerate(key):
        if not "!" <= character <= "~":
            what = _NAMES.get(character) or ("a line break" if character in "\r\n" else f"U+{ord(character):04X}")
            raise ConfigError(
                f"{variable} holds {what} at character {at + 1}, which no key does: copy the key again",
                setting=variable,
            )
    if len(key) > 1 and key[0] == key[-1] and key[0] in "'\"":
        raise ConfigError(f"{variable} holds its quotation marks, too: set it without them", setting=variable)
    return key or None


def check_variables(headers: object, env: Mapping[str, str]) -> None:
    """ConfigError for a variable whose value cannot stand in a header: in the host, once, and not in each worker."""
    for value in headers.values() if isinstance(headers, Mapping) else ():
        for variable in variables_in(value) if isinstance(value, str) else ():
            text = (env.get(variable) or "").strip()
            if not text.isascii() or any(mark in text for mark in "\r\n\0"):
                fault = "a character beyond ASCII" if not text.isascii() else "a line break"
                raise ConfigError(f"{variable} holds {fault}, which no header can: copy it again", setting=variable)
