"""Make lakehouse tables known to a session under the names that a query uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from airflow_provider_lakehouse.core.abilities import require
from airflow_provider_lakehouse.core.engines.base import TableView
from airflow_provider_lakehouse.core.engines.dialect import filter_sql, quoted, sql_type, text
from airflow_provider_lakehouse.core.engines.scans import scan_of
from airflow_provider_lakehouse.core.engines.steady import steady
from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.tables.abilities import Addressing, Listing
from airflow_provider_lakehouse.core.tables.base import FILE_COLUMN, POSITION_COLUMN
from airflow_provider_lakehouse.core.types import arrow_type, parse_type

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa

    from airflow_provider_lakehouse.core.engines.base import Relation
    from airflow_provider_lakehouse.core.schema import Schema
    from airflow_provider_lakehouse.core.tables.base import DataFile, FileListing
    from airflow_provider_lakehouse.core.types import TypeNode

_FILE: Final = "__lakehouse_file"
_ROW: Final = "file_row_number"
_FLOATS: Final = ("float", "double")


type Rows = pa.RecordBatchReader | pa.Table | pa.dataset.Dataset
"""Rows that Arrow delivers."""


class Attachable(Protocol):
    """What a session offers to those who name tables in it."""

    def execute(self, sql: str) -> None:
        """Run a statement."""

    def register(self, name: str, rows: Rows) -> None:
        """Name rows from outside."""

    @property
    def note_failure(self) -> Callable[[BaseException], None]:
        """Remember what went wrong in rows from outside."""


def attach(session: Attachable, tables: Mapping[str, Relation]) -> None:
    """Make tables known under their names. Their data is read when a query asks for it.

    Files on local disk are read by DuckDB itself, those on S3 by the table: DuckDB would need an extension that is
    downloaded, or a file system in Python, whose files its threads cannot share and which takes more time.

    Args:
        session: Where.
        tables: By name; a name with a dot is a schema and a table.

    Raises:
        InvalidRequestError: A table does not exist, or its columns differ only in case.
        UnsupportedError: Addresses are asked of a table that gives none.
    """
    for name, relation in tables.items():
        source = _source(session, f"__lakehouse_of_{name}", relation)
        schema, _, table = name.rpartition(".")
        if schema:
            session.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}")
        target = f"{quoted(schema)}.{quoted(table)}" if schema else quoted(table)
        session.execute(f"CREATE OR REPLACE VIEW {target} AS {source}")


def _source(session: Attachable, name: str, relation: Relation) -> str:
    import pyarrow as pa

    if isinstance(relation, pa.Table):
        _require_distinct(tuple(relation.column_names))
        session.register(name, relation)
        return f"SELECT * FROM {quoted(name)}"
    view = relation if isinstance(relation, TableView) else TableView(relation)
    if view.addressed:
        require(view.table, Addressing, purpose="to tell where rows are")
    if isinstance(view.table, Listing):
        listing = view.table.list_files(where=view.where, at=view.at)
        _require_distinct(listing.schema.names)
        condition = filter_sql(view.where, listing.schema)
        if condition is not None and _is_readable(listing):
            files = _ListedFiles(session, name, listing, addressed=view.addressed).select()
            return f"FROM ({files}) WHERE {condition}" if condition else files
    return _scanned(session, name, view)


def _scanned(session: Attachable, name: str, view: TableView) -> str:
    view, facts = steady(view)  # a query may scan it more than once
    _require_distinct(facts.schema.names)
    session.register(name, scan_of(view, facts.schema, session.note_failure))
    hidden = (f"{_opaque(quoted(c.name))} AS {quoted(c.name)}" for c in facts.schema.columns if _nests_floats(c.type))
    replaced = ", ".join(hidden)
    return f"SELECT *{f' REPLACE ({replaced})' if replaced else ''} FROM {quoted(name)}"


def _require_distinct(names: tuple[str, ...]) -> None:
    if len({name.lower() for name in names}) < len(names):
        raise InvalidRequestError(
            "Columns of a table differ only in case, and SQL cannot tell them apart. Rename some.", columns=names[:50]
        )


def _is_readable(listing: FileListing) -> bool:
    if any(column.name == _ROW or _nests_floats(column.type) for column in listing.schema.columns):
        return False
    return all(_is_local(file.path) for file in listing.files)


def _nests_floats(type_text: str) -> bool:
    return any(map(_holds_floats, parse_type(type_text).children))


def _holds_floats(node: TypeNode) -> bool:
    return node.name in _FLOATS or any(map(_holds_floats, node.children))


def _with_nan(value: str) -> str:
    """Return a floating-point value in a form that no statistics are known of.

    Statistics of Parquet files leave NaN out (specification, "Statistics"), and DuckDB skips files by them, although in its
    order NaN is above every number.
    """
    return f"CASE WHEN isnan({value}) THEN 'NaN' ELSE {value} END"


def _opaque(value: str) -> str:
    """Return a value in a form through which no condition is handed down to Arrow, to which NaN is not above anything."""
    return f"CASE WHEN {value} IS NULL THEN NULL ELSE {value} END"


def _is_local(path: str) -> bool:
    return path.startswith("file:") or "://" not in path


def _engine_path(path: str) -> str:
    if path.startswith("file://"):
        return path.removeprefix("file://")
    return path.removeprefix("file:")


class _ListedFiles:
    """A table's data files as one relation: columns by their names in the table, removed rows left out."""

    def __init__(self, session: Attachable, name: str, listing: FileListing, *, addressed: bool) -> None:
        self._session = session
        self._name = name
        self._listing = listing
        self._addressed = addressed

    def select(self) -> str:
        groups: dict[tuple[Any, ...], list[DataFile]] = {}
        for file in self._listing.files:
            renames = tuple(sorted(file.renames.items()))
            key = (renames, tuple(sorted(file.missing)), tuple(sorted(file.constants)), file.removed is not None)
            groups.setdefault(key, []).append(file)
        if not groups:
            return self._empty()
        return " UNION ALL ".join(self._group(index, files) for index, files in enumerate(groups.values()))

    def _empty(self) -> str:
        columns = [f"CAST(NULL AS {sql_type(c.type)}) AS {quoted(c.name)}" for c in self._listing.schema.columns]
        if self._addressed:
            columns += [f"CAST(NULL AS VARCHAR) AS {FILE_COLUMN}", f"CAST(NULL AS BIGINT) AS {POSITION_COLUMN}"]
        return f"SELECT {', '.join(columns)} WHERE false"

    def _group(self, index: int, files: list[DataFile]) -> str:
        first = files[0]
        joins, needs_file = "", False
        if first.constants or self._addressed:
            facts = f"{self._name}_files_{index}"
            self._session.register(facts, _file_facts(files, self._listing.schema))
            joins += f" JOIN {quoted(facts)} f ON f.path = r.{_FILE}"
            needs_file = True
        if first.removed is not None:
            removed = f"{self._name}_removed_{index}"
            self._session.register(removed, _removed(files))
            joins += f" ANTI JOIN {quoted(removed)} d ON d.path = r.{_FILE} AND d.pos = r.{_ROW}"
            needs_file = True
        paths = ", ".join(text(_engine_path(file.path)) for file in files)
        # By name: older files may lack columns that others have, or hold them in a narrower type.
        options = ", union_by_name = true" if len(files) > 1 else ""
        options += f", filename = {text(_FILE)}" if needs_file else ""
        options += ", file_row_number = true" if first.removed is not None or self._addressed else ""
        return (
            f"SELECT {self._columns(first)} FROM read_parquet([{paths}], hive_partitioning = false{options}) r{joins}"
        )

    def _columns(self, file: DataFile) -> str:
        expressions = []
        for position, column in enumerate(self._listing.schema.columns):
            if column.name in file.constants:
                value = f"f.c{position}"
            elif column.name in file.missing:
                value = "NULL"
            else:
                value = f"r.{quoted(file.renames.get(column.name, column.name))}"
                value = _with_nan(value) if column.type in _FLOATS else value
            expressions.append(f"CAST({value} AS {sql_type(column.type)}) AS {quoted(column.name)}")
        if self._addressed:
            expressions += [f"f.uri AS {FILE_COLUMN}", f"r.{_ROW} AS {POSITION_COLUMN}"]
        return ", ".join(expressions)


def _file_facts(files: list[DataFile], schema: Schema) -> pa.Table:
    import pyarrow as pa

    columns = {
        "path": pa.array([_engine_path(file.path) for file in files], pa.string()),
        "uri": pa.array([file.path for file in files], pa.string()),
    }
    for position, column in enumerate(schema.columns):
        if column.name in files[0].constants:
            values = [file.constants[column.name] for file in files]
            columns[f"c{position}"] = pa.array(values, arrow_type(column.type))
    return pa.table(columns)


def _removed(files: list[DataFile]) -> pa.Table:
    import pyarrow as pa

    parts = []
    for file in files:
        positions = file.removed if file.removed is not None else pa.array([], pa.int64())
        path = pa.DictionaryArray.from_arrays(
            pa.repeat(pa.scalar(0, pa.int32()), len(positions)), pa.array([_engine_path(file.path)], pa.string())
        )
        parts.append(pa.table({"path": path.cast(pa.string()), "pos": positions.cast(pa.int64())}))
    return pa.concat_tables(parts)
