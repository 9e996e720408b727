"""What a table is: the contract of every backend, and the values that cross it.

A backend implements `Table` and any of the one-verb abilities in `abilities`, and inherits nothing. It is accepted when it passes
`airflow_provider_lakehouse.testing.table_spec`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, runtime_checkable

from airflow_provider_lakehouse.core.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    import pyarrow as pa

    from airflow_provider_lakehouse.core.schema import Schema, SchemaChange
    from airflow_provider_lakehouse.core.tables.filters import Bounds, Filter
    from airflow_provider_lakehouse.core.tables.spec import PartitionField, SortField, TableSpec

NO_VERSION: Final = -1
"""Version of a table that no commit has given rows yet, where the format has no number for that."""
FILE_COLUMN: Final = "_file"
"""Name under which an addressed read gives the file of a row."""
POSITION_COLUMN: Final = "_pos"
"""Name under which an addressed read gives the zero-based place of a row in its file."""
RESERVED_PREFIX: Final = "__lakehouse_"
"""Columns whose name starts with it exist on the way into a table only; no table has one."""
MAX_TOKEN_CHARACTERS: Final = 500
HIGHEST_BATCH: Final = 2**63 - 1
"""Highest batch that is a number: formats keep it in 64 bits, and a log with a higher one could not be read again."""
_LOWEST_BATCH: Final = -(2**63)

type Probe = Callable[[str], None]
"""Called with the name of a step just before and just after each call that leaves the process."""


def no_probe(step: str) -> None:
    """Ignore the step: the probe of production."""


@dataclass(frozen=True, slots=True)
class WriteToken:
    """The name of one write: the same token twice writes once.

    A batch that is a number orders the batches of its pipeline, and every batch up to the highest one committed counts as
    written. A batch that is text is remembered by itself.

    Args:
        pipeline: Who writes, the same for all attempts and runs, such as `dag_id/task_id`.
        batch: What is written, the same for all attempts at it: a partition key, a run id, an offset.

    Example:
        >>> WriteToken("retail/load_bronze", "2017-01-05").digest
        '8dd2c5075677a018'
    """

    pipeline: str
    batch: str | int

    def __post_init__(self) -> None:
        """Refuse empty and overlong parts, and numbers that no format can keep."""
        parts = (self.pipeline, str(self.batch))
        if not all(parts) or max(map(len, parts)) > MAX_TOKEN_CHARACTERS:
            raise InvalidRequestError(
                f"A write token needs a pipeline and a batch of 1 to {MAX_TOKEN_CHARACTERS} characters. Shorten or fill them.",
                pipeline=self.pipeline[:80],
                batch=str(self.batch)[:80],
            )
        if isinstance(self.batch, int) and not _LOWEST_BATCH <= self.batch <= HIGHEST_BATCH:
            raise InvalidRequestError(
                "A batch that is a number has 64 bits at most. Use a smaller number, or text.",
                pipeline=self.pipeline[:80],
            )

    @property
    def is_ordered(self) -> bool:
        """True when batches of the pipeline are numbers and only the highest is remembered."""
        return isinstance(self.batch, int)

    @property
    def digest(self) -> str:
        """16 hexadecimal characters that stand for the token in file names."""
        return _digest([self.pipeline, self.batch])

    @property
    def key(self) -> str:
        """16 hexadecimal characters under which a table remembers the token: of the pipeline alone where it is ordered."""
        return _digest([self.pipeline]) if self.is_ordered else self.digest

    def derive(self, part: str) -> WriteToken:
        """Return the token of a further write of the same batch, such as its publication or its quarantine."""
        return WriteToken(f"{self.pipeline}#{part}", self.batch)


def _digest(parts: list[str | int]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class TableIdentity:
    """Which table it is.

    Args:
        format: Registered name of the backend: `iceberg`, `delta`, `memory`.
        name: `namespace.table`, as the catalog knows it.
        location: URI of the folder that holds it; empty before it exists where the catalog chooses.
    """

    format: str
    name: str
    location: str = ""


@dataclass(frozen=True, slots=True)
class At:
    """Which state of a table: at most one of the four; none of them is the newest state of the main branch.

    Args:
        version: Number of a commit (Iceberg: snapshot id; Delta: version).
        branch: Newest state of a branch.
        tag: State a tag names.
        as_of: Newest state at an instant, timezone-aware.
    """

    version: int | None = None
    branch: str | None = None
    tag: str | None = None
    as_of: datetime | None = None

    def __post_init__(self) -> None:
        """Refuse two answers to one question, and naive instants."""
        given = [part for part in (self.version, self.branch, self.tag, self.as_of) if part is not None]
        if len(given) > 1:
            raise InvalidRequestError("Name one of version, branch, tag and as_of, not several.", given=len(given))
        if self.as_of is not None and self.as_of.tzinfo is None:
            raise InvalidRequestError("An instant needs a time zone. Use an aware datetime.")


HEAD: Final = At()


@dataclass(frozen=True)
class TableFacts:
    """What a table is, read without touching its data.

    Args:
        identity: Which table.
        version: The commit these facts describe; `NO_VERSION` where there is none.
        committed_at: When it was made; None where unknown.
        schema: Columns and identifier.
        partitioning: How it is partitioned.
        sort_order: The order it asks writers for.
        properties: As the format keeps them, without the provider's own tokens.
        comment: As readers see it.
        rows: Live rows; None where the format does not count them.
        files: Live data files.
        size_bytes: Compressed bytes of the live data files.
        branches: Name and version of every branch but the main one.
        tags: Name and version of every tag.
        keeps_identifier: Whether the format can remember the identifier of the schema.
        target_file_bytes: Size at which a data file is closed.
    """

    identity: TableIdentity
    version: int
    committed_at: datetime | None
    schema: Schema
    partitioning: tuple[PartitionField, ...] = ()
    sort_order: tuple[SortField, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    comment: str = ""
    rows: int | None = None
    files: int = 0
    size_bytes: int = 0
    branches: Mapping[str, int] = field(default_factory=dict)
    tags: Mapping[str, int] = field(default_factory=dict)
    keeps_identifier: bool = True
    target_file_bytes: int = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Positions:
    """Rows to remove, by file and place.

    Args:
        rows: Columns `_file` (string) and `_pos` (int64) as an addressed read gave them; each row at most once. 16 bytes or
            more a row.
    """

    rows: pa.Table


Removal = Literal["nothing", "all", "partitions"] | Positions
"""What a commit takes away: nothing, everything, the partitions that its new rows fall into, or chosen rows."""


@dataclass(frozen=True)
class Change:
    """One commit: rows to add, rows to take away, and what else changes with them.

    Args:
        rows: In the table's schema as it is after `schema_changes`, same names in the same order; read once. None adds none.
        removes: See `Removal`.
        base: The version from which `removes` and the rows were computed. None only where neither depends on what the table
            holds.
        guard: Rows that no commit after `base` may have added, because what this change adds was decided without them: a
            commit whose new rows may satisfy the filter is a conflict. The empty filter forbids any new row; None none.
        schema_changes: Applied in the same commit.
        properties: Properties to set; None as a value removes.
        comment: New comment of the table; None keeps.
        branch: Branch to write to, started from the main one where it does not exist. None is the main branch.
        summary: Facts for the table's history, such as the mode of the load.
    """

    rows: pa.RecordBatchReader | None = None
    removes: Removal = "nothing"
    base: int | None = None
    guard: Filter | None = None
    schema_changes: tuple[SchemaChange, ...] = ()
    properties: Mapping[str, str | None] = field(default_factory=dict)
    comment: str | None = None
    branch: str | None = None
    summary: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse decisions about rows that do not say on which version they rest."""
        if self.base is None and (isinstance(self.removes, Positions) or self.guard is not None):
            raise InvalidRequestError(
                "Removing rows by position, or guarding against new ones, needs the base version."
            )


