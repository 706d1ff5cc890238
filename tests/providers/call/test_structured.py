"""Schemas, validation, re-asks and continuations."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, field_validator

from mrengine.errors import ConfigError, InvalidAnswer, ModelUnavailable, TruncatedAnswer
from mrengine.providers import jsonschema
from mrengine.providers.call.answers import answer
from mrengine.providers.call.structured import schema_of, strict, validate
from mrengine.providers.fake import example
from mrengine.records import Completion, Request, Usage


class Drug(BaseModel):
    name: str
    dose_mg: float = Field(gt=0)
    notes: list[str] = []

    @field_validator("name")
    @classmethod
    def _known(cls, value: str) -> str:
        if value == "poison":
            raise ValueError(f"bad name {value}")
        return value


class Tree(BaseModel):
    name: str
    parts: list[Tree]


SCHEMA = {
    "type": "object",
    "properties": {"code": {"type": "string", "pattern": "^[A-Z]"}, "n": {"type": "integer", "minimum": 1}},
    "required": ["code"],
    "additionalProperties": False,
}


def test_a_model_gives_an_instance_a_schema_gives_plain_values() -> None:
    """Also out of a Markdown fence."""
    assert validate('{"name": "a", "dose_mg": 2}', Drug) == Drug(name="a", dose_mg=2)
    assert validate('```json\n{"code": "A", "n": 3}\n```', SCHEMA) == {"code": "A", "n": 3}


@pytest.mark.parametrize(
    "text", ["", "Sure! Here it is", '{"dose": NaN}', '{"name": "Jane Roe"', "[" * 5000, '{"name": "Jane Roe"}']
)
def test_what_does_not_fit_is_told_without_its_text(text: str) -> None:
    """Neither the answer nor a name that the schema does not know."""
    for wanted in (Drug, SCHEMA):
        with pytest.raises(InvalidAnswer) as caught:
            validate(text, wanted)
        assert "Jane" not in str(caught.value) + str(caught.value.problems)
        assert caught.value.__cause__ is None


def test_pydantics_message_is_not_ours() -> None:
    """Places and kinds of error, no input, no message of a validator."""
    with pytest.raises(InvalidAnswer) as caught:
        validate('{"name": "poison", "dose_mg": -1, "notes": [1, "Jane Roe"]}', Drug)
    assert caught.value.problems == ("/name: value_error", "/dose_mg: greater_than", "/notes/0: string_type")


def test_only_models_and_schemas_are_taken() -> None:
    """A ConfigError before any call."""
    for wrong in (3, "x", Drug(name="a", dose_mg=1), int):
        with pytest.raises(ConfigError):
            schema_of(wrong)


VALID: list[tuple[Any, Any]] = [
    ({"type": "string", "minLength": 2, "maxLength": 3}, "ab"),
    ({"type": ["integer", "null"]}, None),
    ({"type": "integer"}, 3.0),
    ({"enum": [1, "a"]}, "a"),
    ({"const": False}, False),
    ({"type": "array", "items": {"type": "number"}, "minItems": 1, "uniqueItems": True}, [1, 2.5]),
    ({"prefixItems": [{"type": "string"}], "items": {"type": "integer"}}, ["a", 1]),
    ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, 1),
    ({"oneOf": [{"minimum": 5}, {"maximum": 3}]}, 2),
    ({"allOf": [{"minimum": 5}, {"multipleOf": 0.1}]}, 5.3),
    ({"not": {"type": "string"}}, 1),
    ({"$ref": "#/$defs/n", "$defs": {"n": {"exclusiveMinimum": 0, "exclusiveMaximum": 2}}}, 1),
    ({"additionalProperties": {"type": "integer"}}, {"x": 1}),
    (True, "anything"),
]
INVALID: list[tuple[Any, Any]] = [
    ({"type": "string", "minLength": 2}, "a"),
    ({"type": "integer"}, True),
    ({"type": "integer"}, 3.5),
    ({"enum": [1]}, True),
    ({"const": 0}, False),
    ({"type": "array", "items": {"type": "number"}}, [1, "a"]),
    ({"uniqueItems": True}, [1, 1]),
    ({"minItems": 1}, []),
    ({"maxItems": 1}, [1, 2]),
    ({"prefixItems": [{"type": "string"}]}, [1]),
    ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, 1.5),
    ({"oneOf": [{"minimum": 1}, {"maximum": 3}]}, 2),
    ({"allOf": [{"minimum": 5}]}, 4),
    ({"not": {"type": "string"}}, "a"),
    ({"$ref": "#/$defs/n", "$defs": {"n": {"exclusiveMinimum": 0}}}, 0),
    ({"additionalProperties": {"type": "integer"}}, {"x": "1"}),
    ({"properties": {"a": {}}, "additionalProperties": False}, {"b": 1}),
    ({"required": ["a"]}, {}),
    ({"maxLength": 1}, "ab"),
    ({"pattern": "^a"}, "b"),
    ({"multipleOf": 0.1}, 0.25),
    (False, 1),
]


@pytest.mark.parametrize(("schema", "value"), VALID)
def test_what_a_schema_allows_passes(schema: Any, value: Any) -> None:
    """A case for each keyword."""
    assert jsonschema.errors(value, schema) == []


@pytest.mark.parametrize(("schema", "value"), INVALID)
def test_what_a_schema_forbids_is_found(schema: Any, value: Any) -> None:
    """One line for each keyword that is broken."""
    assert len(jsonschema.errors(value, schema)) == 1


def test_a_schema_that_refers_to_itself_ends() -> None:
    """Trees of any depth."""
    tree = {"type": "object", "properties": {"child": {"$ref": "#"}}, "additionalProperties": False}
    assert jsonschema.errors({"child": {"child": {}}}, tree) == []
    assert jsonschema.errors({"child": {"child": {"x": 1}}}, tree) == [
        "/child/child: 1 properties that are not allowed"
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_no_value_enters_an_error(value: Any) -> None:
    """Errors name places and rules: nothing of a text that the schema does not hold."""
    secret = json.loads(json.dumps(value).replace('""', '"x"'))
    told = jsonschema.errors(
        {"Jane": secret, "list": ["Roe"]}, {"type": "object", "additionalProperties": {"type": "null"}}
    )
    assert not any("Jane" in line or "Roe" in line for line in told)


def test_strict_mode_closes_objects_or_is_left() -> None:
    """A pydantic model's schema becomes strict, nested ones too; free-form objects cannot."""
    tight = strict(schema_of(Drug))
    assert tight is not None
    assert tight["additionalProperties"] is False
    assert tight["required"] == ["name", "dose_mg", "notes"]

    class Nested(BaseModel):
        drugs: list[Drug]

    nested = strict(schema_of(Nested))
    assert nested is not None
    assert nested["$defs"]["Drug"]["additionalProperties"] is False
    assert strict({"type": "object", "additionalProperties": {"type": "string"}}) is None
    assert strict({"type": "array", "items": {}}) is None


