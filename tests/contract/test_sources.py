"""Every kind of source passes the same specification."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import duckdb

from airflow_provider_lakehouse.core.sources.dbapi.source import open_source
from airflow_provider_lakehouse.core.sources.files.source import FileSettings, FileSource
from airflow_provider_lakehouse.testing.source_spec import SourceSpecification

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_lakehouse.core.sources.base import Source

TABLES = """
CREATE TABLE IF NOT EXISTS filled AS SELECT 1 AS id, 'a' AS name UNION ALL SELECT 2, NULL UNION ALL SELECT 3, 'c';
CREATE TABLE IF NOT EXISTS "empty" (id BIGINT, name VARCHAR(10));
"""


class TestFiles(SourceSpecification):
    def filled(self, root: Path) -> Source:
        for name in ("a", "b"):
            path = root / f"{name}.csv"
            if not path.exists():
                path.write_text(f"id,name\n1,{name}\n2,{name}\nthree,{name}\n")
        return FileSource(FileSettings(f"{root}/*.csv"))

    def empty(self, root: Path) -> Source:
        return FileSource(FileSettings(f"{root}/none/*.csv"))


class TestSqlite(SourceSpecification):
    """Rows of a driver that knows no types: a relation without rows needs them declared."""

    driver = "sqlite3"

    def database(self, root: Path) -> dict[str, Any]:
        with closing(sqlite3.connect(root / "shop.db")) as connection:
            connection.executescript(TABLES)
        return {
            "driver": self.driver,
            "arguments": self.arguments(root / "shop.db"),
            "uri": f"sqlite:///{root}/shop.db",
        }

    def arguments(self, path: Path) -> dict[str, Any]:
        return {"database": str(path)}

    def filled(self, root: Path) -> Source:
        return open_source(**self.database(root), relation="filled")

    def empty(self, root: Path) -> Source:
        return open_source(**self.database(root), relation="empty", columns={"id": "long", "name": "string"})


class TestSqliteThroughAdbc(TestSqlite):
    """Arrow of a driver that guesses types from the values."""

    driver = "adbc_driver_sqlite.dbapi"

    def arguments(self, path: Path) -> dict[str, Any]:
        return {"uri": str(path)}


class TestDuckDB(SourceSpecification):
    """Arrow of a database that knows its types, also where there are no rows."""

    def database(self, root: Path) -> dict[str, Any]:
        with duckdb.connect(root / "shop.duckdb") as connection:
            connection.execute(TABLES)
        arguments = {"database": str(root / "shop.duckdb")}
        return {"driver": "duckdb", "arguments": arguments, "uri": f"duckdb://{root}/shop.duckdb"}

    def filled(self, root: Path) -> Source:
        return open_source(**self.database(root), relation="filled")

    def empty(self, root: Path) -> Source:
        return open_source(**self.database(root), relation="empty")
