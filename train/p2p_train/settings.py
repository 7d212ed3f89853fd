"""Settings as dataclass fields: each gives a flag, its bounds and its help."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from types import NoneType
from typing import Any, ClassVar, Literal, get_args, get_origin

from p2p_runtime.errors import ConfigError

__all__ = ["Setting", "SettingGroup", "check_known", "setting", "settings_of"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One setting, as its dataclass field describes it.

    Attributes:
        name: the field's name, which is its key in JSON.
        key: its name among all settings: its flag without dashes, in snake case.
        kind: ``int``, ``float``, ``str``, ``bool``, a ``Literal`` or ``tuple[int, int]``.
        optional: whether None is a value.
        metavar: unit or kind of the value, such as ``N`` or ``DIR``.
        bounds: least and largest value, inclusive; None where there are none.
        group, advanced: heading under which ``--help``, or only ``--help-all``, lists the flag.
    """

    name: str
    key: str
    kind: Any
    optional: bool
    default: Any
    help: str
    metavar: str = ""
    bounds: tuple[float, float] | None = None
    group: str
    advanced: bool = False

    @property
    def choices(self) -> tuple[str, ...]:
        """The values of a setting that takes one of a few words; empty for others."""
        return get_args(self.kind) if get_origin(self.kind) is Literal else ()

    def check(self, value: Any) -> None:
        """Raise a ConfigError, which names what is possible, if a value is not."""
        name = self.key.replace("_", "-")
        if value is None and self.optional:
            return
        if self.choices:
            if value not in self.choices:
                raise ConfigError(f"{name} is {value!r}; choose {', '.join(self.choices)}")
        elif not _is_a(value, self.kind):
            kind = getattr(self.kind, "__name__", str(self.kind))
            raise ConfigError(f"{name} is {value!r}, not of type {kind}")
        elif self.bounds is not None and not self.bounds[0] <= value <= self.bounds[1]:
            least, most = self.bounds
            raise ConfigError(f"{name} is {value!r}; it must be from {least:g} to {most:g}")


class SettingGroup:
    """Base of frozen dataclasses whose fields are made by :func:`setting`; validated when created.

    Raises:
        ConfigError: a value is impossible.
    """

    __slots__ = ()
    heading: ClassVar[str] = "Settings"

    def __post_init__(self) -> None:
        for one in settings_of(type(self)):
            one.check(getattr(self, one.name))


def setting(default: Any, help: str, **attributes: Any) -> Any:
    """Return a dataclass field that is a setting.

    Args:
        default, help: as in :class:`Setting`.
        attributes: others of :class:`Setting`; without ``key``, the flag has the field's name, and
            without ``group``, the dataclass's heading.
    """
    return dataclasses.field(default=default, metadata={"help": help, **attributes})


def settings_of(group: type[SettingGroup]) -> tuple[Setting, ...]:
    """Return the settings of a group, in the order of its fields."""
    kinds, found = typing.get_type_hints(group), []
    for field in dataclasses.fields(group):  # type: ignore[arg-type]  # every group is a dataclass
        kind = kinds[field.name]
        optional = NoneType in get_args(kind)
        if optional:  # such as int | None
            (kind,) = set(get_args(kind)) - {NoneType}
        attributes = {"key": field.name, "group": group.heading, **field.metadata}
        found.append(
            Setting(
                name=field.name, kind=kind, optional=optional, default=field.default, **attributes
            )
        )
    return tuple(found)


def check_known(keys: Collection[str], known: Collection[str]) -> None:
    """Raise a ConfigError, which names the nearest that is known, if a key is unknown."""
    for key in keys:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"unknown setting {key!r}{hint}")


def _is_a(value: Any, kind: Any) -> bool:
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and tuple(map(type, value)) == get_args(kind)
    if isinstance(value, bool):  # an int to Python
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)
