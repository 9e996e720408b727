"""What is wrong with the text of a contract: against the published schema of the standard, and against itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.contracts.contract import OPERATORS
from airflow_provider_lakehouse.core.contracts.contradictions import contradictions
from airflow_provider_lakehouse.core.registry import require_extra

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jsonschema import ValidationError
    from jsonschema.protocols import Validator

    from airflow_provider_lakehouse.core.contracts.yaml_text import Document, Path

VERSION_PREFIX: Final = "v3."
_UNKNOWN_FIELDS: Final = ("additionalProperties", "unevaluatedProperties")


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """Something that is wrong in a contract.

    Args:
        line: Where, from 1.
        path: What, such as `schema[orders].properties[amount].required`.
        reason: Why, as the end of a sentence.
    """

    line: int
    path: str
    reason: str


def faults_of(document: Document) -> tuple[Fault, ...]:
    """Return what is wrong with a contract, by line. What breaks the schema hides contradictions.

    Args:
        document: The contract as plain values.
    """
    value = document.value
    if not isinstance(value, dict):
        return (Fault(1, "", "a contract is a mapping"),)
    version = value.get("apiVersion")
    if isinstance(version, str) and not version.startswith(VERSION_PREFIX):
        return (_fault(document, ("apiVersion",), f"version {version[:20]!r} of the standard is not read, only 3"),)
    found = _broken_schema(value) or list(contradictions(value))
    return tuple(sorted({_fault(document, path, reason) for path, reason in found}))


def named_path(value: Any, path: Path) -> str:  # noqa: ANN401
    """Return a path for people: elements of lists that have a name go by it.

    Example:
        >>> named_path({"schema": [{"name": "orders", "tags": []}]}, ("schema", 0, "tags"))
        'schema[orders].tags'
    """
    text = ""
    for step in path:
        value = value[step] if _has(value, step) else None
        if isinstance(step, str):
            text += f".{step}" if text else step
        else:
            name = value.get("name") if isinstance(value, dict) else None
            text += f"[{name if isinstance(name, str) else step}]"
    return text


def _has(value: Any, step: str | int) -> bool:  # noqa: ANN401
    if isinstance(step, int):
        return isinstance(value, list) and step < len(value)
    return isinstance(value, dict) and step in value


def _fault(document: Document, path: Path, reason: str) -> Fault:
    return Fault(document.line_of(path), named_path(document.value, path), reason)


def _broken_schema(value: dict[str, Any]) -> list[tuple[Path, str]]:
    validator, known = _validator()
    errors = list(validator.iter_errors(value))
    found: list[tuple[Path, str]] = []
    for error in errors:
        path: Path = tuple(error.absolute_path)
        if error.validator not in _UNKNOWN_FIELDS:
            found.append((path, _reason(error)))
            continue
        # Where a part of an element is wrong, the schema calls all of that part unknown; only the names that no part
        # of the standard has are reported then.
        others = any(_explains(one, error) for one in errors)
        found += [((*path, name), _unknown(name)) for name in _unknown_names(error) if not (others and name in known)]
    return found


def _explains(one: ValidationError, error: ValidationError) -> bool:
    path, inner = list(error.absolute_path), list(one.absolute_path)
    if inner[: len(path)] != path:
        return False
    return one.validator not in _UNKNOWN_FIELDS or len(inner) > len(path)


def _unknown_names(error: ValidationError) -> list[str]:
    return [name for name in error.instance if repr(name) in error.message]


def _unknown(name: str) -> str:
    return f"there is no field {name[:60]!r} here"


def _reason(error: ValidationError) -> str:
    """Say what is wrong without repeating what stands there, which may be long or secret."""
    wanted = error.validator_value
    match error.validator:
        case "required":
            missing = [name for name in wanted if name not in error.instance]
            return f"{' and '.join(map(repr, missing))} {'are' if len(missing) > 1 else 'is'} missing"
        case "enum":
            return f"it is not one of: {', '.join(map(str, wanted))}"
        case "type":
            return f"it is no {wanted}"
        case "uniqueItems":
            return "an element stands twice"
        case "oneOf" | "anyOf":
            return _choice_reason(error)
        case "additionalProperties" | "unevaluatedProperties":
            return _unknown(next(iter(_unknown_names(error)), ""))
        case _:
            return f"it breaks the rule {error.validator!r}{f' {wanted}' if isinstance(wanted, str | int) else ''}"


def _choice_reason(error: ValidationError) -> str:
    given = [name for name in OPERATORS if isinstance(error.instance, dict) and name in error.instance]
    is_operators = any(name in json.dumps(error.validator_value) for name in OPERATORS)
    if is_operators and len(given) != 1:
        return f"it needs exactly one operator, such as 'mustBe', and has {', '.join(given) or 'none'}"
    if is_operators:
        return f"{given[0]} is no number, or no pair of different numbers"
    if not error.context:
        return "it may be read in two ways"
    return _reason(max(error.context, key=lambda one: (len(one.absolute_path), one.validator != "type")))


@lru_cache(maxsize=1)
def _validator() -> tuple[Validator, frozenset[str]]:
    require_extra("contracts", purpose="to read data contracts")
    from importlib import resources

    from jsonschema.validators import validator_for

    text = resources.files("open_data_contract_standard").joinpath("schema.json").read_text("utf-8")
    schema = json.loads(text)
    _demand_what_conditions_look_at(schema)
    return validator_for(schema)(schema), frozenset(_field_names(schema))


def _demand_what_conditions_look_at(schema: Any) -> None:  # noqa: ANN401
    """Make every `if` of the schema false where the field it looks at is absent.

    As published a column without a logical type meets the conditions of all types, and is refused for not being a map.
    """
    if isinstance(schema, dict):
        if isinstance(condition := schema.get("if"), dict):
            for one in (condition, *condition.get("anyOf", ())):
                if "properties" in one:
                    one.setdefault("required", list(one["properties"]))
        schema = schema.values()
    if isinstance(schema, str | int | float) or schema is None:
        return
    for part in schema:
        _demand_what_conditions_look_at(part)


def _field_names(schema: Any) -> Iterable[str]:  # noqa: ANN401
    if isinstance(schema, dict):
        yield from schema["properties"] if isinstance(schema.get("properties"), dict) else ()
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from _field_names(part)
