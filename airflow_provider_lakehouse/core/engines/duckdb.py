"""The embedded engine: DuckDB, in this process."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

from airflow_provider_lakehouse.core.engines.base import EngineSettings, TableView
from airflow_provider_lakehouse.core.engines.dialect import column_type, quoted, sql_type
from airflow_provider_lakehouse.core.engines.scans import in_schema, watched
from airflow_provider_lakehouse.core.engines.views import attach
from airflow_provider_lakehouse.core.errors import (
    DamagedError,
    DataRejectedError,
    InvalidRequestError,
    UnavailableError,
    UnsupportedError,
)
from airflow_provider_lakehouse.core.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import duckdb
    import pyarrow as pa

    from airflow_provider_lakehouse.core.engines.base import Input, Relation
    from airflow_provider_lakehouse.core.engines.views import Rows
    from airflow_provider_lakehouse.core.errors import LakehouseError

BATCH_ROWS: Final = 65_536
_PATIENT: Final = "Give the engine more memory, or more room in its spill directory."


class DuckDBEngine:
    """Runs SQL in DuckDB, each query and each workspace in a database of its own.

    Nothing is downloaded: extensions are neither installed nor loaded on demand.

    Args:
        settings: What it may take from the machine.

    Example:
        >>> engine = DuckDBEngine(EngineSettings(threads=1))
        >>> with engine.query("SELECT 40 + $more AS answer", parameters={"more": 2}) as rows:
        ...     rows.read_all().to_pylist()
        [{'answer': 42}]
        >>> engine.describe("SELECT 1.5 AS price").by_name["price"].type
        'decimal(2,1)'
    """

    def __init__(self, settings: EngineSettings | None = None) -> None:
        self._settings = settings or EngineSettings()

    @property
    def settings(self) -> EngineSettings:
        """What it may take from the machine."""
        return self._settings

    @contextmanager
    def query(
        self, sql: str, *, tables: Mapping[str, Relation] | None = None, parameters: Mapping[str, Any] | None = None
    ) -> Iterator[pa.RecordBatchReader]:
        """Run a query, and stream its rows while the context is open; see `Engine.query`."""
        with self._session() as session:
            session.attach(tables or {})
            yield session.answer(sql, parameters)

    def describe(
        self, sql: str, *, tables: Mapping[str, Relation] | None = None, parameters: Mapping[str, Any] | None = None
    ) -> Schema:
        """Return the columns a query gives, without running it; see `Engine.describe`."""
        with self._session() as session:
            session.attach(tables or {})
            return session.describe(sql, parameters)[0]

    @contextmanager
    def workspace(self) -> Iterator[Session]:
        """Open a database of its own, in memory and on disk where memory ends."""
        with self._session() as session:
            yield session

    @contextmanager
    def _session(self) -> Iterator[Session]:
        folder = tempfile.mkdtemp(prefix="lakehouse-engine-", dir=self._settings.spill_directory)
        try:
            with ExitStack() as stack:
                connection = _connect(self._settings, folder)
                stack.callback(connection.close)
                session = Session(connection)
                stack.callback(session.close)
                yield session
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class Session:
    """One database, and the results that are still being read from it."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._cursors: list[duckdb.DuckDBPyConnection] = []
        self._failures: list[BaseException] = []

    def close(self) -> None:
        """End every result that is still open."""
        for cursor in self._cursors:
            cursor.close()

    def attach(self, tables: Mapping[str, Relation]) -> None:
        """Make tables known under their names."""
        attach(self, tables)

    def register(self, name: str, rows: Rows) -> None:
        """Name rows from outside for the statements of this session."""
        self._connection.register(name, self._watched(rows))

    def note_failure(self, failure: BaseException) -> None:
        """Remember what went wrong in rows from outside: DuckDB reports it as a failure of its own."""
        self._failures.append(failure)

    def execute(self, sql: str, *, inputs: Mapping[str, Input] | None = None) -> None:
        """Run a statement that gives no rows."""
        with self._registered(inputs), self._translated():
            self._connection.execute(sql)

    def rows(self, sql: str, *, inputs: Mapping[str, Input] | None = None) -> list[tuple[Any, ...]]:
        """Return the few rows of a query."""
        with self._registered(inputs), self._translated():
            return self._connection.execute(sql).fetchall()

    def table(self, sql: str) -> pa.Table:
        """Return the rows of a query, held in memory."""
        return self._read(self._connection, sql, None, None).read_all()

    def stream(self, sql: str, *, schema: pa.Schema | None = None) -> pa.RecordBatchReader:
        """Stream the rows of a query, cast to `schema`; other statements may run meanwhile."""
        cursor = self._connection.cursor()
        self._cursors.append(cursor)
        return self._read(cursor, sql, None, schema)

    def answer(self, sql: str, parameters: Mapping[str, Any] | None) -> pa.RecordBatchReader:
        """Stream the rows of a user's query, in types that tables can hold; nothing else may run meanwhile."""
        schema, casts = self.describe(sql, parameters)
        parameters = self._named(sql, parameters)
        wrapped = f"SELECT {casts} FROM ({_bare(sql)}\n)" if casts else _bare(sql)
        return self._read(self._connection, wrapped, parameters, schema.to_arrow())

    def describe(self, sql: str, parameters: Mapping[str, Any] | None) -> tuple[Schema, str]:
        """Return the columns of a user's query, and the casts that bring them to types that tables can hold."""
        self._require_query(sql)
        with self._translated():
            self._connection.execute(
                f"SELECT * FROM ({_bare(sql)}\n) LIMIT 0", _arguments(self._named(sql, parameters))
            )
            found = [(entry[0], entry[1]) for entry in self._connection.description or ()]
            self._connection.fetchall()
        schema = Schema(tuple(Column(name, column_type(kind, column=name)) for name, kind in found))
        if len({name.lower() for name in schema.names}) < len(found):
            raise InvalidRequestError(
                "Columns of the query differ only in case. Rename some.", columns=schema.names[:50]
            )
        if all(str(kind) == sql_type(column.type) for (_, kind), column in zip(found, schema.columns, strict=True)):
            return schema, ""
        casts = (f"CAST({quoted(c.name)} AS {sql_type(c.type)}) AS {quoted(c.name)}" for c in schema.columns)
        return schema, ", ".join(casts)

    def _named(self, sql: str, parameters: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Return the values that the query names."""
        named = self._connection.extract_statements(sql)[0].named_parameters
        return {name: value for name, value in (parameters or {}).items() if name in named}

    def _require_query(self, sql: str) -> None:
        with self._translated():
            statements = self._connection.extract_statements(sql)
        kinds = tuple(str(statement.type).rpartition(".")[2] for statement in statements)
        if kinds != ("SELECT",):
            raise InvalidRequestError("Only a single query can run here. Write one SELECT.", statements=kinds)

    def _read(
        self,
        connection: duckdb.DuckDBPyConnection,
        sql: str,
        parameters: Mapping[str, Any] | None,
        schema: pa.Schema | None,
    ) -> pa.RecordBatchReader:
        import pyarrow as pa

        with self._translated():
            found = _arrow_reader(connection, sql, _arguments(parameters))
        target = found.schema if schema is None else schema
        return pa.RecordBatchReader.from_batches(target, self._batches(found, target))

    def _batches(self, found: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        while True:
            with self._translated():
                batch = next(found, None)
            if batch is None:
                return
            yield in_schema(batch, schema)

    @contextmanager
    def _registered(self, inputs: Mapping[str, Input] | None) -> Iterator[None]:
        given = inputs or {}
        views = {name: rows for name, rows in given.items() if isinstance(rows, TableView)}
        plain = {name: rows for name, rows in given.items() if not isinstance(rows, TableView)}
        self.attach(views)
        for name, rows in plain.items():
            self.register(name, rows)
        try:
            yield
        finally:
            for name in views:
                self._connection.execute(f"DROP VIEW IF EXISTS {quoted(name)}")
            for name in plain:
                self._connection.unregister(name)

    def _watched(self, rows: Rows) -> Rows:
        import pyarrow as pa

        if not isinstance(rows, pa.RecordBatchReader):
            return rows
        return pa.RecordBatchReader.from_batches(rows.schema, watched(rows, self.note_failure))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        import duckdb
        import pyarrow as pa

        try:
            yield
        except (duckdb.Error, pa.ArrowException, OSError, RuntimeError) as error:
            if self._failures:
                raise self._failures[0] from error
            raise _kind_of(error) from error


def open_engine(settings: EngineSettings | None = None) -> DuckDBEngine:
    """Open the embedded engine.

    Raises:
        UnsupportedError: DuckDB is not installed.
    """
    try:
        import duckdb  # noqa: F401
    except ImportError as error:
        raise UnsupportedError(
            "The embedded engine needs DuckDB. Install 'airflow-provider-lakehouse[duckdb]'."
        ) from error
    return DuckDBEngine(settings)


def _connect(settings: EngineSettings, folder: str) -> duckdb.DuckDBPyConnection:
    import duckdb

    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{settings.memory_limit_bytes}B",
        "temp_directory": folder,
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "python_enable_replacements": "false",
        "arrow_lossless_conversion": "true",
    }
    if settings.threads:
        config["threads"] = settings.threads
    connection = duckdb.connect(":memory:", config=config)
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    return connection


def _arrow_reader(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any] | None
) -> pa.RecordBatchReader:
    if hasattr(connection, "to_arrow_reader"):
        return connection.sql(sql, params=parameters).to_arrow_reader(BATCH_ROWS)
    # DuckDB 1: a relation with parameters would hold the whole result.
    return cast("Any", connection.execute(sql, parameters)).fetch_record_batch(BATCH_ROWS)


def _arguments(parameters: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return dict(parameters) if parameters else None


def _bare(sql: str) -> str:
    return sql.strip().rstrip(";")


def _kind_of(error: Exception) -> LakehouseError:
    import duckdb

    cause = type(error).__name__
    if isinstance(error, duckdb.OutOfMemoryException):
        return UnavailableError("There is not enough memory. " + _PATIENT, cause=cause)
    if isinstance(error, (duckdb.IOException, OSError)):
        return _file_failure(error, cause)
    if isinstance(error, (duckdb.DataError, duckdb.InvalidInputException, duckdb.ConstraintException)):
        return DataRejectedError(
            "A value could not be computed or converted. Correct the data or the query.", cause=cause
        )
    if isinstance(error, (duckdb.InternalError, duckdb.OperationalError)):
        return UnavailableError("The engine failed. Run again; if it fails again, report it.", cause=cause)
    if isinstance(error, duckdb.CatalogException):
        return InvalidRequestError(
            "The query names a table or a function that it does not have. Correct the name, or list the table among those "
            "that the query reads.",
            cause=cause,
            reason=_first_line(error),
        )
    if isinstance(error, duckdb.Error):
        return InvalidRequestError("The query cannot run. Correct it.", cause=cause, reason=_first_line(error))
    return DataRejectedError("Rows could not be read. Look at what delivers them.", cause=cause)


def _file_failure(error: Exception, cause: str) -> LakehouseError:
    message = str(error)
    if "No files found" in message or "No such file" in message:
        return DamagedError("A file that should be there is missing. Look before you write again.", cause=cause)
    if "No space left" in message or "max_temp_directory_size" in message:
        return UnavailableError("There is no room for temporary files. " + _PATIENT, cause=cause)
    return UnavailableError("Files could not be read. Run again later.", cause=cause)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]
