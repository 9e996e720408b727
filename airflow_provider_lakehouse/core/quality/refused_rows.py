"""Change or remove refused rows in one commit, and leave a trace of those that are gone."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.engines.dialect import quoted
from airflow_provider_lakehouse.core.errors import ConflictError
from airflow_provider_lakehouse.core.quality.quarantine import QUARANTINE_RELATION, read_refused
from airflow_provider_lakehouse.core.tables.base import FILE_COLUMN, POSITION_COLUMN, Change, Positions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa

    from airflow_provider_lakehouse.core.engines.base import Engine
    from airflow_provider_lakehouse.core.tables.base import CommitResult, Table, TableFacts, WriteToken

_MAX_ATTEMPTS: Final = 10
_CHECKS_TOLD: Final = 50


@dataclass(frozen=True)
class Rewrite:
    """Which refused rows are taken away, and what comes in their place.

    Args:
        condition: SQL over the row `q` that holds for them.
        changes: New values by column, as SQL over `q` and, where `wanted` is given, `w`; empty where nothing comes in
            their place.
        wanted: Rows with an `id`; only refused rows with such an id are meant. None for all.
    """

    condition: str
    changes: Mapping[str, str] = field(default_factory=dict)
    wanted: pa.Table | None = None


def rewrite(
    table: Table,
    choose: Callable[[TableFacts], Rewrite | None],
    *,
    token: WriteToken,
    engine: Engine,
    summary: Mapping[str, str] | None = None,
) -> CommitResult | None:
    """Change or remove refused rows in one commit; decided again where other writers touched the same rows.

    Args:
        table: The table of refused rows.
        choose: Decides from one version of the table; None for nothing.
        token: Names the write.
        engine: Reads the rows, which are held in memory.
        summary: For the table's history.

    Returns:
        The commit; None when there was nothing to do, and nothing was written.

    Raises:
        ConflictError: Other writers came first again and again. Nothing was written.
    """
    attempt = 1
    while (known := table.find(token)) is None:
        facts = table.facts()
        chosen = choose(facts)
        if chosen is None or not (rows := _addressed(table, facts, chosen, engine)).num_rows:
            return None
        kept = rows.select(list(facts.schema.names)).to_reader() if chosen.changes else None
        places = Positions(rows.select([FILE_COLUMN, POSITION_COLUMN]))
        try:
            return table.commit(
                Change(rows=kept, removes=places, base=facts.version, summary=summary or {}), token=token
            )
        except ConflictError:
            if attempt == _MAX_ATTEMPTS:
                raise
            attempt += 1
    return known


def trace_of(what: str, checks: Mapping[str, int], *, rows: int, target: str, contract: str = "") -> dict[str, str]:
    """Return what a table's history keeps of rows that left quarantine: counts of the most frequent checks, no values.

    Example:
        >>> trace_of("expired", {"amount is positive": 2}, rows=2, target="silver.orders")["lakehouse.checks"]
        '{"amount is positive": 2}'
    """
    told = dict(sorted(checks.items(), key=lambda one: -one[1])[:_CHECKS_TOLD])
    facts = {"lakehouse.quarantine": what, "lakehouse.rows": str(rows), "lakehouse.target": target}
    facts |= {"lakehouse.checks": json.dumps(told, ensure_ascii=False)}
    return facts | ({"lakehouse.contract": contract} if contract else {})


def _addressed(table: Table, facts: TableFacts, chosen: Rewrite, engine: Engine) -> pa.Table:
    replaced = ", ".join(f"{value} AS {quoted(column)}" for column, value in chosen.changes.items())
    star = f"q.* REPLACE ({replaced})" if replaced else "q.*"
    joined = "" if chosen.wanted is None else " JOIN wanted AS w ON w.id = q.id"
    sql = f"SELECT {star} FROM {QUARANTINE_RELATION} AS q{joined} WHERE {chosen.condition}"
    tables = {} if chosen.wanted is None else {"wanted": chosen.wanted}
    return read_refused(table, facts, sql, engine=engine, addressed=True, tables=tables)
