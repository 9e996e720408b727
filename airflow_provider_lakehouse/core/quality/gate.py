"""Let rows pass that meet their checks on their way into a table, and keep the others aside."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.errors import DataRejectedError
from airflow_provider_lakehouse.core.quality.checks import require_distinct
from airflow_provider_lakehouse.core.quality.conditions import violation_sql
from airflow_provider_lakehouse.core.quality.run import outcome_of
from airflow_provider_lakehouse.core.sources.base import SOURCE_FILE_COLUMN, SOURCE_ROW_COLUMN, RejectedRow

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from airflow_provider_lakehouse.core.quality.checks import CheckOutcome, RowCheck
    from airflow_provider_lakehouse.core.schema import Schema
    from airflow_provider_lakehouse.core.sources.base import Rejects

BROKEN_COLUMN: Final = "__broken_checks"


@dataclass
class RowGate:
    """Lets rows pass that meet the checks, and keeps the others aside.

    Args:
        checks: Conditions on rows.
        rejects: Where rows of severity `quarantine` go.
        source: Where the rows come from, for the quarantine; a row that says so itself is believed.
    """

    checks: tuple[RowCheck, ...]
    rejects: Rejects
    source: str
    broken: Counter[str] = field(default_factory=Counter)
    rows: int = 0

    def __post_init__(self) -> None:
        """Refuse two checks of one name."""
        require_distinct(self.checks)

    def wrap(self, sql: str, schema: Schema) -> str:
        """Return the query with a further column: the numbers of the checks that a row breaks.

        Args:
            sql: One query.
            schema: Its columns.
        """
        if not self.checks:
            return sql
        broken = ", ".join(f"CASE WHEN {violation_sql(c, schema)} THEN {i} END" for i, c in enumerate(self.checks))
        inner = sql.strip().rstrip(";")
        return (
            f"SELECT *, list_filter([{broken}], lambda broken_one: broken_one IS NOT NULL) AS {BROKEN_COLUMN} "
            f"FROM ({inner}\n) AS unchecked"
        )

    def pass_on(self, rows: pa.RecordBatchReader) -> pa.RecordBatchReader:
        """Stream the rows that pass, without the further column.

        Raises:
            DataRejectedError: At the end of the stream, when a check of severity `fail` was broken; so nothing is
                committed.
        """
        import pyarrow as pa

        if not self.checks:
            return rows
        names = [name for name in rows.schema.names if name != BROKEN_COLUMN]
        schema = pa.schema([rows.schema.field(name) for name in names])
        return pa.RecordBatchReader.from_batches(schema, self._batches(rows, names))

    def outcomes(self) -> tuple[CheckOutcome, ...]:
        """Return what was found so far."""
        return tuple(outcome_of(check, self.broken[check.name], rows=self.rows) for check in self.checks)

    def _batches(self, rows: pa.RecordBatchReader, names: list[str]) -> Iterator[pa.RecordBatch]:
        import pyarrow.compute as pc

        aside = frozenset(i for i, check in enumerate(self.checks) if check.severity in ("quarantine", "drop"))
        for batch in rows:
            self.rows += batch.num_rows
            found = batch.column(BROKEN_COLUMN)
            sound = pc.equal(pc.list_value_length(found), 0)
            broken = batch.filter(pc.invert(sound))
            passing = batch.filter(sound).select(names)
            if passing.num_rows:
                yield passing
            if broken.num_rows:
                tolerated = self._set_aside(broken, names, aside)
                if tolerated:
                    yield broken.take(tolerated).select(names)
        self._require()

    def _set_aside(self, broken: pa.RecordBatch, names: list[str], aside: frozenset[int]) -> list[int]:
        """Count broken checks, keep refused rows, and return the places of rows that pass all the same."""
        tolerated = []
        numbers = broken.column(BROKEN_COLUMN).to_pylist()
        payloads = broken.select(names).to_pylist()
        for place, (found, row) in enumerate(zip(numbers, payloads, strict=True)):
            self.broken.update(self.checks[number].name for number in found)
            if not aside.intersection(found):
                tolerated.append(place)
                continue
            reasons = [self.checks[n].name for n in found if self.checks[n].severity == "quarantine"]
            if reasons:
                text = json.dumps(row, default=str, ensure_ascii=False)
                origin = str(row.get(SOURCE_FILE_COLUMN) or self.source)
                self.rejects.add(RejectedRow("; ".join(reasons), origin, row.get(SOURCE_ROW_COLUMN), text))
        return tolerated

    def _require(self) -> None:
        failed = tuple(f"{o.name}: {o.violations}" for o in self.outcomes() if o.severity == "fail" and o.stops)
        if failed:
            raise DataRejectedError(
                "Rows break checks that allow none. Correct them at the source, or choose another severity.",
                checks=failed,
            )
