"""Connections to PostgreSQL, and the one place that turns its errors into the seven kinds."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from airflow_provider_lakehouse.core.errors import (
    DamagedError,
    DataRejectedError,
    InvalidRequestError,
    UnavailableError,
    UnsupportedError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from airflow_provider_lakehouse.core.errors import (
        LakehouseError,
    )

    Connection = psycopg.Connection[tuple[Any, ...]]

_CONNECT_DEFAULTS: Final = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "fallback_application_name": "airflow-provider-lakehouse",
}
# Local to the transaction, so that a pooling proxy between us and the server keeps nothing of it.
_SESSION: Final = (
    "SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL intervalstyle = 'iso_8601'; "
    "SET LOCAL bytea_output = 'hex'; SET LOCAL extra_float_digits = 3; SET LOCAL jit = off"
)
# What a server says while it refuses a connection has no code in libpq, only text.
_REFUSALS: Final = ("authentication failed", "no pg_hba.conf entry", "does not exist", "no password supplied")
_KINDS: Final[tuple[tuple[str, type[LakehouseError], str], ...]] = (
    ("22021", DataRejectedError, "Text in it is not in the encoding it should be. Repair it, or select it as bytea."),
    ("22", DataRejectedError, "An expression failed on a value. Repair the value or the expression."),
    ("0A", UnsupportedError, "PostgreSQL does not support this. Change the query or the server."),
    ("XX", DamagedError, "PostgreSQL found its own data damaged. Look at the server's log."),
    ("3D", InvalidRequestError, "There is no such database. Correct the connection."),
    ("28", InvalidRequestError, "The server refuses the user. Correct the connection."),
    ("42501", InvalidRequestError, "The user lacks a privilege. Grant SELECT."),
    ("42", InvalidRequestError, "The relation, a column or the query is wrong. Correct the settings."),
    ("25", InvalidRequestError, "The query would write. Only read."),
    ("55000", InvalidRequestError, "The relation cannot be read as it is. Populate or repair it."),
)
"""By the start of the SQLSTATE: the kind, and what to do. Anything else may pass with time."""


def connect(dsn: str) -> Connection:
    """Open a connection.

    Args:
        dsn: As libpq reads it: a URI, or keywords and values.

    Raises:
        InvalidRequestError: The text is not a connection string, or the server refuses user or database.
        UnavailableError: The server did not answer.
    """
    import psycopg
    from psycopg.conninfo import make_conninfo

    conninfo = make_conninfo("", **{**_CONNECT_DEFAULTS, **_parameters(dsn), "client_encoding": "utf8"})
    try:
        return psycopg.connect(conninfo, autocommit=True, prepare_threshold=None)
    except psycopg.Error as error:
        server = server_of(dsn)
        if any(refusal in str(error) for refusal in _REFUSALS):
            raise InvalidRequestError(
                "PostgreSQL refuses the connection. Correct user, password or database.", server=server
            ) from error
        raise UnavailableError("PostgreSQL does not answer. Try again later.", server=server) from error


def begin(connection: Connection, *, snapshot: str = "") -> None:
    """Begin a transaction that only reads, and in which values are written as `text` reads them.

    Args:
        connection: Open, and not in a transaction.
        snapshot: What `export_snapshot` returned: every statement sees that; empty: each sees the present.
    """
    from psycopg import sql

    isolation = "REPEATABLE READ" if snapshot else "READ COMMITTED"
    connection.execute(sql.SQL("BEGIN ISOLATION LEVEL {}, READ ONLY").format(sql.SQL(isolation)))
    if snapshot:
        connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot)))
    connection.execute(_SESSION)


def export_snapshot(connection: Connection) -> str:
    """Return the name under which other transactions can see what is committed now; valid while this one lasts."""
    row = connection.execute("SELECT pg_export_snapshot()").fetchone()
    return str(row[0]) if row else ""


def server_of(dsn: str) -> str:
    """Return host, port and database as a URI without user and password.

    Raises:
        InvalidRequestError: The text is not a connection string.
    """
    parameters = _parameters(dsn)
    host = parameters.get("host") or parameters.get("hostaddr") or parameters.get("service") or "localhost"
    database = parameters.get("dbname") or parameters.get("user") or ""
    return f"postgresql://{quote(host, safe=',')}:{parameters.get('port') or 5432}/{quote(database, safe='')}"


def _parameters(dsn: str) -> dict[str, str]:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        return {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
    except psycopg.Error:
        # Not chained: libpq quotes the text, which may hold the password.
        raise InvalidRequestError(
            "This is no PostgreSQL connection string. Write postgresql://user@host:5432/database, "
            "special characters percent-encoded."
        ) from None


@contextmanager
def translated(relation: str) -> Iterator[None]:
    """Turn psycopg's errors into the seven kinds.

    Args:
        relation: What is being read, for the message.

    Raises:
        UnavailableError: The server went away, gave up or is overloaded.
        LakehouseError: Of the kind that the SQLSTATE stands for.
    """
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        quotes_values = (error.sqlstate or "").startswith("22")
        raise error_of(error, relation) from (None if quotes_values else error)


def error_of(error: psycopg.Error, relation: str) -> LakehouseError:
    """Return the kind of failure that an error of psycopg is, without the values its text may quote."""
    state = error.sqlstate or ""
    for start, kind, advice in _KINDS:
        if state.startswith(start):
            detail = error.diag.message_primary if start == "42" else None
            facts = {"detail": detail} if detail else {}
            return kind(f"PostgreSQL cannot read {relation!r}. {advice}", relation=relation, sqlstate=state, **facts)
    return UnavailableError(
        f"PostgreSQL went away or gave up while reading {relation!r}. Try again later.",
        relation=relation,
        sqlstate=state,
    )
