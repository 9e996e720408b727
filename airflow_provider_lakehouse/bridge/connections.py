"""Read Airflow connections: named keys only, everything else refused by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from airflow.sdk.exceptions import AirflowException

from airflow_provider_lakehouse.core.engines.base import EngineSettings
from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.registry import find, is_registered
from airflow_provider_lakehouse.core.tables.base import CatalogSettings

if TYPE_CHECKING:
    from airflow.providers.common.sql.hooks.sql import DbApiHook
    from airflow.sdk import Connection

    from airflow_provider_lakehouse.core.engines.base import Engine
    from airflow_provider_lakehouse.core.sources.base import Source
    from airflow_provider_lakehouse.core.tables.base import Catalog

CONNECTION_TYPE: Final = "lakehouse"
DEFAULT_CONNECTION: Final = "lakehouse_default"
KNOWN_KEYS: Final = (
    "format",
    "warehouse",
    "catalog_name",
    "catalog_properties",
    "s3_endpoint",
    "s3_region",
    "s3_path_style_access",
    "engine",
    "memory_limit_mb",
    "threads",
    "spill_directory",
    "table_page",
)
"""Keys of the connection's extra; the form has a field for each of them, see `get_provider_info`."""
_DEFAULT_ENGINE: Final = "duckdb"
_MIB: Final = 1024 * 1024
_EMPTY: Final = (None, "")


@dataclass(frozen=True)
class LakehouseSettings:
    """What a connection says.

    Args:
        catalog: Where tables are.
        engine: What the engine may take from the worker.
        engine_name: Which engine.
        table_page: URL of the page of a table, with `{table}`, `{namespace}` and `{name}`; empty where there is none.
    """

    catalog: CatalogSettings
    engine: EngineSettings
    engine_name: str = _DEFAULT_ENGINE
    table_page: str = ""


def read_connection(connection: Connection) -> LakehouseSettings:
    """Read a connection of type `lakehouse`.

    Args:
        connection: Login and password are the S3 access key and its secret; everything else is in the extra.

    Raises:
        InvalidRequestError: The type is another, or a key is unknown, missing, or has a value of another kind.
    """
    conn_id = str(connection.conn_id)
    if connection.conn_type != CONNECTION_TYPE:
        raise InvalidRequestError(
            f"Connection {conn_id!r} is not of type {CONNECTION_TYPE!r}. Use one that is.",
            type=str(connection.conn_type),
        )
    extra = _extra(connection)
    _check_keys(extra, conn_id)
    properties = _properties(extra, connection)
    catalog = CatalogSettings(
        format=str(extra["format"]),
        warehouse=str(extra["warehouse"]),
        name=str(extra.get("catalog_name", "default")),
        properties=properties,
    )
    return LakehouseSettings(
        catalog,
        _engine(extra, conn_id),
        engine_name=str(extra.get("engine", _DEFAULT_ENGINE)),
        table_page=str(extra.get("table_page", "")),
    )


def open_catalog(settings: LakehouseSettings) -> Catalog:
    """Open the catalog that a connection describes."""
    catalog: Catalog = find("tables", settings.catalog.format)(settings.catalog)
    return catalog


def open_engine(settings: LakehouseSettings) -> Engine:
    """Open the engine that a connection describes."""
    engine: Engine = find("engines", settings.engine_name)(settings.engine)
    return engine


def open_sql_source(connection: Connection, **settings: Any) -> Source:  # noqa: ANN401
    """Open the database that a connection of its own type describes.

    Args:
        connection: Where its type is the registered name of a source, such as `postgres`, extras are options of the
            driver, such as `sslmode`. Any other type is opened by its own provider's hook, which has to be one for SQL.
        **settings: Of the source: what to read, and how.

    Raises:
        InvalidRequestError: There is no source and no hook for the type, or a setting is wrong.
    """
    kind = str(connection.conn_type)
    if is_registered("sources", kind):
        name, place = kind, dict[str, Any](dsn=_dsn(connection))
    else:
        name, place = "dbapi", {"uri": _uri(connection), "connect": _sql_hook(connection).get_conn}
    source: Source = find("sources", name)(**place, **settings)
    return source


