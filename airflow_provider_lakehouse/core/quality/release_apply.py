"""Release refused rows: claim them, load them into their table, remove them from quarantine; once, wherever it dies."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from airflow_provider_lakehouse.core.errors import (
    DataRejectedError,
    InvalidRequestError,
    UnsupportedError,
)
from airflow_provider_lakehouse.core.quality.quarantine import read_refused, refused_sql
from airflow_provider_lakehouse.core.quality.refused_rows import Rewrite, rewrite, trace_of
from airflow_provider_lakehouse.core.quality.release_plan import ID_COLUMN, ReleasePlan, corrected_rows
from airflow_provider_lakehouse.core.tables.base import Change

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import pyarrow as pa

    from airflow_provider_lakehouse.core.engines.base import Engine
    from airflow_provider_lakehouse.core.errors import LakehouseError
    from airflow_provider_lakehouse.core.tables.base import CommitResult, Table, TableFacts, WriteToken

GIVEN_UP_PREFIX: Final = "lakehouse.release-given-up."
"""Properties of the target that name releases whose rows it refused; set under the token of the load, so that no attempt
that comes back late can load them after all."""
_REFUSALS: Final = (DataRejectedError, InvalidRequestError, UnsupportedError)


class ReleaseLoad(Protocol):
    """Loads rows into the target in one commit, under a token that it looks for first."""

    def __call__(self, rows: pa.RecordBatchReader, *, token: WriteToken) -> CommitResult:
        """Load the rows once."""


@dataclass(frozen=True)
class ReleaseResult:
    """What a release did.

    Args:
        release_id: Which release.
        target: Where the rows went.
        rows_released: Rows that are no longer in quarantine. None where an earlier attempt removed them and the table no
            longer knows how many.
        rows_taken: Planned rows that another release, or an expiry, had taken before.
        rows_broken: Rows that break a check, by its name; they stay.
        checks: Rows that were released, by the check or reason for which they had been refused; empty for a replay.
        version: Version of the target with the rows; None where nothing was loaded.
        is_replay: True when an earlier attempt had finished the release.
    """

    release_id: str
    target: str
    rows_released: int | None = 0
    rows_taken: int = 0
    rows_broken: Mapping[str, int] = field(default_factory=dict)
    checks: Mapping[str, int] = field(default_factory=dict)
    version: int | None = None
    is_replay: bool = False


def unfinished_releases(table: Table, *, engine: Engine, target: str, now: datetime) -> tuple[ReleasePlan, ...]:
    """Return the releases of a target that claimed rows and did not finish, for whoever applies them to the end.

    Args:
        table: The table of refused rows.
        engine: Reads.
        target: Name of the target.
        now: Instant for the plans.
    """
    if not table.exists():
        return ()
    facts = table.facts()
    sql = (
        "SELECT release_id, any_value(release_sql) AS correction, list(id ORDER BY id) AS ids "
        f"FROM ({refused_sql(facts)}) AS refused WHERE target = $target AND release_id IS NOT NULL "
        "GROUP BY release_id ORDER BY release_id"
    )
    found = read_refused(table, facts, sql, engine=engine, parameters={"target": target}).to_pylist()
    return tuple(
        ReleasePlan(
            table.identity.name,
            target,
            now,
            tuple(one["ids"]),
            rows_passing=len(one["ids"]),
            correction=one["correction"],
            release_id=one["release_id"],
        )
        for one in found
    )


def apply_release(
    plan: ReleasePlan, table: Table, *, target: Table, load: ReleaseLoad, engine: Engine
) -> ReleaseResult:
    """Release the rows of a plan.

    Args:
        plan: From `plan_release`, or of `unfinished_releases`.
        table: The table of refused rows.
        target: The table the rows go to; it exists.
        load: Loads them.
        engine: Reads and corrects them.

    Returns:
        What was done.

    Raises:
        InvalidRequestError: The plan is of other tables, or was given up by an earlier attempt; plan again.
        DataRejectedError: The target refuses the rows. They are back in quarantine, free for another plan.
        ConflictError: Other writers came first again and again. Run again with the same plan.
        OutcomeUnknownError: The answer to a commit was lost. Run again with the same plan.

    Guarantees:
        Once: rows are claimed in one commit before they are loaded, loaded under a token of the release, and removed in
            one commit. Whatever dies, the same plan ends in the same place; of two releases of one row only one claims it.
        Trace: the commit that removes the rows says, in the table's history, which release it was, and how many rows of
            which check. It is there when, and only when, the rows are gone, which no table beside it could promise.
    """
    return _Release(plan, table, target, load, engine).run()


@dataclass(frozen=True)
class _Release:
    plan: ReleasePlan
    table: Table
    target: Table
    load: ReleaseLoad
    engine: Engine

    def run(self) -> ReleaseResult:
        self._require_tables()
        plan, removal = self.plan, self.plan.token.derive("remove")
        if (done := self.table.find(removal)) is not None:
            return self._result(rows_released=done.rows_removed, version=self._version(), is_replay=True)
        rewrite(self.table, self._to_claim, token=plan.token.derive("claim"), engine=self.engine)
        claimed = self._claimed()
        if not claimed.num_rows:
            if self.table.find(plan.token.derive("free")) is not None:
                raise self._given_up()
            return self._result(rows_taken=len(plan.ids))
        commit = self._loaded(claimed)
        checks = Counter(label for labels in claimed["labels"].to_pylist() for label in labels)
        trace = trace_of("released", checks, rows=claimed.num_rows, target=plan.target, contract=plan.contract)
        rewrite(
            self.table, self._to_remove, token=removal, engine=self.engine,
            summary=trace | {"lakehouse.release": plan.release_id},
        )  # fmt: skip
        return self._result(
            rows_released=claimed.num_rows,
            rows_taken=len(plan.ids) - claimed.num_rows,
            checks=dict(checks.most_common()),
            version=commit.version,
        )

    def _require_tables(self) -> None:
        given = (self.table.identity.name, self.target.identity.name)
        if given != (self.plan.table, self.plan.target) or not self.target.exists():
            raise InvalidRequestError(
                f"The plan releases rows of {self.plan.table!r} into {self.plan.target!r}. Give it these tables.",
                table=given[0],
                target=given[1],
            )

    def _version(self) -> int | None:
        loaded = self.target.find(self.plan.token)
        return loaded.version if loaded is not None else None

    def _result(self, **facts: Any) -> ReleaseResult:  # noqa: ANN401
        return ReleaseResult(self.plan.release_id, self.plan.target, rows_broken=self.plan.rows_broken, **facts)

    def _to_claim(self, facts: TableFacts) -> Rewrite | None:
        """Mark the rows that are still there and free; give those that stay their new reason."""
        if "release_id" not in facts.schema.by_name or self.plan.is_empty:
            return None
        changes = {
            "release_id": f"CASE WHEN w.reason IS NULL THEN '{self.plan.release_id}' END",
            "release_sql": "CASE WHEN w.reason IS NULL THEN w.correction END",
            "reason": "coalesce(w.reason, q.reason)",
            "checks": "coalesce(w.checks, q.checks)",
            "contract": "CASE WHEN w.reason IS NULL THEN q.contract ELSE w.contract END",
        }
        return Rewrite("q.release_id IS NULL", changes, wanted=_wanted(self.plan))

    def _to_remove(self, facts: TableFacts) -> Rewrite:
        del facts
        return Rewrite(f"q.release_id = '{self.plan.release_id}'")

    def _to_free(self, facts: TableFacts) -> Rewrite:
        del facts
        freed = {"release_id": "CAST(NULL AS VARCHAR)", "release_sql": "CAST(NULL AS VARCHAR)"}
        return Rewrite(f"q.release_id = '{self.plan.release_id}'", freed)

    def _claimed(self) -> pa.Table:
        facts = self.table.facts()
        sql = (
            f"SELECT id, payload, payload_types, labels FROM ({refused_sql(facts)}) AS refused "
            "WHERE release_id = $release ORDER BY id"
        )
        return read_refused(self.table, facts, sql, engine=self.engine, parameters={"release": self.plan.release_id})

    def _loaded(self, claimed: pa.Table) -> CommitResult:
        """Load the claimed rows, or learn that they were loaded; where the target refuses them, free them and tell."""
        refusal: LakehouseError | None = None
        commit = self.target.find(self.plan.token)
        if commit is None:
            try:
                commit = self.load(self._corrected(claimed), token=self.plan.token)
            except _REFUSALS as error:
                refusal = error
                given_up: dict[str, str | None] = {GIVEN_UP_PREFIX + self.plan.release_id: "true"}
                commit = self.target.commit(Change(properties=given_up), token=self.plan.token)
        if (commit.replayed or refusal is not None) and self._is_given_up():
            rewrite(self.table, self._to_free, token=self.plan.token.derive("free"), engine=self.engine)
            raise refusal or self._given_up()
        return commit

    def _corrected(self, claimed: pa.Table) -> pa.RecordBatchReader:
        rows = corrected_rows(claimed, correction=self.plan.correction, engine=self.engine)
        if rows.num_rows < claimed.num_rows:
            raise InvalidRequestError(
                "The correction gives fewer rows than when it was planned. Let it judge every row by itself.",
                rows=rows.num_rows,
                planned=claimed.num_rows,
            )
        return rows.drop_columns([ID_COLUMN]).to_reader()

    def _is_given_up(self) -> bool:
        return GIVEN_UP_PREFIX + self.plan.release_id in self.target.facts().properties

    def _given_up(self) -> InvalidRequestError:
        return InvalidRequestError(
            f"Table {self.plan.target!r} refused the rows of this release in an earlier attempt, and they are free again. "
            "Correct what it refused, and plan again.",
            table=self.plan.table,
            release=self.plan.release_id,
        )


def _wanted(plan: ReleasePlan) -> pa.Table:
    """Return the rows that a claim changes: those to be loaded, and those that get another reason."""
    import pyarrow as pa

    schema = pa.schema([("id", pa.string()), ("reason", pa.string()), ("checks", pa.list_(pa.string()))])
    rows: list[dict[str, Any]] = [{"id": one} for one in plan.ids]
    for broken in plan.still_broken:
        rows += [{"id": one, "reason": "; ".join(broken.checks), "checks": list(broken.checks)} for one in broken.ids]
    found = pa.Table.from_pylist(rows, schema=schema)
    for name, value in (("contract", plan.contract or None), ("correction", plan.correction)):
        found = found.append_column(name, pa.repeat(pa.scalar(value, pa.string()), len(rows)))
    return found
