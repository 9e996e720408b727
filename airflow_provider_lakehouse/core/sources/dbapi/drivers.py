"""What drivers do not say of themselves through DB-API 2.0: how names are quoted, and how a result is streamed."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import uuid4

from airflow_provider_lakehouse.core.errors import InvalidRequestError, UnsupportedError
from airflow_provider_lakehouse.core.sources.dbapi.plan import Dialect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa

_FIRST_ROWS: Final = 1_000
_MAX_ROWS: Final = 100_000
_MYSQL: Final = ("pymysql", "MySQLdb", "mysql", "mariadb")
# SQLite takes a name between double quotes that is no column for a text, and would deliver that.
_BACKTICKS: Final = (*_MYSQL, "databricks", "sqlite3", "MySQL", "MariaDB", "SQLite")


@dataclass(frozen=True, slots=True)
class Driver:
    """A driver, as one of its connections shows it.

    Args:
        module: Its top module, such as `sqlite3`; `adbc` for every ADBC driver.
        vendor: The database, as an ADBC driver calls it; empty for others.
        dialect: How it wants its statements.
    """

    module: str
    vendor: str
    dialect: Dialect

    @property
    def guesses_types(self) -> bool:
        """True where the type of a column without values is made up: SQLite has none, and its ADBC driver says int64."""
        return self.vendor == "SQLite"

    @property
    def session(self) -> tuple[str, ...]:
        """Statements without which values would not be what they are."""
        if self.module in _MYSQL:
            return ("SET SESSION time_zone = '+00:00'",)  # a TIMESTAMP would come in the server's local time
        if self.module == "duckdb":
            return ("SET arrow_lossless_conversion = true",)
        return ()


def driver_of(connection: object, *, paramstyle: str = "", quote: str = "") -> Driver:
    """Recognise the driver of a connection.

    Args:
        connection: Open.
        paramstyle: What the caller says; empty asks the driver's module, as PEP 249 has it.
        quote: Likewise; empty goes by the driver.

    Raises:
        InvalidRequestError: The module of the connection does not say its paramstyle.
    """
    package = type(connection).__module__.removeprefix("_")
    top, vendor = package.partition(".")[0], ""
    if hasattr(connection, "adbc_get_info"):
        top, vendor = "adbc", str(connection.adbc_get_info().get("vendor_name", ""))
        paramstyle = paramstyle or ("dollar" if vendor == "PostgreSQL" else "qmark")
    style = paramstyle or _paramstyle(package)
    if not style:
        raise InvalidRequestError(
            f"The driver {package!r} does not say how it takes parameters. Give the setting paramstyle.", driver=package
        )
    is_backtick = top in _BACKTICKS or vendor in _BACKTICKS
    return Driver(top, vendor, Dialect(style, quote or ("`" if is_backtick else '"')))


def _paramstyle(package: str) -> str:
    while package:
        if style := getattr(sys.modules.get(package), "paramstyle", ""):
            return str(style)
        package = package.rpartition(".")[0]
    return ""


class Result(Protocol):
    """What a statement gave."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""

    def cancel(self) -> None:
        """Ask the driver to give up, from another thread; one that cannot is waited for."""

    def close(self) -> None:
        """Let go of what the statement holds; the connection is closed by its owner."""