@pytest.mark.parametrize("schema", [schema_of(Drug) | {"required": ["name"]}, SCHEMA | {"properties": {"code": {}}}])
def test_the_example_of_a_schema_fits_it(schema: Any) -> None:
    """What fakes answer to a schema."""
    assert jsonschema.errors(example(schema), schema) == []


class Answers:
    """``ask``, as a list of answers."""

    def __init__(self, *answers: str | tuple[str, str]) -> None:
        self._answers = [(one, "stop") if isinstance(one, str) else one for one in answers]
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> Completion:
        self.requests.append(request)
        text, finish = self._answers.pop(0)
        return Completion(text, usage=Usage(10, 1), finish_reason=finish, latency_ms=5)


REQUEST = Request("m", "the prompt")


def test_an_answer_that_does_not_fit_is_asked_again_with_what_was_wrong() -> None:
    """The second turn shows the answer and its problems to the model; usage is the sum."""
    ask = Answers('{"name": 1}', '{"name": "a", "dose_mg": 1}')
    completion = answer(ask, REQUEST, response_model=Drug)
    assert completion.parsed == Drug(name="a", dose_mg=1)
    assert completion.usage == Usage(20, 2)
    assert completion.latency_ms == 10
    (_, said), (_, again) = ask.requests[1].turns
    assert said == '{"name": 1}'
    assert "/name: string_type" in again
    assert "/dose_mg: missing" in again


