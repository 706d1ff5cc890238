"""What a message may say."""

from __future__ import annotations

import base64
import html
import json
import unicodedata
import urllib.parse
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrengine.records import ModelSpec
from mrengine.worker.redact import RUN, describe, redact, secrets, where

NAME = "Anna Müller-Lüdenscheid"
TEXT = f"Discharge letter. Patient: {NAME}, born 12-03-1961, MRN 00471199, lives at 17 Elm Street; Kaffee & Kuchen."


def told(fails: Callable[[], object], texts: list[str] | None = None) -> str:
    with pytest.raises(BaseException) as caught:
        fails()
    return describe(caught.value, [TEXT] if texts is None else texts, [])


@given(st.text(min_size=RUN, max_size=60), st.text(max_size=20), st.text(max_size=20))
def test_no_value_of_a_text_is_left_in_a_message(secret: str, before: str, after: str) -> None:
    """Wherever it stands, whatever is around it; what has fewer than six letters and digits tells nothing."""
    shown = redact(before + secret + after, [secret])
    if sum(map(str.isalnum, secret)) >= RUN and not set("%&\\") & set(before + secret + after):
        assert secret not in shown or "…" in secret


FORMS: dict[str, Callable[[str], str]] = {
    "upper case": str.upper,
    "swapped case": str.swapcase,
    "URL-quoted": urllib.parse.quote,
    "quoted for a form, upper case": lambda text: urllib.parse.quote_plus(text.upper()),
    "URL-quoted twice": lambda text: urllib.parse.quote(urllib.parse.quote(text)),
    "JSON": json.dumps,
    "a URL in JSON in JSON": lambda text: json.dumps(json.dumps(urllib.parse.quote(text))),
    "ascii()": ascii,
    "repr() of bytes": lambda text: repr(text.encode()),
    "latin-1": lambda text: repr(text.encode("latin-1")),
    "HTML": lambda text: html.escape(text).replace("ü", "&uuml;"),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "base32": lambda text: base64.b32encode(text.encode()).decode(),
    "hex": lambda text: text.encode().hex(),
    "hex with colons": lambda text: text.encode().hex(":").upper(),
    "hex with spaces": lambda text: text.encode().hex(" "),
    "decomposed": lambda text: unicodedata.normalize("NFD", text),
    "without accents": lambda text: text.replace("ü", "u"),
    "other separators": lambda text: text.lower().replace(" ", "_").replace("-", "/"),
    "on several lines": lambda text: "\n".join(text.split()),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_value_is_hidden_in_every_form(form: str) -> None:
    """Among the words of a message, and as the key that a dict lacks."""
    value = FORMS[form](NAME)

    def fails() -> None:
        raise ValueError("no record of " + value + " in this ward")

    for shown in (told(fails), told(lambda: {}[value])):
        assert shown.startswith(("ValueError: no record of ", "KeyError: "))
        assert not any(left in shown.casefold() for left in ("ann", "ller", "scheid"))
        assert value not in shown
    assert told(fails).endswith(" in this ward")


@pytest.mark.parametrize(
    ("fails", "message"),
    [
        (lambda: int(TEXT[18:60]), "ValueError: invalid literal for int() with base 10: '…'"),
        (lambda: float(TEXT[32:38]), "ValueError: could not convert string to float: '…'"),  # a word, quoted
        (lambda: [].index(NAME), "ValueError: '…' is not in list"),
        (lambda: {}[TEXT.split()[3]], "KeyError: '…'"),
        (lambda: {}[TEXT.split()[8].strip(",")], "KeyError: '…'"),
    ],
)
def test_what_python_quotes_is_hidden_and_its_own_words_stay(fails: Callable[[], object], message: str) -> None:
    """A value between quotes is one from three characters on."""
    assert told(fails) == message


def test_a_number_is_hidden_however_it_is_written() -> None:
    """Grouped, and without its dashes."""

    def fails() -> None:
        raise ValueError(f"MRN {int(TEXT[59:68].strip('N ')):,}, born 12031961")

    assert "471,199" not in told(fails)
    assert "12031961" not in told(fails)


def test_keys_and_attributes_that_the_code_names_are_shown() -> None:
    """An answer without the key that the map function looks up: the document may have the word, too."""
    answer: dict[str, str] = {}
    texts = ["its 'sentiment' was bad, her attribution unknown"]
    assert told(lambda: answer["sentiment"], texts) == "KeyError: 'sentiment'"
    assert told(lambda: answer.attribution, texts).endswith("no attribute 'attribution'")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "message", ["invalid literal for int()", "could not reach the registry", "the model's answer has no verdict"]
)
def test_words_of_its_own_stay(message: str) -> None:
    """A message that shares no value with the texts is told as it is."""
    assert describe(ValueError(message), [TEXT], []) == f"ValueError: {message}"


