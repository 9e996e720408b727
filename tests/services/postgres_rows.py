"""A database with tables made for a test, and the PostgreSQL source over it."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from airflow_provider_lakehouse.core.sources.base import Rejects
from airflow_provider_lakehouse.core.sources.postgres.settings import PostgresSettings
from airflow_provider_lakehouse.core.sources.postgres.source import PostgresSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from airflow_provider_lakehouse.core.sources.base import ExtractPlan

    from .postgres_server import PostgresServer

OURS = "FROM pg_stat_activity WHERE application_name = 'airflow-provider-lakehouse' AND datname = current_database()"
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer) -> str:
    """A database of this file's own."""
    return postgres_server.create_database(f"test_{uuid.uuid4().hex}")


@pytest.fixture
def dsn(database: str) -> str:
    """The database, emptied."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute('DROP SCHEMA IF EXISTS public, "S.1" CASCADE; CREATE SCHEMA public')
    return database


@pytest.fixture
def sql(dsn: str) -> Iterator[Any]:
    """Runs statements, each committed at once."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "SET timezone = 'UTC'; SET intervalstyle = 'iso_8601'; SET extra_float_digits = 3; SET bytea_output = 'hex'"
        )
        yield connection.execute


def source(dsn: str, relation: str = "", **settings: Any) -> PostgresSource:
    return PostgresSource(PostgresSettings(dsn=dsn, relation=relation, **settings))


def table_of(of: PostgresSource, plan: ExtractPlan | None = None, rejects: Rejects | None = None) -> pa.Table:
    plan = plan or of.plan(position=None, now=NOW)
    table = of.read(plan, rejects=rejects or Rejects()).read_all()
    table.validate(full=True)
    return table


def rows_of(
    of: PostgresSource, plan: ExtractPlan | None = None, rejects: Rejects | None = None
) -> list[dict[str, Any]]:
    return table_of(of, plan, rejects).drop_columns(["_source_file", "_source_row"]).to_pylist()


def wait_until(holds: Callable[[], bool]) -> None:
    """Ask again and again: a server's process ends a moment after its connection."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
