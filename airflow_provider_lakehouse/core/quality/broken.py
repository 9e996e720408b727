"""Find a few of the rows that break a check, for the person who has to correct them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.abilities import require
from airflow_provider_lakehouse.core.engines.base import TableView
from airflow_provider_lakehouse.core.engines.dialect import listed
from airflow_provider_lakehouse.core.errors import InvalidRequestError, UnsupportedError
from airflow_provider_lakehouse.core.quality.checks import Expectation, RowCheck
from airflow_provider_lakehouse.core.quality.columns import Columns
from airflow_provider_lakehouse.core.quality.conditions import is_row_check, left_out, looked_at, violation_sql
from airflow_provider_lakehouse.core.quality.questions import CHECKED, both
from airflow_provider_lakehouse.core.quality.run import pinned
from airflow_provider_lakehouse.core.quality.statements import require_queries
from airflow_provider_lakehouse.core.quality.vocabulary import require_valid
from airflow_provider_lakehouse.core.tables.abilities import Addressing
from airflow_provider_lakehouse.core.tables.base import FILE_COLUMN, POSITION_COLUMN, RESERVED_PREFIX

if TYPE_CHECKING:
    from airflow_provider_lakehouse.core.engines.base import Engine, Relation
    from airflow_provider_lakehouse.core.quality.checks import Check
    from airflow_provider_lakehouse.core.schema import Schema

MOST_ROWS: Final = 1_000
_UNIQUE: Final = ("expect_column_values_to_be_unique", "expect_compound_columns_to_be_unique")


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """Where a row is that breaks a check.

    Args:
        file: The data file that holds it; empty where it was asked for by its key.
        position: Its zero-based place in the file; -1 where it was asked for by its key.
        key: Its values of the key columns; empty where it was asked for by its address. They are values of a row: show
            them to who may see the table, and write them into no log.
    """

    file: str = ""
    position: int = -1
    key: tuple[Any, ...] = ()


def broken_rows(
    relation: Relation, check: Check, *, engine: Engine, keys: tuple[str, ...] = (), limit: int = 20
) -> tuple[BrokenRow, ...]:
    """Return where some of the rows are that break a check, in the order of their keys or addresses.

    Args:
        relation: What is checked.
        check: Of single rows, or of unique values.
        engine: Looks for them.
        keys: Columns that tell rows apart; empty asks for files and places, which not every table can give.
        limit: At most so many rows, up to 1,000.

    Raises:
        InvalidRequestError: The check is not about rows that could be shown, or does not fit the table.
        UnsupportedError: No keys are given, and the table cannot tell where its rows are.

    Example:
        >>> import pyarrow as pa
        >>> from airflow_provider_lakehouse.core.engines.duckdb import DuckDBEngine
        >>> orders = pa.table({"id": [7, 8, 9], "amount": [1, -1, None]})
        >>> broken_rows(orders, RowCheck("positive", "amount > 0"), engine=DuckDBEngine(), keys=("id",))
        (BrokenRow(file='', position=-1, key=(8,)), BrokenRow(file='', position=-1, key=(9,)))
    """
    if not 0 < limit <= MOST_ROWS:
        raise InvalidRequestError(f"A limit of rows is between 1 and {MOST_ROWS:,}. Correct it.", limit=limit)
    require_valid([check])
    require_queries([check], engine=engine)
    steady, schema = pinned(relation)
    schema.require(keys, purpose="a key")
    shown = listed(keys or (FILE_COLUMN, POSITION_COLUMN))
    sql = f"SELECT {shown} FROM {CHECKED} WHERE {_condition(check, schema)} ORDER BY ALL LIMIT {limit}"
    with engine.query(sql, tables={CHECKED: steady if keys else _addressed(steady)}) as reader:
        columns = [column.to_pylist() for column in reader.read_all().columns]
    found = zip(*columns, strict=True)
    return tuple(BrokenRow(key=tuple(row)) if keys else BrokenRow(row[0], row[1]) for row in found)


def _addressed(relation: Relation) -> TableView:
    if not isinstance(relation, TableView):
        raise UnsupportedError("Rows in memory have no addresses. Name key columns.")
    require(relation.table, Addressing, purpose="to tell where broken rows are")
    return replace(relation, addressed=True)


def _condition(check: Check, schema: Schema) -> str:
    if isinstance(check, (RowCheck, Expectation)) and is_row_check(check):
        return violation_sql(check, schema)
    if not isinstance(check, Expectation) or check.type not in _UNIQUE:
        raise InvalidRequestError(
            "This check is not about rows that could be shown. Ask for one of single rows or of unique values.",
            check=check.name,
        )
    columns, given = Columns(schema, check.name), check.arguments
    names = given.get("column_list") or (given["column"],)
    values = [columns.value(name) for name in names]
    missing = left_out(values, given.get("ignore_row_if") or "all_values_are_missing")
    counted = both(looked_at(check), f"NOT {missing}" if missing else "")
    where = f" WHERE {counted}" if counted else ""
    keys = ", ".join(f"{value} AS {RESERVED_PREFIX}{number}" for number, value in enumerate(values))
    twice = f"SELECT {keys} FROM {CHECKED}{where} GROUP BY ALL HAVING count(*) > 1"
    same = " AND ".join(
        f"{value} IS NOT DISTINCT FROM {RESERVED_PREFIX}{number}" for number, value in enumerate(values)
    )
    return both(counted, f"EXISTS (SELECT 1 FROM ({twice}) AS twice WHERE {same})")
