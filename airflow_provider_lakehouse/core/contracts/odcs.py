"""Read contracts from the YAML of the Open Data Contract Standard 3, and write them back.

Source: Open Data Contract Standard 3.2, its published JSON schema.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields, replace
from functools import cache
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.contracts.contract import (
    OPERATORS,
    Comparison,
    Contract,
    ContractColumn,
    ContractTable,
    CustomProperty,
    Member,
    Rule,
    Team,
)
from airflow_provider_lakehouse.core.contracts.relationships import RELATIONSHIPS
from airflow_provider_lakehouse.core.contracts.service_level import ServiceLevel
from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.registry import require_extra

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_lakehouse.core.contracts.faults import Fault
    from airflow_provider_lakehouse.core.contracts.yaml_text import Document, Path

_NAMES: Final[dict[type, dict[str, str]]] = {
    CustomProperty: {"property": "name", "value": "value"},
    Member: {"username": "name", "role": "role"},
    Team: {"name": "name", "members": "members"},
    Rule: {
        "id": "id", "name": "name", "type": "kind", "metric": "metric", "arguments": "arguments", "unit": "unit",
        "query": "query", "engine": "engine", "implementation": "implementation", "dimension": "dimension",
        "severity": "severity", "description": "description", "customProperties": "custom",
    },
    ContractColumn: {
        "id": "id", "name": "name", "physicalName": "physical_name", "logicalType": "logical_type",
        "physicalType": "physical_type", "logicalTypeOptions": "options", "required": "required", "unique": "unique",
        "primaryKey": "primary_key", "primaryKeyPosition": "primary_key_position", "partitioned": "partitioned",
        "partitionKeyPosition": "partition_position", "classification": "classification", "tags": "tags",
        "description": "description", "quality": "rules", "properties": "fields", "items": "items",
        "customProperties": "custom",
    },
    ContractTable: {
        "id": "id", "name": "name", "physicalName": "physical_name", "physicalType": "physical_type",
        "description": "description", "tags": "tags", "properties": "columns", "quality": "rules",
        "customProperties": "custom",
    },
    ServiceLevel: {
        "property": "name", "value": "value", "unit": "unit", "element": "element", "scheduler": "scheduler",
        "schedule": "schedule", "description": "description", "customProperties": "custom",
    },
    Contract: {
        "apiVersion": "api_version", "id": "id", "name": "name", "version": "version", "status": "status",
        "domain": "domain", "tags": "tags", "team": "team", "schema": "tables", "slaProperties": "service_levels",
        "customProperties": "custom",
    },
}  # fmt: skip
"""Fields of the standard by the class that holds them, and the names they have there."""
_PARTS: Final[dict[str, type]] = {
    "members": Member, "rules": Rule, "fields": ContractColumn, "columns": ContractColumn, "tables": ContractTable,
    "service_levels": ServiceLevel, "custom": CustomProperty, "team": Team, "items": ContractColumn,
    "key": ContractColumn, "value": ContractColumn,
}  # fmt: skip
_POSITIONS: Final = ("primary_key_position", "partition_position")
_ALWAYS_WRITTEN: Final = ("api_version", "id", "name", "version", "value")


def read_contract(text: str, *, source: str = "contract") -> Contract:
    """Read a contract.

    Args:
        text: YAML of the standard, version 3.
        source: Where it comes from, for messages: the path of the file.

    Returns:
        The contract. What this package has no word for is kept in `extra`.

    Raises:
        InvalidRequestError: It is not YAML, breaks the standard's schema or contradicts itself; the error names file, line,
            path and reason of the first fault, and how many more there are.
        UnsupportedError: The extra `contracts` is not installed.

    Example:
        >>> contract = read_contract('''
        ... {apiVersion: v3.2.0, kind: DataContract, id: c1, version: 1.0.0, status: draft,
        ...  schema: [{name: orders, properties: [{name: id, logicalType: integer, required: true}]}]}
        ... ''')
        >>> contract.table("orders").columns[0].required
        True
    """
    document = _read(text, source=source)
    if faults := _faults(document):
        first = faults[0]
        raise InvalidRequestError(
            f"The contract is wrong at {first.path or 'its start'}: {first.reason}. Correct it at the line.",
            file=source,
            line=first.line,
            path=first.path,
            reason=first.reason,
            more=len(faults) - 1,
        )
    return _Reader(document, source).contract()


def read_contract_file(path: str | FilePath, *, table: str | None = None) -> Contract:
    """Read a contract from a file.

    Args:
        path: The file.
        table: Read what concerns one table, by its name or physical name: of the others only the names are there. It takes a
            fraction of the time where a contract has many, unless it refers to others. None reads all of it.

    Raises:
        InvalidRequestError: There is no such file, it is not UTF-8, or as for `read_contract`.
    """
    text = _text_of(path)
    if table is not None:
        document = part_about(_read(text, source=str(path)), table)
        if document is not None and not _faults(document):
            return _Reader(document, str(path)).contract()
    return read_contract(text, source=str(path))


def part_about(document: Document, table: str) -> Document | None:
    """Return the part of a contract that concerns one table; None where it is the whole, or there is no such table.

    It is the whole where the table refers to others, whose columns are needed to understand it.
    """
    tables = document.value.get("schema") if isinstance(document.value, dict) else None
    if not isinstance(tables, list) or len(tables) < 2 or not all(isinstance(one, dict) for one in tables):
        return None
    about = next((one for one in tables if table in (one.get("name"), one.get("physicalName"))), None)
    if about is None or _refers(about):
        return None
    # Others keep their places, so that what is told of this one has the right line.
    value = {
        **document.value,
        "schema": [one if one is about else {"name": one.get("name", "")} for one in tables],
    }
    if isinstance(levels := value.pop("slaProperties", None), list) and (kept := _levels_about(levels, about)):
        value["slaProperties"] = kept
    return replace(document, value=value)


def _refers(table: Mapping[str, Any]) -> bool:
    columns = table.get("properties")
    parts = [table, *(columns if isinstance(columns, list) else ())]
    return any(isinstance(part, dict) and part.get(RELATIONSHIPS) for part in parts)


def _levels_about(levels: list[Any], table: Mapping[str, Any]) -> list[Any]:
    names = [name for name in (table.get("name"), table.get("physicalName"), table.get("id")) if name]
    return [
        level
        for level in levels
        if not isinstance(level, dict)
        or not (element := level.get("element"))
        or any(
            part.strip() in names or part.strip().startswith(tuple(f"{n}." for n in names))
            for part in str(element).split(",")
        )
    ]


def contract_faults(text: str, *, source: str = "contract") -> tuple[Fault, ...]:
    """Return everything that is wrong with a contract, by line; empty where nothing is.

    Args:
        text: YAML.
        source: Where it comes from, for messages.

    Raises:
        UnsupportedError: The extra `contracts` is not installed.
    """
    from airflow_provider_lakehouse.core.contracts.faults import Fault

    try:
        return _faults(_read(text, source=source))
    except InvalidRequestError as error:
        return (Fault(int(str(error.facts["line"])), "", str(error.facts["reason"])),)


def contract_file_faults(path: str | FilePath) -> tuple[Fault, ...]:
    """Return everything that is wrong with the contract in a file.

    Raises:
        InvalidRequestError: There is no such file, or it is not UTF-8.
    """
    return contract_faults(_text_of(path), source=str(path))


def write_contract(contract: Contract) -> str:
    """Write a contract as YAML.

    Returns:
        Text that reads as an equal contract. Comments and the order of fields are those of no file.

    Raises:
        UnsupportedError: The extra `contracts` is not installed.

    Example:
        >>> contract = Contract("c1", "1.0.0", status="draft")
        >>> read_contract(write_contract(contract)) == contract
        True
    """
    require_extra("contracts", purpose="to write data contracts")
    from airflow_provider_lakehouse.core.contracts.yaml_text import write_document

    found = _written(contract)
    if contract.purpose:
        found["description"] = {"purpose": contract.purpose, **found.get("description", {})}
    return write_document({"kind": "DataContract", **found})


def _read(text: str, *, source: str) -> Document:
    require_extra("contracts", purpose="to read data contracts")
    from airflow_provider_lakehouse.core.contracts.yaml_text import read_document

    return read_document(text, source=source)


def _faults(document: Document) -> tuple[Fault, ...]:
    from airflow_provider_lakehouse.core.contracts.faults import faults_of

    return faults_of(document)


def _text_of(path: str | FilePath) -> str:
    try:
        return FilePath(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequestError(
            f"The contract {str(path)!r} cannot be read. Give the path of a text file in UTF-8.",
            file=str(path),
            reason=type(error).__name__,
        ) from error


@dataclass(frozen=True)
class _Reader:
    document: Document
    source: str

    def contract(self) -> Contract:
        value = dict(self.document.value)
        del value["kind"]
        purpose = ""
        if isinstance(about := value.get("description"), dict) and about.get("purpose"):
            about = dict(about)
            purpose = about.pop("purpose")
            value["description"] = about
            if not about:
                del value["description"]
        return Contract(**self._settings(Contract, value, ()), purpose=purpose, source=self.source)

    def part(self, kind: type, value: Any, path: Path) -> Any:  # noqa: ANN401
        return kind(**self._settings(kind, value, path), **self._special(kind, value, path))

    def _settings(self, kind: type, value: dict[str, Any], path: Path) -> dict[str, Any]:
        """Return the arguments that have a field of their own, and the rest as `extra`."""
        names = _NAMES[kind]
        found: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        for key, one in value.items():
            if key not in names or one is None:
                extra[key] = one
            else:
                found[names[key]] = self._setting(kind, names[key], one, (*path, key))
        for key in _CONSUMED.get(kind, ()):
            extra.pop(key, None)
        extra = {key: one for key, one in extra.items() if one is not None or key not in names}
        return {**found, "extra": extra}

    def _setting(self, kind: type, name: str, value: Any, path: Path) -> Any:  # noqa: ANN401
        part = _part_of(kind, name)
        if part is Team:
            return self._team(value, path)
        if part is not None and isinstance(value, list):
            return tuple(self.part(part, one, (*path, place)) for place, one in enumerate(value))
        if part is not None:
            return self.part(part, value, path)
        if name == "tags":
            return tuple(value)
        return None if name in _POSITIONS and value == -1 else value

    def _team(self, value: Any, path: Path) -> Team:  # noqa: ANN401
        if isinstance(value, list):
            members = tuple(self.part(Member, one, (*path, place)) for place, one in enumerate(value))
            return Team(members=members, is_list=True)
        return Team(**self._settings(Team, value, path))

    def _special(self, kind: type, value: dict[str, Any], path: Path) -> dict[str, Any]:
        """Return the arguments that no single field gives."""
        found: dict[str, Any] = {}
        if "line" in _defaults(kind):
            found["line"] = self.document.line_of(path)
        if kind is ContractColumn and isinstance(of_map := value.get("map"), dict):
            found |= {name: self.part(kind, of_map[name], (*path, "map", name)) for name in ("key", "value")}
        if kind is Rule:
            given = next((name for name in OPERATORS if value.get(name) is not None), None)
            found["must"] = Comparison(given, _paired(value[given])) if given else None  # type: ignore[arg-type]
            if "type" not in value and "metric" not in value:
                found["kind"] = "text"
        return found


_CONSUMED: Final[dict[type, tuple[str, ...]]] = {Rule: OPERATORS, ContractColumn: ("map",)}
"""Fields that `_special` reads."""


def _paired(value: Any) -> Any:  # noqa: ANN401
    return tuple(value) if isinstance(value, list) else value


def _part_of(kind: type, name: str) -> type | None:
    if name == "value" and kind is not ContractColumn:
        return None
    return _PARTS.get(name)


@cache
def _defaults(kind: type) -> dict[str, Any]:
    return {
        one.name: one.default_factory() if one.default_factory is not MISSING else one.default for one in fields(kind)
    }


def _written(value: Any) -> dict[str, Any]:  # noqa: ANN401
    kind: type = type(value)
    defaults = _defaults(kind)
    found: dict[str, Any] = {}
    for key, name in _NAMES[kind].items():
        given = getattr(value, name)
        if given != defaults[name] or (name in _ALWAYS_WRITTEN and given != ""):
            found[key] = _plain(given)
    if kind is Rule and value.must is not None:
        found[value.must.operator] = _plain(value.must.value)
    if kind is ContractColumn and value.key is not None:
        found["map"] = {"key": _written(value.key), "value": _written(value.value)}
    return {**found, **value.extra}


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Team):
        return [_written(one) for one in value.members] if value.is_list else _written(value)
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return _written(value) if type(value) in _NAMES else value
