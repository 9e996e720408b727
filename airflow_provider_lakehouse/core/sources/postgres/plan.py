"""Which part of a PostgreSQL relation to read, and the statement that reads it. Nothing here talks to a server."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self, cast

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.sources.relations import Condition, parse_relation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from psycopg.sql import Composable

    from airflow_provider_lakehouse.core.sources.base import Json
    from airflow_provider_lakehouse.core.sources.postgres.types import SourceColumn

MIN_RANGE_BLOCKS: Final = 1024
"""8 MiB at PostgreSQL's usual block size: below that a further range costs more than it gains."""
RANGES_PER_CONNECTION: Final = 4
"""More ranges than connections, so that one dense range does not leave the others idle."""

BlockRange = tuple[int, int | None]


@dataclass(frozen=True, slots=True)
class RangeFacts:
    """What a slice says of the rows to read.

    Args:
        columns: Fingerprint of names and types, so that a changed table is noticed.
        snapshot: What the plan saw (`pg_current_snapshot`): slices planned over the same state are equal, others not.
        blocks: First block, and the block after the last, None for open-ended; None for the whole relation.
        conditions: Bounds that all hold.
    """

    columns: str
    snapshot: str
    blocks: BlockRange | None = None
    conditions: tuple[Condition, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """Return the facts as JSON."""
        return {
            "columns": self.columns,
            "snapshot": self.snapshot,
            "blocks": list(self.blocks) if self.blocks else None,
            "conditions": [[c.column, c.operator, c.value] for c in self.conditions],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote.

        Raises:
            InvalidRequestError: It did not write this.
        """
        try:
            first, end = value["blocks"] or (None, None)
            conditions = tuple(Condition.from_json(*condition) for condition in value["conditions"])
            blocks = None if first is None else (int(first), None if end is None else int(end))
            return cls(str(value["columns"]), str(value["snapshot"]), blocks, conditions)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidRequestError("A slice of the plan is not of a PostgreSQL source. Plan anew.") from error

    @property
    def name(self) -> str:
        """The range for logs; bounds are positions, not rows."""
        parts = [f"{c.column} {c.operator} {c.value}" for c in self.conditions]
        if self.blocks:
            first, end = self.blocks
            parts.append(f"blocks {first} to {'the end' if end is None else end - 1}")
        return " and ".join(parts) or "all rows"


def plan_blocks(blocks: int, *, parallelism: int) -> tuple[BlockRange | None, ...]:
    """Cut a table into ranges of blocks.

    Args:
        blocks: How many blocks it has now. Rows added later lie in the last range, which has no end.
        parallelism: How many connections will read.

    Returns:
        Ranges that together hold every row exactly once; a single None where cutting does not pay.

    Example:
        >>> plan_blocks(4096, parallelism=1)
        (None,)
        >>> plan_blocks(3072, parallelism=2)
        ((0, 1024), (1024, 2048), (2048, None))
    """
    count = min(parallelism * RANGES_PER_CONNECTION, blocks // MIN_RANGE_BLOCKS)
    if parallelism == 1 or count <= 1:
        return (None,)
    edges = [blocks * number // count for number in range(count)]
    return tuple(zip(edges, [*edges[1:], None], strict=True))


def fingerprint_of(columns: Sequence[SourceColumn]) -> str:
    """Return 16 hexadecimal characters of names and types."""
    described = json.dumps([[c.name, c.sql_type, c.type, c.nullable] for c in columns])
    return hashlib.sha256(described.encode()).hexdigest()[:16]


def origin_of(relation: str, query: str) -> Composable:
    """Return what stands after FROM."""
    from psycopg import sql

    if relation:
        return sql.Identifier(*parse_relation(relation))
    # The line end keeps a comment at the end of the query from hiding what follows it.
    return sql.SQL("({}\n) AS source").format(sql.SQL(cast("Any", query.strip().rstrip(";"))))


def select_of(
    origin: Composable,
    columns: Sequence[str],
    *,
    facts: RangeFacts | None = None,
    types: Mapping[str, str] | None = None,
) -> Composable:
    """Return the query for a range.

    Args:
        origin: What stands after FROM.
        columns: Which columns; empty for all.
        facts: Which rows; None for all.
        types: By column of a condition, what PostgreSQL casts its bound to.
    """
    from psycopg import sql

    selected = sql.SQL(", ").join(map(sql.Identifier, columns)) if columns else sql.SQL("*")
    query = sql.SQL("SELECT {} FROM {}").format(selected, origin)
    conditions = _conditions(facts, types or {}) if facts else []
    return sql.SQL("{} WHERE {}").format(query, sql.SQL(" AND ").join(conditions)) if conditions else query


def _conditions(facts: RangeFacts, types: Mapping[str, str]) -> list[Composable]:
    from psycopg import sql

    conditions: list[Composable] = []
    first, end = facts.blocks or (0, None)
    if first:
        conditions.append(sql.SQL("ctid >= {}::tid").format(sql.Literal(f"({first},0)")))
    if end is not None:
        conditions.append(sql.SQL("ctid < {}::tid").format(sql.Literal(f"({end},0)")))
    return conditions + [_condition_of(bound, types[bound.column]) for bound in facts.conditions]


def _condition_of(bound: Condition, cast_to: str) -> Composable:
    from psycopg import sql

    kind = sql.SQL(cast("Any", cast_to))  # PostgreSQL itself wrote the type's name, quotes included
    return sql.SQL("{} {} {}::{}").format(
        sql.Identifier(bound.column), sql.SQL(bound.operator), sql.Literal(bound.value), kind
    )
