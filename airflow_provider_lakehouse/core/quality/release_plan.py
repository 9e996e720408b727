"""Decide which refused rows can go where they were refused: those that pass today's checks, corrected or as they are."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Self

from airflow_provider_lakehouse.core.engines.dialect import quoted, text
from airflow_provider_lakehouse.core.engines.row_json import row_from_json, types_from_json
from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.quality.gate import BROKEN_COLUMN, RowGate, row_level
from airflow_provider_lakehouse.core.quality.quarantine import read_refused, refused_sql
from airflow_provider_lakehouse.core.sources.base import Rejects
from airflow_provider_lakehouse.core.sources.quarantine import TYPED
from airflow_provider_lakehouse.core.tables.base import WriteToken

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from airflow_provider_lakehouse.core.engines.base import Engine
    from airflow_provider_lakehouse.core.quality.checks import Check
    from airflow_provider_lakehouse.core.quality.gate import RowLevelCheck
    from airflow_provider_lakehouse.core.quality.quarantine import Selection
    from airflow_provider_lakehouse.core.tables.base import Table

ID_COLUMN: Final = "_quarantine_id"
"""Column of the relation `quarantined` that tells its rows apart; a correction keeps it as it is."""
QUARANTINED: Final = "quarantined"
"""Name of the relation that a correction selects from: the refused rows with the columns and types they had."""
DEFAULT_MAX_ROWS: Final = 10_000
DEFAULT_MAX_READ_ROWS: Final = 100_000
_FILES_TOLD: Final = 20


@dataclass(frozen=True)
class Quarantined:
    """Refused rows of one target, as a plan looks at them.

    Args:
        table: Name of the table of refused rows.
        version: Which version of it.
        target: The table that refused them.
        rows: Columns `id`, `payload`, `payload_types` and `labels`: typed rows that no release has claimed, the oldest
            first. Held in memory.
        rows_as_text: Rows that are text as it was found.
        files_as_text: Where those come from; the first few.
        rows_claimed: Rows that another release has claimed and not finished.
    """

    table: str
    version: int
    target: str
    rows: pa.Table
    rows_as_text: int = 0
    files_as_text: tuple[str, ...] = ()
    rows_claimed: int = 0


@dataclass(frozen=True)
class StillBroken:
    """Rows that stay in quarantine for another reason than before.

    Args:
        checks: Names of the checks they break now.
        ids: Of the rows.
    """

    checks: tuple[str, ...]
    ids: tuple[str, ...]


@dataclass(frozen=True)
class ReleasePlan:
    """What a release will do: a value that can be read, approved, kept for retries, and applied once.

    Args:
        table: Name of the table of refused rows.
        target: Name of the table they go to.
        planned_at: When it was decided; two plans are two releases, also of the same rows.
        ids: Rows that will be loaded.
        still_broken: Rows that get another reason.
        rows_passing: Rows that pass, those beyond the plan's size included: plan again for them.
        rows_broken: Rows that break a check, by its name.
        rows_left_out: Rows that the correction does not return; they stay as they are.
        rows_as_text: Rows that are text as found; only the source can deliver them again.
        files_as_text: Where those come from; the first few.
        rows_claimed: Rows that another release has claimed and not finished.
        correction: SQL over `quarantined` that gives the rows as they are to be loaded; None loads them as they are.
        contract: Name and version of the contract whose checks were asked; empty for none.
        release_id: Names the release; empty derives it.
    """

    table: str
    target: str
    planned_at: datetime
    ids: tuple[str, ...]
    still_broken: tuple[StillBroken, ...] = ()
    rows_passing: int = 0
    rows_broken: Mapping[str, int] = field(default_factory=dict)
    rows_left_out: int = 0
    rows_as_text: int = 0
    files_as_text: tuple[str, ...] = ()
    rows_claimed: int = 0
    correction: str | None = None
    contract: str = ""
    release_id: str = ""

    def __post_init__(self) -> None:
        """Name the release after what it does."""
        if not self.release_id:
            parts = [self.table, self.target, self.planned_at.isoformat(), self.correction, sorted(self.ids)]
            digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
            object.__setattr__(self, "release_id", digest)

    @property
    def token(self) -> WriteToken:
        """Under which the rows are loaded into the target."""
        return WriteToken(f"release/{self.table}", self.release_id)

    @property
    def is_empty(self) -> bool:
        """True when applying it changes nothing."""
        return not self.ids and not self.still_broken

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON, for a state store or for approval; it holds ids and counts, and no values."""
        value = asdict(self)
        return json.loads(json.dumps(value | {"planned_at": self.planned_at.isoformat()}))  # type: ignore[no-any-return]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        broken = tuple(StillBroken(tuple(one["checks"]), tuple(one["ids"])) for one in value["still_broken"])
        read = {
            "planned_at": datetime.fromisoformat(value["planned_at"]),
            "ids": tuple(value["ids"]),
            "still_broken": broken,
            "files_as_text": tuple(value["files_as_text"]),
        }
        return cls(**{**value, **read})


