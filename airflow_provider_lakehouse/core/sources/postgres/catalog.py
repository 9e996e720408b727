"""Ask PostgreSQL what a relation looks like: its columns, its size, the high-water mark of a cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError
from airflow_provider_lakehouse.core.sources.postgres.plan import select_of
from airflow_provider_lakehouse.core.sources.postgres.types import CatalogType, SourceColumn, base_of, column_type
from airflow_provider_lakehouse.core.sources.relations import parse_relation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import timedelta

    from psycopg.sql import Composable

    from airflow_provider_lakehouse.core.sources.postgres.connection import Connection

_RANGE_SCAN_SINCE: Final = 140000  # older servers read the whole table for every range of blocks
_TYPES: Final = """
SELECT oid, CASE WHEN typlen = -1 AND typcategory = 'A' THEN typelem ELSE 0 END, typdelim, typbasetype, typtypmod
FROM pg_catalog.pg_type WHERE oid = ANY(%s)
"""
_NOT_NULL: Final = """
SELECT attname FROM pg_catalog.pg_attribute
WHERE attrelid = %s::regclass AND attnotnull AND attnum > 0 AND NOT attisdropped
"""
_BLOCKS: Final = """
WITH RECURSIVE tree AS (
    SELECT %s::regclass::oid AS oid UNION SELECT inhrelid FROM pg_catalog.pg_inherits JOIN tree ON inhparent = tree.oid
)
SELECT bool_and(relkind = 'p' OR (relkind IN ('r', 'm') AND amname = 'heap')),
       max(CASE relkind WHEN 'p' THEN 0 ELSE pg_relation_size(c.oid) END) / current_setting('block_size')::bigint
FROM tree JOIN pg_catalog.pg_class c USING (oid) LEFT JOIN pg_catalog.pg_am a ON a.oid = relam
"""
CURSOR_CASTS: Final = {
    "smallint": "bigint", "integer": "bigint", "bigint": "bigint", "numeric": "numeric", "date": "date",
    "timestamp without time zone": "timestamp", "timestamp with time zone": "timestamptz",
}  # fmt: skip
"""Types a cursor may have, and what its bounds are cast to: wide enough for a bound below the smallest value."""
_NUMBERS: Final = ("bigint", "numeric")
_ENDLESS: Final = ("infinity", "Infinity", "NaN")


def describe(
    connection: Connection, origin: Composable, names: Sequence[str], *, relation: str
) -> tuple[SourceColumn, ...]:
    """Return columns as a query would deliver them; their definition is locked until the transaction ends.

    Args:
        connection: In a transaction.
        origin: What stands after FROM.
        names: Which columns; empty for all.
        relation: Name of a relation, to learn which columns forbid nulls; empty for a query.

    Raises:
        InvalidRequestError: There are no columns, or two of the same name.
    """
    from psycopg import sql

    cursor = connection.execute(sql.SQL("{} LIMIT 0").format(select_of(origin, names)))
    result = cursor.pgresult
    if result is None or not result.nfields:
        raise InvalidRequestError(f"{relation or 'The query'!r} has no columns to read. Choose another relation.")
    described = [((result.fname(i) or b"").decode(), result.ftype(i), result.fmod(i)) for i in range(result.nfields)]
    _refuse_repeated([name for name, _, _ in described], relation)
    catalog = _types(connection, {oid for _, oid, _ in described})
    texts = _type_texts(connection, described, catalog)
    required = _not_null(connection, relation)
    return tuple(
        SourceColumn(name, column_type(oid, modifier, catalog), *text, nullable=name not in required)
        for (name, oid, modifier), text in zip(described, texts, strict=True)
    )


def _refuse_repeated(names: list[str], relation: str) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if repeated:
        raise InvalidRequestError(
            f"{relation or 'The query'!r} delivers columns of the same name. Give each a name of its own.",
            repeated=tuple(repeated),
        )


def _types(connection: Connection, oids: set[int]) -> dict[int, CatalogType]:
    """Read types and what they are made of, however deep."""
    catalog: dict[int, CatalogType] = {}
    while oids:
        found = {row[0]: CatalogType(*row[1:]) for row in connection.execute(_TYPES, [list(oids)])}
        catalog |= found
        oids = {oid for kind in found.values() for oid in (kind.element, kind.base) if oid and oid not in catalog}
    return catalog


def _type_texts(
    connection: Connection, described: Iterable[tuple[str, int, int]], catalog: Mapping[int, CatalogType]
) -> list[tuple[str, str]]:
    oids, modifiers, bases = [], [], []
    for _, oid, modifier in described:
        oids.append(oid)
        modifiers.append(modifier)
        bases.append(base_of(oid, modifier, catalog)[0])
    # With the modifier -1 the text has no length: 'bpchar', where null would give 'character', which means char(1).
    query = "SELECT format_type(a, m), format_type(b, -1) FROM unnest(%s::oid[], %s::int[], %s::oid[]) AS t(a, m, b)"
    return [(row[0], row[1]) for row in connection.execute(query, [oids, modifiers, bases])]


def _not_null(connection: Connection, relation: str) -> frozenset[str]:
    if not relation:
        return frozenset()
    return frozenset(row[0] for row in connection.execute(_NOT_NULL, [_regclass(relation)]))


def _regclass(relation: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in parse_relation(relation))


def blocks_of(connection: Connection, relation: str) -> int:
    """Return how many blocks the largest part of a relation has; 0 where it cannot be read by ranges of blocks."""
    if not relation or connection.info.server_version < _RANGE_SCAN_SINCE:
        return 0
    row = connection.execute(_BLOCKS, [_regclass(relation)]).fetchone()
    return int(row[1]) if row and row[0] else 0


def seen_by(connection: Connection) -> str:
    """Return what the transaction sees, in PostgreSQL's text for it."""
    return str(_one(connection, "SELECT pg_current_snapshot()::text"))


