"""Django models in map_fn, with initializer=django.setup."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.system.hosts.stage import Stage, documented

SETTINGS = """
import os
SECRET_KEY = "for a test"
INSTALLED_APPS = ["shop"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.path.join(os.path.dirname(os.path.dirname(__file__)), "db.sqlite3"),
        "OPTIONS": {"timeout": 20},
    }
}
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""
MODELS = """
from django.db import models

class Letter(models.Model):
    text = models.TextField()

class Answer(models.Model):
    letter = models.ForeignKey(Letter, on_delete=models.CASCADE)
    text = models.TextField()
"""
# In a module of the project, as a view or a management command has it; the settings are a global that map_fn does not
# use: they must not be looked at before they are configured.
WORK = """
from django.conf import settings
from shop.models import Answer, Letter

def answer(chunk, context):
    letter = Letter.objects.get(pk=int(chunk.document_id))
    assert letter.text == chunk.text
    told = ask(chunk, context)
    Answer.objects.create(letter=letter, text=told[0])
    return told
"""
HOST = """
import django
from django.core.management import call_command
from mrengine import Document
os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
django.setup()
call_command("migrate", run_syncdb=True, verbosity=0)
from shop.models import Answer, Letter
letters = [Letter.objects.get_or_create(text=f"doc {n}")[0] for n in range(8)]
job_id = "letters"
FUNCTION
DOCUMENTED
stored = sorted(Answer.objects.values_list("letter_id", "text"))
report(run, stored=stored, expected=[[letter.pk, f"Q DOC {n}"] for n, letter in enumerate(letters)])
"""


@pytest.mark.parametrize(
    "function",
    [
        pytest.param("from shop.work import answer", id="a function of an application"),
        pytest.param(WORK, id="a function of the program", marks=pytest.mark.system),
    ],
)
def test_models_in_map_fn(stage: Stage, require_packages: Callable[..., None], function: str) -> None:
    """Each worker sets Django up before map_fn is loaded, and has a connection of its own; the job is known again."""
    require_packages("django")
    for name, text in (("project/settings.py", SETTINGS), ("shop/models.py", MODELS), ("shop/work.py", "")):
        path = stage.folder / name
        path.parent.mkdir(exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text)
    stage.write("shop/work.py", WORK)
    program = HOST.replace("FUNCTION", function).replace("DOCUMENTED", documented("django"))
    stage.env |= {"MRENGINE_MODELS": f"{stage.server.url}#m", "MRENGINE_WORKERS": "2"}
    told = stage.script(program)
    stage.check(told)
    stage.check_calls()
    assert told["stored"] == told["expected"]
    assert stage.script(program)["resumed"] == 8
    stage.check_calls()