@dataclass(frozen=True, slots=True)
class CommitResult:
    """What a commit did, or had done when its token was found.

    Args:
        token: The write.
        version: Version of the table that holds it.
        committed_at: When.
        rows_added: New rows. None when replayed and the format no longer knows.
        rows_removed: Rows taken away; likewise.
        files_added: Data files written; likewise.
        files_removed: Data files no longer live; likewise.
        bytes_added: Compressed bytes written; likewise.
        replayed: True when an earlier attempt had written it, and this one wrote nothing.
    """

    token: WriteToken
    version: int
    committed_at: datetime
    rows_added: int | None = 0
    rows_removed: int | None = 0
    files_added: int | None = 0
    files_removed: int | None = 0
    bytes_added: int | None = 0
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """One entry of a table's history.

    Args:
        version: The commit.
        parent: The one before it; None for the first.
        committed_at: When.
        operation: As the format names it: `append`, `overwrite`, `delete`, `replace`, `WRITE`, ...
        changes_rows: False for rewrites, and commits of properties, after which readers see the same rows.
        rows_added: None where the format does not say.
        rows_removed: None where the format does not say.
        summary: What the writer noted.
    """

    version: int
    parent: int | None
    committed_at: datetime
    operation: str
    changes_rows: bool
    rows_added: int | None = None
    rows_removed: int | None = None
    summary: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DataFile:
    """A live data file, for engines that read files by themselves.

    Args:
        path: Absolute URI, as in the `_file` column of addressed reads.
        rows: Rows in the file, removed ones included.
        size_bytes: Compressed bytes.
        constants: Columns whose value is the same for the whole file and is not stored in it.
        renames: Physical names in the file that differ from the table's, by table name.
        missing: Columns of the table that the file does not have; they are null.
        removed: Zero-based positions of rows that no longer count, as an int64 array; None for none.
        bounds: Statistics by column.
    """

    path: str
    rows: int
    size_bytes: int
    constants: Mapping[str, Any] = field(default_factory=dict)
    renames: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    removed: pa.Array | None = None
    bounds: Mapping[str, Bounds] = field(default_factory=dict)


