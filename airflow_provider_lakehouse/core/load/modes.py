"""The ways in which a batch of rows can change a table."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

METADATA_PREFIX: Final = "_"
"""Columns whose name starts with it tell about the load, not about the thing: alone they make no row another row."""


def is_metadata(column: str) -> bool:
    """Tell whether a column describes the load of a row rather than the row."""
    return column.startswith(METADATA_PREFIX)


@dataclass(frozen=True, slots=True)
class Append:
    """Add every row of the batch."""


@dataclass(frozen=True, slots=True)
class Replace:
    """Make the table hold the batch and nothing else. An empty batch empties it."""


@dataclass(frozen=True, slots=True)
class OverwritePartitions:
    """Replace the partitions that rows of the batch fall into; leave all others. An empty batch changes nothing.

    The table has to be partitioned: for one that is not, say `Replace`.
    """


@dataclass(frozen=True, slots=True)
class Dedup:
    """Add the rows whose canonical hash neither the table nor an earlier row of the batch has; see `row_hash`.

    Args:
        hash_column: Column of the table, `fixed(32)` or `binary`, that holds the hash. Filled where the batch lacks it.
        columns: What the hash covers; None for all columns but the metadata columns (see `METADATA_PREFIX`) and the
            hash.
    """

    hash_column: str = "_row_hash"
    columns: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Read lists as tuples, and refuse to hash nothing."""
        _freeze(self, "columns")
        if self.columns is not None:
            _require_names(self.columns, what="columns")


@dataclass(frozen=True, slots=True)
class Merge:
    """Update the rows whose key the batch has, add those that the table lacks, remove those the batch says are gone.

    Keys are compared so that null equals null. A key stands at most once in a batch, unless `sequence` tells which of
    its rows counts. A row that would stay as it is, metadata columns aside, is not written again.

    Args:
        keys: Columns that identify a row.
        update_columns: Columns that an update writes; the others keep the table's value. None for all columns that
            the batch has. Rows that are added take every column of the batch.
        condition: SQL over `source` and `target`: a row that is there is changed or removed only where it holds. For
            example `source.status <> target.status`.
        sequence: Column that orders the states of a key, such as a log position. Only a row that is strictly higher
            than the table's changes or removes it; null is lower than any value. What is removed leaves no trace: a
            late row of a removed key adds it again.
        delete_when: SQL over `source`: the key is to be removed where it holds, and never added. For example
            `source.op = 'd'`. Columns that only this expression uses need not be in the table.
    """

    keys: tuple[str, ...]
    update_columns: tuple[str, ...] | None = None
    condition: str | None = None
    sequence: str | None = None
    delete_when: str | None = None

    def __post_init__(self) -> None:
        """Read lists as tuples, and refuse a merge without keys."""
        _freeze(self, "keys", "update_columns")
        _require_names(self.keys, what="keys")


@dataclass(frozen=True, slots=True)
class Scd2:
    """Keep every state a key has had, with the time over which it held: slowly changing dimension, type 2.

    A row of the batch is a change: from `effective_at` on the key is as the row says, until the next change that is
    known. Periods are half open, `valid_from <= t < valid_to`; `valid_to` is null while the state holds. See
    `load.scd2` for late, repeated and equal changes. Source: Kimball and Ross, The Data Warehouse Toolkit, 3rd
    edition, chapter 5.

    Args:
        keys: Columns that identify what changes.
        effective_at: Column of the batch with the instant or date of the change; never null.
        track: Columns whose change opens a new period; None for all but keys, metadata and the four columns below.
        valid_from: Column of the table, of the type of `effective_at`.
        valid_to: Likewise, nullable.
        is_current: Column of the table, boolean.
        change_hash: Column of the table, `fixed(32)` or `binary`: the hash of the tracked columns.
        delete_when: SQL over `source`: the change is that the key ceased to be. Closes its period and opens none.
    """

    keys: tuple[str, ...]
    effective_at: str
    track: tuple[str, ...] | None = None
    valid_from: str = "valid_from"
    valid_to: str = "valid_to"
    is_current: str = "is_current"
    change_hash: str = "change_hash"
    delete_when: str | None = None

    def __post_init__(self) -> None:
        """Read lists as tuples, and refuse columns with two meanings."""
        _freeze(self, "keys", "track")
        _require_names(self.keys, what="keys")
        own = self.period_columns
        if len(set(own)) < len(own) or set(own) & {*self.keys, *(self.track or ())}:
            raise InvalidRequestError(
                "A column of a history stands for two things. Name keys, tracked and period columns apart.", columns=own
            )

    @property
    def period_columns(self) -> tuple[str, str, str, str]:
        """The columns that the load itself fills."""
        return (self.valid_from, self.valid_to, self.is_current, self.change_hash)


