"""The rules of quality in a contract as checks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.contracts.contract import custom_value
from airflow_provider_lakehouse.core.contracts.contradictions import ROW_CONDITION
from airflow_provider_lakehouse.core.engines.dialect import listed, quoted
from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.quality.checks import MAX_NAME_CHARACTERS, Expectation, RowCheck, TableCheck
from airflow_provider_lakehouse.core.quality.contract_conditions import among, literal, matches, value_of
from airflow_provider_lakehouse.core.quality.contract_place import settings_of

if TYPE_CHECKING:
    from airflow_provider_lakehouse.core.contracts.contract import Comparison, Rule
    from airflow_provider_lakehouse.core.contracts.service_level import ServiceLevel
    from airflow_provider_lakehouse.core.errors import LakehouseError
    from airflow_provider_lakehouse.core.quality.checks import Check
    from airflow_provider_lakehouse.core.quality.contract_place import Place

_GREAT_EXPECTATIONS: Final = ("greatexpectations", "gx")
_OWN_ENGINE: Final = "lakehouse"
_TESTS: Final = {
    "mustBe": "= {0}", "mustNotBe": "<> {0}", "mustBeGreaterThan": "> {0}", "mustBeGreaterOrEqualTo": ">= {0}",
    "mustBeLessThan": "< {0}", "mustBeLessOrEqualTo": "<= {0}",
}  # fmt: skip
_PLACEHOLDER: Final = re.compile(r"\$?\{\s*(\w+)\s*\}")
_VARIABLE: Final = re.compile(r"\$\{")


def check_of_rule(rule: Rule, place: Place) -> Check:
    """Return the check of a rule.

    Args:
        rule: Of any kind but `text`.
        place: Where it stands.

    Raises:
        UnsupportedError: There is no check that means the same.
        InvalidRequestError: The rule means nothing.
    """
    making = _Making(rule, place)
    try:
        if rule.kind == "sql":
            return making.query_check(_filled(rule, place), count=None)
        return making.custom() if rule.kind == "custom" else making.metric()
    except InvalidRequestError as error:
        if "file" in error.facts:
            raise
        facts: dict[str, Any] = {**error.facts, "file": place.contract.source, "line": rule.line}
        raise InvalidRequestError(error.message, **facts) from error


def check_of_level(level: ServiceLevel, place: Place) -> Expectation:
    """Return the check that the newest value of a column is young enough.

    Args:
        level: A latency or freshness.
        place: The column it is about.

    Raises:
        InvalidRequestError: It is no length of time.
    """
    try:
        seconds = level.duration().total_seconds()
    except InvalidRequestError as error:
        facts: dict[str, Any] = {**error.facts, "file": place.contract.source}
        raise InvalidRequestError(error.message, **facts) from error
    settings = settings_of(place, level.custom, "", line=level.line)
    if settings["severity"] not in ("fail", "warn"):
        raise place.refused("how old data is sets no single row aside", line=level.line)
    arguments = {"column": place.stored_columns[0], "max_age_seconds": int(seconds) if seconds % 1 == 0 else seconds}
    return Expectation("expect_column_max_to_be_recent", arguments, description=level.description, **settings)


@dataclass(frozen=True)
class _Making:
    rule: Rule
    place: Place

    @property
    def settings(self) -> dict[str, Any]:
        about = self.rule.description.strip()
        dimension = f"({self.rule.dimension})" if self.rule.dimension else ""
        found = settings_of(self.place, self.rule.custom, self.rule.severity, line=self.rule.line)
        return {**found, "name": self.rule.name or self.rule.id, "description": f"{about} {dimension}".strip()}

    @property
    def must(self) -> Comparison:
        if self.rule.must is None:
            raise self._refused("it has no operator such as `mustBe`")
        return self.rule.must

    @property
    def allows_none(self) -> bool:
        """Whether not a single row may be counted."""
        one = (self.must.operator, self.must.value)
        return one in (("mustBe", 0), ("mustBeLessOrEqualTo", 0)) or (
            one == ("mustBeLessThan", 1) and self.rule.unit == "rows"
        )

    def metric(self) -> Check:
        if self.rule.unit not in ("rows", "percent"):
            raise self._refused("its unit is neither rows nor percent")
        match self.rule.metric:
            case "rowCount":
                return self._row_count()
            case "duplicateValues":
                return self._duplicates()
            case "nullValues" | "missingValues" | "invalidValues" as name:
                return self._counted(name)
            case _:
                raise self._refused(f"the metric {self.rule.metric!r} is not known")

    def _row_count(self) -> Check:
        if self.rule.unit == "percent" or self.place.column is not None:
            raise self._refused("rows are counted in rows, of a table")
        self._require_whole(self.settings)
        given: Any = self.must.value
        match self.must.operator:
            case "mustBe":
                return self._expectation("expect_table_row_count_to_equal", value=given)
            case "mustBeGreaterThan":
                bounds = {"min_value": given, "strict_min": True}
            case "mustBeGreaterOrEqualTo":
                bounds = {"min_value": given}
            case "mustBeLessThan":
                bounds = {"max_value": given, "strict_max": True}
            case "mustBeLessOrEqualTo":
                bounds = {"max_value": given}
            case "mustBeBetween":
                bounds = {"min_value": given[0], "max_value": given[1], "strict_min": True, "strict_max": True}
            case _:
                return self.query_check("", count="count(*)")
        return self._expectation("expect_table_row_count_to_be_between", **bounds)

    def _duplicates(self) -> Check:
        names = self._unique_together()
        if self.allows_none and len(names) == 1:
            return self._expectation("expect_column_values_to_be_unique", column=names[0])
        if self.allows_none:
            return self._expectation("expect_compound_columns_to_be_unique", column_list=list(names))
        if len(names) == 1:
            name = quoted(names[0])
            return self.query_check("", count=f"count({name}) - count(DISTINCT {name})")
        return self.query_check("", count=f"count(*) - count(DISTINCT row({listed(names)}))")

    def _unique_together(self) -> tuple[str, ...]:
        if self.place.column is not None:
            return self.place.stored_columns
        named = [self.place.table.column(str(name)) for name in self.rule.arguments.get("properties", ())]
        found = tuple(column.stored_name for column in named if column is not None)
        if not found:
            raise self._refused("it names no columns in `arguments.properties`")
        return found

    def _counted(self, name: str) -> Check:
        column = self.place.column
        if column is None:
            raise self._refused(f"the metric {name!r} is about a column")
        value = value_of(column)
        if name == "nullValues":
            return self._nulls(value)
        return self._missing(value) if name == "missingValues" else self._invalid(value)

    def _nulls(self, value: str) -> Check:
        share = self.must.value
        if self.allows_none:
            return self._expectation("expect_column_values_to_not_be_null")
        if self.must.operator == "mustBeLessOrEqualTo" and self.rule.unit == "percent" and share < 100:
            mostly = float(1 - Decimal(str(share)) / 100)
            return self._expectation("expect_column_values_to_not_be_null", mostly=mostly)
        return self.query_check("", count=f"count(*) FILTER (WHERE {value} IS NULL)")

    def _missing(self, value: str) -> Check:
        missing = self.rule.arguments.get("missingValues")
        if not isinstance(missing, list) or not missing:
            raise self._refused("it names no values in `arguments.missingValues`")
        named = [one for one in missing if one is not None]
        if not named:
            return self._nulls(value)
        are_texts = all(isinstance(one, str) for one in named) and self._is_text
        if self.allows_none and len(named) == len(missing) and are_texts:
            return self._expectation("expect_column_values_to_not_be_in_set", value_set=named)
        is_missing = among(value, named)
        if len(named) < len(missing):
            return self._row_or_count(f"{value} IS NOT NULL AND NOT {is_missing}")
        return self._row_or_count(f"{value} IS NULL OR NOT {is_missing}")

    def _invalid(self, value: str) -> Check:
        valid, pattern = self.rule.arguments.get("validValues"), self.rule.arguments.get("pattern")
        named = [one for one in valid if one is not None] if isinstance(valid, list) else []
        if not named and not isinstance(pattern, str):
            raise self._refused("it names neither `arguments.validValues` nor `arguments.pattern`")
        if self.allows_none and pattern is None:
            return self._expectation("expect_column_values_to_be_in_set", value_set=named)
        if self.allows_none and not named:
            return self._expectation("expect_column_values_to_match_regex", regex=pattern)
        conditions = [among(value, named)] if named else []
        conditions += [matches(value, str(pattern))] if pattern is not None else []
        return self._row_or_count(f"{value} IS NULL OR ({' AND '.join(conditions)})")

    @property
    def _is_text(self) -> bool:
        return self.place.column is not None and self.place.column.logical_type == "string"

    def _row_or_count(self, condition: str) -> Check:
        """Return a check of each row where none may break it, and else of their number."""
        if not self.allows_none:
            return self.query_check("", count=f"count(*) FILTER (WHERE ({condition}) IS NOT TRUE)")
        return RowCheck(condition=condition, columns=self.place.stored_columns, **self._settings_of_all_rows)

    def query_check(self, query: str, *, count: str | None) -> TableCheck:
        """Return a check that what a query answers, or an aggregate measures, is what it must be.

        A query that answers with nothing breaks it.
        """
        if self.rule.unit == "percent" and count is not None:
            count = f"coalesce(100.0 * ({count}) / nullif(count(*), 0), 0)"
        measure = f"SELECT {count} AS measured FROM checked" if count else f"SELECT ({query}\n) AS measured"
        wrong = f"{self._aliases()}SELECT measured FROM ({measure}) AS answer WHERE ({self._test()}) IS NOT TRUE"
        settings = self._settings_of_all_rows
        self._require_whole(settings)
        del settings["limit"]
        return TableCheck(query=wrong, columns=self.place.stored_columns, **settings)

    def _require_whole(self, settings: dict[str, Any]) -> None:
        if settings["severity"] not in ("fail", "warn") or settings["limit"] is not None:
            raise self._refused("it is about the table as a whole, so that no single row can be set aside")

    def _aliases(self) -> str:
        """Return the names that a query may use for the table, where it uses them."""
        table = self.place.table
        used = [
            name
            for name in dict.fromkeys((table.name, table.stored_name))
            if name.casefold() != "checked" and name.casefold() in self.rule.query.casefold()
        ]
        named = ", ".join(f"{quoted(name)} AS (SELECT * FROM checked)" for name in used)
        return f"WITH {named} " if named else ""

    def _test(self) -> str:
        values = self.must.value if isinstance(self.must.value, tuple) else (self.must.value,)
        if any(isinstance(one, list | dict) or one is None for one in values):
            raise self._refused("it compares with something that is no single value")
        given = [literal(one) for one in values]
        match self.must.operator:
            case "mustBeBetween":  # "equivalent to mustBeGreaterThan and mustBeLessThan", says the standard
                return f"measured > {given[0]} AND measured < {given[1]}"
            case "mustNotBeBetween":
                return f"measured <= {given[0]} OR measured >= {given[1]}"
            case operator:
                return f"measured {_TESTS[operator].format(given[0])}"

    def custom(self) -> Check:
        engine = re.sub(r"[^a-z]", "", self.rule.engine.casefold())
        if engine not in (*_GREAT_EXPECTATIONS, _OWN_ENGINE):
            raise self._refused(f"rules of the engine {self.rule.engine!r} are not run here")
        given = self._implementation()
        if engine in _GREAT_EXPECTATIONS:
            return self._of_great_expectations(given)
        settings = {**self._settings_of_all_rows, "columns": self.place.stored_columns}
        if set(given) == {"condition"}:
            return RowCheck(condition=str(given["condition"]), **settings)
        if set(given) == {"query"} and settings.pop("limit") is None:
            return TableCheck(query=str(given["query"]), **settings)
        raise self._refused("its implementation is neither a `condition` on a row nor a `query` for what is wrong")

    def _of_great_expectations(self, given: dict[str, Any]) -> Check:
        kind = given.pop("type", None) or given.pop("expectation_type", None)
        arguments = dict(given.pop("kwargs", None) or {})
        given.pop("meta", None)
        if not isinstance(kind, str) or given or "row_condition" in arguments:
            raise self._refused(
                "its implementation is not a `type` with `kwargs`, or has a `row_condition` in the syntax of pandas; "
                "write that in SQL as the custom property `lakehouseRowCondition`"
            )
        about_column = kind.startswith("expect_column_") and self.place.column is not None
        if about_column and not {"column", "column_A", "column_set", "column_list"} & set(arguments):
            arguments = {"column": self.place.name, **arguments}
        for name in ("column", "column_A", "column_B"):
            if name in arguments:
                arguments[name] = self._stored(str(arguments[name]))
        if isinstance(names := arguments.get("column_list"), list):
            arguments["column_list"] = [self._stored(str(name)) for name in names]
        return self._expectation(kind, **arguments)

    def _stored(self, name: str) -> str:
        column = self.place.table.column(name)
        if column is None:
            raise self._refused(f"the table has no column {name!r}")
        return column.stored_name

    def _implementation(self) -> dict[str, Any]:
        given = self.rule.implementation
        if isinstance(given, str):
            from airflow_provider_lakehouse.core.contracts.yaml_text import read_document

            try:
                given = read_document(given, source=self.place.contract.source).value
            except InvalidRequestError as error:
                raise self._refused(f"its implementation cannot be read: {error.facts['reason']}") from error
        if not isinstance(given, dict):
            raise self._refused("its implementation is no mapping")
        return dict(given)

    def _expectation(self, kind: str, *, mostly: float = 1.0, **arguments: Any) -> Expectation:  # noqa: ANN401
        on_column = kind.startswith("expect_column_values_") and self.place.column is not None
        given = {"column": self.place.stored_columns[0], **arguments} if on_column else arguments
        where = custom_value(self.rule.custom, ROW_CONDITION)
        return Expectation(kind, given, mostly=mostly, row_condition=where, **self.settings)

    @property
    def _settings_of_all_rows(self) -> dict[str, Any]:
        """The settings of a check that no condition keeps from some of the rows."""
        if custom_value(self.rule.custom, ROW_CONDITION) is not None:
            raise self._refused(
                f"{ROW_CONDITION!r} is for rules that become expectations; write it into the rule itself"
            )
        return {**self.settings, "name": self._name()}

    def _name(self) -> str:
        if named := self.rule.name or self.rule.id:
            return named
        what = self.rule.metric or self.rule.description.strip() or self.rule.kind
        must = f" {self.must.operator} {self.must.value}" if self.rule.must else ""
        unit = " percent" if self.rule.unit == "percent" else ""
        return f"{self.place.name}: {what}{must}{unit}"[:MAX_NAME_CHARACTERS]

    def _refused(self, reason: str) -> LakehouseError:
        return self.place.refused(
            reason, line=self.rule.line, rule=self.rule.name or self.rule.metric or self.rule.kind
        )


def _filled(rule: Rule, place: Place) -> str:
    """Return the query of a rule with its placeholders replaced by names."""
    column = quoted(place.stored_columns[0]) if place.column else None
    names = {"object": "checked", "table": "checked", "property": column, "column": column}

    def name(found: re.Match[str]) -> str:
        known = names.get(found[1])
        if known is not None:
            return known
        if found[1] not in names and not found[0].startswith("$"):
            return found[0]  # such as how often a part of a regular expression repeats
        raise place.refused(f"its query has the placeholder {found[0]!r}", line=rule.line, kind=InvalidRequestError)

    query = _PLACEHOLDER.sub(name, rule.query).strip().rstrip(";")
    if not query or _VARIABLE.search(query):
        raise place.refused(
            "its query is empty, or has a variable with a default", line=rule.line, kind=InvalidRequestError
        )
    return query
