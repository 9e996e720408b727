"""A difference between two versions of a contract, and how their parts are matched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from airflow_provider_lakehouse.core.contracts.relationships import RELATIONSHIPS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Party = Literal["readers", "writers"]
Kind = Literal["added", "removed", "changed", "described"]
NOBODY: Final[tuple[Party, ...]] = ()
READERS: Final[tuple[Party, ...]] = ("readers",)
WRITERS: Final[tuple[Party, ...]] = ("writers",)


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference.

    Args:
        path: What is different, such as `orders.amount.required`.
        kind: `added`, `removed` and `changed` are about what is promised; `described` is about words and catalogs.
        breaks: Whom it breaks; empty for nobody.
        why: Why, as the end of a sentence.
    """

    path: str
    kind: Kind
    breaks: tuple[Party, ...]
    why: str

    @property
    def who(self) -> str:
        """Whom it breaks, in words."""
        return " and ".join(self.breaks) or "nobody"


class Named(Protocol):
    """What has a name, and perhaps an id."""

    @property
    def id(self) -> str:
        """Stable reference; empty where there is none."""

    @property
    def name(self) -> str:
        """In the contract."""

    @property
    def stored_name(self) -> str:
        """In the lakehouse."""


def matched[N: Named](old: Sequence[N], new: Sequence[N]) -> Iterator[tuple[N | None, N | None]]:
    """Yield what is the same in both versions, what only the new one has, and then what only the old one has.

    The same are two of one name; of the rest two of one id, and two that are stored under one name.
    """
    found: dict[int, N] = {}
    for same in (_by_name, _by_id, _by_stored_name):
        for place, one in enumerate(new):
            taken = {id(other) for other in found.values()}
            other = next((o for o in old if place not in found and id(o) not in taken and same(o, one)), None)
            if other is not None:
                found[place] = other
    yield from ((found.get(place), one) for place, one in enumerate(new))
    kept = {id(one) for one in found.values()}
    yield from ((one, None) for one in old if id(one) not in kept)


def described(path: str, old: object, new: object, names: tuple[str, ...]) -> Iterator[Difference]:
    """Yield the differences of settings that nobody relies on."""
    for name in names:
        if getattr(old, name) != getattr(new, name):
            yield Difference(joined(path, name), "described", NOBODY, "it is for people, catalogs and tools")


def rest_differences(path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    """Yield the differences of what this package has no word for."""
    for name in sorted({*old, *new} - {"enum", RELATIONSHIPS}):
        if old.get(name) != new.get(name):
            yield Difference(joined(path, name), "described", NOBODY, "it is for people, catalogs and tools")


def joined(path: str, name: str) -> str:
    """Return the path of a part."""
    return f"{path}.{name}" if path else name


def _by_name(old: Named, new: Named) -> bool:
    return old.name == new.name


def _by_id(old: Named, new: Named) -> bool:
    return bool(old.id) and old.id == new.id


def _by_stored_name(old: Named, new: Named) -> bool:
    return old.stored_name == new.stored_name