@dataclass(slots=True)
class ArrowResult:
    """A result that the driver gives as Arrow.

    Args:
        reader: Its batches.
        cancel_with: The driver's own way to give up.
        closes: What has to be closed before the connection.
    """

    reader: pa.RecordBatchReader
    cancel_with: Callable[[], object]
    closes: tuple[Any, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self.reader.schema.names)

    def cancel(self) -> None:
        """Ask the driver to give up."""
        _try(self.cancel_with)

    def close(self) -> None:
        """Close reader and cursor."""
        for one in self.closes:
            _try(one.close)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield batches as the driver cuts them."""
        return iter(self.reader)


@dataclass(slots=True)
class RowResult:
    """A result that the driver gives as Python values.

    Args:
        connection: To give up with.
        cursor: Has run the statement.
        batch_bytes: About how much a batch of rows should be.
    """

    connection: Any
    cursor: Any
    batch_bytes: int
    _rows: int = field(default=_FIRST_ROWS, init=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(str(column[0]) for column in self.cursor.description)

    @property
    def scales(self) -> tuple[int | None, ...]:
        """Decimal places of the columns, None where the driver does not say."""
        return tuple(column[5] if isinstance(column[5], int) else None for column in self.cursor.description)

    def cancel(self) -> None:
        """Ask the driver to give up."""
        for name in ("interrupt", "cancel"):
            _try(getattr(self.connection, name, lambda: None))

    def close(self) -> None:
        """Let PyMySQL forget the rows that are left: it would read them all, or fail to, before it lets go of them."""
        if hasattr(getattr(self.cursor, "_result", None), "unbuffered_active"):
            self.cursor._result.unbuffered_active = False
            self.cursor.connection = None

    def fetch(self) -> Sequence[Sequence[Any]]:
        """Return the next rows, none at the end."""
        rows: Sequence[Sequence[Any]] = self.cursor.fetchmany(self._rows)
        return rows

    def resize(self, *, rows: int, size_bytes: int) -> None:
        """Learn from a batch how many rows make a batch."""
        self._rows = max(1, min(_MAX_ROWS, self._rows * 4, self.batch_bytes * rows // max(size_bytes, 1)))


def run(
    connection: Any,  # noqa: ANN401
    driver: Driver,
    statement: str,
    values: Sequence[Any] = (),
    *,
    batch_bytes: int,
) -> ArrowResult | RowResult:
    """Run a query and stream what it gives: as Arrow where the driver can, else as rows.

    Raises:
        Exception: Whatever the driver raises.
    """
    parameters = driver.dialect.bind(values)
    if driver.module == "duckdb":
        relation = connection.sql(statement, params=parameters)
        reader = getattr(relation, "to_arrow_reader", None) or relation.fetch_arrow_reader
        return ArrowResult(reader(_MAX_ROWS), connection.interrupt)
    if driver.module == "adbc":
        cursor = connection.cursor()
        cursor.execute(statement, parameters)
        reader = cursor.fetch_record_batch()
        return ArrowResult(reader, cursor.adbc_cancel, (reader, cursor))
    cursor = _streaming_cursor(connection, driver)
    if parameters is None:
        cursor.execute(statement)
    else:
        cursor.execute(statement, parameters)
    return RowResult(connection, cursor, batch_bytes)


def _streaming_cursor(connection: Any, driver: Driver) -> Any:  # noqa: ANN401
    """Return a cursor that leaves the rows on the server, where the driver's usual one would take all of them at once."""
    if driver.module in ("pymysql", "MySQLdb"):
        return connection.cursor(import_module(f"{driver.module}.cursors").SSCursor)
    if driver.module in ("psycopg", "psycopg2"):
        return connection.cursor(f"lakehouse_{uuid4().hex}")
    return connection.cursor()


def _try(act: Callable[[], object]) -> None:
    with suppress(Exception):
        act()


def connector(driver: str, arguments: Mapping[str, Any]) -> Callable[[], Any]:
    """Return what opens a connection with a driver named by its module.

    Args:
        driver: A module with a DB-API 2.0 `connect`, such as `sqlite3`, `pymysql` or `adbc_driver_postgresql.dbapi`.
        arguments: Of its `connect`.

    Raises:
        UnsupportedError: It is not installed.
        InvalidRequestError: The module has no `connect`.
    """
    try:
        connect = getattr(import_module(driver), "connect", None)
    except ImportError as error:
        raise UnsupportedError(
            f"The driver {driver!r} is not installed. Install it; ADBC's come with 'airflow-provider-lakehouse[adbc]'.",
            driver=driver,
            module=error.name,
        ) from error
    if connect is None:
        raise InvalidRequestError(
            f"The module {driver!r} is no DB-API driver. Name one that has connect.", driver=driver
        )
    return lambda: connect(**arguments)
