"""Bring the rows of a batch to the columns of their table: as they stream by, or into a workspace where they wait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.engines.dialect import listed, quoted, sql_type, text
from airflow_provider_lakehouse.core.engines.row_json import row_to_json, types_to_json
from airflow_provider_lakehouse.core.errors import DataRejectedError, UnsupportedError
from airflow_provider_lakehouse.core.load.conversion import converted
from airflow_provider_lakehouse.core.sources.base import SOURCE_FILE_COLUMN, SOURCE_ROW_COLUMN, RejectedRow
from airflow_provider_lakehouse.core.types import type_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa

    from airflow_provider_lakehouse.core.engines.base import Workspace
    from airflow_provider_lakehouse.core.load.plan import ColumnPlan, LoadPlan
    from airflow_provider_lakehouse.core.sources.base import Rejects

INCOMING: Final = "__lakehouse_incoming"
"""View of a workspace with the batch: columns of the table, extras, `ROW`, and what the mode computes."""
ROW: Final = "__lakehouse_row"
"""Number of a row of the batch, in the order in which rows came."""
_SPOOLED: Final = "__lakehouse_spooled"
_RAW: Final = "__lakehouse_raw"
_REASON: Final = "__lakehouse_reason"
_PAYLOAD: Final = "__lakehouse_payload"
_FILE: Final = "__lakehouse_source_file"
_LINE: Final = "__lakehouse_source_row"
_EMPTIED: Final = "__lakehouse_emptied"


@dataclass(frozen=True, slots=True)
class Spooled:
    """What became of a batch on its way into the workspace.

    Args:
        rows_read: Rows of the batch.
        rows_discarded: Rows left out.
        rows_quarantined: Rows kept aside.
        values_discarded: Values replaced by null.
    """

    rows_read: int
    rows_discarded: int = 0
    rows_quarantined: int = 0
    values_discarded: int = 0


def arrow_schema(plan: LoadPlan) -> pa.Schema:
    """Return the schema in which a load hands rows to its table; the table itself checks what may not be null."""
    import pyarrow as pa

    return pa.schema([field.with_nullable(True) for field in plan.schema.to_arrow()])


def aligned(batch: pa.RecordBatch, plan: LoadPlan, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch in the columns of the table, cast without loss. Only for plans that look at no values.

    Raises:
        DataRejectedError: A value does not fit after all.
    """
    import pyarrow as pa

    arrays = []
    for column, field in zip(plan.columns, schema, strict=True):
        if column.source_type is None:
            arrays.append(pa.nulls(batch.num_rows, field.type))
            continue
        values = batch.column(column.name)
        try:
            arrays.append(values if values.type == field.type else values.cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataRejectedError(
                f"A value of column {column.name!r} is no {column.type}. Correct it in the source.", column=column.name
            ) from error
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def spool(
    rows: pa.RecordBatchReader,
    plan: LoadPlan,
    *,
    workspace: Workspace,
    computed: Mapping[str, str],
    rejects: Rejects,
) -> Spooled:
    """Read a batch once into the view `INCOMING` of a workspace, aligned and without the rows that are refused.

    Args:
        rows: The batch.
        plan: How it fits.
        workspace: Where it waits; what does not fit into memory waits on disk.
        computed: Further columns: SQL over `source`, which has the aligned columns and the extras, by name.
        rejects: Where rows go that are kept aside.

    Raises:
        DataRejectedError: The policy refuses the batch, or too many rows are refused.
    """
    reason = _reason(plan)
    further = "".join(f", {expression} AS {quoted(name)}" for name, expression in computed.items())
    inner = ", ".join(_selected(plan, rows.schema, reason))
    workspace.execute(
        f"CREATE OR REPLACE TABLE {_SPOOLED} AS SELECT source.*{further} "
        f"FROM (SELECT {inner} FROM __lakehouse_batch {_RAW}) source",
        inputs={"__lakehouse_batch": _readable(rows)},
    )
    workspace.execute(f"CREATE OR REPLACE VIEW {INCOMING} AS SELECT *, rowid AS {ROW} FROM {_SPOOLED}")
    read = workspace.rows(f"SELECT count(*) FROM {INCOMING}")[0][0]
    if not reason:
        return Spooled(read)
    return _settle(plan, workspace, rejects, read, types=types_to_json(_types(rows.schema)))


def _readable(rows: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """Show instants with nanoseconds and a zone without the zone: the engine would cut them before anyone looked."""
    import pyarrow as pa

    fine = [i for i, f in enumerate(rows.schema) if pa.types.is_timestamp(f.type) and f.type.unit == "ns" and f.type.tz]
    if not fine:
        return rows
    schema = rows.schema
    for index in fine:
        schema = schema.set(index, schema.field(index).with_type(pa.timestamp("ns")))

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in rows:
            columns = [c.cast(schema.field(i).type) if i in fine else c for i, c in enumerate(batch.columns)]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _selected(plan: LoadPlan, incoming: pa.Schema, reason: str) -> list[str]:
    selected = [f"{_value(column)} AS {quoted(column.name)}" for column in plan.columns if column.how != "fill"]
    selected += [
        f"CAST({_raw(c.name)} AS {sql_type(c.type)}) AS {quoted(c.name)}"
        for c in plan.columns
        if c.how == "fill" and c.source_type is not None
    ]
    selected += [f"CAST({_raw(name)} AS {sql_type(kind)}) AS {quoted(name)}" for name, kind in plan.extras]
    if reason:
        emptied = [f"({_misfit(c)})::INTEGER" for c in plan.columns if _empties(c)]
        payload = row_to_json(_types(incoming), of=_RAW)
        selected += [
            f"{reason} AS {_REASON}",
            f"CASE WHEN {_REASON} IS NOT NULL THEN {payload} END AS {_PAYLOAD}",
            f"{_address(SOURCE_FILE_COLUMN, 'VARCHAR', incoming)} AS {_FILE}",
            f"{_address(SOURCE_ROW_COLUMN, 'BIGINT', incoming)} AS {_LINE}",
            f"{' + '.join(emptied) or '0'} AS {_EMPTIED}",
        ]
    return selected


def _types(incoming: pa.Schema) -> dict[str, str]:
    """Return the types of the batch's columns by name; what no column can hold is kept as text."""
    types: dict[str, str] = {}
    for field in incoming:
        try:
            types[field.name] = type_of(field.type)
        except UnsupportedError:
            types[field.name] = "string"
    return types


def _raw(name: str) -> str:
    return f"{_RAW}.{quoted(name)}"


def _address(name: str, kind: str, incoming: pa.Schema) -> str:
    return f"TRY_CAST({_raw(name)} AS {kind})" if name in incoming.names else f"CAST(NULL AS {kind})"


def _value(column: ColumnPlan) -> str:
    kind = sql_type(column.type)
    if column.source_type is None or column.how == "reject":
        return f"CAST(NULL AS {kind})"
    if column.how == "check":
        return converted(_raw(column.name), column.source_type, column.type)
    return f"CAST({_raw(column.name)} AS {kind})" if column.how == "cast" else _raw(column.name)


def _misfit(column: ColumnPlan) -> str:
    """Return the SQL of "this value does not fit its type"."""
    if column.how == "reject":
        return f"{_raw(column.name)} IS NOT NULL"
    return f"({_raw(column.name)} IS NOT NULL AND ({_value(column)}) IS NULL)"


def _empties(column: ColumnPlan) -> bool:
    return column.how in ("check", "reject") and column.reaction == "discard_value" and column.nullable


def _reason(plan: LoadPlan) -> str:
    """Return the SQL of why a row is refused, null where it is not; the reaction stands before the reason."""
    cases: list[tuple[str, str, str]] = []
    for column in plan.columns:
        if column.how == "fill":
            continue
        reaction = column.reaction if column.reaction in ("discard_row", "quarantine") else "freeze"
        if column.how in ("check", "reject") and not _empties(column):
            cases.append((reaction, _misfit(column), f"{column.name}: not a {column.type}"))
        if not column.nullable and (reaction != "freeze" or column.how in ("check", "reject")):
            cases.append((reaction, f"{_raw(column.name)} IS NULL", f"{column.name}: null"))
    cases += [(plan.policy.new_columns, f"{_raw(n)} IS NOT NULL", f"{n}: no such column") for n in plan.strangers]
    if not cases and not plan.refuses_rows:
        return ""
    order = ("freeze", "quarantine", "discard_row")
    ordered = sorted(cases, key=lambda case: order.index(case[0]))
    whens = " ".join(f"WHEN {test} THEN {text(f'{reaction}|{why}')}" for reaction, test, why in ordered)
    return f"CASE {whens} END" if whens else "CAST(NULL AS VARCHAR)"


def _settle(plan: LoadPlan, workspace: Workspace, rejects: Rejects, read: int, *, types: str) -> Spooled:
    counted: dict[str, dict[str, int]] = {"freeze": {}, "discard_row": {}, "quarantine": {}}
    reasons = f"SELECT {_REASON}, count(*) FROM {INCOMING} WHERE {_REASON} IS NOT NULL GROUP BY 1 ORDER BY 1"
    for found, count in workspace.rows(reasons):
        reaction, _, why = found.partition("|")
        counted[reaction][why] = count
    if counted["freeze"]:
        raise DataRejectedError(
            f"Rows do not fit table {plan.table!r}. Correct them in the source, or let the schema policy decide.",
            table=plan.table,
            reasons=tuple(list(counted["freeze"])[:20]),
            rows=sum(counted["freeze"].values()),
        )
    _keep_aside(workspace, rejects, types=types)
    emptied = workspace.rows(f"SELECT coalesce(sum({_EMPTIED}), 0) FROM {INCOMING} WHERE {_REASON} IS NULL")[0][0]
    workspace.execute(f"DELETE FROM {_SPOOLED} WHERE {_REASON} IS NOT NULL")
    return Spooled(read, sum(counted["discard_row"].values()), sum(counted["quarantine"].values()), int(emptied))


def _keep_aside(workspace: Workspace, rejects: Rejects, *, types: str) -> None:
    refused = workspace.stream(
        f"SELECT {_REASON}, {_FILE}, {_LINE}, {_PAYLOAD} FROM {INCOMING} "
        f"WHERE starts_with({_REASON}, 'quarantine|') ORDER BY {ROW}"
    )
    for batch in refused:
        for reason, file, line, payload in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            rejects.add(RejectedRow(reason.partition("|")[2], file or "", line, payload, types))


def columns_of(plan: LoadPlan, *, of: str) -> str:
    """Return the table's columns, as a list, of a relation that has them."""
    return listed((column.name for column in plan.columns), of=of)
