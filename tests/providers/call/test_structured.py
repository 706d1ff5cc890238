"""Schemas, validation, re-asks and continuations."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_validator

from mrengine.errors import ConfigError, InvalidAnswer, ModelUnavailable, TruncatedAnswer
from mrengine.providers.call import schemas
from mrengine.providers.call.answers import answer, check_call
from mrengine.providers.call.structured import boxed, checked, schema_of, strict, unboxed
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


def lines(value: Any, schema: Any) -> list[str]:
    """What is wrong with a value, as logs and exceptions say it."""
    return [problem.line for problem in schemas.problems(value, schema)]


def validate(text: str, response_model: Any) -> Any:
    """The value that an answer's text holds. InvalidAnswer: it holds none that fits."""
    result = checked(text, response_model)
    if result.problems:
        raise result.failure()
    return result.value


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
def test_what_does_not_fit_is_reported_without_its_text(text: str) -> None:
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
    for wrong in (3, "x", None, Drug(name="a", dose_mg=1), [Drug]):
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
    assert lines(value, schema) == []


@pytest.mark.parametrize(("schema", "value"), INVALID)
def test_what_a_schema_forbids_is_found(schema: Any, value: Any) -> None:
    """One line for each keyword that is broken."""
    assert len(lines(value, schema)) == 1


def test_a_schema_that_refers_to_itself_ends() -> None:
    """Trees of any depth."""
    tree = {"type": "object", "properties": {"child": {"$ref": "#"}}, "additionalProperties": False}
    assert lines({"child": {"child": {}}}, tree) == []
    assert lines({"child": {"child": {"x": 1}}}, tree) == ["/child/child: violates additionalProperties false"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_no_value_enters_an_error(value: Any) -> None:
    """Errors name places and rules: nothing of a text that the schema does not hold."""
    secret = json.loads(json.dumps(value).replace('""', '"x"'))
    told = lines({"Jane": secret, "list": ["Roe"]}, {"type": "object", "additionalProperties": {"type": "null"}})
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
    assert lines(example(schema), schema) == []


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
    assert "/name: Input should be a valid string" in again
    assert "/dose_mg: Field required" in again


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
    assert lines({"name": "a", "parts": [{"name": "b", "parts": []}]}, schema) == []
    assert lines({"name": "a", "parts": [{"parts": []}]}, schema) == ["/parts/0/name: missing"]


def test_a_pattern_of_another_dialect_passes() -> None:
    """The provider may understand it; we do not fail an answer because of it."""
    schema = schema_of({"type": "string", "pattern": r"^\p{L}$"})
    assert lines("é", schema) == []
    assert lines("1", schema) != []


def test_a_structured_answer_is_continued_in_words() -> None:
    """A schema would make each part a whole value of its own; a list's, which is put into a box, has no end then."""
    ask = Answers(('{"code": "A', "length"), 'BC"}')
    given = Request("m", "the prompt", schema=SCHEMA)
    assert answer(ask, given, response_model=SCHEMA, on_truncation="continue").parsed == {"code": "ABC"}
    assert [request.schema for request in ask.requests] == [SCHEMA, None]
    assert json.dumps(SCHEMA) in ask.requests[1].prompt
    listed = {"type": "array", "items": {"type": "integer"}}
    ask = Answers(("[1, ", "length"), "2]")
    given = replace(given, schema=listed)
    assert answer(ask, given, response_model=listed, on_truncation="continue").parsed == [1, 2]
    assert [request.schema for request in ask.requests] == [None, None]


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
        check_call("prompt", None, 10, None, "maybe")


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


class Kind(Enum):
    new = "new"
    old = "old"


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    day: date
    at: datetime
    kind: Kind
    span: tuple[int, int]
    tags: set[str]
    dose: Decimal


@dataclass
class Visit:
    day: int
    notes: list[str]


def test_a_strict_model_is_read_from_json() -> None:
    """By the JSON road: JSON has no dates, enums, tuples or sets."""
    text = (
        '{"day": "2026-11-27", "at": "2026-11-27T10:00:00Z", "kind": "old", "span": [1, 2], "tags": ["a"], '
        '"dose": "1.10"}'
    )
    found = validate(f"Here it is: {text}", Strict)
    assert (found.day, found.kind, found.span, found.tags) == (date(2026, 11, 27), Kind.old, (1, 2), {"a"})
    assert str(found.dose) == "1.10"
    with pytest.raises(InvalidAnswer, match="/span/0: int_type"):
        validate(text.replace("[1, 2]", '["1", 2]'), Strict)


TYPES: list[tuple[Any, str, Any]] = [
    (list[Drug], '[{"name": "a", "dose_mg": 1},]', [Drug(name="a", dose_mg=1)]),
    (dict[str, int], 'so: {"a": 1}', {"a": 1}),
    (Visit, '{"day": 1, "notes": ["x"]}', Visit(1, ["x"])),
    (list[Visit] | None, "null", None),
    (Literal["yes", "no"], '"yes"', "yes"),
    (int, "3", 3),
]


@pytest.mark.parametrize(("wanted", "text", "value"), TYPES)
def test_whatever_pydantic_validates_is_a_response_model(wanted: Any, text: str, value: Any) -> None:
    """With a schema of its own, which goes into the prompt where it is no object."""
    assert validate(text, wanted) == value
    assert json.dumps(schema_of(wanted))
    with pytest.raises(InvalidAnswer):
        validate('{"a": "b"}', wanted)


def test_json_in_a_string_is_unpacked() -> None:
    """Some models quote their JSON; a string that is wanted stays one."""
    quoted = json.dumps('{"code": "A"}')
    assert validate(quoted, SCHEMA) == {"code": "A"}
    assert validate(quoted, {"type": "string"}) == '{"code": "A"}'


def test_of_several_values_the_first_that_fits_counts() -> None:
    """Prose may hold examples."""
    text = 'Not {"n": 1, "m": "a much longer example"} but {"code": "A"}.'
    assert validate(text, SCHEMA) == {"code": "A"}


def test_half_a_character_is_no_reason_to_refuse() -> None:
    """An escaped lone surrogate is JSON, and pydantic's reader refuses it."""
    assert validate(r'{"name": "a\ud83d", "dose_mg": 1}', Drug).name == "a\ufffd"


NO_SCHEMAS: list[tuple[Any, str]] = [
    ({"type": "objekt"}, "/type"),
    ({"type": "object", "properties": {"a": "string"}}, "/properties/a"),
    ({"type": "object", "required": "a"}, "/required"),
    ({"name": "string", "age": "integer"}, "none of its keywords"),
    ({"type": "object", "propertys": {"a": {}}}, "is it properties"),
    ({"type": "object", "properties": {"a": {"type": "string", "patern": "x"}}}, "is it pattern"),
    ({"type": "array", "items": {"$ref": "#/$defs/nobody"}}, "points to nothing"),
    ({"$ref": "https://example.com/schema.json"}, "nothing is fetched"),
    ({"type": "string", "pattern": "("}, "no regular expression"),
    ({"enum": {1, 2}}, "what JSON does not"),
    ({"type": "integer", "minimum": "3"}, "/minimum"),
]


@pytest.mark.parametrize(("schema", "told"), NO_SCHEMAS)
def test_a_schema_that_is_none_is_a_config_error(schema: Any, told: str) -> None:
    """It would take every answer, or none; the message says where and why."""
    with pytest.raises(ConfigError) as caught:
        schema_of(schema)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "x-order": ["a"], "properties": {"propertys": {"type": "string"}}},
        {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"a": {}}, "$ref": "#/definitions/a"},
        {"type": "object", "properties": {"a": {"type": "string", "nullable": True, "example": "x"}}},
        Drug.model_json_schema(),
        Tree.model_json_schema(),
    ],
)
def test_a_schema_of_the_field_passes(schema: Any) -> None:
    """Older drafts, OpenAPI's words, names of properties that look like keywords."""
    assert schema_of(schema) == schema


