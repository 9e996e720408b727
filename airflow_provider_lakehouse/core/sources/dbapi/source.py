"""A database as a source: whole relations, increments by a cursor, or one range of a partition column."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.sources.background import Background
from airflow_provider_lakehouse.core.sources.base import ExtractPlan, Slice
from airflow_provider_lakehouse.core.sources.dbapi.batches import BATCH_BYTES, Layout, decode
from airflow_provider_lakehouse.core.sources.dbapi.catalog import describe, has_null, high_water_mark
from airflow_provider_lakehouse.core.sources.dbapi.connection import opened, translated
from airflow_provider_lakehouse.core.sources.dbapi.drivers import connector, run
from airflow_provider_lakehouse.core.sources.dbapi.plan import RangeFacts, kind_of_bound, lowered, names_of
from airflow_provider_lakehouse.core.sources.dbapi.settings import MAX_NAME_PARTS, DbApiSettings
from airflow_provider_lakehouse.core.sources.relations import Condition, PartitionRange, high_of, parse_relation

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from datetime import datetime

    import pyarrow as pa

    from airflow_provider_lakehouse.core.sources.base import Json, Rejects
    from airflow_provider_lakehouse.core.sources.dbapi.batches import Decoded
    from airflow_provider_lakehouse.core.sources.dbapi.drivers import ArrowResult, RowResult


class DbApiSource:
    """A source of rows in any database with a DB-API 2.0 or ADBC driver.

    Args:
        settings: What to read, and how.

    Guarantees:
        Consistency: one read is one statement on one connection, so it sees what the database shows to one statement.
        Completeness: a reader that ends without an error gave every row that the driver gave.
        Values: exactly those that the driver gives, or the row is rejected (the value null, if so set). Types that the
            caller does not declare are decided when the plan is made, from what the driver says, or from the first 1,000
            rows where it says nothing; they are refused rather than guessed where those do not decide them.
        Replay: a database gives no old state back, so a second read of a plan gives the same range as of the second
            read. A plan is refused once the names of its columns changed; values of another type reject their row.
        Missed rows: `incremental` never sees deletions, rows whose cursor is null (the plan's `left_out` then says so),
            nor rows that commit later than the lag allows.
        Memory: four batches of about 4 MiB, or as large as an Arrow driver makes them, provided that the driver streams:
            those of SQLite, DuckDB, ADBC, MySQL and PostgreSQL do, and are told to.
    """

    def __init__(self, settings: DbApiSettings) -> None:
        self.settings = settings

    @property
    def identity(self) -> str:
        """URI of database and relation, without user and password; a query stands for itself by its hash."""
        server = self.settings.server
        if self.settings.relation:
            return f"{server}/{quote('.'.join(self._parts), safe='.')}"
        return f"{server}/query-{hashlib.sha256(self.settings.query.strip().encode()).hexdigest()[:12]}"

    @cached_property
    def _parts(self) -> tuple[str, ...]:
        return parse_relation(self.settings.relation, max_parts=MAX_NAME_PARTS)

    @cached_property
    def _name(self) -> str:
        return self.settings.relation or "the query"

    def plan(self, *, position: Mapping[str, Json] | None, now: datetime) -> ExtractPlan:
        """Decide what to read.

        Args:
            position: What the target has seen; None or empty when it has seen nothing. Only `incremental` looks at it.
            now: The instant of planning.

        Returns:
            One range, as JSON, and the type of every column. `incremental`: rows above the last high-water mark less the
            lag, up to and including the present one, which becomes the position; no slice when nothing can be new.

        Raises:
            InvalidRequestError: Settings and relation do not go together, or a column's type has to be declared.
            UnavailableError: The database did not answer.
        """
        plan = ExtractPlan(self.identity, now, ())
        with translated(self._name):
            if self.settings.mode == "incremental":
                return self._plan_increment(position or {}, plan)
            plan = replace(plan, position=dict(position or {}))
            partition = self.settings.partition
            if partition is None:
                return self._with_range(plan, "")
            return self._with_range(plan, self._partition_type(partition), *partition.conditions)

    def read(self, plan: ExtractPlan, *, rejects: Rejects) -> pa.RecordBatchReader:
        """Stream the rows of a plan.

        Args:
            plan: Of this source; kept for retries.
            rejects: Takes the rows with values that do not fit.

        Returns:
            Columns of the relation, then `_source_file` (the relation's name) and `_source_row` (null: rows have no
            order). The connection ends with the last row, with an error, or when the reader is deleted.

        Raises:
            InvalidRequestError: The plan is not of this source, or the database refuses the statement.
            DataRejectedError: Columns changed since the plan was made, or too many rows are rejected.
            UnavailableError: The database did not answer, or went away while the reader was read.
        """
        import pyarrow as pa

        if plan.source != self.identity:
            raise InvalidRequestError(
                "The plan is of another source. Read it with the source that made it.",
                planned=plan.source,
                source=self.identity,
            )
        ranges = [RangeFacts.from_json(part.facts) for part in plan.slices]
        layout = Layout(ranges[0].columns if ranges else (), self._name, self.settings.unfit)
        return pa.RecordBatchReader.from_batches(layout.schema, self._batches(ranges, layout, rejects))

    def _plan_increment(self, position: Mapping[str, Json], plan: ExtractPlan) -> ExtractPlan:
        cursor = self.settings.cursor
        before = high_of(position, cursor)
        seen = None if before is None else (str(position.get("type")), before)
        mark = high_water_mark(self.settings, cursor, seen=seen)
        left_out = {"null": f"rows whose {cursor} is null"} if has_null(self.settings, cursor) else {}
        if mark is None:
            return replace(plan, left_out=left_out)
        kind, high = mark
        plan = replace(plan, position={"cursor": cursor, "high": high, "type": kind}, left_out=left_out)
        upper = Condition(cursor, "<=", high)
        if seen is None:
            return self._with_range(plan, kind, upper)
        lower = Condition(cursor, ">", lowered(seen[1], kind=kind, lag=self.settings.lag, column=cursor))
        return plan if lower.value == upper.value else self._with_range(plan, kind, lower, upper)

    def _with_range(self, plan: ExtractPlan, kind: str, *conditions: Condition) -> ExtractPlan:
        facts = RangeFacts(describe(self.settings), kind, conditions)
        _ = facts.parameters  # a bound that is no value of the type is refused now, not when it is read
        return replace(plan, slices=(Slice(f"{self._name}: {facts.name}", facts.to_json()),))

    def _partition_type(self, partition: PartitionRange) -> str:
        """Return what bounds are compared as: the type of the values that are there, or the one that is declared."""
        mark = high_water_mark(self.settings, partition.column, seen=None)
        return mark[0] if mark else kind_of_bound(self.settings.declared.get(partition.column, "string"))

    def _batches(self, ranges: Sequence[RangeFacts], layout: Layout, rejects: Rejects) -> Generator[pa.RecordBatch]:
        running: list[ArrowResult | RowResult] = []

        def produce(give: Callable[[Decoded], None]) -> None:
            with translated(self._name), opened(self.settings) as (connection, driver):
                for facts in ranges:
                    dialect = driver.dialect
                    selected = names_of(tuple(self.settings.columns), dialect)
                    statement = dialect.select(selected, dialect.origin(self.settings), facts.conditions)
                    result = run(connection, driver, statement, facts.parameters, batch_bytes=BATCH_BYTES)
                    running.append(result)
                    with closing(result):
                        for decoded in decode(result, layout):
                            give(decoded)

        def cancel() -> None:
            for result in running:
                result.cancel()

        background = Background(produce, name=f"read {self._name}")
        try:
            for decoded in background.results() if ranges else ():
                for row in decoded.rejected:
                    rejects.add(row)
                yield decoded.batch
        finally:
            background.close(cancel)


def open_source(*, driver: str = "", arguments: Mapping[str, Any] | None = None, **settings: Any) -> DbApiSource:  # noqa: ANN401
    """Build a source from settings, as the registry does.

    Args:
        driver: Module of a driver, in place of the setting `connect`; see `connector`.
        arguments: Of its `connect`.
        **settings: Those of `DbApiSettings`; lists for tuples, and a mapping for `partition`, are taken too.

    Raises:
        InvalidRequestError: A setting is unknown, missing or wrong.
        UnsupportedError: The driver is not installed.

    Example:
        >>> source = open_source(driver="sqlite3", arguments={"database": ":memory:"}, uri="sqlite:///", relation="orders")
        >>> source.identity
        'sqlite:///orders'
    """
    values: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in settings.items()}
    if driver:
        values["connect"] = connector(driver, arguments or {})
    try:
        if isinstance(values.get("partition"), Mapping):
            values["partition"] = PartitionRange(**values["partition"])
        return DbApiSource(DbApiSettings(**values))
    except TypeError as error:
        raise InvalidRequestError(
            "A setting of the database source is unknown or missing. See DbApiSettings.",
            settings=tuple(sorted(settings)),
        ) from error
