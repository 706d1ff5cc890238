"""The way back from a stored value: what was normalised is made again, and what is none is told without its values."""

from __future__ import annotations

import datetime
import decimal
import enum
import pathlib
import uuid
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, TypedDict, TypeVar

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, computed_field, field_validator

from mrengine.errors import ConfigError, InvalidResult
from mrengine.log.format.instances import check_result_type, holds_instances, instance_of
from mrengine.log.format.values import normalise

Score = NewType("Score", int)
T = TypeVar("T")


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Kind(enum.Enum):
    OWN = "own"
    OTHER = 7


class Point(NamedTuple):
    x: int
    y: float


class Row(TypedDict, total=False):
    day: datetime.date
    name: str


@dataclass(frozen=True)
class Drug:
    name: str
    dose: decimal.Decimal = decimal.Decimal("1.5")


@dataclass
class Visit:
    day: datetime.date
    at: datetime.datetime
    level: Level
    kind: Kind
    drugs: list[Drug]
    by_name: dict[str, Drug]
    place: pathlib.PurePosixPath
    key: uuid.UUID
    point: Point
    pair: tuple[int, str]
    many: tuple[int, ...] = ()
    note: str | None = None
    score: Score = Score(3)
    grade: Literal["a", "b"] = "a"
    sloppy: int = None  # type: ignore[assignment]
    either: Drug | list[int] = field(default_factory=list)
    length: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.length = len(self.drugs)


def visit(**more: Any) -> Visit:
    given: dict[str, Any] = {
        "day": datetime.date(2024, 2, 29),
        "at": datetime.datetime(2024, 2, 29, 8, 30, tzinfo=datetime.timezone.utc),
        "level": Level.HIGH,
        "kind": Kind.OTHER,
        "drugs": [Drug("a"), Drug("b", decimal.Decimal("0.10"))],
        "by_name": {"c": Drug("c")},
        "place": pathlib.PurePosixPath("ward/3"),
        "key": uuid.UUID(int=7),
        "point": Point(1, 2.5),
        "pair": (1, "x"),
        "many": (1, 2, 3),
    }
    return Visit(**{**given, **more})


class Tags(BaseModel):
    """Its validators do not take their own output."""

    model_config = ConfigDict(strict=True, extra="forbid")
    tags: list[str] = Field(alias="Tags")
    percent: float
    day: datetime.date
    level: Level = Level.LOW
    drug: Drug | None = None
    inner: list[Inner] = []

    @field_validator("tags", mode="before")
    @classmethod
    def _split(cls, value: str) -> list[str]:
        return value.split(", ")

    @field_validator("percent")
    @classmethod
    def _scale(cls, value: float) -> float:
        return value * 100

    @computed_field  # type: ignore[prop-decorator]
    @property
    def count(self) -> int:
        return len(self.tags)


class Inner(BaseModel):
    model_config = ConfigDict(extra="allow")
    age: int = Field(ge=0)


class Ages(RootModel[list[Inner]]):
    pass


class Page(BaseModel, Generic[T]):
    items: list[T]


class Cat(BaseModel):
    kind: Literal["cat"]
    name: str


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


Tags.model_rebuild()
TAGS = Tags(
    Tags="a, b",  # type: ignore[arg-type]
    percent=0.5,
    day=datetime.date(2024, 1, 1),
    level=Level.HIGH,
    drug=Drug("a"),
    inner=[Inner(age=3, more="x")],  # type: ignore[call-arg]
)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Visit, visit()),
        (Visit, visit(note="n", either=Drug("d"), sloppy=4)),
        (Visit, visit(either=[1, 2])),
        (Visit, visit(sloppy=0.5)),  # no dataclass holds its values to their types
        (Tags, TAGS),
        (Inner, Inner(age=1)),
        (Ages, Ages([Inner(age=1), Inner(age=2)])),
        (Page[Inner], Page[Inner](items=[Inner(age=1)])),
        (list[Drug], [Drug("a"), Drug("b")]),
        (list[Drug], []),
        (dict[str, Inner], {"a": Inner(age=1)}),
        (Annotated[Drug, "told"], Drug("a")),
        (Cat | Dog, Dog(kind="dog", name="rex")),
        (Visit | None, None),
        (Drug, None),
        (Point, Point(1, 2.0)),
    ],
)
def test_what_was_returned_comes_back_equal(kind: Any, value: Any) -> None:
    """Whatever its validators, aliases, extra, computed or derived fields are."""
    again = instance_of(check_result_type(kind), normalise(value), made=holds_instances(value))
    assert again == value
    assert type(again) is type(value)


def test_what_was_derived_is_not_derived_twice() -> None:
    """__post_init__ has run once; a field that was changed since stays as it was."""

    @dataclass
    class Doubled:
        n: int

        def __post_init__(self) -> None:
            self.n *= 2

    assert instance_of(Doubled, normalise(Doubled(3)), made=True).n == 6


def test_what_was_no_instance_is_validated() -> None:
    """A dict that a map function read from JSON: with the model's coercion, its aliases and its refusals."""
    given = {"Tags": "a, b", "percent": 0.5, "day": "2024-01-01"}
    assert instance_of(Tags, given, made=False).tags == ["a", "b"]
    assert instance_of(Inner, {"age": "3"}, made=False).age == 3
    assert instance_of(Drug, {"name": "a"}, made=False) == Drug("a")
    assert instance_of(Row, {"day": "2024-01-01"}, made=False) == {"day": datetime.date(2024, 1, 1)}


@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        (Inner, {"age": -1}, "/age: greater_than_equal"),
        (Inner, "a secret", "model_type"),
        (Drug, {"dose": "2"}, "Drug needs name"),
        (Drug, {"name": 5}, r"\['name'\]"),
        (Drug, {"name": "a", "a secret": 1}, "no fields of Drug"),
        (Drug, {"name": "a", "dose": "a secret"}, "no Decimal"),
        (list[Drug], [{"name": "a"}, {}], r"\[1\]"),
        (Cat | Dog, {"kind": "a secret", "name": "x"}, "Cat, Dog"),
        (dict[str, Inner], {"a secret": {"age": "x"}}, r"result\[…\]"),
        (Kind, "a secret", "no member of Kind"),
        (Literal["a"], "a secret", "literals"),
        (Point, [1], "2 items"),
        (int, "a secret", "int is needed, not str"),
    ],
)
def test_what_does_not_fit_is_reported_without_its_value(kind: Any, value: Any, told: str) -> None:
    """The message names the place and the types."""
    with pytest.raises(InvalidResult, match=told) as caught:
        instance_of(kind, value, made=False)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("kind", ["Visit", 3, Drug("a"), object(), type("Plain", (), {}), {"type": "object"}])
def test_a_type_that_no_value_can_be_made_of_is_refused(kind: Any) -> None:
    with pytest.raises(ConfigError, match="dataclass"):
        check_result_type(kind)