def read_quarantined(
    table: Table, *, engine: Engine, selection: Selection, max_rows: int = DEFAULT_MAX_READ_ROWS
) -> Quarantined:
    """Read the refused rows that a release may take.

    Args:
        table: The table of refused rows; it exists.
        engine: Reads.
        selection: Which rows; it names the target.
        max_rows: No more typed rows than these, the oldest first.

    Raises:
        InvalidRequestError: The selection names no target, or there is no such table.
    """
    if not selection.target:
        raise InvalidRequestError("A release goes to one table. Name the target in the selection.")
    facts = table.facts()
    chosen = f"FROM ({refused_sql(facts)}) AS refused WHERE {selection.condition}"
    is_typed = f"coalesce(payload_format = '{TYPED}', false)"
    counts = read_refused(
        table,
        facts,
        f"SELECT count(*) FILTER (NOT {is_typed}) AS as_text, count(release_id) AS claimed, "
        f"list_sort(list(DISTINCT source_file) FILTER (NOT {is_typed}))[:{_FILES_TOLD}] AS files {chosen}",
        engine=engine,
        parameters=selection.parameters,
    ).to_pylist()[0]
    rows = read_refused(
        table,
        facts,
        f"SELECT id, payload, payload_types, labels {chosen} AND {is_typed} AND release_id IS NULL "
        f"ORDER BY rejected_at, id LIMIT {int(max_rows)}",
        engine=engine,
        parameters=selection.parameters,
    )
    files = tuple(one for one in counts["files"] or () if one)
    return Quarantined(
        table.identity.name, facts.version, selection.target, rows, counts["as_text"], files, counts["claimed"]
    )


def plan_release(
    found: Quarantined,
    *,
    checks: Sequence[Check],
    engine: Engine,
    now: datetime,
    correction: str | None = None,
    contract: str = "",
    max_rows: int = DEFAULT_MAX_ROWS,
) -> ReleasePlan:
    """Decide which rows can be released. Reads nothing but what was read, and writes nothing.

    Args:
        found: From `read_quarantined`.
        checks: Conditions on rows that have to be met today, such as those of a later version of the contract. A row
            that breaks one stays, whatever its severity, `warn` excepted. None at all releases every row.
        engine: Judges the rows.
        now: The instant of planning.
        correction: One SELECT over `quarantined`, such as `SELECT * REPLACE (abs(amount) AS amount) FROM quarantined`. It
            judges every row by itself and keeps the column `_quarantine_id`; rows that it leaves out stay.
        contract: Name and version of the contract that the checks come from.
        max_rows: A release takes no more rows, and gives no more of them another reason.

    Returns:
        A plan. Whether rows fit the target's columns is decided when they are loaded, by the policy of the load.

    Raises:
        InvalidRequestError: Every row is text as found and cannot be read back; or a check is not of single rows; or the
            correction is no query over `quarantined`, or loses or repeats the rows' ids.
    """
    if not found.rows.num_rows and found.rows_as_text:
        raise InvalidRequestError(
            f"The refused rows of table {found.target!r} were kept as the text in which they were found, and have no "
            "types. Deliver them again, corrected, as a new file.",
            table=found.table,
            target=found.target,
            rows=found.rows_as_text,
            files=found.files_as_text,
        )
    judged = _judged(found, row_level(checks), correction, engine) if found.rows.num_rows else {}
    before = dict(zip(found.rows["id"].to_pylist(), found.rows["labels"].to_pylist(), strict=True))
    passing = tuple(one for one in before if one in judged and not judged[one])
    broken: Counter[str] = Counter()
    changed: dict[tuple[str, ...], list[str]] = {}
    for one, names in judged.items():
        broken.update(names)
        if names and list(names) != before[one]:
            changed.setdefault(names, []).append(one)
    return ReleasePlan(
        found.table,
        found.target,
        now,
        passing[:max_rows],
        _at_most(changed, max_rows),
        rows_passing=len(passing),
        rows_broken=dict(broken.most_common()),
        rows_left_out=len(before) - len(judged),
        rows_as_text=found.rows_as_text,
        files_as_text=found.files_as_text,
        rows_claimed=found.rows_claimed,
        correction=correction,
        contract=contract,
    )


