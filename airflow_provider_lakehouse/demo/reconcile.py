"""Compare what the lakehouse holds with what the source said, to the cent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.engines.base import TableView
from airflow_provider_lakehouse.core.quality.breaker_log import BreakerLog

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_lakehouse.core.engines.base import Engine
    from airflow_provider_lakehouse.core.tables.base import Catalog
    from airflow_provider_lakehouse.samples.retail import Totals

LAYERS: Final = (
    ("bronze", ("transactions", "products", "households", "coupons")),
    ("silver", ("transactions", "products", "households", "coupons", "sales")),
    ("gold", ("store_daily", "department_daily", "household_daily", "baskets")),
)
QUARANTINE: Final = "quarantine.rows"
LEDGER: Final = "ledger.files"
RESULTS: Final = "quality.results"
BREAKERS: Final = "quality.breakers"
_MONEY: Final = ("sales_value", "retail_disc", "coupon_disc", "coupon_match_disc")


@dataclass(frozen=True)
class TableReport:
    """What became of one table.

    Args:
        table: `namespace.table`.
        rows_in: Rows that were offered to it; None where it is computed from others.
        rows: Rows it holds.
        rows_quarantined: Rows that were refused on the way to it.
        files: Live data files.
        size_bytes: Of them, compressed.
        version: Newest version.
        commits: Entries of its history that changed rows.
    """

    table: str
    rows_in: int | None
    rows: int
    rows_quarantined: int
    files: int
    size_bytes: int
    version: int
    commits: int


@dataclass(frozen=True)
class Reconciliation:
    """One total, as the source has it and as a table has it.

    Args:
        table: Where it was added up.
        what: Which total.
        expected: By the source.
        found: By the table.
    """

    table: str
    what: str
    expected: int
    found: int

    @property
    def agrees(self) -> bool:
        """True when both are the same."""
        return self.expected == self.found


def report_tables(catalog: Catalog, *, engine: Engine) -> tuple[TableReport, ...]:
    """Describe every table of the medallion."""
    landed = _landed(catalog, engine)
    refused = _refused(catalog, engine)
    found = []
    for layer, names in LAYERS:
        for name in names:
            full = f"{layer}.{name}"
            table = catalog.table(full)
            facts = table.facts()
            history = table.history() if hasattr(table, "history") else ()
            found.append(
                TableReport(
                    full,
                    rows_in=landed.get(full),
                    rows=_count(engine, catalog, full),
                    rows_quarantined=refused.get(full, 0),
                    files=facts.files,
                    size_bytes=facts.size_bytes,
                    version=facts.version,
                    commits=sum(entry.changes_rows for entry in history),
                )
            )
    return tuple(found)


def reconcile(catalog: Catalog, *, engine: Engine, expected: Totals) -> tuple[Reconciliation, ...]:
    """Add up lines and money in silver and in every gold table, and compare with the source."""
    wanted = {
        "lines": expected.lines,
        "sales_value": expected.sales_cents,
        "retail_disc": expected.retail_disc_cents,
        "coupon_disc": expected.coupon_disc_cents,
        "coupon_match_disc": expected.coupon_match_disc_cents,
    }
    money = ", ".join(f"CAST(sum({name}) * 100 AS BIGINT) AS {name}" for name in _MONEY)
    found: list[Reconciliation] = []
    for full in ("silver.transactions", "silver.sales", *(f"gold.{name}" for name in LAYERS[2][1])):
        lines = "sum(lines)" if full.startswith("gold.") else "count(*)"
        (row,) = _rows(engine, catalog, f"SELECT CAST({lines} AS BIGINT) AS lines, {money} FROM {full}", full)
        found += [Reconciliation(full, what, wanted[what], int(row[what] or 0)) for what in wanted]
    baskets = _count(engine, catalog, "gold.baskets")
    return (*found, Reconciliation("gold.baskets", "baskets", expected.baskets, baskets))


def refused_rows(catalog: Catalog, *, engine: Engine) -> list[dict[str, Any]]:
    """Return what is in quarantine, without the rows themselves."""
    if not catalog.table(QUARANTINE).exists():
        return []
    sql = (
        f"SELECT reason, regexp_extract(source_file, '[^/]+$') AS source, source_row, count(*) AS rows FROM {QUARANTINE} "
        "GROUP BY ALL ORDER BY source, source_row, reason"
    )
    return _rows(engine, catalog, sql, QUARANTINE)


@dataclass(frozen=True)
class QualityReport:
    """What the checks of one table found, over all runs.

    Args:
        table: `namespace.table`.
        checks: Different checks.
        asked: How often one was asked, over all runs.
        broken: How often one was broken, by its name.
        breaker: State of the circuit breaker.
        remembered: What the breaker remembers as broken.
    """

    table: str
    checks: int
    asked: int
    broken: Mapping[str, int]
    breaker: str
    remembered: tuple[str, ...]


def report_quality(catalog: Catalog, *, engine: Engine) -> tuple[QualityReport, ...]:
    """Tell what checks found in each table, and whether its breaker lets loads pass."""
    sql = (
        "SELECT table_name, check_name, count(*) AS asked, count(*) FILTER (verdict <> 'passed') AS broken "
        f"FROM {RESULTS} GROUP BY ALL ORDER BY table_name, check_name"
    )
    by_table: dict[str, list[dict[str, Any]]] = {}
    for row in _rows(engine, catalog, sql, RESULTS):
        by_table.setdefault(row["table_name"], []).append(row)
    log = BreakerLog(catalog.table(BREAKERS))
    found = []
    for name, rows in by_table.items():
        breaker = log.read(name)
        broken = {row["check_name"]: row["broken"] for row in rows if row["broken"]}
        asked = sum(row["asked"] for row in rows)
        found.append(QualityReport(name, len(rows), asked, broken, breaker.state, tuple(breaker.failing)))
    return tuple(found)


def _landed(catalog: Catalog, engine: Engine) -> dict[str, int]:
    sql = (
        "SELECT regexp_extract(pipeline, '[^/]+$') AS name, CAST(sum(row_count + rejected) AS BIGINT) AS n "
        f"FROM {LEDGER} WHERE state <> 'claimed' GROUP BY 1"
    )
    return {row["name"]: row["n"] for row in _rows(engine, catalog, sql, LEDGER)}


def _refused(catalog: Catalog, engine: Engine) -> dict[str, int]:
    if not catalog.table(QUARANTINE).exists():
        return {}
    sql = (
        f"SELECT regexp_extract(pipeline, '/([^/]+)(/[0-9]+)?$', 1) AS name, count(*) AS n FROM {QUARANTINE} GROUP BY 1"
    )
    return {row["name"]: row["n"] for row in _rows(engine, catalog, sql, QUARANTINE)}


def _count(engine: Engine, catalog: Catalog, full: str) -> int:
    return int(_rows(engine, catalog, f"SELECT count(*) AS n FROM {full}", full)[0]["n"])


def _rows(engine: Engine, catalog: Catalog, sql: str, *names: str) -> list[dict[str, Any]]:
    tables = {name: TableView(catalog.table(name)) for name in names}
    with engine.query(sql, tables=tables) as rows:
        found: list[dict[str, Any]] = rows.read_all().to_pylist()
        return found


def totals_line(checked: Sequence[Reconciliation]) -> str:
    """Return one sentence about all totals."""
    wrong = [one for one in checked if not one.agrees]
    if not wrong:
        return f"All {len(checked)} totals agree with the source, to the cent."
    return "; ".join(f"{one.table} {one.what}: {one.found}, not {one.expected}" for one in wrong)
