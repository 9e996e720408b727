"""Connections to a database, and the one place that turns a driver's errors into the seven kinds."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.errors import (
    DamagedError,
    DataRejectedError,
    InvalidRequestError,
    LakehouseError,
    UnavailableError,
    UnsupportedError,
)
from airflow_provider_lakehouse.core.sources.dbapi.drivers import driver_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_lakehouse.core.sources.dbapi.drivers import Driver
    from airflow_provider_lakehouse.core.sources.dbapi.settings import DbApiSettings

_BY_SQLSTATE: Final[tuple[tuple[str, type[LakehouseError]], ...]] = (
    ("08", UnavailableError), ("0A", UnsupportedError), ("22", DataRejectedError), ("25", InvalidRequestError),
    ("28", InvalidRequestError), ("3D", InvalidRequestError), ("42", InvalidRequestError), ("XX", DamagedError),
)  # fmt: skip
# SQLite and MySQL use OperationalError for what can pass with time, and for what cannot: sqlite.org/rescode.html, and
# "Server Error Message Reference" of MySQL.
_BY_SQLITE_NAME: Final[tuple[tuple[str, type[LakehouseError]], ...]] = (
    ("SQLITE_CORRUPT", DamagedError), ("SQLITE_NOTADB", DamagedError), ("SQLITE_BUSY", UnavailableError),
    ("SQLITE_LOCKED", UnavailableError), ("SQLITE_IOERR", UnavailableError), ("SQLITE_CANTOPEN", UnavailableError),
    ("SQLITE_INTERRUPT", UnavailableError), ("SQLITE_ERROR", InvalidRequestError),
    ("SQLITE_READONLY", InvalidRequestError), ("SQLITE_AUTH", InvalidRequestError),
)  # fmt: skip
_BY_MYSQL_NUMBER: Final[dict[int, type[LakehouseError]]] = dict.fromkeys(
    (1044, 1045, 1049, 1054, 1064, 1142, 1143, 1146, 1227, 1370, 1698), InvalidRequestError
)
_BY_NAME: Final[tuple[tuple[str, type[LakehouseError]], ...]] = (
    ("ProgrammingError", InvalidRequestError), ("DataError", DataRejectedError),
    ("IntegrityError", DataRejectedError), ("NotSupportedError", UnsupportedError), ("Error", UnavailableError),
)  # fmt: skip
"""Classes of PEP 249, the first that an error is of; the errors of a connection that went away are of none before the last."""
_VALUE_WORDS: Final = ("Type mismatch", "Conversion Error", "Out of Range Error", "Invalid Input Error")
"""How ADBC's SQLite driver and DuckDB begin to say that a value is not what the column is taken for."""
_ADVICE: Final[dict[type[LakehouseError], str]] = {
    UnavailableError: "The database went away or gave up. Try again later.",
    UnsupportedError: "The database does not support this. Change the query.",
    DataRejectedError: "A value is not what its expression or column takes. Repair it, or cast it in a query.",
    InvalidRequestError: "The connection, the relation, a column or the query is wrong. Correct the settings.",
    DamagedError: "The database found itself damaged. Look at its log.",
}


@contextmanager
def opened(settings: DbApiSettings) -> Iterator[tuple[Any, Driver]]:
    """Open a connection; it is closed without a commit, so nothing that the transaction did stays.

    Yields:
        The connection, its session set up, and what is known of its driver.

    Raises:
        UnavailableError: The database did not answer.
        InvalidRequestError: It refuses the user or the address, or the driver is not understood.
    """
    with translated(settings.server):
        connection = settings.connect()
    try:
        with translated(settings.server):
            driver = driver_of(connection, paramstyle=settings.paramstyle, quote=settings.quote)
            _set_up(connection, driver)
        yield connection, driver
    finally:
        with suppress(Exception):  # whatever state it is in
            connection.close()


def _set_up(connection: Any, driver: Driver) -> None:  # noqa: ANN401
    for statement in driver.session:
        cursor = connection.cursor() if driver.module != "duckdb" else connection
        cursor.execute(statement)


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Turn a driver's errors into the seven kinds.

    Args:
        name: What is being read, for the message.

    Raises:
        LakehouseError: Of the kind the error stands for; errors that are not a driver's pass as they are.
    """
    try:
        yield
    except LakehouseError:
        raise
    except Exception as error:
        kind = kind_of(error)
        if kind is None:
            raise
        translation = kind(f"Cannot read {name!r}. {_ADVICE[kind]}", source=name, error=type(error).__name__)
        # What a driver says of a value that does not fit may quote it.
        raise translation from (None if kind is DataRejectedError else error)


def kind_of(error: Exception) -> type[LakehouseError] | None:
    """Return the kind of failure a driver's error is; None for one that is not a driver's."""
    for attribute, table in (
        ("sqlstate", _BY_SQLSTATE),
        ("pgcode", _BY_SQLSTATE),
        ("sqlite_errorname", _BY_SQLITE_NAME),
    ):
        text = str(getattr(error, attribute, None) or "")
        for start, kind in table:
            if text.startswith(start):
                return kind
    number = error.args[0] if error.args and isinstance(error.args[0], int) else None
    if number in _BY_MYSQL_NUMBER and _is_of(error, "DatabaseError"):
        return _BY_MYSQL_NUMBER[number]
    found = next((kind for name, kind in _BY_NAME if _is_of(error, name)), None)
    return found or _kind_of_stream_error(error)


def _kind_of_stream_error(error: Exception) -> type[LakehouseError] | None:
    """An Arrow stream keeps only the text of what its driver says."""
    if _is_of(error, "ArrowInvalid") or any(words in str(error) for words in _VALUE_WORDS):
        return DataRejectedError
    return UnavailableError if isinstance(error, OSError) else None


def _is_of(error: Exception, name: str) -> bool:
    return any(kind.__name__ == name for kind in type(error).__mro__)
