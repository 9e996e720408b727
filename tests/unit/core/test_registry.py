"""A backend whose extra is not installed is refused by the name of the extra, before anything is read or written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_lakehouse.core.registry import BUILT_IN, NEEDS, find, is_registered

ROOT = Path(__file__).parents[3]
NEEDING = [(kind, name, extra) for kind, found in BUILT_IN.items() for name, (_, extra) in found.items() if extra]


@pytest.mark.parametrize(("kind", "name", "extra"), NEEDING)
def test_a_backend_without_its_extra_names_the_extra(kind: str, name: str, extra: str) -> None:
    """In an interpreter without installed packages nothing of any extra is there."""
    program = f"""
from airflow_provider_lakehouse.core.errors import UnsupportedError
from airflow_provider_lakehouse.core.registry import find
try:
    find({kind!r}, {name!r})
except UnsupportedError as error:
    print(error)
"""
    without_site = [sys.executable, "-S", "-c", program]
    done = subprocess.run(without_site, check=True, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})
    assert f"Install 'airflow-provider-lakehouse[{extra}]'" in done.stdout


def test_every_backend_with_an_extra_says_which_modules_it_needs() -> None:
    assert {extra for _, _, extra in NEEDING} <= NEEDS.keys()


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, found in BUILT_IN.items() for name in found])
def test_every_backend_is_found_where_its_extra_is_installed(kind: str, name: str) -> None:
    assert callable(find(kind, name))
    assert is_registered(kind, name)


def test_what_nobody_registered_is_not_registered() -> None:
    assert not is_registered("sources", "oracle")