def high_water_mark(
    connection: Connection, origin: Composable, cursor: SourceColumn, *, before: str | None
) -> str | None:
    """Return the largest finite value of a cursor, but never less than `before`.

    Args:
        connection: In a transaction.
        origin: What stands after FROM.
        cursor: The column.
        before: The high-water mark of the last plan; None for none.

    Returns:
        PostgreSQL's text for it; None when there is no row and no `before`.
    """
    from psycopg import sql

    cast = sql.SQL(cursor_cast(cursor))
    column = sql.Identifier(cursor.name)
    query = sql.SQL("SELECT max({})::{}::text FROM {}").format(column, cast, origin)
    high = _one(connection, query)
    while high in _ENDLESS:
        limit = sql.SQL("{} WHERE {} < {}::{}").format(query, column, sql.Literal(high), cast)
        high = _one(connection, limit)
    if high is None or before is None:
        return high or before
    return str(_one(connection, sql.SQL("SELECT greatest({}::{}, {}::{})::text").format(high, cast, before, cast)))


def lowered(connection: Connection, cursor: SourceColumn, mark: str, *, lag: timedelta | int | None) -> str:
    """Return a high-water mark less the lag.

    Raises:
        InvalidRequestError: The lag does not go with the cursor's type.
    """
    from psycopg import sql

    if not lag:
        return mark
    kind = cursor_cast(cursor)
    if (kind in _NUMBERS) != isinstance(lag, int):
        raise InvalidRequestError(
            f"The lag of cursor {cursor.name!r} must be a {'number' if kind in _NUMBERS else 'timedelta'}. Change it.",
            cursor=cursor.name,
            sql_type=cursor.sql_type,
        )
    if kind == "bigint":
        text = "SELECT greatest(%s::numeric - %s, '-9223372036854775808')::text"
    elif kind == "numeric":
        text = "SELECT (%s::numeric - %s)::text"
    else:
        text = f"SELECT (%s::{kind} - %s::interval)::{kind}::text"
    return str(_one(connection, sql.SQL(text), [mark, lag]))


def cursor_cast(cursor: SourceColumn) -> str:
    """Return what bounds of a cursor are cast to.

    Raises:
        InvalidRequestError: The column's type has no order that grows with time.
    """
    if cursor.base_type not in CURSOR_CASTS:
        raise InvalidRequestError(
            f"Column {cursor.name!r} cannot be a cursor. Choose a whole number, numeric, date or timestamp.",
            cursor=cursor.name,
            sql_type=cursor.sql_type,
        )
    return CURSOR_CASTS[cursor.base_type]


def has_null(connection: Connection, origin: Composable, column: SourceColumn) -> bool:
    """Tell whether a row has no value in a column."""
    from psycopg import sql

    if not column.nullable:
        return False
    query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {} IS NULL)").format(origin, sql.Identifier(column.name))
    return bool(_one(connection, query))


def check_literal(connection: Connection, column: SourceColumn, value: str) -> None:
    """Check that a bound is a value of a column's type.

    Raises:
        InvalidRequestError: It is not.
    """
    import psycopg
    from psycopg import sql

    try:
        connection.execute(sql.SQL("SELECT {}::{}").format(value, sql.SQL(column.base_type)))
    except psycopg.DataError as error:
        raise InvalidRequestError(
            f"A bound for column {column.name!r} is not a {column.base_type}. Write it as PostgreSQL does.",
            column=column.name,
        ) from error


def _one(connection: Connection, query: Any, parameters: Sequence[Any] | None = None) -> Any:  # noqa: ANN401
    row = connection.execute(query, parameters).fetchone()
    if row is None:
        raise DataRejectedError("A query that must return a row returned none. Look at the relation's rules.")
    return row[0]
