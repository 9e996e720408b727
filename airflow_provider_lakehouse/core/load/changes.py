"""Read which rows a commit changed: from the table's own versions, after the fact, as often as wanted.

Nothing is written for it: the change is what one state of the table has and the other lacks. So it is there for every
mode of loading and every writer, it cannot disagree with the table, and a replayed load leads to the same change. It is
there as long as the format keeps both versions.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.abilities import require
from airflow_provider_lakehouse.core.engines.base import Working
from airflow_provider_lakehouse.core.engines.dialect import listed, quoted, sql_type
from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.tables.abilities import Comparing, TimeTravelling
from airflow_provider_lakehouse.core.tables.base import HEAD, NO_VERSION, At

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow as pa

    from airflow_provider_lakehouse.core.engines.base import Engine, Workspace
    from airflow_provider_lakehouse.core.schema import Schema
    from airflow_provider_lakehouse.core.tables.base import Table

CHANGE_COLUMN: Final = "_change_type"
"""Column that says what became of a row: `insert`, `delete`, `update_before` or `update_after`."""
_ROWS: Final = "__lakehouse_rows"
_GONE: Final = "__lakehouse_gone_rows"
_CAME: Final = "__lakehouse_came_rows"


@contextmanager
def commit_changes(
    table: Table, version: int, *, engine: Engine, keys: Iterable[str] | None = None
) -> Iterator[pa.RecordBatchReader]:
    """Stream the rows that one commit of the main branch changed, such as `LoadResult.commit.version`.

    Args:
        table: The table.
        version: The commit.
        engine: See `row_changes`.
        keys: See `row_changes`.

    Raises:
        InvalidRequestError: The commit is not part of the main branch's history, or no longer.
        UnsupportedError: The table cannot be read as of older versions, or told apart.
    """
    history = require(table, TimeTravelling, purpose="to find the commit before a commit").history()
    entry = next((entry for entry in history if entry.version == version), None)
    if entry is None:
        raise InvalidRequestError(
            f"Version {version} is not part of the history of {table.identity.name!r}, or no longer. Choose another.",
            table=table.identity.name,
            version=version,
        )
    before = None if entry.parent is None else At(version=entry.parent)
    with row_changes(table, before=before, after=At(version=version), engine=engine, keys=keys) as rows:
        yield rows


@contextmanager
def row_changes(
    table: Table, *, before: At | None, after: At = HEAD, engine: Engine, keys: Iterable[str] | None = None
) -> Iterator[pa.RecordBatchReader]:
    """Stream the rows in which two states of a table differ, while the context is open.

    Args:
        table: The table; it has the ability `Comparing`.
        before: The earlier state; None for a table without rows.
        after: The later state, whose columns the rows have. A column that `before` lacks is null there.
        engine: Compares rows; its settings bound memory.
        keys: Columns that identify a row: where both states have a key, its rows are `update_before` and `update_after`
            rather than `delete` and `insert`. None takes the identifier of the table; empty tells no updates.

    Yields:
        The columns of the table followed by `_change_type`, in no particular order. A row that was merely rewritten into
        another file is no change. Rows that are equal as SQL has it (NaN to NaN, null to null, -0.0 to 0.0) are equal.

    Raises:
        InvalidRequestError: There is no such state or key, or the table has a column `_change_type`.
        UnsupportedError: The table cannot be told apart.

    Example:
        >>> import pyarrow as pa
        >>> from airflow_provider_lakehouse.core.engines.duckdb import open_engine
        >>> from airflow_provider_lakehouse.core.schema import Column, Schema
        >>> from airflow_provider_lakehouse.core.tables.base import CatalogSettings, Change, WriteToken
        >>> from airflow_provider_lakehouse.core.tables.memory.table import open_catalog
        >>> from airflow_provider_lakehouse.core.tables.spec import TableSpec
        >>> table = open_catalog(CatalogSettings("memory", "memory://changes")).table("sales.orders")
        >>> table.create(TableSpec(Schema.of(Column("id", "long"))))
        True
        >>> done = table.commit(Change(rows=pa.table({"id": [7]}).to_reader()), token=WriteToken("doc", "one"))
        >>> with commit_changes(table, done.version, engine=open_engine()) as rows:
        ...     rows.read_all().to_pylist()
        [{'id': 7, '_change_type': 'insert'}]
        >>> table.drop()
    """
    comparing = require(table, Comparing, purpose="to read row-level changes")
    schema = table.facts(at=after).schema
    chosen = schema.identifier if keys is None else tuple(keys)
    schema.require(chosen, purpose="the keys of changes")
    if CHANGE_COLUMN in schema.by_name:
        raise InvalidRequestError(
            f"Table {table.identity.name!r} has a column {CHANGE_COLUMN!r} of its own. Rename it.", column=CHANGE_COLUMN
        )
    nothing = before is None or before.version == NO_VERSION
    gone, came = comparing.read_apart(before=None if nothing else before, after=after)
    with require(engine, Working, purpose="to compare rows").workspace() as workspace:
        _keep(workspace, _GONE, gone, schema)
        _keep(workspace, _CAME, came, schema)
        yield workspace.stream(_differences(schema, chosen), schema=_change_schema(schema))


def _keep(workspace: Workspace, name: str, rows: pa.RecordBatchReader, schema: Schema) -> None:
    """Put rows into the workspace, in the columns of the later state."""
    has = set(rows.schema.names)
    columns = [
        f"CAST({f'r.{quoted(c.name)}' if c.name in has else 'NULL'} AS {sql_type(c.type)}) AS {quoted(c.name)}"
        for c in schema.columns
    ]
    select = f"SELECT {', '.join(columns)} FROM {_ROWS} r"
    workspace.execute(f"CREATE TABLE {name} AS {select}", inputs={_ROWS: rows})


def _differences(schema: Schema, keys: tuple[str, ...]) -> str:
    columns = listed(schema.names)
    deleted = f"(SELECT {columns} FROM {_GONE} EXCEPT ALL SELECT {columns} FROM {_CAME})"
    inserted = f"(SELECT {columns} FROM {_CAME} EXCEPT ALL SELECT {columns} FROM {_GONE})"
    return (
        f"WITH deleted AS MATERIALIZED {deleted}, inserted AS MATERIALIZED {inserted} "
        f"SELECT {columns}, {_label('deleted', 'inserted', 'delete', 'update_before', keys)} FROM deleted UNION ALL "
        f"SELECT {columns}, {_label('inserted', 'deleted', 'insert', 'update_after', keys)} FROM inserted"
    )


def _label(here: str, there: str, alone: str, paired: str, keys: tuple[str, ...]) -> str:
    if not keys:
        return f"'{alone}' AS {quoted(CHANGE_COLUMN)}"
    same = " AND ".join(f"o.{quoted(key)} IS NOT DISTINCT FROM {here}.{quoted(key)}" for key in keys)
    return (
        f"CASE WHEN EXISTS (FROM {there} o WHERE {same}) THEN '{paired}' ELSE '{alone}' END AS {quoted(CHANGE_COLUMN)}"
    )


def _change_schema(schema: Schema) -> Any:  # noqa: ANN401
    import pyarrow as pa

    fields = [field.with_nullable(True) for field in schema.to_arrow()]
    return pa.schema([*fields, pa.field(CHANGE_COLUMN, pa.string())])
