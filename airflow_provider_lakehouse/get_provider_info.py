"""What Airflow is told about this provider. Imports nothing."""

from __future__ import annotations

from typing import Any

_PACKAGE = "airflow_provider_lakehouse"
_NAME = "Lakehouse"


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata, as Airflow's `provider_info.schema.json` describes it."""
    return {
        "package-name": "airflow-provider-lakehouse",
        "name": _NAME,
        "description": "Load, check and publish Iceberg and Delta tables, exactly once.",
        "integrations": [{"integration-name": _NAME, "tags": ["service"]}],
        "hooks": _modules("hooks.lakehouse"),
        "operators": _modules(
            "operators.create_table",
            "operators.ingest_files",
            "operators.ingest_sql",
            "operators.query",
            "operators.check",
            "operators.publish",
            "operators.rollback",
            "operators.reset_breaker",
            "operators.quarantine",
        ),
        "sensors": _modules("sensors.table", "sensors.breaker", "sensors.quality"),
        "triggers": _modules("triggers.table", "triggers.breaker"),
        "notifications": [f"{_PACKAGE}.notifications.quality.LakehouseQualityNotifier"],
        "task-decorators": [
            {"name": "lakehouse_sql", "class-name": f"{_PACKAGE}.decorators.sql.lakehouse_sql_task"},
            {"name": "lakehouse_check", "class-name": f"{_PACKAGE}.decorators.check.lakehouse_check_task"},
        ],
        "extra-links": [
            f"{_PACKAGE}.operators.table_link.LakehouseTableLink",
            f"{_PACKAGE}.operators.quality_link.LakehouseQualityLink",
        ],
        "asset-uris": [_asset_scheme("iceberg"), _asset_scheme("delta")],
        "connection-types": [
            {
                "connection-type": "lakehouse",
                "hook-class-name": f"{_PACKAGE}.hooks.lakehouse.LakehouseHook",
                "hook-name": _NAME,
                "ui-field-behaviour": {
                    "hidden-fields": ["host", "port", "schema"],
                    "relabeling": {"login": "S3 access key", "password": "S3 secret key"},
                    "placeholders": {"login": "Empty where the worker's own identity is used"},
                },
                "conn-fields": _connection_fields(),
            }
        ],
        "plugins": [{"name": "lakehouse", "plugin-class": f"{_PACKAGE}.plugin.LakehousePlugin"}],
        "config": {"lakehouse": {"description": "Defaults of the lakehouse provider.", "options": _options()}},
    }


def _modules(*names: str) -> list[dict[str, Any]]:
    return [{"integration-name": _NAME, "python-modules": [f"{_PACKAGE}.{name}" for name in names]}]


def _asset_scheme(scheme: str) -> dict[str, Any]:
    return {
        "schemes": [scheme],
        "handler": f"{_PACKAGE}.assets.sanitize_uri",
        "factory": f"{_PACKAGE}.assets.{scheme}_asset",
        "to_openlineage_converter": f"{_PACKAGE}.assets.to_openlineage",
    }


def _connection_fields() -> dict[str, Any]:
    return {
        "format": _field("Table format", type="string", enum=["iceberg", "delta", "memory"], default="iceberg"),
        "warehouse": _field(
            "Warehouse", "Folder under which tables are created: s3://bucket/path or file:///path.", type="string"
        ),
        "catalog_name": _field(
            "Catalog name",
            "As assets and lineage call the catalog: iceberg://<name>/...",
            type="string",
            default="default",
        ),
        "catalog_properties": _field(
            "Catalog properties",
            "What the catalog wants, by its own names. Iceberg: type (sql, rest, glue), uri, ...",
            type=["object", "null"],
        ),
        "s3_endpoint": _field(
            "S3 endpoint", "URL of an S3 server other than Amazon's.", type=["string", "null"], format="uri"
        ),
        "s3_region": _field("S3 region", type=["string", "null"]),
        "s3_path_style_access": _field(
            "S3 path style", "Buckets are part of the path, not of the host.", type="boolean", default=False
        ),
        "engine": _field(
            "Engine", "What runs SQL and compares rows.", type="string", enum=["duckdb"], default="duckdb"
        ),
        "memory_limit_mb": _field(
            "Memory limit (MiB)",
            "Of the engine, for each task; beyond it, it uses disk.",
            type=["integer", "null"],
            minimum=16,
        ),
        "threads": _field(
            "Threads", "Of the engine, for each task; empty for all cores.", type=["integer", "null"], minimum=1
        ),
        "spill_directory": _field(
            "Spill directory", "Folder on the worker for what does not fit into memory.", type=["string", "null"]
        ),
        "table_page": _field(
            "Page of a table",
            "URL that tasks link to, with {table}, {namespace} and {name}. Empty links to the folder in the console of "
            "Amazon S3; Airflow shows no links to other folders.",
            type=["string", "null"],
        ),
    }


def _field(label: str, description: str = "", **schema: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"label": label, "schema": schema} | ({"description": description} if description else {})


def _options() -> dict[str, Any]:
    return {
        "default_retries": {
            "description": "Retries of our operators and sensors where neither the DAG nor [core] default_task_retries "
            "says. The kind of an error decides which of them are used.",
            "version_added": "0.1.0",
            "type": "integer",
            "example": "5",
            "default": "2",
        },
        "default_format": {
            "description": "Format of the tables of connection lakehouse_default. Where it is set, operators declare "
            "the assets that they read and write by themselves. Empty declares none.",
            "version_added": "0.1.0",
            "type": "string",
            "example": "iceberg",
            "default": "",
        },
        "default_catalog": {
            "description": "Name of the catalog of connection lakehouse_default, for assets that operators declare.",
            "version_added": "0.1.0",
            "type": "string",
            "example": "production",
            "default": "default",
        },
        "quality_pages": {
            "description": "Folder, or URI of an object store, where tasks that check tables put a page about what they "
            "found, and where Airflow's server finds it to show it to those who may see the DAG. Empty keeps no pages.",
            "version_added": "0.1.0",
            "type": "string",
            "example": "s3://aws_default@lake/quality-pages",
            "default": "",
        },
        "breaker_log": {
            "description": "Table that holds the circuit breakers, in the catalog of each connection.",
            "version_added": "0.1.0",
            "type": "string",
            "example": "platform.breakers",
            "default": "quality.breakers",
        },
        "preload": {
            "description": "Modules that the scheduler imports when it starts, separated by commas. Workers of the "
            "LocalExecutor are forked from it, and their tasks start without importing them again. Empty imports none.",
            "version_added": "0.1.0",
            "type": "string",
            "example": "pyarrow.dataset,duckdb,pyiceberg.catalog.sql",
            "default": "",
        },
    }
