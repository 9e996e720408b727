"""Refuse SQL in checks that is none, is several statements, or does anything but read; the engine's parser decides."""

from __future__ import annotations

from itertools import batched
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.errors import InvalidRequestError, LakehouseError
from airflow_provider_lakehouse.core.quality.checks import Expectation, RowCheck
from airflow_provider_lakehouse.core.quality.groups import UNEXPECTED_ROWS, query_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow_provider_lakehouse.core.engines.base import Engine
    from airflow_provider_lakehouse.core.quality.checks import Check

_TOGETHER: Final = 200
"""Conditions and queries that are parsed at once."""

_WRITES: Final = "data-modifying statement"
"""How the engine calls a write inside of a query, which its parser knows and only a later step refuses."""


def require_queries(checks: Iterable[Check], *, engine: Engine) -> None:
    """Refuse checks whose SQL is not what it should be: one condition, or one query that only reads.

    Whether the names in it are there is not asked here.

    Raises:
        InvalidRequestError: Names the check.

    Example:
        >>> from airflow_provider_lakehouse.core.engines.duckdb import DuckDBEngine
        >>> require_queries([RowCheck("n", "n > 0) ; DROP TABLE t; --")], engine=DuckDBEngine())
        Traceback (most recent call last):
        ...
        airflow_provider_lakehouse.core.errors.InvalidRequestError: The SQL of check 'n' is not one condition, or one query \
that only reads. Correct it. [check='n' cause='ParserException']
    """
    given = [(check, sql) for check in checks for sql in _queries(check)]
    for some in batched(given, _TOGETHER):
        together = "SELECT " + ", ".join(f"EXISTS ({sql.strip().rstrip(';')}\n)" for _, sql in some)
        if _fault(together, engine) is None:
            continue
        for check, sql in some:
            if (fault := _fault(sql, engine)) is not None:
                raise InvalidRequestError(
                    f"The SQL of check {check.name!r} is not one condition, or one query that only reads. Correct it.",
                    check=check.name,
                    **{name: fault.facts[name] for name in ("statements", "cause") if name in fault.facts},
                )


def _queries(check: Check) -> Iterator[str]:
    if isinstance(check, Expectation):
        if check.row_condition is not None:
            yield _as_query(check.row_condition)
        if check.type == UNEXPECTED_ROWS:
            yield query_of(check)
    else:
        yield _as_query(check.condition) if isinstance(check, RowCheck) else check.query


def _as_query(condition: str) -> str:
    return f"SELECT ({condition}\n)"


def _fault(sql: str, engine: Engine) -> InvalidRequestError | None:
    """Return what the engine's parser has against a query; None where it only lacks the tables."""
    try:
        engine.describe(sql)
    except InvalidRequestError as error:
        facts = error.facts
        is_refused = "statements" in facts or facts.get("cause") == "ParserException"
        return error if is_refused or _WRITES in str(facts.get("reason")) else None
    except LakehouseError:
        return None
    return None
