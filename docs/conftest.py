"""Runs the Python blocks of pages that are whole programs."""

from __future__ import annotations

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

WHOLE = [
    "how-to/breaker.md",
    "how-to/keep-a-contract.md",
    "how-to/load-from-a-database.md",
    "how-to/quarantine.md",
    "how-to/write-checks.md",
]

pytest_collect_file = Sybil(parsers=[PythonCodeBlockParser()], patterns=WHOLE).pytest()