def test_a_class_that_was_named_after_a_value_is_not_named() -> None:
    """Unlike one that stands in a module."""
    name = "".join(NAME.split())[:10]
    assert describe(type(name, (Exception,), {})("odd"), [TEXT], []) == "…: odd"


def test_a_message_that_cannot_be_read_is_no_error() -> None:
    """Whatever ``__str__`` raises."""

    class Odd(Exception):
        def __str__(self) -> str:
            raise SystemExit

    assert describe(Odd(), [TEXT], []) == "Odd: its message cannot be read"


def test_texts_too_large_to_be_compared_hide_the_whole_message() -> None:
    """Rather than nothing."""
    shown = describe(ValueError(NAME), ["word " * 1_000_000], [])
    assert NAME not in shown
    assert shown.startswith("ValueError: its message is not shown")


def test_a_key_of_the_environment_is_never_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever client repeats it; a variable whose name says nothing of the kind is no secret."""
    monkeypatch.setenv("GATEWAY_TOKEN", "canary-314159265")
    monkeypatch.setenv("LAB_NAME", "the-northern-lab")
    shown = describe(ValueError("wrong key canary-314159265 at the-northern-lab"))
    assert shown == "ValueError: wrong key … at the-northern-lab"


@pytest.mark.parametrize("form", ["upper case", "URL-quoted", "base64", "repr() of bytes"])
def test_secrets_of_a_model_are_hidden_in_every_form(form: str) -> None:
    """Keys, header values, what ``${VAR}`` stands for in them, passwords of addresses, those of fallbacks too; short
    ones as a whole.
    """
    env = {"OWN": "own-canary-1", "LAB": "lab canary 22", "PIN": "q7pz"}
    other = ModelSpec("b", headers={"x-short": "${PIN}"}, proxy="http://me:proxy-canary-4@proxy:1")
    spec = ModelSpec(
        "a",
        api_key_env="OWN",
        base_url="http://user:pass-canary-5@host/v1",
        headers={"authorization": "Bearer fixed-canary-3", "x-lab": "for ${LAB}"},
        fallbacks=[other],
    )
    hidden = secrets([spec], env)
    for value in ("own-canary-1", "lab canary 22", "q7pz", "fixed-canary-3", "proxy-canary-4", "pass-canary-5"):
        message = FORMS[form](value)
        if form != "base64" or len(message) >= 12:
            assert message not in describe(ValueError(f"refused {message} there"), [], hidden)
    assert describe(ValueError("no Bearer was sent"), [], hidden) == "ValueError: no Bearer was sent"


def test_where_names_frames_and_no_source() -> None:
    """File, line and function; nothing that stands in the line."""
    try:
        raise ValueError("x" * 50)
    except ValueError as error:
        shown = where(error, own="/nowhere")
    assert "test_where_names_frames_and_no_source" in shown
    assert "xxx" not in shown
    assert "raise" not in shown


def test_code_that_was_made_at_run_time_is_not_named() -> None:
    """Its file or function may have been named after a value."""
    scope: dict[str, Callable[[], object]] = {}
    exec(compile("def Anna_Muller():\n    raise ValueError", NAME, "exec"), scope)
    try:
        scope["Anna_Muller"]()
    except ValueError as error:
        shown = where(error, own="/nowhere")
    assert "Anna" not in shown
    assert 'File "<unknown>", line 2' in shown
