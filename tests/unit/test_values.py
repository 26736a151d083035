"""Values: what `frozen` makes of a class is what `dataclass(frozen=True, slots=True)` would."""

import copy
import inspect
from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from tunnel.values import frozen, frozen_secret, replace


def likes(decorate):
    """Return classes that are made in one way or the other."""

    @decorate
    class Empty:
        """Nothing."""

    @decorate
    class Point:
        """Two numbers."""

        kind: ClassVar[str] = "point"
        x: int
        y: int = 0

        @property
        def sum(self) -> int:
            return self.x + self.y

    @decorate
    class Deep(Point):
        """One more, and one that is anew for each."""

        z: list[int] = field(default_factory=list)
        hidden: str = field(default="secret", repr=False)

    @decorate
    class Checked:
        """Looked at."""

        share: float

        def __post_init__(self) -> None:
            if self.share > 1:
                raise ValueError("more than all")

    return Empty, Point, Deep, Checked


BOTH = pytest.mark.parametrize(
    "classes",
    [likes(frozen), likes(dataclass(frozen=True, slots=True))],
    ids=["frozen", "dataclass"],
)


@BOTH
def test_fields_defaults_and_factories(classes):
    _, Point, Deep, _ = classes
    assert (Point(1).x, Point(1).y, Point(1, y=2).y, Point(1, 2).sum) == (1, 0, 2, 3)
    assert Point.kind == "point"
    assert Deep(1).z == []
    assert Deep(1).z is not Deep(1).z
    assert Deep(1, 2, [3], "x").hidden == "x"
    with pytest.raises(TypeError):
        Point()
    with pytest.raises(TypeError):
        Point(1, w=2)
    assert list(inspect.signature(Point).parameters) == ["x", "y"]


@BOTH
def test_equal_is_what_has_the_same_class_and_fields(classes):
    Empty, Point, Deep, _ = classes
    assert Point(1, 2) == Point(1, 2)
    assert hash(Point(1, 2)) == hash(Point(1, 2))
    assert Point(1, 2) != Point(1, 3)
    assert Point(1, 0) != Deep(1, 0)
    assert Point(1, 2) != (1, 2)
    assert Empty() == Empty()
    assert len({Empty(), Empty(), Point(1), Point(1)}) == 2
    with pytest.raises(TypeError):
        hash(Deep(1))


@BOTH
def test_repr_shows_fields_by_name(classes):
    Empty, Point, Deep, _ = classes
    assert repr(Point(1, 2)).endswith(".Point(x=1, y=2)")
    assert repr(Deep(1)).endswith(".Deep(x=1, y=0, z=[])")
    assert repr(Empty()).endswith(".Empty()")


@BOTH
def test_there_are_slots_and_no_dict(classes):
    _, Point, Deep, _ = classes
    assert not hasattr(Deep(1), "__dict__")
    assert Point.__slots__ == ("x", "y")
    assert Deep.__slots__ == ("z", "hidden")
    with pytest.raises((AttributeError, TypeError)):
        Point(1).other = 3


@BOTH
def test_patterns_name_fields_by_place(classes):
    _, Point, Deep, _ = classes
    match Deep(1, 2, [3]):
        case Point(x, y):
            assert (x, y) == (1, 2)
    match Deep(1, 2, [3]):
        case Deep(_, _, z):
            assert z == [3]


@BOTH
def test_a_value_is_checked_when_it_is_made(classes):
    Checked = classes[-1]
    assert Checked(0.5).share == 0.5
    with pytest.raises(ValueError, match="more than all"):
        Checked(2.0)


@BOTH
def test_a_copy_is_equal(classes):
    _, Point, Deep, _ = classes
    assert copy.copy(Point(1, 2)) == Point(1, 2)
    assert copy.deepcopy(Deep(1, 2, [3])) == Deep(1, 2, [3])


def test_replace_changes_some_fields():
    _, Point, Deep, Checked = likes(frozen)
    assert replace(Point(1, 2), y=3) == Point(1, 3)
    assert replace(Deep(1, 2, [3]), x=0) == Deep(0, 2, [3])
    with pytest.raises(TypeError):
        replace(Point(1), w=1)
    with pytest.raises(ValueError, match="more than all"):
        replace(Checked(1.0), share=2.0)


def test_a_secret_shows_nothing():
    @frozen_secret
    class Key:
        """A secret."""

        data: bytes

    assert "abc" not in repr(Key(b"abc"))
    assert Key(b"abc") == Key(b"abc")


def test_own_methods_are_kept():
    @frozen
    class Named:
        """Shows itself."""

        name: str

        def __repr__(self) -> str:
            return self.name

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Named) and self.name.lower() == other.name.lower()

        def __hash__(self) -> int:
            return hash(self.name.lower())

    assert repr(Named("a")) == "a"
    assert Named("a") == Named("A")
    assert hash(Named("a")) == hash(Named("A"))
