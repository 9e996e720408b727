"""PostgreSQL as a source: whole relations, increments by a cursor, or one range of a partition column."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError
from airflow_provider_lakehouse.core.sources.base import (
    SOURCE_FILE_COLUMN,
    SOURCE_ROW_COLUMN,
    ExtractPlan,
    Slice,
)
from airflow_provider_lakehouse.core.sources.postgres.catalog import (
    blocks_of,
    check_literal,
    cursor_cast,
    describe,
    has_null,
    high_water_mark,
    lowered,
    seen_by,
)
from airflow_provider_lakehouse.core.sources.postgres.connection import (
    begin,
    connect,
    export_snapshot,
    server_of,
    translated,
)
from airflow_provider_lakehouse.core.sources.postgres.copy_stream import ParallelCopy
from airflow_provider_lakehouse.core.sources.postgres.plan import (
    RangeFacts,
    fingerprint_of,
    origin_of,
    plan_blocks,
    select_of,
)
from airflow_provider_lakehouse.core.sources.postgres.settings import PostgresSettings
from airflow_provider_lakehouse.core.sources.postgres.text import TextLayout, decode_block
from airflow_provider_lakehouse.core.sources.relations import Condition, PartitionRange, high_of, parse_relation

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from datetime import datetime

    import pyarrow as pa
    from psycopg.sql import Composable

    from airflow_provider_lakehouse.core.sources.base import (
        Json,
        Rejects,
    )
    from airflow_provider_lakehouse.core.sources.postgres.connection import Connection
    from airflow_provider_lakehouse.core.sources.postgres.copy_stream import CopyBlock
    from airflow_provider_lakehouse.core.sources.postgres.text import DecodedBlock
    from airflow_provider_lakehouse.core.sources.postgres.types import SourceColumn


class PostgresSource:
    """A source of rows in PostgreSQL.

    Args:
        settings: What to read, and how.

    Guarantees:
        Consistency: one read sees one snapshot, over all its connections.
        Completeness: a reader that ends without an error gave every row of the plan, confirmed by the server's count.
        Values: exactly PostgreSQL's, or the row is rejected (the value null, if so set); never rounded or wrapped.
        Replay: PostgreSQL does not give an old snapshot back, so a second read of a plan gives the same *range* as of
            the second read. `incremental`: rows that are only inserted, or whose cursor grows when they change, are the
            same, plus late commits within the range; a row changed since has moved above the upper bound and comes with
            the next plan. `full` and `partition`: the relation as of the read, which is what a replacing load wants. A
            plan whose columns changed meanwhile is refused. Slices name the state that was planned, so plans over
            different states have different fingerprints.
        Missed rows: `incremental` never sees deletions, rows whose cursor is null (the plan's `left_out` then says so)
            or infinite, nor rows that commit later than the lag allows.
        Memory: bounded whatever the size: a block of 4 MiB for every connection, four more at most on their way, and a
            few times the largest row.
    """

    def __init__(self, settings: PostgresSettings) -> None:
        self.settings = settings

    @property
    def identity(self) -> str:
        """URI of server, database and relation, without user and password; a query stands for itself by its hash."""
        server = server_of(self.settings.dsn)
        if self.settings.relation:
            return f"{server}/{quote('.'.join(parse_relation(self.settings.relation)), safe='.')}"
        return f"{server}/query-{hashlib.sha256(self.settings.query.strip().encode()).hexdigest()[:12]}"

    @cached_property
    def _name(self) -> str:
        return self.settings.relation or "the query"

    @cached_property
    def _origin(self) -> Composable:
        return origin_of(self.settings.relation, self.settings.query)

    def plan(self, *, position: Mapping[str, Json] | None, now: datetime) -> ExtractPlan:
        """Decide what to read.

        Args:
            position: What the target has seen; None or empty when it has seen nothing. Only `incremental` looks at it.
            now: The instant of planning.

        Returns:
            Ranges, as JSON. `incremental`: rows above the last high-water mark less the lag, up to and including the
            present one, which becomes the position; no slices when nothing can be new.

        Raises:
            InvalidRequestError: Settings and relation do not go together, or the position is of another cursor.
            UnavailableError: The server did not answer.
        """
        with closing(connect(self.settings.dsn)) as connection, translated(self._name):
            begin(connection)
            columns = self._describe(connection)
            facts = RangeFacts(fingerprint_of(columns), seen_by(connection))
            identity = self.identity
            if self.settings.mode == "incremental":
                return self._plan_increment(connection, facts, position or {}, ExtractPlan(identity, now, ()))
            if self.settings.partition:
                facts = replace(facts, conditions=self._partition(connection))
            slices = self._ranges(connection, facts)
            return ExtractPlan(identity, now, slices, position=dict(position or {}))

    def read(self, plan: ExtractPlan, *, rejects: Rejects) -> pa.RecordBatchReader:
        """Stream the rows of a plan.

        Args:
            plan: Of this source; kept for retries.
            rejects: Takes the rows with values that do not fit.

        Returns:
            Columns of the relation, then `_source_file` (the relation's name) and `_source_row` (null: rows have no
            order). Several connections interleave their rows. Connections and statements end with the last row, with an
            error, or when the reader is deleted; Arrow does not tell a Python source of `close()`.

        Raises:
            InvalidRequestError: The plan is not of this source.
            DataRejectedError: Columns changed since the plan was made, or too many rows are rejected.
            UnavailableError: The server did not answer, or went away while the reader was read.
        """
        import pyarrow as pa

        if plan.source != self.identity:
            raise InvalidRequestError(
                "The plan is of another source. Read it with the source that made it.",
                planned=plan.source,
                source=self.identity,
            )
        stream = self._stream([RangeFacts.from_json(part.facts) for part in plan.slices], rejects)
        schema = next(stream)
        return pa.RecordBatchReader.from_batches(schema, stream)

    def _describe(self, connection: Connection) -> tuple[SourceColumn, ...]:
        settings = self.settings
        columns = describe(connection, self._origin, settings.columns, relation=settings.relation)
        names = {column.name for column in columns}
        reserved = names & {SOURCE_FILE_COLUMN, SOURCE_ROW_COLUMN}
        unknown = set(settings.as_text) - names
        if reserved or unknown:
            raise InvalidRequestError(
                f"Columns of {self._name!r} do not fit the settings. Leave out reserved names, name existing ones.",
                reserved=tuple(sorted(reserved)),
                unknown=tuple(sorted(unknown)),
            )
        return tuple(replace(c, type="string") if c.name in settings.as_text else c for c in columns)

    def _column(self, connection: Connection, name: str) -> SourceColumn:
        return describe(connection, self._origin, [name], relation=self.settings.relation)[0]

    def _ranges(self, connection: Connection, facts: RangeFacts) -> tuple[Slice, ...]:
        blocks = plan_blocks(blocks_of(connection, self.settings.relation), parallelism=self.settings.parallelism)
        ranges = [replace(facts, blocks=part) for part in blocks]
        return tuple(Slice(f"{self._name}: {part.name}", part.to_json()) for part in ranges)

    def _partition(self, connection: Connection) -> tuple[Condition, ...]:
        partition = self.settings.partition or PartitionRange("")
        column = self._column(connection, partition.column)
        for condition in partition.conditions:
            check_literal(connection, column, condition.value)
        return partition.conditions

    def _plan_increment(
        self, connection: Connection, facts: RangeFacts, position: Mapping[str, Json], plan: ExtractPlan
    ) -> ExtractPlan:
        settings = self.settings
        cursor = self._column(connection, settings.cursor)
        cursor_cast(cursor)
        seen = high_of(position, settings.cursor)
        high = high_water_mark(connection, self._origin, cursor, before=seen)
        left_out = {"null": f"rows whose {cursor.name} is null"} if has_null(connection, self._origin, cursor) else {}
        if high is None:
            return replace(plan, left_out=left_out)
        plan = replace(plan, position={"cursor": cursor.name, "high": high}, left_out=left_out)
        upper = Condition(cursor.name, "<=", high)
        if seen is None:
            return replace(plan, slices=self._ranges(connection, replace(facts, conditions=(upper,))))
        lower = Condition(cursor.name, ">", lowered(connection, cursor, seen, lag=settings.lag))
        if lower.value == upper.value:
            return plan
        part = replace(facts, conditions=(lower, upper))
        return replace(plan, slices=(Slice(f"{self._name}: {part.name}", part.to_json()),))

    def _stream(self, ranges: Sequence[RangeFacts], rejects: Rejects) -> Generator[Any]:
        """Yield the schema, then batches. What is opened before the schema is closed even if no batch is wanted."""
        with ExitStack() as stack:
            guard = stack.enter_context(closing(connect(self.settings.dsn)))
            with translated(self._name):
                begin(guard)
                columns = self._as_planned(self._describe(guard), ranges)
                statements = self._statements(guard, ranges)
            layout = TextLayout(columns, self._name, self.settings.unfit)
            yield layout.schema
            connections = self._readers(guard, min(self.settings.parallelism, len(ranges)), stack)

            def convert(block: CopyBlock) -> DecodedBlock:
                return decode_block(block.text, rows=block.rows, layout=layout)

            copy = ParallelCopy(connections, statements, convert=convert, relation=self._name)
            stack.callback(copy.close)
            for decoded in copy.results():
                for row in decoded.rejected:
                    rejects.add(row)
                yield decoded.batch

    def _as_planned(self, columns: tuple[SourceColumn, ...], ranges: Sequence[RangeFacts]) -> tuple[SourceColumn, ...]:
        now = fingerprint_of(columns)
        if any(part.columns != now for part in ranges):
            raise DataRejectedError(
                f"Columns of {self._name!r} changed since the plan was made. Plan anew.", relation=self._name
            )
        return columns

    def _statements(self, connection: Connection, ranges: Sequence[RangeFacts]) -> list[bytes]:
        from psycopg import sql

        bounded = {condition.column for part in ranges for condition in part.conditions}
        types = {name: self._bound_type(self._column(connection, name)) for name in bounded}
        copy = sql.SQL("COPY ({}) TO STDOUT (FORMAT text)")
        selects = (select_of(self._origin, self.settings.columns, facts=part, types=types) for part in ranges)
        return [copy.format(select).as_bytes(connection) for select in selects]

    def _bound_type(self, column: SourceColumn) -> str:
        return cursor_cast(column) if self.settings.mode == "incremental" else column.base_type

    def _readers(self, guard: Connection, count: int, stack: ExitStack) -> list[Connection]:
        """Open connections that see the same.

        The guard has locked the relation before the snapshot is taken: a snapshot older than a TRUNCATE or a rewriting
        ALTER TABLE, for whose lock it then waits, would see an empty table. Once the readers hold the lock it may go.
        """
        connections = [stack.enter_context(closing(connect(self.settings.dsn))) for _ in range(count)]
        with translated(self._name):
            snapshot = export_snapshot(guard)
            for connection in connections:
                begin(connection, snapshot=snapshot)
                self._describe(connection)
        guard.close()
        return connections


def open_source(**settings: Any) -> PostgresSource:  # noqa: ANN401
    """Build a source from settings, as the registry does.

    Args:
        **settings: Those of `PostgresSettings`; lists for tuples, and a mapping for `partition`, are taken too.

    Raises:
        InvalidRequestError: A setting is unknown, missing or wrong.
    """
    values: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in settings.items()}
    if isinstance(values.get("columns"), Mapping):
        raise InvalidRequestError(
            "PostgreSQL says itself which types its columns have. Name the columns, and cast in a query, or use as_text."
        )
    try:
        if isinstance(values.get("partition"), Mapping):
            values["partition"] = PartitionRange(**values["partition"])
        return PostgresSource(PostgresSettings(**values))
    except TypeError as error:
        raise InvalidRequestError(
            "A setting of the PostgreSQL source is unknown or missing. See PostgresSettings.",
            settings=tuple(sorted(settings)),
        ) from error