@dataclass(frozen=True, slots=True)
class SnapshotDiff:
    """Take a full extract, find what differs from the table, and apply it: rows added, changed, and gone.

    Args:
        keys: Columns that identify a row; each key stands once in an extract.
        columns: Columns whose difference counts as a change; None for all but the metadata columns.
        max_deleted_share: Part of the table's rows, from 0 to 1, that may be gone. More are taken for a broken
            extract, and nothing is written. 1 allows everything.
        removes_missing: False leaves the rows that the extract lacks, and reports none.
    """

    keys: tuple[str, ...]
    columns: tuple[str, ...] | None = None
    max_deleted_share: float = 0.2
    removes_missing: bool = True

    def __post_init__(self) -> None:
        """Read lists as tuples, and refuse a share that is none."""
        _freeze(self, "keys", "columns")
        _require_names(self.keys, what="keys")
        if not 0 <= self.max_deleted_share <= 1:
            raise InvalidRequestError(
                "The share of rows that may be gone lies between 0 and 1. Correct it.", share=self.max_deleted_share
            )


type Mode = Append | Replace | OverwritePartitions | Dedup | Merge | Scd2 | SnapshotDiff
"""How a batch changes a table."""

MODES: Final[dict[str, type]] = {
    "append": Append,
    "replace": Replace,
    "overwrite_partitions": OverwritePartitions,
    "dedup": Dedup,
    "merge": Merge,
    "scd2": Scd2,
    "snapshot_diff": SnapshotDiff,
}
"""Every mode by the name it has in settings."""


def mode_name(mode: Mode) -> str:
    """Return the name a mode has in settings and in a table's history.

    Example:
        >>> mode_name(OverwritePartitions())
        'overwrite_partitions'
    """
    return next(name for name, kind in MODES.items() if isinstance(mode, kind))


def mode_to_json(mode: Mode) -> dict[str, Any]:
    """Return a mode as JSON, settings at their default left out.

    Example:
        >>> mode_to_json(Merge(keys=("id",), sequence="lsn"))
        {'mode': 'merge', 'keys': ['id'], 'sequence': 'lsn'}
    """
    value: dict[str, Any] = {"mode": mode_name(mode)}
    for setting in fields(mode):
        given = getattr(mode, setting.name)
        if given != setting.default:
            value[setting.name] = list(given) if isinstance(given, tuple) else given
    return value


def mode_from_json(value: str | Mapping[str, Any]) -> Mode:
    """Read a mode: its name alone, or what `mode_to_json` wrote.

    Raises:
        InvalidRequestError: No such mode or setting, or one that is needed is missing.

    Example:
        >>> mode_from_json({"mode": "merge", "keys": ["id"]})
        Merge(keys=('id',), update_columns=None, condition=None, sequence=None, delete_when=None)
        >>> mode_from_json("append")
        Append()
    """
    settings = {"mode": value} if isinstance(value, str) else dict(value)
    name = settings.pop("mode", None)
    kind = MODES.get(str(name))
    if kind is None:
        raise InvalidRequestError(f"There is no load mode {name!r}. Use one of those there are.", modes=tuple(MODES))
    known = {setting.name for setting in fields(kind)}
    needed = {setting.name for setting in fields(kind) if setting.default is MISSING}
    if not needed <= settings.keys() <= known:
        raise InvalidRequestError(
            f"Load mode {name!r} has other settings. Correct their names.",
            unknown=tuple(sorted(settings.keys() - known)),
            missing=tuple(sorted(needed - settings.keys())),
        )
    mode: Mode = kind(**settings)
    return mode


def _freeze(mode: object, *names: str) -> None:
    for name in names:
        value = getattr(mode, name)
        if isinstance(value, str):
            value = (value,)
        object.__setattr__(mode, name, None if value is None else tuple(value))


def _require_names(names: tuple[str, ...], *, what: str) -> None:
    if not names or len(set(names)) < len(names) or not all(names):
        raise InvalidRequestError(f"A list of {what} is empty or names a column twice. Correct it.", columns=names)
