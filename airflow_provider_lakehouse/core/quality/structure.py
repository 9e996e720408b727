"""Checks of a table's columns and their types, which its schema answers without a row being read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.quality.columns import Columns, is_of_type
from airflow_provider_lakehouse.core.quality.questions import Finding, Question, known, within

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_lakehouse.core.quality.checks import Expectation
    from airflow_provider_lakehouse.core.quality.questions import Setting
    from airflow_provider_lakehouse.core.schema import Schema

_NOT_NULL: Final = " not null"


def _exists(check: Expectation, setting: Setting) -> Question:
    names, given = setting.schema.names, check.arguments
    place = given.get("column_index")
    there = given["column"] in names
    return known(there and (place is None or names.index(given["column"]) == place))


def _typed(check: Expectation, setting: Setting) -> Question:
    given = check.arguments
    wanted = given.get("type_list") or (given["type_"],)
    found = str(Columns(setting.schema, check.name).type_of(given["column"]))
    return known(any(is_of_type(found, one) for one in wanted), observed=found)


def _columns(check: Expectation, setting: Setting) -> Question:
    wanted, names = set(check.arguments["column_set"]), set(setting.schema.names)
    exact = check.arguments.get("exact_match")
    surplus = names - wanted if exact is None or exact else set()
    return _differing(sorted(wanted - names), sorted(surplus))


def _ordered_columns(check: Expectation, setting: Setting) -> Question:
    return known(tuple(check.arguments["column_list"]) == setting.schema.names, observed=list(setting.schema.names))


def _column_count(check: Expectation, setting: Setting) -> Question:
    given, found = check.arguments, len(setting.schema.columns)
    ends = {"min_value": given["value"], "max_value": given["value"]} if "value" in given else given
    return known(within(found, ends), observed=found)


def _schema(check: Expectation, setting: Setting) -> Question:
    wanted, schema = dict(check.arguments["columns"]), setting.schema
    exact = check.arguments.get("exact_match")
    surplus = sorted(set(schema.names) - set(wanted)) if exact is None or exact else []
    different = [name for name, type_ in wanted.items() if name in schema.by_name and not _fits(schema, name, type_)]
    return _differing(sorted(set(wanted) - set(schema.names)), surplus, different=sorted(different))


def _fits(schema: Schema, name: str, wanted: str) -> bool:
    column = schema.by_name[name]
    is_needed = wanted.endswith(_NOT_NULL)
    return is_of_type(column.type, wanted.removesuffix(_NOT_NULL)) and not (is_needed and column.nullable)


def _differing(missing: list[str], surplus: list[str], *, different: list[str] | None = None) -> Question:
    wrong = len(missing) + len(surplus) + len(different or ())
    observed: dict[str, Any] = {"missing": missing, "surplus": surplus}
    if different is not None:
        observed["different"] = different
    return Question(lambda _: Finding(not wrong, wrong, observed=observed))


QUESTIONS: Final[dict[str, Callable[[Expectation, Setting], Question]]] = {
    "expect_column_to_exist": _exists,
    "expect_column_values_to_be_of_type": _typed,
    "expect_column_values_to_be_in_type_list": _typed,
    "expect_table_columns_to_match_set": _columns,
    "expect_table_columns_to_match_ordered_list": _ordered_columns,
    "expect_table_column_count_to_equal": _column_count,
    "expect_table_column_count_to_be_between": _column_count,
    "expect_table_to_match_schema": _schema,
}
"""By type of expectation: how its question is made."""
