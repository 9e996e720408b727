"""What Airflow is told about the provider is complete, valid, and true."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import airflow
import jsonschema
import pytest
from airflow.providers_manager import ProvidersManager
from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime

from airflow_provider_lakehouse.bridge.connections import KNOWN_KEYS
from airflow_provider_lakehouse.get_provider_info import get_provider_info

PACKAGE = Path(importlib.import_module("airflow_provider_lakehouse").__file__ or "").parent
ROOMS = {"hooks": "hooks", "operators": "operators", "sensors": "sensors", "triggers": "triggers"}


def class_paths(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [path for one in value.values() for path in class_paths(one)]
    if isinstance(value, list):
        return [path for one in value for path in class_paths(one)]
    return [value] if isinstance(value, str) and value.startswith("airflow_provider_lakehouse.") else []


def test_the_metadata_fits_the_schema_of_airflow() -> None:
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


@pytest.mark.parametrize("path", sorted(set(class_paths(get_provider_info()))))
def test_every_path_it_names_can_be_imported(path: str) -> None:
    try:
        importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize(("key", "room"), ROOMS.items())
def test_every_module_of_a_room_is_named(key: str, room: str) -> None:
    plumbing = {
        "__init__", "base", "deferral", "guarded", "judging", "quality_link", "query_load", "table_audit", "table_link", "waiting",
    }  # fmt: skip
    modules = {
        f"airflow_provider_lakehouse.{room}.{f.stem}" for f in (PACKAGE / room).glob("*.py") if f.stem not in plumbing
    }
    assert {path for one in get_provider_info()[key] for path in one["python-modules"]} == modules


def test_the_form_has_a_field_for_every_key_that_a_connection_can_have() -> None:
    (connection,) = get_provider_info()["connection-types"]
    assert tuple(connection["conn-fields"]) == KNOWN_KEYS


def test_the_schemas_of_the_form_are_schemas_and_accept_their_own_defaults() -> None:
    (connection,) = get_provider_info()["connection-types"]
    for field in connection["conn-fields"].values():
        jsonschema.Draft202012Validator.check_schema(field["schema"])
        if "default" in field["schema"]:
            jsonschema.validate(field["schema"]["default"], field["schema"])


def test_airflow_finds_the_provider_its_hook_and_its_link() -> None:
    manager = ProvidersManager()
    assert "airflow-provider-lakehouse" in manager.providers
    hook = ProvidersManagerTaskRuntime().hooks["lakehouse"]
    assert hook is not None
    assert hook.connection_id_attribute_name == "lakehouse_conn_id"
    assert "airflow_provider_lakehouse.operators.table_link.LakehouseTableLink" in manager.extra_links_class_names


def test_airflow_offers_the_decorator() -> None:
    from airflow.sdk import task

    assert callable(task.lakehouse_sql)


def test_the_options_of_the_configuration_have_the_defaults_that_the_code_assumes() -> None:
    from airflow_provider_lakehouse.bridge.retries import DEFAULT_RETRIES

    options = get_provider_info()["config"]["lakehouse"]["options"]
    assert options["default_retries"]["default"] == str(DEFAULT_RETRIES)
    assert options["default_format"]["default"] == ""


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    """Return what `airflow providers ...` prints."""
    from airflow.cli.cli_parser import get_parser

    arguments = get_parser().parse_args(["providers", *words, "--output", "json"])
    capsys.readouterr()
    arguments.func(arguments)
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def test_the_command_providers_shows_the_provider_its_connection_type_and_its_fields(
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = "airflow-provider-lakehouse"
    assert name in {one["package_name"] for one in shown(capsys, "list")}
    assert name in {one["Provider"] for one in shown(capsys, "get", name)}
    (hook,) = [one for one in shown(capsys, "hooks") if one["package_name"] == name]
    assert (hook["connection_type"], hook["hook_name"]) == ("lakehouse", "Lakehouse")
    fields = {one["connection_parameter_name"] for one in shown(capsys, "widgets") if one["package_name"] == name}
    assert fields == {f"extra__lakehouse__{key}" for key in KNOWN_KEYS}
