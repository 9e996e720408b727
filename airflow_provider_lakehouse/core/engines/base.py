"""What an engine is: it runs SQL over named lakehouse tables and streams the rows back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.tables.base import HEAD

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    import pyarrow as pa

    from airflow_provider_lakehouse.core.schema import Schema
    from airflow_provider_lakehouse.core.tables.base import At, Table
    from airflow_provider_lakehouse.core.tables.filters import Filter

DEFAULT_MEMORY_BYTES: Final = 1024 * 1024 * 1024
_SMALLEST_MEMORY_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How much an engine may take from its machine.

    Args:
        memory_limit_bytes: Memory before it spills to disk.
        threads: At most this many; None for one for each core.
        spill_directory: Folder for temporary files; None for the system's. Each session uses a folder of its own in
            it and removes it in the end.
    """

    memory_limit_bytes: int = DEFAULT_MEMORY_BYTES
    threads: int | None = None
    spill_directory: str | None = None

    def __post_init__(self) -> None:
        """Refuse limits under which no engine can work."""
        if self.memory_limit_bytes < _SMALLEST_MEMORY_BYTES or (self.threads is not None and self.threads < 1):
            raise InvalidRequestError(
                "An engine needs at least 16 MiB of memory and one thread. Raise the limits.",
                memory_limit_bytes=self.memory_limit_bytes,
                threads=self.threads,
            )


@dataclass(frozen=True, slots=True)
class TableView:
    """A table as a query sees it.

    Args:
        table: Which.
        at: Which state.
        where: The query sees only these rows.
        addressed: Adds the columns `_file` and `_pos`; the table needs the ability `Addressing`.
    """

    table: Table
    at: At = HEAD
    where: Filter = ()
    addressed: bool = False


type Relation = Table | TableView | pa.Table
"""What a query can name."""


@runtime_checkable
class Engine(Protocol):
    """Runs SQL over named tables.

    Guarantees:
        Reading only: a statement that is not a query is refused.
        Time: the session's time zone is UTC.
        Memory: bounded by the settings; what does not fit waits on disk.
    """

    @property
    def settings(self) -> EngineSettings:
        """What it may take from its machine."""

    def query(
        self, sql: str, *, tables: Mapping[str, Relation] | None = None, parameters: Mapping[str, Any] | None = None
    ) -> AbstractContextManager[pa.RecordBatchReader]:
        """Run a query, and stream its rows while the context is open.

        Args:
            sql: One query. Values are written as `$name`.
            tables: By the name that the query uses; a name with a dot is `schema.table`.
            parameters: Values by name; those that the query does not name are not used.

        Raises:
            InvalidRequestError: The statement is no query, or names what is not there.
            DataRejectedError: A value could not be computed or converted.
            UnavailableError: There is not enough memory or disk.
        """

    def describe(
        self, sql: str, *, tables: Mapping[str, Relation] | None = None, parameters: Mapping[str, Any] | None = None
    ) -> Schema:
        """Return the columns a query gives, without running it.

        Raises:
            InvalidRequestError: As for `query`; also for a column of a type no table can hold, or a repeated name.
        """


class Workspace(Protocol):
    """Room for one piece of work: tables that spill to disk and are gone in the end. SQL in DuckDB's dialect."""

    def execute(self, sql: str, *, inputs: Mapping[str, Input] | None = None) -> None:
        """Run a statement that gives no rows, such as `CREATE TABLE ... AS`; inputs are named as in the statement."""

    def rows(self, sql: str, *, inputs: Mapping[str, Input] | None = None) -> list[tuple[Any, ...]]:
        """Return the few rows of a query."""

    def table(self, sql: str) -> pa.Table:
        """Return the rows of a query, held in memory."""

    def stream(self, sql: str, *, schema: pa.Schema | None = None) -> pa.RecordBatchReader:
        """Stream the rows of a query, cast to `schema`; other statements may run meanwhile."""


type Input = pa.RecordBatchReader | pa.Table | pa.dataset.Dataset | TableView
"""Rows from outside that a statement of a workspace can name. Of a view only what the statement needs is read."""


@runtime_checkable
class Working(Protocol):
    """Rows can be kept, joined and compared in a workspace, larger than memory."""

    def workspace(self) -> AbstractContextManager[Workspace]:
        """Open a workspace."""
