"""Every kind of source passes the same specification."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_lakehouse.core.sources.files.source import FileSettings, FileSource
from airflow_provider_lakehouse.testing.source_spec import SourceSpecification

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_lakehouse.core.sources.base import Source


class TestFiles(SourceSpecification):
    def filled(self, root: Path) -> Source:
        for name in ("a", "b"):
            path = root / f"{name}.csv"
            if not path.exists():
                path.write_text(f"id,name\n1,{name}\n2,{name}\nthree,{name}\n")
        return FileSource(FileSettings(f"{root}/*.csv"))

    def empty(self, root: Path) -> Source:
        return FileSource(FileSettings(f"{root}/none/*.csv"))
