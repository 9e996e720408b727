"""When a commit to a Delta table contradicts the commits that came before it, and when it does not. Pure.

A blind append contradicts nothing. Rows that are removed by position must be in files that nobody has touched since;
rows that were added because a filter found none must still find none. Rewrites that change no rows do not count, and
in doubt a commit does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, cast

from airflow_provider_lakehouse.core.errors import ConflictError
from airflow_provider_lakehouse.core.tables.delta.state import file_uri
from airflow_provider_lakehouse.core.tables.filters import Comparison

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_lakehouse.core.tables.delta.log import Action, Commit
    from airflow_provider_lakehouse.core.tables.delta.metadata import Metadata
    from airflow_provider_lakehouse.core.tables.delta.state import TableState
    from airflow_provider_lakehouse.core.tables.filters import Filter, Operator

_TAGS: Final[dict[type, str]] = {datetime: "datetime", date: "date", Decimal: "decimal", bytes: "bytes"}


@dataclass(frozen=True)
class Claims:
    """What a write rests on, to be checked against commits it did not know of.

    Args:
        files: URIs of files whose rows it removes or rewrites.
        guards: Filters that no new row may satisfy.
        partitions: Partitions that it replaces whole, as texts in the order of the columns; no new row may fall into
            them.
    """

    files: frozenset[str] = frozenset()
    guards: tuple[Filter, ...] = ()
    partitions: frozenset[tuple[str | None, ...]] = field(default=frozenset())

    def check(self, commits: Iterable[Commit], state: TableState, *, table: str) -> None:
        """Check the claims against commits.

        Args:
            commits: Those that came in between.
            state: The one after them.
            table: For the message.

        Raises:
            ConflictError: One of them contradicts a claim.
        """
        for commit in commits:
            moved = (*commit.all("remove"), *commit.all("add"))
            if not self.files.isdisjoint(file_uri(action["path"], state.location) for action in moved):
                raise _conflict("removed or rewrote rows that this one removes", commit, table)
            for action in commit.all("add"):
                if action.get("dataChange", True) and self._covers(action, state):
                    raise _conflict("added rows that this one had to know of", commit, table)

    def _covers(self, action: Action, state: TableState) -> bool:
        values = action["partitionValues"]
        if tuple(values.get(name) for name in state.metadata.partition_columns) in self.partitions:
            return True
        for guard in self.guards:
            file = state.file_of(action, columns=(condition.column for condition in guard))
            if file.rows != 0 and file.may_satisfy(guard):
                return True
        return False

    def to_note(self) -> Action:
        """Return what a staged commit notes, so that its publication can check the claims."""
        return {
            "guards": [[_encoded(condition) for condition in guard] for guard in self.guards],
            "partitions": [list(partition) for partition in self.partitions],
        }

    @classmethod
    def from_note(cls, note: Action, *, files: frozenset[str] = frozenset()) -> Claims:
        """Read what `to_note` returned."""
        return cls(
            files,
            tuple(tuple(_decoded(condition) for condition in guard) for guard in note["guards"]),
            frozenset(tuple(partition) for partition in note["partitions"]),
        )


def check_columns(written: Metadata, now: Metadata, *, table: str) -> None:
    """Check that files written for one schema fit the schema of a later commit.

    Raises:
        ConflictError: The table was made anew, is partitioned otherwise, or its columns changed so that the rows do
            not fit.
    """
    fields = {f["name"]: f for f in now.fields}
    fits = written.id == now.id and written.partition_columns == now.partition_columns
    for column in written.fields:
        other = fields.pop(column["name"], None)
        fits = (
            fits and other is not None and other["type"] == column["type"] and other["nullable"] >= column["nullable"]
        )
    if not fits or not all(column["nullable"] for column in fields.values()):
        raise ConflictError(f"The columns of table {table!r} changed while rows were written. Run again.", table=table)


def _conflict(what: str, commit: Commit, table: str) -> ConflictError:
    return ConflictError(f"Another commit to {table!r} {what}. Run again.", table=table, version=commit.version)


def _encoded(condition: Comparison) -> list[Any]:
    return [condition.column, condition.operator, _encoded_value(condition.value)]


def _encoded_value(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, tuple):
        return {"tuple": [_encoded_value(item) for item in value]}
    tag = _TAGS.get(type(value))
    if tag is None:
        return value
    return {tag: value.hex() if tag == "bytes" else value.isoformat() if tag.startswith("date") else str(value)}


def _decoded(condition: list[Any]) -> Comparison:
    column, operator, value = condition
    return Comparison(column, cast("Operator", operator), _decoded_value(value))


def _decoded_value(value: Any) -> Any:  # noqa: ANN401
    if not isinstance(value, dict):
        return value
    ((tag, text),) = value.items()
    match tag:
        case "tuple":
            return tuple(map(_decoded_value, text))
        case "datetime":
            return datetime.fromisoformat(text)
        case "date":
            return date.fromisoformat(text)
        case "decimal":
            return Decimal(text)
        case _:
            return bytes.fromhex(text)
