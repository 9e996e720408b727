"""DuckDB's own reader of Iceberg, in a folder of its own: it shares no code with ours or PyIceberg's."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from .process import ServiceMissingError

DUCKDB_VERSION = "1.5.5"
"""The newest release whose extensions are packages of their own, so that none is downloaded when it runs."""
PACKAGES = tuple(
    f"{name}=={DUCKDB_VERSION}" for name in ("duckdb", "duckdb-extension-avro", "duckdb-extension-iceberg")
)
SCRIPT = """
import sys, duckdb
folder, metadata, target = sys.argv[1:]
connection = duckdb.connect()
for name in ("avro", "iceberg"):
    path = f"{folder}/duckdb_extension_{name}/extensions/v{duckdb.__version__}/{name}.duckdb_extension"
    connection.execute(f"INSTALL '{path}'")
    connection.execute(f"LOAD {name}")
connection.execute("SET TimeZone = 'UTC'")
connection.execute(f"COPY (SELECT * FROM iceberg_scan('{metadata}')) TO '{target}' (FORMAT parquet)")
"""


def install() -> Path:
    """Returns the folder that holds the reader, filled the first time.

    Raises:
        ServiceMissingError: The packages cannot be installed here.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "airflow-provider-lakehouse"
    folder = cache / f"duckdb-iceberg-{DUCKDB_VERSION}-py{sys.version_info.major}{sys.version_info.minor}"
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
                f"no independent reader of Iceberg: {' '.join(PACKAGES)} cannot be installed with pip"
            ) from error
        if not folder.exists():
            Path(aside, "packages").rename(folder)
    return folder


def read_into(target: Path, *, metadata: str) -> None:
    """Reads a table into a Parquet file.

    Args:
        target: The file.
        metadata: Path of the table's metadata file.
    """
    folder = install()
    with tempfile.TemporaryDirectory() as home:
        subprocess.run(
            [sys.executable, "-c", SCRIPT, str(folder), metadata, str(target)],
            check=True,
            env={"PYTHONPATH": str(folder), "HOME": home, "PATH": os.environ["PATH"]},
            timeout=120,
        )
