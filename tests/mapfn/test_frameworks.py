"""The digest of functions that use what frameworks make: proxies, globals of libraries, generated classes."""

from __future__ import annotations

import importlib
import socket
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

from mrengine.errors import ConfigError
from mrengine.mapfn.digest import digest


def function_of(source: str) -> Callable[..., Any]:
    """``work`` of a user's module with this source."""
    module = types.ModuleType("users_module")
    exec(source, vars(module))
    found: Callable[..., Any] = vars(module)["work"]
    return found


def test_a_proxy_is_not_asked(require_packages: Callable[..., None]) -> None:
    """Flask's current_app stands for nothing outside a request, and for another thing in each: the digest is one."""
    require_packages("flask")
    from flask import Flask

    source = "from flask import current_app, request\ndef work(chunk, context):\n    return current_app, request\n"
    outside = digest(function_of(source))
    with Flask("shop").test_request_context("/letters"):
        assert digest(function_of(source)) == outside


def test_a_global_of_a_library_is_known_by_its_kind(require_packages: Callable[..., None]) -> None:
    """Such as Django's connection and cache; one that the user has made is still refused."""
    require_packages("django")
    source = "from django.db import connection\nfrom django.conf import settings\n"
    source += "def work(chunk, context):\n    return connection, settings\n"
    assert digest(function_of(source)) == digest(function_of(source))
    work = function_of("def work(chunk, context):\n    return mine\n")
    with socket.socket() as mine:
        work.__globals__["mine"] = mine
        with pytest.raises(ConfigError, match="map_version"):
            digest(work)


FORM = """
from django import forms

def shout(text):
    return text.upper()

class Letter(forms.Form):
    # a comment
    text = forms.CharField(max_length=80)

    def loud(self):
        return shout(self.data["text"])

def work(chunk, context):
    return Letter({"text": chunk.text}).loud()
"""


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("# a comment", "# another", True),
        ("max_length=80", "max_length=90", False),
        ("text.upper()", "text.lower()", False),
        ('self.data["text"]', 'self.data["words"]', False),
    ],
    ids=["a comment", "a field", "a function that a method uses", "a method"],
)
def test_a_class_of_a_framework_counts_as_it_was_written(
    require_packages: Callable[..., None],
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
    old: str,
    new: str,
    same: bool,
) -> None:
    """Its metaclass takes the fields away: the source tells them."""
    require_packages("django")
    from django.conf import settings

    if not settings.configured:
        settings.configure()
    monkeypatch.syspath_prepend(tmp_path)
    versions = []
    for name, source in (("before", FORM), ("after", FORM.replace(old, new))):
        (tmp_path / f"form_{name}.py").write_text(source)
        monkeypatch.delitem(sys.modules, f"form_{name}", raising=False)
        module = importlib.import_module(f"form_{name}")
        versions.append(digest(module.work))
    assert (versions[0] == versions[1]) == same
