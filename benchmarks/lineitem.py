"""A table like TPC-H's lineitem: 16 columns, made up by arithmetic, the same on every machine."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = 600_000
COLUMNS = {
    "l_orderkey": "bigint", "l_partkey": "integer", "l_suppkey": "integer", "l_linenumber": "integer",
    "l_quantity": "numeric(15,2)", "l_extendedprice": "numeric(15,2)", "l_discount": "numeric(15,2)",
    "l_tax": "numeric(15,2)", "l_returnflag": "char(1)", "l_linestatus": "char(1)", "l_shipdate": "date",
    "l_commitdate": "date", "l_receiptdate": "date", "l_shipinstruct": "text", "l_shipmode": "text",
    "l_comment": "text",
}  # fmt: skip
"""PostgreSQL's type of each column."""
MEASURES = {
    "rows": "count(*)",
    "orderkey": "sum(l_orderkey)::HUGEINT",
    "partkey": "sum(l_partkey)::HUGEINT",
    "quantity": "sum(l_quantity)::DECIMAL(30,2)",
    "extendedprice": "sum(l_extendedprice)::DECIMAL(30,2)",
    "discount": "sum(l_discount)::DECIMAL(30,2)",
    "shipdates": "sum(l_shipdate::DATE - DATE '1970-01-01')::HUGEINT",
    "returned": "count(*) FILTER (l_returnflag = 'R')",
    "comments": "sum(strlen(l_comment))::HUGEINT",
}
_WORDS = (
    "carefully", "final", "deposits", "detect", "slyly", "quick", "accounts", "are", "furiously", "ironic", "packages",
    "haggle", "blithely", "regular", "requests", "sleep", "among", "the", "express", "ideas", "pending", "theodolites",
)  # fmt: skip


def select(rows: int) -> str:
    """Return DuckDB SQL that makes the rows."""

    def drawn(prime: int, modulus: int) -> str:
        return f"((i * {prime} + (i // 7) * 7919) % {modulus})"

    words = "[" + ", ".join(f"'{word}'" for word in _WORDS) + "]"
    comment = " || ' ' || ".join(
        f"{words}[1 + {drawn(prime, len(_WORDS))}]" for prime in (10_007, 20_011, 30_011, 40_009)
    )
    ship = f"DATE '1992-01-02' + CAST({drawn(15_485_863, 2_500)} AS INTEGER)"
    quantity, price = f"(1 + {drawn(104_729, 50)})", f"(90000 + {drawn(1_299_709, 120_000)})"
    return (
        f"SELECT i // 4 * 8 + 1 AS l_orderkey, CAST(1 + {drawn(32_452_843, 200_000)} AS INTEGER) AS l_partkey, "
        f"CAST(1 + {drawn(49_979_687, 10_000)} AS INTEGER) AS l_suppkey, CAST(i % 4 + 1 AS INTEGER) AS l_linenumber, "
        f"CAST({quantity} AS DECIMAL(15,2)) AS l_quantity, "
        f"CAST({quantity} * {price} / 100 AS DECIMAL(15,2)) AS l_extendedprice, "
        f"CAST({drawn(7_919, 11)} / 100 AS DECIMAL(15,2)) AS l_discount, "
        f"CAST({drawn(6_007, 9)} / 100 AS DECIMAL(15,2)) AS l_tax, "
        f"['A', 'N', 'R'][1 + {drawn(5_003, 3)}] AS l_returnflag, ['F', 'O'][1 + {drawn(4_001, 2)}] AS l_linestatus, "
        f"{ship} AS l_shipdate, {ship} + CAST({drawn(3_001, 60)} - 30 AS INTEGER) AS l_commitdate, "
        f"{ship} + CAST(1 + {drawn(2_003, 30)} AS INTEGER) AS l_receiptdate, "
        f"['DELIVER IN PERSON', 'COLLECT COD', 'NONE', 'TAKE BACK RETURN'][1 + {drawn(1_009, 4)}] AS l_shipinstruct, "
        f"['REG AIR', 'AIR', 'RAIL', 'SHIP', 'TRUCK', 'MAIL', 'FOB'][1 + {drawn(907, 7)}] AS l_shipmode, "
        f"{comment} AS l_comment FROM range({rows}) t(i)"
    )


def write(folder: Path, *, rows: int) -> Path:
    """Write the rows as Parquet, and as CSV for PostgreSQL.

    Returns:
        The Parquet file.
    """
    import duckdb

    file = folder / "lineitem.parquet"
    if not file.exists():
        connection = duckdb.connect()
        connection.execute("SET memory_limit = '2GB'")
        connection.execute(f"COPY ({select(rows)}) TO '{folder}/lineitem.csv' (FORMAT csv, HEADER false)")
        connection.execute(f"COPY ({select(rows)}) TO '{file}.new' (FORMAT parquet, COMPRESSION zstd)")
        Path(f"{file}.new").rename(file)
    return file


def fill(dsn: str, csv: Path) -> None:
    """Put the rows into a server, settled so that the first reader finds what later ones do."""
    import psycopg

    columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE UNLOGGED TABLE lineitem ({columns})")
        with csv.open("rb") as file, connection.cursor().copy("COPY lineitem FROM STDIN (FORMAT csv)") as copy:
            while block := file.read(1 << 20):
                copy.write(block)
        connection.execute("VACUUM (FREEZE, ANALYZE) lineitem")


@contextmanager
def server(inputs: Path) -> Iterator[str]:
    """Start a PostgreSQL of its own for the time of the measurement, and give its address."""
    from tests.services.postgres_server import PostgresServer

    del inputs
    with PostgresServer(
        settings={"shared_buffers": "512MB", "max_wal_size": "4GB", "maintenance_work_mem": "256MB"}
    ) as started:
        yield started.dsn
