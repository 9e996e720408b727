"""Row conditions of Great Expectations as SQL."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.engines.dialect import quoted, text
from airflow_provider_lakehouse.core.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

_OPERATORS: Final = {"==": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_LISTS: Final = {"IN": "IN", "NOT_IN": "NOT IN"}
_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<name>`[^`]+`)|(?P<text>"[^"\\]*"|'[^'\\]*')|(?P<number>\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)"""
    r"""|(?P<mark>==|!=|<=|>=|[-<>&|~()])|(?P<word>[^\W\d]\w*))"""
)
_MARKS: Final = {"==": "=", "!=": "IS DISTINCT FROM", "&": "AND", "|": "OR", "~": "NOT"}
_WORDS: Final = {"and": "AND", "or": "OR", "not": "NOT", "True": "true", "False": "false"}


def condition_sql(condition: str | Mapping[str, Any], *, parser: str | None = None) -> str:
    """Return a row condition of a suite as SQL.

    Args:
        condition: Text, or the structure that Great Expectations writes since 1.9.
        parser: How text is meant: `pandas` for an expression of pandas, anything else for SQL.

    Raises:
        InvalidRequestError: The condition says something that is not known here.

    Example:
        >>> print(condition_sql({"type": "comparison", "column": {"name": "b"}, "operator": "==", "parameter": "x"}))
        "b" = 'x'
        >>> print(condition_sql('state == "open" and total > 1', parser="pandas"))
        "state" = 'open' AND "total" > 1
    """
    if isinstance(condition, str):
        return _of_pandas(condition) if parser == "pandas" else condition
    match condition:
        case {"type": "pass_through", "pass_through_filter": str(written)}:
            return condition_sql(written, parser=parser)
        case {"type": "nullity", "column": {"name": str(name)}, "is_null": bool(is_null)}:
            return f"{quoted(name)} IS {'' if is_null else 'NOT '}NULL"
        case {"type": "comparison", "column": {"name": str(name)}, "operator": operator, "parameter": value}:
            return _comparison(name, str(operator), value)
        case {"type": ("and" | "or") as kind, "conditions": [_, *_] as parts}:
            return f" {kind.upper()} ".join(f"({condition_sql(part)})" for part in parts)
    raise _not_known()


def _comparison(name: str, operator: str, value: Any) -> str:  # noqa: ANN401
    if operator in _LISTS and isinstance(value, (list, tuple)) and value:
        return f"{quoted(name)} {_LISTS[operator]} ({', '.join(map(_literal, value))})"
    if operator not in _OPERATORS:
        raise _not_known()
    return f"{quoted(name)} {_OPERATORS[operator]} {_literal(value)}"


def _literal(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if not isinstance(value, str):
        raise _not_known()
    return text(value)


def _of_pandas(expression: str) -> str:
    """Return an expression of pandas as SQL, as far as it compares columns with values."""
    written, at = [], 0
    expression = expression.strip()
    while at < len(expression):
        found = _TOKEN.match(expression, at)
        if found is None:
            raise _not_known()
        at = found.end()
        written.append(_written(str(found.lastgroup), found[str(found.lastgroup)]))
    return " ".join(written).replace("( ", "(").replace(" )", ")")


def _written(kind: str, token: str) -> str:
    match kind:
        case "name":
            return quoted(token[1:-1])
        case "text":
            return text(token[1:-1])
        case "mark":
            return _MARKS.get(token, token)
        case "word" if token in _WORDS:
            return _WORDS[token]
        case "word" if token not in ("in", "is", "None"):
            return quoted(token)
        case "number":
            return token
    raise _not_known()


def _not_known() -> InvalidRequestError:
    return InvalidRequestError(
        "A row condition of the suite says what is not known here. Write it as a comparison of columns, or in SQL."
    )