@dataclass(frozen=True)
class FileListing:
    """The live files of one version of a table.

    Args:
        version: Which.
        schema: The table's.
        files: Those that may hold rows that satisfy the filter asked for.
    """

    version: int
    schema: Schema
    files: tuple[DataFile, ...]


@runtime_checkable
class Table(Protocol):
    """A table that can be read, written once, changed and described.

    Guarantees:
        Replay: a commit with a token that the table remembers writes nothing and returns what the first one did.
        Crash: a commit is visible whole or not at all; whatever a killed attempt left is not part of the table.
        Concurrency: of two live attempts with one token one commits; attempts with different tokens behave as if one had
        come after the other, or one gets `ConflictError`.
    """

    @property
    def identity(self) -> TableIdentity:
        """Which table."""

    def exists(self) -> bool:
        """Tell whether the table is there."""

    def create(self, spec: TableSpec) -> bool:
        """Create the table unless it is there.

        Returns:
            True when this call created it. A table that is there is left as it is; see `plan_spec` for differences.

        Raises:
            UnsupportedError: The format cannot hold what the specification asks for. Nothing was created.
        """

    def facts(self, *, at: At = HEAD) -> TableFacts:
        """Describe the table.

        Raises:
            InvalidRequestError: There is no such table, version, branch or tag.
        """

    def read(
        self, *, columns: tuple[str, ...] | None = None, where: Filter = (), at: At = HEAD
    ) -> pa.RecordBatchReader:
        """Stream rows in no particular order, bounded in memory.

        Args:
            columns: Which, in which order; None for all.
            where: Rows to keep.
            at: Which state.
        """

    def commit(self, change: Change, *, token: WriteToken) -> CommitResult:
        """Write a change once.

        Raises:
            InvalidRequestError: The change does not fit the table. Nothing was written.
            DataRejectedError: A row breaks the schema. Nothing was written.
            ConflictError: A commit after `change.base` touched what the change rests on. Nothing was written.
            OutcomeUnknownError: The answer to the commit was lost. Rerun with the same token.
        """

    def find(self, token: WriteToken) -> CommitResult | None:
        """Return what a token wrote, None when it has not been committed."""

    def drop(self) -> None:
        """Remove the table and its files; nothing happens when it is not there."""


@runtime_checkable
class Catalog(Protocol):
    """Where tables are found by name."""

    def table(self, name: str) -> Table:
        """Return the table `namespace.table`, whether it exists or not."""

    def tables(self, namespace: str) -> tuple[str, ...]:
        """Return the names of the tables of a namespace, sorted; empty when it does not exist."""


@dataclass(frozen=True)
class CatalogSettings:
    """How to reach a catalog.

    Args:
        format: Registered name of the backend: `iceberg`, `delta`, `memory`.
        warehouse: URI of the folder under which new tables are created, such as `s3://lake/warehouse` or `file:///data/lake`.
        name: Name of the catalog, as Iceberg and lineage know it.
        properties: What the backend's catalog and file system need: Iceberg's catalog properties (`type`, `uri`,
            `s3.endpoint`, ...); for Delta the same `s3.*` names. May hold secrets, so it is left out of `repr`.
    """

    format: str
    warehouse: str
    name: str = "default"
    properties: Mapping[str, str] = field(default_factory=dict, repr=False)