def _sql_hook(connection: Connection) -> DbApiHook:
    from airflow.providers.common.sql.hooks.sql import DbApiHook

    hook: object
    try:
        hook = connection.get_hook()  # type: ignore[no-untyped-call]
    except (AirflowException, ImportError) as error:
        raise InvalidRequestError(
            f"Nothing here opens connections of type {str(connection.conn_type)!r}. Install the provider of that database.",
            connection=str(connection.conn_id),
        ) from error
    if not isinstance(hook, DbApiHook):
        raise InvalidRequestError(
            f"Connection {connection.conn_id!r} of type {str(connection.conn_type)!r} is not one of an SQL database. "
            "Use one that is.",
            hook=type(hook).__name__,
        )
    return hook


def _uri(connection: Connection) -> str:
    """Return where a database is, without who asks; databases in a file have a path where others have a host."""
    host, port = connection.host or "", f":{connection.port}" if connection.port else ""
    place = f"{host}{port}/{quote(connection.schema or '', safe='')}" if "/" not in host else quote(host)
    return f"{connection.conn_type}://{place}"


def _dsn(connection: Connection) -> str:
    password = f":{quote(connection.password, safe='')}" if connection.password else ""
    user = f"{quote(connection.login, safe='')}{password}@" if connection.login else ""
    host = connection.host or ""
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    elif host.startswith("/"):
        host = quote(host, safe="")
    port = f":{connection.port}" if connection.port else ""
    options = urlencode({name: str(value) for name, value in connection.extra_dejson.items()}, quote_via=quote)
    schema = quote(connection.schema or "", safe="")
    return f"{connection.conn_type}://{user}{host}{port}/{schema}" + (f"?{options}" if options else "")


def _extra(connection: Connection) -> dict[str, Any]:
    """Return the extra; a text that is no JSON must not pass for an empty one."""
    try:
        extra = json.loads(connection.extra or "{}")
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        raise InvalidRequestError(f"The extra of connection {connection.conn_id!r} is no JSON object. Correct it.")
    return {name: value for name, value in extra.items() if value not in _EMPTY}


def _check_keys(extra: Mapping[str, Any], conn_id: str) -> None:
    unknown = tuple(sorted(set(extra) - set(KNOWN_KEYS)))
    if unknown:
        raise InvalidRequestError(
            f"Connection {conn_id!r} has keys that no lakehouse knows: {', '.join(unknown)}. Remove or rename them; "
            "what the catalog itself wants belongs into 'catalog_properties'.",
            unknown=unknown,
            known=KNOWN_KEYS,
        )
    missing = tuple(name for name in ("format", "warehouse") if name not in extra)
    if missing:
        raise InvalidRequestError(
            f"Connection {conn_id!r} lacks {' and '.join(missing)}. Fill them in.", missing=missing
        )


def _properties(extra: Mapping[str, Any], connection: Connection) -> dict[str, str]:
    given = extra.get("catalog_properties", {})
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            given = None
    if not isinstance(given, Mapping):
        raise InvalidRequestError(
            f"'catalog_properties' of connection {connection.conn_id!r} is no JSON object. Correct it."
        )
    own = {
        "s3.endpoint": extra.get("s3_endpoint"),
        "s3.region": extra.get("s3_region"),
        "s3.path-style-access": extra.get("s3_path_style_access"),
        "s3.access-key-id": connection.login,
        "s3.secret-access-key": connection.password,
    }
    properties = {str(name): _text(value) for name, value in given.items()}
    return properties | {name: _text(value) for name, value in own.items() if value not in _EMPTY}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _engine(extra: Mapping[str, Any], conn_id: str) -> EngineSettings:
    settings: dict[str, Any] = {"spill_directory": extra.get("spill_directory")}
    if "memory_limit_mb" in extra:
        settings["memory_limit_bytes"] = _number(extra["memory_limit_mb"], "memory_limit_mb", conn_id) * _MIB
    if "threads" in extra:
        settings["threads"] = _number(extra["threads"], "threads", conn_id)
    return EngineSettings(**settings)


def _number(value: object, name: str, conn_id: str) -> int:
    try:
        return int(str(value))
    except ValueError as error:
        raise InvalidRequestError(f"{name!r} of connection {conn_id!r} is no whole number. Correct it.") from error
