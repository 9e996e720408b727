"""The scheduler imports what is named before it forks workers; nobody else imports anything."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from airflow_provider_lakehouse.get_provider_info import get_provider_info
from airflow_provider_lakehouse.plugin import LakehousePlugin, Preload, preload

PROBE = "tabnanny"
"""A module of the standard library that nothing else imports."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__LAKEHOUSE__PRELOAD", f"no_such_module, {PROBE}")
    monkeypatch.delitem(sys.modules, PROBE, raising=False)


@pytest.mark.usefixtures("asked")
def test_a_scheduler_imports_the_modules_and_leaves_out_what_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["airflow", "scheduler"])
    Preload().on_starting(component=object())
    assert PROBE in sys.modules


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("component", ["triggerer", "dag-processor", "api-server", "celery"])
def test_other_components_import_nothing(component: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["airflow", component])
    Preload().on_starting(component=object())
    assert PROBE not in sys.modules


def test_a_forked_process_shares_what_was_preloaded() -> None:
    code = (
        "import os, sys\nfrom airflow_provider_lakehouse.plugin import preload\n"
        f"preload([{PROBE!r}])\n"
        "child = os.fork()\n"
        f"if not child: os._exit(0 if {PROBE!r} in sys.modules else 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nothing_is_preloaded_unless_asked() -> None:
    assert get_provider_info()["config"]["lakehouse"]["options"]["preload"]["default"] == ""
    assert preload([]) == ()


def test_airflow_finds_the_plugin_by_its_entry_point() -> None:
    (found,) = [one for one in entry_points(group="airflow.plugins") if one.name == LakehousePlugin.name]
    (declared,) = get_provider_info()["plugins"]
    assert found.load() is LakehousePlugin
    assert declared == {"name": LakehousePlugin.name, "plugin-class": found.value.replace(":", ".")}
