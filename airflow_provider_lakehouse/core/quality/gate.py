"""Let rows pass that meet their checks on their way into a table, and keep the others aside."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.engines.dialect import listed
from airflow_provider_lakehouse.core.engines.row_json import row_to_json, types_to_json
from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError
from airflow_provider_lakehouse.core.quality.checks import CheckOutcome, Expectation, TableCheck, require_distinct
from airflow_provider_lakehouse.core.quality.conditions import looked_at, row_test, violation_sql
from airflow_provider_lakehouse.core.sources.base import SOURCE_FILE_COLUMN, SOURCE_ROW_COLUMN, RejectedRow
from airflow_provider_lakehouse.core.tables.base import RESERVED_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import pyarrow as pa

    from airflow_provider_lakehouse.core.quality.checks import Check, Limit, RowCheck, Verdict
    from airflow_provider_lakehouse.core.schema import Schema
    from airflow_provider_lakehouse.core.sources.base import Rejects

type RowLevelCheck = RowCheck | Expectation
"""A check that judges a row by itself; of expectations those that look at single rows."""

BROKEN_COLUMN: Final = f"{RESERVED_PREFIX}broken"
"""Numbers of the checks that a row breaks, with commas between them; null where it breaks none."""
_PAYLOAD_COLUMN: Final = f"{RESERVED_PREFIX}payload"
_CHECK_PREFIX: Final = f"{RESERVED_PREFIX}check_"
_LOOKED_AT_PREFIX: Final = f"{RESERVED_PREFIX}looked_at_"
_MISSING_PREFIX: Final = f"{RESERVED_PREFIX}missing_"
_SETS_ASIDE: Final = ("quarantine", "drop")


@dataclass
class RowGate:
    """Lets rows pass that meet the checks, and keeps the others aside.

    Args:
        checks: Of single rows.
        rejects: Where rows of severity `quarantine` go.
        source: Where the rows come from, for the quarantine; a row that says so itself is believed.
        limit: How many rows may be set aside by all checks together before the batch is refused; None for any number.
    """

    checks: tuple[RowLevelCheck, ...]
    rejects: Rejects
    source: str
    limit: Limit | None = None
    broken: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    rows_set_aside: int = 0
    has_refused: bool = False
    _looked_at: Counter[int] = field(default_factory=Counter)
    _missing: Counter[int] = field(default_factory=Counter)
    _types: str = ""

    def __post_init__(self) -> None:
        """Refuse two checks of one name."""
        require_distinct(self.checks)

    def wrap(self, sql: str, schema: Schema) -> str:
        """Return the query with further columns, which `pass_on` reads and takes away again.

        Args:
            sql: One query.
            schema: Its columns.

        Raises:
            InvalidRequestError: A check does not look at single rows.
        """
        if not self.checks:
            return sql
        types = {column.name: column.type for column in schema.columns}
        self._types = types_to_json(types)
        inner = sql.strip().rstrip(";")
        verdicts = [f"({violation_sql(c, schema)}) AS {_CHECK_PREFIX}{i}" for i, c in enumerate(self.checks)]
        among, missing = _counted(self.checks, schema)
        numbers = ", ".join(f"CASE WHEN {_CHECK_PREFIX}{i} THEN '{i}' END" for i in range(len(self.checks)))
        kept = " OR ".join(f"{_CHECK_PREFIX}{i}" for i, c in enumerate(self.checks) if c.severity == "quarantine")
        payload = f"CASE WHEN {kept} THEN {row_to_json(types, of='judged')} END" if kept else "CAST(NULL AS VARCHAR)"
        further = [f"{_LOOKED_AT_PREFIX}{i}" for i in among] + [f"{_MISSING_PREFIX}{i}" for i in missing]
        further += [f"nullif(concat_ws(',', {numbers}), '') AS {BROKEN_COLUMN}", f"{payload} AS {_PAYLOAD_COLUMN}"]
        verdicts += [f"({condition}) AS {_LOOKED_AT_PREFIX}{i}" for i, condition in among.items()]
        verdicts += [f"({condition}) AS {_MISSING_PREFIX}{i}" for i, condition in missing.items()]
        return (
            f"SELECT {listed(schema.names)}, {', '.join(further)} "
            f"FROM (SELECT *, {', '.join(verdicts)} FROM ({inner}\n) AS unchecked) AS judged"
        )

    def pass_on(self, rows: pa.RecordBatchReader) -> pa.RecordBatchReader:
        """Stream the rows that pass, without the further columns.

        Raises:
            DataRejectedError: At the end of the stream, so that nothing is committed: a check of severity `fail` is
                broken by more rows than it tolerates, or more rows are set aside than a limit allows.
        """
        import pyarrow as pa

        if not self.checks:
            return rows
        names = [name for name in rows.schema.names if not name.startswith(RESERVED_PREFIX)]
        schema = pa.schema([rows.schema.field(name) for name in names])
        return pa.RecordBatchReader.from_batches(schema, self._batches(rows, names))

    def outcomes(self) -> tuple[CheckOutcome, ...]:
        """Return what was found so far."""
        return tuple(self._outcome(number, check) for number, check in enumerate(self.checks))

    def _batches(self, rows: pa.RecordBatchReader, names: list[str]) -> Iterator[pa.RecordBatch]:
        for batch in rows:
            self.rows += batch.num_rows
            self._count(batch)
            passing = self._passing(batch, names)
            if passing.num_rows:
                yield passing
        try:
            self._require()
        except DataRejectedError:
            self.has_refused = True
            raise

    def _count(self, batch: pa.RecordBatch) -> None:
        import pyarrow.compute as pc

        for counts, prefix in ((self._looked_at, _LOOKED_AT_PREFIX), (self._missing, _MISSING_PREFIX)):
            for name in batch.schema.names:
                if name.startswith(prefix):
                    counts[int(name.removeprefix(prefix))] += pc.sum(batch.column(name)).as_py() or 0

    def _passing(self, batch: pa.RecordBatch, names: list[str]) -> pa.RecordBatch:
        """Return the rows that pass; count the others, and keep those that are to be kept.

        Rows that break the same checks share one decision, so that there are few, however many rows are broken.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        found = batch.column(BROKEN_COLUMN).dictionary_encode()
        if not len(found.dictionary):
            return batch.select(names)
        kinds = [tuple(map(int, numbers.split(","))) for numbers in found.dictionary.to_pylist()]
        for counted in pc.value_counts(found.indices.drop_null()):
            number, rows = counted["values"].as_py(), counted["counts"].as_py()
            self.broken.update({self.checks[one].name: rows for one in kinds[number]})
        aside = [any(self.checks[one].severity in _SETS_ASIDE for one in kind) for kind in kinds]
        is_aside = pc.fill_null(pc.take(pa.array(aside), found.indices), fill_value=False)
        set_aside = batch.filter(is_aside)
        self.rows_set_aside += set_aside.num_rows
        self._keep(set_aside, found.filter(is_aside).indices.to_pylist(), kinds)
        return batch.select(names).filter(pc.invert(is_aside))

    def _keep(self, rows: pa.RecordBatch, which: list[int], kinds: list[tuple[int, ...]]) -> None:
        names = [tuple(self.checks[n].name for n in kind if self.checks[n].severity == "quarantine") for kind in kinds]
        reasons = ["; ".join(one) for one in names]
        nothing: list[None] = [None] * rows.num_rows
        files = rows.column(SOURCE_FILE_COLUMN).to_pylist() if SOURCE_FILE_COLUMN in rows.schema.names else nothing
        lines = rows.column(SOURCE_ROW_COLUMN).to_pylist() if SOURCE_ROW_COLUMN in rows.schema.names else nothing
        for kind, file, line, payload in zip(
            which, files, lines, rows.column(_PAYLOAD_COLUMN).to_pylist(), strict=True
        ):
            if names[kind]:
                origin = str(file or self.source)
                self.rejects.add(RejectedRow(reasons[kind], origin, line, payload, self._types, names[kind]))

    def _outcome(self, number: int, check: RowLevelCheck) -> CheckOutcome:
        violations = self.broken[check.name]
        if not isinstance(check, Expectation):
            verdict: Verdict = "broken" if violations else "passed"
            return CheckOutcome(check.name, check.severity, violations, verdict, columns=check.columns, rows=self.rows)
        rows = self._looked_at[number] if check.row_condition else self.rows
        judged = rows - self._missing[number]
        enough = not violations or (judged > 0 and (judged - violations) / judged >= check.mostly)
        return CheckOutcome(
            check.name,
            check.severity,
            violations,
            "passed" if enough else "broken",
            type=check.type,
            columns=check.columns,
            rows=rows,
            missing=self._missing[number],
        )

    def _require(self) -> None:
        failed = tuple(f"{o.name}: {o.violations}" for o in self.outcomes() if o.severity == "fail" and o.stops)
        if failed:
            raise DataRejectedError(
                "Rows break checks that allow none. Correct them at the source, or choose another severity.",
                checks=failed,
            )
        over = tuple(
            f"{check.name}: {self.broken[check.name]} of {self.rows}, limit {_in_words(check.limit)}"
            for check in self.checks
            if check.limit is not None
            and check.severity in _SETS_ASIDE
            and check.limit.is_exceeded(self.broken[check.name], of=self.rows)
        )
        if over:
            raise DataRejectedError(
                "More rows break checks than their limits allow. Correct them at the source, or raise the limits.",
                checks=over,
            )
        if self.limit is not None and self.limit.is_exceeded(self.rows_set_aside, of=self.rows):
            raise DataRejectedError(
                "More rows are set aside than the limit of the batch allows. Correct them at the source, or raise it.",
                rows=self.rows_set_aside,
                of=self.rows,
                limit=_in_words(self.limit),
                checks=tuple(f"{name}: {count}" for name, count in self.broken.most_common()),
            )


