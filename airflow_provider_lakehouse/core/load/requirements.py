"""What each load mode asks of the table and of the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.load.modes import Dedup, Merge, OverwritePartitions, Scd2, SnapshotDiff
from airflow_provider_lakehouse.core.load.row_hash import HASH_BYTES
from airflow_provider_lakehouse.core.tables.base import FILE_COLUMN, POSITION_COLUMN
from airflow_provider_lakehouse.core.types import parse_type

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_lakehouse.core.load.modes import Mode
    from airflow_provider_lakehouse.core.schema import Schema
    from airflow_provider_lakehouse.core.tables.base import TableFacts

_HASH_TYPES: Final = ("binary", f"fixed({HASH_BYTES})")
_INSTANTS: Final = ("date", "timestamp", "timestamptz")
_NESTED: Final = ("list", "map", "struct")


def require_mode(mode: Mode, facts: TableFacts, incoming: tuple[str, ...]) -> None:
    """Check that table and batch can serve a mode.

    Args:
        mode: How the batch changes the table.
        facts: The table.
        incoming: Columns of the batch.

    Raises:
        InvalidRequestError: A column is not there, or has a type that cannot serve.
    """
    match mode:
        case OverwritePartitions():
            if not facts.partitioning:
                raise InvalidRequestError(
                    f"Table {facts.identity.name!r} has no partitions to overwrite. Use the mode 'replace'.",
                    table=facts.identity.name,
                )
        case Dedup():
            _require_dedup(mode, facts.schema)
        case Merge():
            _require_keys(mode.keys, facts.schema, incoming)
            _require_merge(mode, facts.schema, incoming)
        case Scd2():
            _require_keys(mode.keys, facts.schema, incoming)
            _require_history(mode, facts.schema, incoming)
        case SnapshotDiff():
            _require_keys(mode.keys, facts.schema, incoming)
            _require_given(mode.columns or (), incoming, purpose="the comparison")
            facts.schema.require(mode.columns or (), purpose="the comparison")
        case _:
            return


def _require_dedup(mode: Dedup, schema: Schema) -> None:
    schema.require([mode.hash_column], purpose="the row hash")
    schema.require(mode.columns or (), purpose="the row hash")
    _require_type(schema, mode.hash_column, _HASH_TYPES, purpose="the row hash")
    if mode.hash_column in (mode.columns or ()):
        raise InvalidRequestError(
            "A hash cannot cover itself. Take its column out of the list.", column=mode.hash_column
        )


def _require_merge(mode: Merge, schema: Schema, incoming: tuple[str, ...]) -> None:
    chosen = [*(mode.update_columns or ()), *([mode.sequence] if mode.sequence else [])]
    schema.require(chosen, purpose="the merge")
    _require_given(chosen, incoming, purpose="the merge")


def _require_history(mode: Scd2, schema: Schema, incoming: tuple[str, ...]) -> None:
    schema.require(mode.period_columns, purpose="the history")
    schema.require(mode.track or (), purpose="the history")
    _require_given([mode.effective_at, *(mode.track or ())], incoming, purpose="the history")
    _require_type(schema, mode.valid_from, _INSTANTS, purpose="the start of a period")
    _require_type(schema, mode.valid_to, (schema.by_name[mode.valid_from].type,), purpose="the end of a period")
    _require_type(schema, mode.is_current, ("boolean",), purpose="the mark of current rows")
    _require_type(schema, mode.change_hash, _HASH_TYPES, purpose="the change hash")
    if not schema.by_name[mode.valid_to].nullable:
        raise InvalidRequestError(
            f"Column {mode.valid_to!r} is null while a state holds. Declare it nullable.", column=mode.valid_to
        )
    clash = sorted(set(incoming) & set(mode.period_columns) - {mode.effective_at})
    if clash:
        raise InvalidRequestError(
            "The batch has columns that a history fills by itself. Leave them out of it.", columns=tuple(clash)
        )


def _require_keys(keys: tuple[str, ...], schema: Schema, incoming: tuple[str, ...]) -> None:
    schema.require(keys, purpose="the keys")
    _require_given(keys, incoming, purpose="the keys")
    for key in keys:
        if parse_type(schema.by_name[key].type).name in _NESTED:
            raise InvalidRequestError(
                f"Column {key!r} is nested and cannot be a key. Choose plain columns.", column=key
            )
    reserved = [name for name in (FILE_COLUMN, POSITION_COLUMN) if name in schema.by_name]
    if reserved:
        raise InvalidRequestError(
            "The table has columns with the names of row addresses, so that rows cannot be told apart. Rename them.",
            columns=tuple(reserved),
        )


def _require_given(names: Iterable[str], incoming: tuple[str, ...], *, purpose: str) -> None:
    missing = tuple(name for name in names if name not in incoming)
    if missing:
        raise InvalidRequestError(
            f"The batch lacks columns for {purpose}: {', '.join(map(repr, missing))}. Deliver them, or name others.",
            missing=missing,
            columns=incoming[:50],
        )


def _require_type(schema: Schema, name: str, types: tuple[str, ...], *, purpose: str) -> None:
    if schema.by_name[name].type not in types:
        raise InvalidRequestError(
            f"Column {name!r} of type {schema.by_name[name].type} cannot serve as {purpose}. Choose another.",
            column=name,
            types=types,
        )
