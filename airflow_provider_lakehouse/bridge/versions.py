"""What is new in a table since somebody last looked, and whether a table is as somebody waits for it to be."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_lakehouse.bridge.values import instant_or_none, number_or_none
from airflow_provider_lakehouse.core.abilities import require
from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.tables.abilities import TimeTravelling
from airflow_provider_lakehouse.core.tables.base import NO_VERSION
from airflow_provider_lakehouse.core.tables.filters import Comparison
from airflow_provider_lakehouse.core.types import arrow_type

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from airflow_provider_lakehouse.core.schema import Column
    from airflow_provider_lakehouse.core.tables.base import Table, VersionFacts


@dataclass(frozen=True, slots=True)
class Cursor:
    """The newest version that was seen.

    Args:
        version: Which; `NO_VERSION` when the table had none.
        committed_at: When it was made, for the day on which the format has forgotten it; None where unknown.
    """

    version: int = NO_VERSION
    committed_at: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the cursor as JSON, for a state store."""
        return {"version": self.version, "committed_at": self.committed_at.isoformat() if self.committed_at else None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        return cls(int(value["version"]), instant_or_none(value["committed_at"], name="committed_at"))

    @classmethod
    def at(cls, entry: VersionFacts) -> Self:
        """Return the cursor of one who has seen an entry of the history."""
        return cls(entry.version, entry.committed_at)


def versions_since(table: Table, cursor: Cursor) -> tuple[VersionFacts, ...]:
    """Return the commits of the main branch that a cursor has not seen, oldest first; none where there is no table.

    A version that the history no longer knows is passed by its instant, so that expiry loses nothing; where that is
    unknown too, every commit that is left counts as new.
    """
    history = require(table, TimeTravelling, purpose="to tell what is new").history
    if not table.exists():
        return ()
    if cursor.version == NO_VERSION:
        return history()
    try:
        return history(since=cursor.version)
    except InvalidRequestError:
        seen_at = cursor.committed_at
        return tuple(entry for entry in history() if seen_at is None or entry.committed_at > seen_at)


def newest(table: Table) -> Cursor:
    """Return the cursor of one who has seen everything."""
    entries = versions_since(table, Cursor())
    return Cursor.at(entries[-1]) if entries else Cursor()


def version_event(entry: VersionFacts, *, table: str) -> dict[str, Any]:
    """Return what an event tells about a version: enough to read just what it added."""
    return {
        "table": table,
        "version": entry.version,
        "previous_version": entry.parent,
        "committed_at": entry.committed_at.isoformat(),
        "operation": entry.operation,
        "rows_added": entry.rows_added,
        "rows_removed": entry.rows_removed,
    }


@dataclass(frozen=True)
class TableCondition:
    """What somebody waits for; every part that is given has to hold.

    Args:
        since: Rows changed after this version; `NO_VERSION` is satisfied by any rows. None does not ask.
        max_age: Rows changed at most so long ago. None does not ask.
        partition: At least one row has these values. Empty does not ask.
    """

    since: int | None = None
    max_age: timedelta | None = None
    partition: Mapping[str, str | int | float | bool] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the condition as JSON, for a trigger."""
        age = self.max_age.total_seconds() if self.max_age is not None else None
        return {"since": self.since, "max_age_seconds": age, "partition": dict(self.partition or {})}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read a condition; numbers may be text, as they come from templates.

        Raises:
            InvalidRequestError: It asks for nothing, or a number is none.
        """
        age = value.get("max_age_seconds")
        try:
            max_age = timedelta(seconds=float(age)) if age not in (None, "") else None
        except ValueError as error:
            raise InvalidRequestError(
                "The age of a table is no number of seconds. Correct it.", given=str(age)
            ) from error
        condition = cls(number_or_none(value.get("since"), name="since"), max_age, value.get("partition") or None)
        if condition == cls():
            raise InvalidRequestError("Nothing is waited for. Name a version, an age or a partition.")
        return condition


@dataclass(frozen=True)
class Sighting:
    """What a look at a table found.

    Args:
        is_met: Whether the table is as it is waited for.
        reason: What it was, or what is missing.
        version: Newest version that changed rows; None where there is none.
        committed_at: When it was made.
    """

    is_met: bool
    reason: str
    version: int | None = None
    committed_at: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the sighting as JSON, for XCom."""
        at = self.committed_at.isoformat() if self.committed_at else None
        return {"is_met": self.is_met, "reason": self.reason, "version": self.version, "committed_at": at}


def look(table: Table, condition: TableCondition, *, now: datetime) -> Sighting:
    """Tell whether a table meets a condition. Rewrites that change no rows count as nothing.

    Raises:
        InvalidRequestError: A column of the partition does not exist, or cannot have that value.
        UnsupportedError: The table does not tell its history.
        UnavailableError: The catalog did not answer.
    """
    changes = [entry for entry in versions_since(table, Cursor()) if entry.changes_rows]
    if not changes:
        return Sighting(False, "no rows yet" if table.exists() else "no table yet")
    last = changes[-1]
    missing = _missing(table, condition, last, now)
    return Sighting(not missing, missing or "as expected", last.version, last.committed_at)


def _missing(table: Table, condition: TableCondition, last: VersionFacts, now: datetime) -> str:
    since = condition.since
    if since is not None and not any(e.changes_rows for e in versions_since(table, Cursor(since))):
        return f"no rows changed since version {since}"
    if condition.max_age is not None and now - last.committed_at > condition.max_age:
        return f"rows changed last at {last.committed_at.isoformat()}"
    if condition.partition and not _has_partition(table, condition.partition):
        return "no row of the partition yet"
    return ""


def _has_partition(table: Table, partition: Mapping[str, str | int | float | bool]) -> bool:
    schema = table.facts().schema
    schema.require(partition, purpose="a partition")
    where = tuple(Comparison(name, "=", _typed(schema.by_name[name], value)) for name, value in partition.items())
    with table.read(columns=tuple(partition), where=where) as rows:
        return any(batch.num_rows for batch in rows)


def _typed(column: Column, value: object) -> Any:  # noqa: ANN401
    import pyarrow as pa

    try:
        return pa.scalar(value).cast(arrow_type(column.type)).as_py()
    except pa.ArrowException as error:
        raise InvalidRequestError(
            f"Column {column.name!r} of type {column.type} cannot have that value. Correct the partition.",
            column=column.name,
        ) from error