def row_level(checks: Iterable[Check]) -> tuple[RowLevelCheck, ...]:
    """Return checks that can judge single rows; of expectations, `RowGate.wrap` finds out.

    Raises:
        InvalidRequestError: A check is a query over a whole table.
    """
    given = tuple(checks)
    found = tuple(check for check in given if not isinstance(check, TableCheck))
    if len(found) < len(given):
        raise InvalidRequestError(
            "A check of a whole table cannot judge single rows. Check the table when it is staged.",
            checks=tuple(check.name for check in given if isinstance(check, TableCheck)),
        )
    return found


def _counted(checks: tuple[RowLevelCheck, ...], schema: Schema) -> tuple[Mapping[int, str], Mapping[int, str]]:
    """Return SQL for which rows an expectation looks at, and which of them have no value to judge, by its number."""
    among: dict[int, str] = {}
    missing: dict[int, str] = {}
    for number, check in enumerate(checks):
        if not isinstance(check, Expectation):
            continue
        if rows := looked_at(check):
            among[number] = rows
        if absent := row_test(check, schema).missing:
            missing[number] = f"({absent}) AND {rows}" if rows else absent
    return among, missing


def _in_words(limit: Limit) -> str:
    """Return a limit for people.

    Example:
        >>> from airflow_provider_lakehouse.core.quality.checks import Limit
        >>> _in_words(Limit(rows=5, share=0.01))
        '5 rows, 1 %'
    """
    parts = [f"{limit.rows} rows"] if limit.rows is not None else []
    parts += [f"{limit.share * 100:g} %"] if limit.share is not None else []
    return ", ".join(parts) or "none"
