"""Reading keeps to its memory, however large the files and however long their values."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 40_000
PROGRAM = """
import sys
from datetime import UTC, datetime
import duckdb, pyarrow, pyarrow.compute, pyarrow.parquet
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.sources.base import Rejects
from airflow_provider_lakehouse.core.sources.files.source import FileSettings, FileSource

def peak():  # of this program; that of getrusage outlives the parent's fork
    return int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) // 1024

before = peak()
schema = Schema.of(Column("id", "long"), Column("text", "string"))
source = FileSource(FileSettings(sys.argv[1], schema=schema, memory_bytes=128 << 20, threads=2))
rows = sum(b.num_rows for b in source.read(source.plan(position=None, now=datetime.now(UTC)), rejects=Rejects()))
print(rows, peak() - before)
"""


def write(path: Path, row_bytes: int) -> None:
    text, rows = "x" * row_bytes, ROWS * 10_000 // row_bytes
    if path.suffix == ".parquet":
        with pq.ParquetWriter(
            path, pa.schema([("id", pa.int64()), ("text", pa.string())]), use_dictionary=False
        ) as file:
            at_once = 32 * 1024 * 1024 // row_bytes
            for first in range(0, rows, at_once):
                ids = list(range(first, min(rows, first + at_once)))
                file.write_table(pa.table({"id": ids, "text": [text] * len(ids)}))
        return
    with path.open("w") as lines:
        lines.write("id,text\n" if path.suffix == ".csv" else "")
        shape = "{},{}\n" if path.suffix == ".csv" else '{{"id":{},"text":"{}"}}\n'
        lines.writelines(shape.format(number, text) for number in range(rows))


@pytest.mark.slow
@pytest.mark.parametrize("row_bytes", [10_000, 1_000_000])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_400_megabytes_of_long_values_are_read_within_the_memory_that_is_said(
    tmp_path: Path, name: str, row_bytes: int
):
    write(tmp_path / name, row_bytes)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / name)], check=True, capture_output=True, text=True
    )
    rows, mebibytes = map(int, done.stdout.split())
    assert rows == ROWS * 10_000 // row_bytes
    assert mebibytes < 128 + 224