BEYOND: list[tuple[Any, Any]] = [
    ({"patternProperties": {"^a": {"type": "integer"}}}, {"ab": "x"}),
    ({"minProperties": 1}, {}),
    ({"contains": {"type": "integer"}}, ["a"]),
    ({"propertyNames": {"maxLength": 1}}, {"ab": 1}),
    ({"if": {"minimum": 5}, "then": {"maximum": 6}}, 7),
    ({"dependentRequired": {"a": ["b"]}}, {"a": 1}),
]


@pytest.mark.parametrize(("schema", "value"), BEYOND)
def test_no_keyword_is_passed_over(schema: Any, value: Any) -> None:
    """All of the draft's; the line names the keyword."""
    (line,) = lines(value, schema)
    assert any(keyword in line for keyword in (*schema, "maximum", "maxLength", "type"))


def test_the_model_is_reported_more_than_the_log() -> None:
    """Values and the validator's own words."""
    found = checked('{"name": "poison", "dose_mg": 1}', Drug)
    assert "bad name poison" in found.explained()
    assert "poison" not in str(found.failure()) + repr(found)
    found = checked('{"code": "lower", "n": 1}', SCHEMA)
    assert "does not match ^[A-Z]" in found.explained()


BOXED: list[tuple[Any, str, Any]] = [
    (list[Drug], '[{"name": "a", "dose_mg": 1}]', [Drug(name="a", dose_mg=1)]),
    (Literal["yes", "no"], '"yes"', "yes"),
    (Drug | None, "null", None),
    (int, "3", 3),
    ({"type": "array", "items": {"type": "integer"}}, "[1, 2]", [1, 2]),
]


@pytest.mark.parametrize(("wanted", "said", "value"), BOXED)
def test_what_is_no_object_is_asked_for_in_one(wanted: Any, said: str, value: Any) -> None:
    """For no provider takes anything else; strictly, and taken out of it again. References lead where they did."""
    schema = schema_of(wanted)
    sent = boxed(schema)
    assert sent is not None
    schemas.check(sent)
    assert strict(sent) is not None
    assert validate(unboxed(f'{{"answer": {said}}}', schema), wanted) == value
    assert validate(unboxed(said, schema), wanted) == value


def test_a_schema_that_refers_to_its_own_places_is_reported_in_words() -> None:
    """In a box they would be elsewhere."""
    assert boxed({"type": "array", "items": {"anyOf": [{"type": "integer"}, {"$ref": "#"}]}}) is None
    assert boxed({"type": "object", "properties": {}}) == {"type": "object", "properties": {}}
    assert unboxed('{"answer": 1}', {"type": "object"}) == '{"answer": 1}'


@pytest.mark.parametrize("road", ["openai", "http:openai", "anthropic", "http:anthropic"])
def test_a_list_comes_out_of_its_box_on_every_road(road: str, tmp_path: Path) -> None:
    """The test server fills in the schema that it is given."""
    from mrengine import MapReduceRunner, ModelSpec
    from mrengine.testing import LLMServer

    def ask(chunk: Any, context: Any) -> list[str]:
        return [drug.name for drug in context.complete("Drugs?", response_model=list[Drug]).parsed]

    with LLMServer() as server:
        spec = ModelSpec("m", provider=road, base_url=server.root if "anthropic" in road else server.url)
        result = MapReduceRunner("j", models=spec, state_dir=tmp_path, strategy="sequential").run("one", ask)
        assert result.results[0].result == [drug["name"] for drug in example(schema_of(list[Drug]))]
        assert server.stats().requests == 1
