"""What a contract declares of a column, as conditions in SQL on one value: for what no expectation has a word for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.engines.dialect import quoted, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from airflow_provider_lakehouse.core.contracts.contract import ContractColumn

DESCRIBING: Final = frozenset({
    "format", "timezone", "defaultTimezone", "dimensions", "elementType", "distanceMetric", "embeddingModel",
    "embeddingModelVersion", "normalized",
})  # fmt: skip
"""Options that describe the type or help people; they ask for nothing of a row, but for the length of a vector."""
_TOLERANCE: Final = "1e-9"


def literal(value: Any) -> str:  # noqa: ANN401
    """Return a value of a contract in SQL.

    Example:
        >>> literal("it's"), literal(True), literal(2.5)
        ("'it''s'", 'true', '2.5')
    """
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, int | float) else text(str(value))


def among(expression: str, values: Sequence[Any]) -> str:
    r"""Return a condition that a value is one of several; nulls among them are left out.

    Texts are compared as text, so that a list may hold values that a column of numbers cannot have.

    Example:
        >>> among('"n"', (1, "N/A", None))
        '(CAST("n" AS VARCHAR) IN (\'N/A\') OR "n" IN (1))'
    """
    texts = [literal(value) for value in values if isinstance(value, str)]
    others = [literal(value) for value in values if value is not None and not isinstance(value, str)]
    parts = [f"CAST({expression} AS VARCHAR) IN ({', '.join(texts)})"] if texts else []
    parts += [f"{expression} IN ({', '.join(others)})"] if others else []
    return f"({' OR '.join(parts)})" if parts else "false"


def matches(expression: str, pattern: str) -> str:
    """Return a condition that a part of a text matches a regular expression."""
    return f"regexp_matches(CAST({expression} AS VARCHAR), {text(pattern)})"


def bounds(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the bounds of a value as an expectation takes them; the tighter one where two are given.

    Example:
        >>> bounds({"minimum": 0, "exclusiveMaximum": 100})
        {'min_value': 0, 'max_value': 100, 'strict_max': True}
    """
    found: dict[str, Any] = {}
    for side, inclusive, exclusive in (("min", "minimum", "exclusiveMinimum"), ("max", "maximum", "exclusiveMaximum")):
        with_bound, without_bound = options.get(inclusive), options.get(exclusive)
        given = [value for value in (with_bound, without_bound) if value is not None]
        if given:
            found[f"{side}_value"] = tightest = max(given) if side == "min" else min(given)
            if tightest == without_bound:
                found[f"strict_{side}"] = True
    return found


def option_conditions(column: ContractColumn, expression: str) -> Iterator[tuple[str, str]]:
    """Yield what the options of a column ask of a value that is not null: in words, and in SQL.

    Args:
        column: Of a contract.
        expression: Its value in SQL.
    """
    options = column.options
    for name, operator in (
        ("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<")
    ):  # fmt: skip
        if name in options:
            yield f"{name} {options[name]}", f"{expression} {operator} {literal(options[name])}"
    for name, operator in (("minLength", ">="), ("maxLength", "<=")):
        if name in options:
            yield f"{name} {options[name]}", f"length({expression}) {operator} {literal(options[name])}"
    if "pattern" in options:
        yield f"pattern {options['pattern']}", matches(expression, options["pattern"])
    if column.allowed_values:
        yield "one of the values allowed", among(expression, column.allowed_values)
    yield from further_conditions(column, expression)


def further_conditions(column: ContractColumn, expression: str) -> Iterator[tuple[str, str]]:
    """Yield those of `option_conditions` that no expectation has a word for."""
    options = column.options
    if "multipleOf" in options:
        step = literal(options["multipleOf"])
        quotient = f"(CAST({expression} AS DOUBLE) / {step})"
        is_whole = f"abs({quotient} - round({quotient})) < {_TOLERANCE}"
        exact = isinstance(options["multipleOf"], int) and column.logical_type == "integer"
        yield f"multiple of {step}", f"{expression} % {step} = 0" if exact else is_whole
    for name, operator in (("minItems", ">="), ("maxItems", "<="), ("dimensions", "=")):
        if name in options:
            yield f"{name} {options[name]}", f"len({expression}) {operator} {literal(options[name])}"
    if options.get("uniqueItems"):
        yield "items are unique", f"list_unique({expression}) = list_count({expression})"
    for name in options.get("required", ()):
        yield f"{name} is there", f"{field_of(expression, name)} IS NOT NULL"


def field_of(expression: str, name: str) -> str:
    """Return a field of an object in SQL."""
    return f"struct_extract({expression}, {text(name)})"


def value_of(column: ContractColumn) -> str:
    """Return the value of a column in SQL."""
    return quoted(column.stored_name)