def corrected_rows(payloads: pa.Table, *, correction: str | None, engine: Engine) -> pa.Table:
    """Return refused rows with their types, as a correction gives them, with their ids.

    Args:
        payloads: Columns `id`, `payload` and `payload_types`.
        correction: SQL over `quarantined`; None for the rows as they are.
        engine: Reads and corrects.

    Raises:
        InvalidRequestError: The correction is no query, or loses or repeats ids.
    """
    parts = []
    for kept in sorted(set(payloads["payload_types"].to_pylist())):
        columns = row_from_json(types_from_json(kept), payload="payload")
        parts.append(f"SELECT id AS {quoted(ID_COLUMN)}, {columns} FROM payloads WHERE payload_types = {text(kept)}")
    with engine.query(" UNION ALL BY NAME ".join(parts), tables={"payloads": payloads}) as reader:
        rows = reader.read_all()
    if correction is None:
        return rows
    with engine.query(correction, tables={QUARANTINED: rows}) as reader:
        corrected = reader.read_all()
    ids = corrected[ID_COLUMN].to_pylist() if ID_COLUMN in corrected.column_names else []
    strangers = set(ids) - set(payloads["id"].to_pylist())
    if ID_COLUMN not in corrected.column_names or len(set(ids)) < len(ids) or strangers:
        raise InvalidRequestError(
            f"The correction loses or repeats the column {ID_COLUMN!r}, by which rows are told apart. Keep it, once for each "
            "row.",
            rows=len(ids),
            distinct=len(set(ids)),
        )
    return corrected


def _judged(
    found: Quarantined, checks: tuple[RowLevelCheck, ...], correction: str | None, engine: Engine
) -> dict[str, tuple[str, ...]]:
    """Return the names of the checks that each corrected row breaks, by id."""
    from airflow_provider_lakehouse.core.schema import Schema

    rows = corrected_rows(found.rows, correction=correction, engine=engine)
    if not checks:
        return dict.fromkeys(rows[ID_COLUMN].to_pylist(), ())
    gate = RowGate(checks, Rejects(), source=found.target)
    wrapped = gate.wrap(f"SELECT * FROM {QUARANTINED}", Schema.from_arrow(rows.schema))
    judged = f"SELECT {quoted(ID_COLUMN)} AS id, {BROKEN_COLUMN} AS broken FROM ({wrapped}) AS judged_rows"
    with engine.query(judged, tables={QUARANTINED: rows}) as reader:
        answer = reader.read_all()
    staying = {str(i): check.name for i, check in enumerate(checks) if check.severity != "warn"}
    return {
        one: tuple(staying[number] for number in (numbers or "").split(",") if number in staying)
        for one, numbers in zip(answer["id"].to_pylist(), answer["broken"].to_pylist(), strict=True)
    }


def _at_most(changed: Mapping[tuple[str, ...], list[str]], max_rows: int) -> tuple[StillBroken, ...]:
    kept, left = [], max_rows
    for checks, ids in changed.items():
        if left > 0:
            kept.append(StillBroken(checks, tuple(ids[:left])))
            left -= len(ids)
    return tuple(kept)