def test_a_second_question_tells_the_schema() -> None:
    """A server that ignores response_format has not shown it to the model."""
    ask = Answers("Certainly!", '{"code": "A"}')
    assert answer(ask, REQUEST, response_model=SCHEMA).parsed == {"code": "A"}
    assert json.dumps(SCHEMA) in ask.requests[1].turns[-1][1]


def test_what_a_model_thinks_aloud_is_no_part_of_its_answer() -> None:
    """Servers without a parser for it leave it before the answer."""
    assert validate('<think>\nIs it {"code": 1}?\n</think>\n\n```json\n{"code": "A"}\n```', SCHEMA) == {"code": "A"}


def test_a_model_that_refers_to_itself_has_an_object_at_its_root() -> None:
    """pydantic gives a reference, which providers refuse."""
    schema = schema_of(Tree)
    assert schema["type"] == "object"
    assert jsonschema.errors({"name": "a", "parts": [{"name": "b", "parts": []}]}, schema) == []
    assert jsonschema.errors({"name": "a", "parts": [{"parts": []}]}, schema) == ["/parts/0/name: missing"]


def test_a_pattern_of_another_dialect_passes() -> None:
    """The provider may understand it; we do not fail an answer because of it."""
    assert jsonschema.errors("é", {"type": "string", "pattern": r"^\p{L}$"}) == []


def test_a_structured_answer_is_continued_in_words() -> None:
    """A schema would make each part a whole value of its own."""
    ask = Answers(('{"code": "A', "length"), 'BC"}')
    given = Request("m", "the prompt", schema=SCHEMA)
    assert answer(ask, given, response_model=SCHEMA, on_truncation="continue").parsed == {"code": "ABC"}
    assert all(request.schema is None and json.dumps(SCHEMA) in request.prompt for request in ask.requests)


def test_two_reasks_are_the_limit() -> None:
    """Then it is InvalidAnswer, with what it cost and without the answer."""
    ask = Answers("Jane", "", "Roe")
    with pytest.raises(InvalidAnswer) as caught:
        answer(ask, REQUEST, response_model=SCHEMA)
    assert len(ask.requests) == 3
    assert type(caught.value) is InvalidAnswer
    assert caught.value.problems == ("/: not JSON at character 0",)
    assert caught.value.usage == Usage(30, 3)
    assert not any(name in str(caught.value) for name in ("Jane", "Roe"))
    assert all(text for _, text in ask.requests[2].turns)


def test_a_cut_answer_is_an_error_unless_allowed() -> None:
    """The error says what can be done, and what was paid."""
    with pytest.raises(TruncatedAnswer, match="on_truncation") as caught:
        answer(Answers(("part", "length")), REQUEST)
    assert caught.value.usage == Usage(10, 1)
    assert answer(Answers(("part", "length")), REQUEST, on_truncation="allow").finish_reason == "length"
    with pytest.raises(ConfigError):
        answer(Answers(), REQUEST, on_truncation="maybe")


def test_continuations_are_joined_and_bounded() -> None:
    """A repeated end is dropped; after eight parts it is an error."""
    ask = Answers(("one two", "length"), (" thr", "length"), "ee")
    assert answer(ask, REQUEST, on_truncation="continue").text == "one two three"
    ask = Answers(("The dose of one two three", "length"), (" dose of one two three four", "stop"))
    assert answer(ask, REQUEST, on_truncation="continue").text == "The dose of one two three four"
    with pytest.raises(TruncatedAnswer, match="8 parts"):
        answer(Answers(*[("x", "length")] * 8), REQUEST, on_truncation="continue")


def test_a_failure_on_the_way_knows_what_was_paid_before_it() -> None:
    """The re-ask fails: the first answer was paid all the same."""
    answers = Answers("no")

    def ask(request: Request) -> Completion:
        if request.turns:
            raise ModelUnavailable("down")
        return answers(request)

    with pytest.raises(ModelUnavailable) as caught:
        answer(ask, REQUEST, response_model=SCHEMA)
    assert caught.value.usage == Usage(10, 1)
