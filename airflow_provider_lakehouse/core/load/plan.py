"""Decide how a batch fits a table: pure, before a row is read."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError
from airflow_provider_lakehouse.core.load.conversion import conversion
from airflow_provider_lakehouse.core.load.modes import (
    Append,
    Dedup,
    Merge,
    OverwritePartitions,
    Replace,
    Scd2,
    mode_name,
    mode_to_json,
)
from airflow_provider_lakehouse.core.load.requirements import require_mode
from airflow_provider_lakehouse.core.schema import Column, Schema, SchemaChange
from airflow_provider_lakehouse.core.sources.base import SOURCE_FILE_COLUMN, SOURCE_ROW_COLUMN
from airflow_provider_lakehouse.core.tables.base import RESERVED_PREFIX
from airflow_provider_lakehouse.core.types import type_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from airflow_provider_lakehouse.core.load.conversion import Conversion
    from airflow_provider_lakehouse.core.load.modes import Mode
    from airflow_provider_lakehouse.core.load.policy import Reaction, SchemaPolicy
    from airflow_provider_lakehouse.core.tables.base import TableFacts

_SQL_TEXT: Final = re.compile(r"'(?:[^']|'')*'")
_SQL_QUOTED: Final = re.compile(r'"(?:[^"]|"")*"')
_SQL_SOURCE: Final = re.compile(r"\bsource\s*\.\s*")
_SQL_WORD: Final = re.compile(r"[^\W\d][\w$]*")
_SOURCE_ADDRESS: Final = (SOURCE_FILE_COLUMN, SOURCE_ROW_COLUMN)


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """How a column of the table is filled.

    Args:
        name: The column.
        type: Its type, after the schema changes.
        nullable: Whether it may be null.
        source_type: Type of the batch's column; None where the batch lacks it.
        how: `same` and `cast` lose nothing; `check` looks at every value; `reject` takes nulls only; `null` writes
            null; `fill` is done by the load itself.
        reaction: What happens to a value that does not fit.
    """

    name: str
    type: str
    nullable: bool
    source_type: str | None
    how: Literal["same", "cast", "check", "reject", "null", "fill"]
    reaction: Reaction

    @property
    def refuses_rows(self) -> bool:
        """True when rows may be left out, or values replaced, because of this column."""
        return self.how in ("check", "reject") or (not self.nullable and self.reaction in ("discard_row", "quarantine"))


@dataclass(frozen=True)
class LoadPlan:
    """What a load will do, decided from the batch's schema and the table's facts.

    Args:
        mode: How the batch changes the table.
        table: Name of the table.
        base: Version of the table that was looked at.
        columns: The table's columns after the schema changes, in order.
        identifier: Columns that identify a row of the table.
        schema_changes: Columns to add or widen, in the same commit.
        extras: Columns of the batch, type by name, that the load needs and the table lacks.
        strangers: Columns of the batch whose rows are refused where they have a value.
        left_out: Columns of the batch that are not written.
        policy: What happens to rows that do not fit.
    """

    mode: Mode
    table: str
    base: int
    columns: tuple[ColumnPlan, ...]
    identifier: tuple[str, ...]
    schema_changes: tuple[SchemaChange, ...]
    extras: tuple[tuple[str, str], ...]
    strangers: tuple[str, ...]
    left_out: tuple[str, ...]
    policy: SchemaPolicy

    @property
    def schema(self) -> Schema:
        """The table's schema after the schema changes; columns that the mode fills are null until it has."""
        filled = {c.name for c in self.columns if c.how == "fill"}
        identifier = tuple(name for name in self.identifier if name not in filled)
        return Schema(tuple(Column(c.name, c.type, nullable=c.nullable) for c in self.columns), identifier)

    @property
    def given(self) -> tuple[str, ...]:
        """Columns of the table that the batch has."""
        return tuple(c.name for c in self.columns if c.source_type is not None)

    @property
    def refuses_rows(self) -> bool:
        """True when rows may be left out or values replaced."""
        return bool(self.strangers) or any(column.refuses_rows for column in self.columns)

    @property
    def streams(self) -> bool:
        """True when rows can go into the table as they come, read once and kept nowhere."""
        return isinstance(self.mode, (Append, Replace, OverwritePartitions)) and not self.refuses_rows

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON, for people to read and approve."""
        return {
            "mode": mode_to_json(self.mode),
            "table": self.table,
            "base": self.base,
            "columns": [asdict(column) for column in self.columns],
            "schema_changes": [described(change) for change in self.schema_changes],
            "strangers": list(self.strangers),
            "left_out": list(self.left_out),
            "policy": self.policy.to_json(),
        }


def described(change: SchemaChange) -> str:
    """Return a schema change in words, such as `add coupon: string`."""
    return f"{change.kind} {change.column.name}: {change.column.type}"


def plan_load(mode: Mode, facts: TableFacts, incoming: pa.Schema, policy: SchemaPolicy) -> LoadPlan:
    """Decide how a batch fits a table.

    Args:
        mode: How the batch changes the table.
        facts: The table.
        incoming: Columns of the batch.
        policy: What happens to columns and values that do not fit.

    Returns:
        A plan. Planning the same twice gives the same.

    Raises:
        InvalidRequestError: The mode names columns that are not there or cannot serve, or names collide.
        DataRejectedError: The batch has columns, lacks columns, or has types that the policy refuses.
        UnsupportedError: The batch has a column of a type that no table can hold.
    """
    _require_distinct(facts.schema.names, tuple(incoming.names))
    filled = _filled_columns(mode)
    require_mode(mode, facts, tuple(incoming.names))
    given = {field.name: field.type for field in incoming}
    new = [name for name in given if name not in facts.schema.by_name]
    extras = {name: type_of(given[name]) for name in new if _is_extra(mode, name)}
    unknown = [name for name in new if name not in extras and name not in _SOURCE_ADDRESS]
    added = _additions({name: given[name] for name in unknown}, policy)
    columns = [_column(c, given, policy, filled=c.name in filled) for c in facts.schema.columns]
    columns += [ColumnPlan(c.column.name, c.column.type, True, c.column.type, "cast", "evolve") for c in added]
    kept = {*extras, *(change.column.name for change in added)}
    _require_complete(columns, policy)
    widened = tuple(
        SchemaChange("widen", Column(c.name, c.type, c.nullable, facts.schema.by_name[c.name].comment))
        for c in columns
        if c.name in facts.schema.by_name and facts.schema.by_name[c.name].type != c.type
    )
    refuses = policy.new_columns in ("discard_row", "quarantine")
    return LoadPlan(
        mode=mode,
        table=facts.identity.name,
        base=facts.version,
        columns=tuple(columns),
        identifier=facts.schema.identifier,
        schema_changes=added + widened,
        extras=tuple(extras.items()),
        strangers=tuple(unknown) if refuses else (),
        left_out=tuple(name for name in new if name not in kept),
        policy=policy,
    )


def _require_distinct(table: tuple[str, ...], incoming: tuple[str, ...]) -> None:
    spelled: dict[str, str] = {}
    for name in (*table, *incoming):
        if spelled.setdefault(name.lower(), name) != name:
            raise InvalidRequestError(
                f"Columns {spelled[name.lower()]!r} and {name!r} differ only in case, and SQL cannot tell them apart. "
                "Rename one.",
                columns=(spelled[name.lower()], name),
            )
    repeated = (
        sorted({name for name in incoming if incoming.count(name) > 1}) if len(set(incoming)) < len(incoming) else []
    )
    reserved = [name for name in spelled if name.startswith(RESERVED_PREFIX)]
    if repeated or reserved:
        raise InvalidRequestError(
            f"Columns of a batch have distinct names that do not start with {RESERVED_PREFIX!r}. Rename some.",
            columns=tuple(repeated or reserved),
        )


def _filled_columns(mode: Mode) -> tuple[str, ...]:
    if isinstance(mode, Scd2):
        return mode.period_columns
    return (mode.hash_column,) if isinstance(mode, Dedup) else ()


def _is_extra(mode: Mode, name: str) -> bool:
    """Tell whether the load itself needs a column that the table lacks."""
    if isinstance(mode, Scd2) and name == mode.effective_at:
        return True
    return isinstance(mode, (Merge, Scd2)) and mode.delete_when is not None and _names(mode.delete_when, name)


def _names(expression: str, column: str) -> bool:
    """Tell whether an SQL expression names a column, plainly or quoted; what stands in its texts does not count."""
    outside = _SQL_TEXT.sub("''", expression).lower()
    if '"' + column.replace('"', '""').lower() + '"' in outside:
        return True
    plain = _SQL_SOURCE.sub("", _SQL_QUOTED.sub('""', outside))
    return column.lower() in _SQL_WORD.findall(plain)


def _additions(unknown: Mapping[str, pa.DataType], policy: SchemaPolicy) -> tuple[SchemaChange, ...]:
    if unknown and policy.new_columns == "freeze":
        raise DataRejectedError(
            "The batch has columns that the table lacks. Add them to the table, or let the schema policy decide.",
            unknown=tuple(unknown)[:50],
            policy="new_columns=freeze",
        )
    if policy.new_columns != "evolve":
        return ()
    return tuple(SchemaChange("add", Column(name, type_of(arrow))) for name, arrow in unknown.items())


def _column(column: Column, given: Mapping[str, pa.DataType], policy: SchemaPolicy, *, filled: bool) -> ColumnPlan:
    if filled:
        found_type = type_of(given[column.name]) if column.name in given else None
        return ColumnPlan(column.name, column.type, True, found_type, "fill", policy.wrong_values)
    if column.name not in given:
        return ColumnPlan(column.name, column.type, column.nullable, None, "null", policy.wrong_values)
    arrow = given[column.name]
    found: Conversion = conversion(arrow, column.type, policy.wrong_values)
    if found.how == "refuse":
        raise DataRejectedError(
            f"Column {column.name!r} of the batch is {type_of(arrow)}, the table's is {column.type}. "
            "Cast it in the source, or let the schema policy decide.",
            column=column.name,
            policy=f"wrong_values={policy.wrong_values}",
        )
    reaction: Reaction = policy.wrong_values
    return ColumnPlan(column.name, found.type, column.nullable, type_of(arrow), found.how, reaction)


def _require_complete(columns: list[ColumnPlan], policy: SchemaPolicy) -> None:
    missing = [c for c in columns if c.how == "null" and (policy.missing_columns == "freeze" or not c.nullable)]
    if missing:
        raise DataRejectedError(
            "The batch lacks columns of the table. Deliver them; nullable ones can be filled by the schema policy.",
            missing=tuple(c.name for c in missing[:50]),
            not_nullable=tuple(c.name for c in missing[:50] if not c.nullable),
            policy=f"missing_columns={policy.missing_columns}",
        )


def summary_of(plan: LoadPlan) -> dict[str, str]:
    """Return what the table's history keeps of a load."""
    return {"lakehouse.mode": mode_name(plan.mode)}
