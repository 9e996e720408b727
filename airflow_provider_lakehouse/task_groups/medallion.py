"""The medallion: land, bronze, and then layer after layer staged, checked and published."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import TaskGroup

from airflow_provider_lakehouse.bridge.connections import DEFAULT_CONNECTION
from airflow_provider_lakehouse.bridge.results import as_json
from airflow_provider_lakehouse.bridge.retries import with_retry_defaults
from airflow_provider_lakehouse.operators.check import LakehouseCheckOperator
from airflow_provider_lakehouse.operators.ingest_files import LakehouseIngestFilesOperator
from airflow_provider_lakehouse.operators.publish import LakehousePublishOperator
from airflow_provider_lakehouse.operators.query import LakehouseQueryOperator
from airflow_provider_lakehouse.task_groups.audited import STAGED_BRANCH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_lakehouse.core.quality.checks import Check, RowCheck

RUN_BATCH: Final = "{{ run_id }}"
"""Second half of the tokens: a second run of one partition takes up files that came late, and publishes what it staged."""
_ASKED_OF_TABLES: Final = ("fail", "warn")
"""Severities of the checks of a staged table: what is set aside was asked of the rows on their way."""
RETRY_DELAY: Final = timedelta(seconds=5)
"""Pause before a task is tried again, where the kind of its error does not say otherwise."""


@dataclass(frozen=True)
class LandedTable:
    """A bronze table: files as they landed.

    Args:
        table: `namespace.table`.
        files: Where they land, with wildcards; may be a template.
        columns: Type by name; None infers them.
        required: Columns that may not be null.
        contract: File of a contract that has the table; it says what columns files have, and which of them may not be null.
        mode: How rows are added.
    """

    table: str
    files: str
    columns: Mapping[str, str] | None = None
    required: tuple[str, ...] = ()
    contract: str | None = None
    mode: str | Mapping[str, Any] = "dedup"


@dataclass(frozen=True)
class DerivedTable:
    """A table made by a query over others.

    Args:
        table: `namespace.table`.
        sql: One SELECT, or the path of a `.sql` file. The values `$first_batch` and `$last_batch` tell which batches of
            `follows` this run brought.
        reads: Tables the query names.
        follows: The bronze table whose batches the query takes up.
        mode: How rows change the table.
        row_checks: Conditions on rows, before they are staged.
        checks: Checks of the staged table, before it is published.
        contract: File of a contract that has the table: its checks of severity `quarantine` and `drop` set rows aside before
            they are staged, the others are asked of the staged table, and a table that is created is as it says.
    """

    table: str
    sql: str
    reads: tuple[str, ...]
    follows: str
    mode: str | Mapping[str, Any] = "append"
    row_checks: tuple[RowCheck, ...] = ()
    checks: tuple[Check, ...] = field(default=())
    contract: str | None = None


def medallion(
    *,
    group_id: str,
    bronze: Sequence[LandedTable],
    layers: Mapping[str, Sequence[DerivedTable]],
    lakehouse_conn_id: str = DEFAULT_CONNECTION,
    quarantine: str = "quarantine.rows",
    ledger: str = "ledger.files",
    results: str | None = "quality.results",
    breaker: Mapping[str, Any] | None = None,
    **options: Any,  # noqa: ANN401
) -> TaskGroup:
    """Build the tasks of a medallion: every layer is mapped over its tables, and published only when all of it passed.

    In each layer the batch of every table is staged on a branch of its own, then checked there, then published. A layer whose
    checks fail leaves the main branches as they were, and nothing after it runs. Runs may overlap, as those of a
    backfill do: where another run published first, a batch is staged and checked anew before it is published.

    Args:
        group_id: Prefix of the task ids.
        bronze: Tables that files land in.
        layers: Derived tables by layer, in order; a layer may read all layers before it.
        lakehouse_conn_id: A connection of type `lakehouse`.
        quarantine: Table for refused rows.
        ledger: Table that knows which files were claimed.
        results: Table that keeps what checks found; None keeps nothing.
        breaker: Rules of a circuit breaker for each table, see `BreakerRules.from_json`: while it is open, nothing is loaded
            into the table. None for no breakers.
        **options: Of every operator, such as `retries`.

    Returns:
        The group; its tasks are `bronze`, and `stage`, `check` and `publish` in a group for each layer.

    Guarantees:
        Once: every step has a token of the run; see each operator for retries and kills.
    """
    shared = with_retry_defaults(
        {
            "lakehouse_conn_id": lakehouse_conn_id,
            "map_index_template": "{{ task.table }}",
            "retry_delay": RETRY_DELAY,
            **options,
        }
    )
    with TaskGroup(group_id=group_id) as group:
        ingest = LakehouseIngestFilesOperator.partial(
            task_id="bronze", quarantine=quarantine, ledger=ledger, **shared
        ).expand_kwargs([_landed(one) | _guarded(one.table, breaker) for one in bronze])
        places = {one.table: place for place, one in enumerate(bronze)}
        previous: Any = ingest
        for name, tables in layers.items():
            how = _Layering(places, ingest.task_id, quarantine, results, breaker, shared)
            previous = _layer(name, tables, how, after=previous)
    return group


def _landed(one: LandedTable) -> dict[str, Any]:
    return {
        "table": one.table,
        "files": one.files,
        "columns": dict(one.columns) if one.columns else None,
        "required": list(one.required),
        "contract": one.contract,
        "mode": one.mode if isinstance(one.mode, str) else dict(one.mode),
    }


@dataclass(frozen=True)
class _Layering:
    """What the layers of a medallion share."""

    places: Mapping[str, int]
    ingest_id: str
    quarantine: str
    results: str | None
    breaker: Mapping[str, Any] | None
    shared: Mapping[str, Any]


def _layer(name: str, tables: Sequence[DerivedTable], how: _Layering, *, after: Any) -> Any:  # noqa: ANN401
    with TaskGroup(group_id=name):
        staging = [_derived(one, how) for one in tables]
        audits = [{"table": one.table, "checks": as_json(one.checks), "contract": one.contract} for one in tables]
        guards = [_guarded(one.table, how.breaker) for one in tables]
        stage = LakehouseQueryOperator.partial(
            task_id="stage", branch=STAGED_BRANCH, batch=RUN_BATCH, results=how.results, **how.shared
        ).expand_kwargs([staged | guard for staged, guard in zip(staging, guards, strict=True)])
        check = LakehouseCheckOperator.partial(
            task_id="check", branch=STAGED_BRANCH, results=how.results, severities=_ASKED_OF_TABLES, **how.shared
        ).expand_kwargs([audit | guard for audit, guard in zip(audits, guards, strict=True)])
        asked: dict[str, Any] = {"severities": _ASKED_OF_TABLES, "stage": stage.task_id, "audit": check.task_id}
        publish = LakehousePublishOperator.partial(
            task_id="publish", branch=STAGED_BRANCH, batch=RUN_BATCH, **asked, **how.shared
        ).expand_kwargs([audit | {"restage": staged} for audit, staged in zip(audits, staging, strict=True)])
        after >> stage >> check >> publish
    return publish


def _guarded(table: str, breaker: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the argument that gives a table a breaker of its own."""
    return {} if breaker is None else {"breaker": {**breaker, "scope": table}}


def _derived(one: DerivedTable, how: _Layering) -> dict[str, Any]:
    pulled = f"ti.xcom_pull(task_ids='{how.ingest_id}', map_indexes={how.places[one.follows]})['batches']"
    return {
        "table": one.table,
        "sql": one.sql,
        "reads": list(one.reads),
        "mode": one.mode if isinstance(one.mode, str) else dict(one.mode),
        "checks": as_json(one.row_checks),
        "contract": one.contract,
        "quarantine": how.quarantine,
        "policy": "freeze" if one.contract else "evolve",
        "parameters": {
            "first_batch": f"{{{{ {pulled} | min if {pulled} else 1 }}}}",
            "last_batch": f"{{{{ {pulled} | max if {pulled} else 0 }}}}",
        },
    }
