"""DuckDB's own readers of Iceberg and Delta, in a folder of their own: they share no code with ours, PyIceberg's or delta-rs's."""

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from .process import ServiceMissingError

DUCKDB_VERSION = "1.5.5"
"""The newest release whose extensions are packages of their own, so that none is downloaded when it runs."""
PACKAGES = tuple(
    f"duckdb{name}=={DUCKDB_VERSION}" for name in ("", *(f"-extension-{n}" for n in ("avro", "delta", "iceberg")))
)
SCRIPT = """
import os, sys, duckdb
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever else is printed is no answer
connection = duckdb.connect()
for name in ("avro", "delta", "iceberg"):
    path = f"{sys.argv[1]}/duckdb_extension_{name}/extensions/v{duckdb.__version__}/{name}.duckdb_extension"
    connection.execute(f"INSTALL '{path}'")
    connection.execute(f"LOAD {name}")
connection.execute("SET TimeZone = 'UTC'")
for line in sys.stdin:
    scan, path, target = line.rstrip("\\n").split("\\t")
    path = path.replace("'", "''")
    connection.execute(f"COPY (SELECT * FROM {scan}('{path}')) TO '{target}' (FORMAT parquet)")
    print("done", file=answers, flush=True)
"""


def install() -> Path:
    """Returns the folder that holds the reader, filled the first time.

    Raises:
        ServiceMissingError: The packages cannot be installed here.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "airflow-provider-lakehouse"
    folder = cache / f"duckdb-readers-{DUCKDB_VERSION}-py{sys.version_info.major}{sys.version_info.minor}"
    if folder.exists():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    # Filled aside and moved into place, so that neither an interrupted install nor a second one at once can harm.
    with tempfile.TemporaryDirectory(dir=cache) as aside:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", f"{aside}/packages", *PACKAGES]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=300)
        except (subprocess.SubprocessError, OSError) as error:
            raise ServiceMissingError(
                f"no independent reader: {' '.join(PACKAGES)} cannot be installed with pip"
            ) from error
        if not folder.exists():
            Path(aside, "packages").rename(folder)
    return folder


class DuckDBReader:
    """A process that reads tables into Parquet files; as a context manager it runs, and ends with the context."""

    def __init__(self) -> None:
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Starts it.

        Raises:
            ServiceMissingError: The packages cannot be installed here.
        """
        folder = str(install())
        home = self._cleanup.enter_context(tempfile.TemporaryDirectory())
        self._process = self._cleanup.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", SCRIPT, folder],
                env={"PYTHONPATH": folder, "HOME": home, "PATH": os.environ["PATH"]},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends it: its input is closed."""
        self._cleanup.close()

    def read_iceberg(self, target: Path, *, metadata: str) -> None:
        """Reads an Iceberg table.

        Args:
            target: The Parquet file to write.
            metadata: Path of the table's metadata file.
        """
        self._read("iceberg_scan", metadata, target)

    def read_delta(self, target: Path, *, folder: str) -> None:
        """Reads a Delta table, with Delta's own kernel.

        Args:
            target: The Parquet file to write.
            folder: Path of the table.
        """
        self._read("delta_scan", folder, target)

    def _read(self, scan: str, path: str, target: Path) -> None:
        asked, answers = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answers is not None
        asked.write(f"{scan}\t{path}\t{target}\n")
        asked.flush()
        assert answers.readline() == "done\n", f"{path} cannot be read; see what the reader printed"
