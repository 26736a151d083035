"""Values: classes of a few named fields that never change, cheap to define and to make.

    @frozen                     as dataclass(frozen=True, slots=True): fields, defaults, `==`, hash,
    class Point:                repr, and positional patterns in `match`
        x: int
        y: int = 0

    @frozen_secret              the same for what holds a secret: its repr shows no field

The type checker refuses every assignment to a field; at run time nothing does.  That, and that only
`__init__` is generated, is why these exist: a frozen dataclass takes a millisecond to define, and
some two hundred of them were half of the time in which a command became ready.  Pure.
"""

from collections.abc import Callable
from dataclasses import MISSING, Field, field
from operator import attrgetter
from typing import Any, ClassVar, TypeVar, dataclass_transform, get_origin

T = TypeVar("T")
Fields = dict[str, "Field[Any]"]

FIELDS = "__value_fields__"
NOT_COPIED = ("__dict__", "__weakref__")  # what a class has that was made without slots


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """Make a class of annotated fields a value.

    Defaults may be given by `dataclasses.field`: of its arguments, `default`, `default_factory` and
    `repr` are heeded.  A `__post_init__` is called at the end of `__init__`.
    """
    return _made(cls, _shown)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen_secret(cls: type[T]) -> type[T]:
    """Make a class of annotated fields a value whose repr shows none of them."""
    return _made(cls, object.__repr__)


def replace(origin: T, **changes: object) -> T:
    """Return a value like another one, but for some fields."""
    kept = {name: getattr(origin, name) for name in getattr(origin, FIELDS)}
    return type(origin)(**{**kept, **changes})


def _made(cls: type[T], representation: Callable[[Any], str]) -> type[T]:
    """Return the class anew, since a class gets its slots when it is made."""
    contents = {key: each for key, each in vars(cls).items() if key not in NOT_COPIED}
    own = {
        name: _field(contents.pop(name, MISSING))
        for name, kind in cls.__annotations__.items()
        if ClassVar not in (kind, get_origin(kind))
    }
    fields: Fields = {}
    for base in reversed(cls.__mro__):
        fields |= getattr(base, FIELDS, {})
    inherited = fields.keys()
    fields = fields | own
    is_equal, hashed = _comparisons(tuple(fields))
    generated = {
        "__init__": _init(fields, has_post_init=hasattr(cls, "__post_init__")),
        "__eq__": is_equal,
        "__hash__": hashed,
        "__repr__": representation,
        "__match_args__": tuple(fields),
        "__slots__": tuple(name for name in own if name not in inherited),
        FIELDS: fields,
    }
    made: type[T] = type(cls)(cls.__name__, cls.__bases__, generated | contents)  # type: ignore[misc]
    made.__qualname__ = cls.__qualname__
    return made


def _field(default: Any) -> "Field[Any]":
    return default if isinstance(default, Field) else field(default=default)


def _comparisons(names: tuple[str, ...]) -> tuple[Callable[..., Any], Callable[..., int]]:
    """Return `==` and the hash of values with these fields; other classes are never equal."""
    contents: Callable[[Any], Any] = attrgetter(*names) if names else lambda _: ()

    def is_equal(self: Any, other: object) -> Any:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return contents(self) == contents(other)

    def hashed(self: Any) -> int:
        return hash(contents(self))

    return is_equal, hashed


def _init(fields: Fields, *, has_post_init: bool) -> Callable[..., None]:
    """Return an `__init__` as one would write it."""
    parameters, lines = ["self"], []
    names: dict[str, Any] = {"MISSING": MISSING}
    for name, each in fields.items():
        parameter, given = name, name
        if each.default_factory is not MISSING:
            names[f"make_{name}"] = each.default_factory
            parameter, given = f"{name}=MISSING", f"make_{name}() if {name} is MISSING else {name}"
        elif each.default is not MISSING:
            names[f"default_{name}"] = each.default
            parameter = f"{name}=default_{name}"
        parameters.append(parameter)
        lines.append(f" self.{name} = {given}\n")
    if has_post_init:
        lines.append(" self.__post_init__()\n")
    source = f"def __init__({', '.join(parameters)}):\n{''.join(lines) or ' pass'}"
    exec(source, names)  # noqa: S102  # of names from classes of ours, as dataclasses does it
    init: Callable[..., None] = names["__init__"]
    return init


def _shown(self: Any) -> str:
    fields: Fields = getattr(self, FIELDS)
    shown = (f"{name}={getattr(self, name)!r}" for name, each in fields.items() if each.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"
