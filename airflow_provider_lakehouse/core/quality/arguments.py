"""What the arguments of expectations must be like, before any table is looked at."""

from __future__ import annotations

import re
from datetime import date, datetime, time
from decimal import Decimal
from math import isfinite, isnan
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.quality.columns import known_type

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_lakehouse.core.quality.checks import Expectation

type Rule = Callable[[Expectation], None]

MOST_VALUES: Final = 100_000
"""Values that one check may list."""
MOST_CHARACTERS: Final = 100_000
"""Characters of a pattern or a query."""
INTERPOLATIONS: Final = ("nearest", "linear", "lower", "higher", "midpoint")
"""What a quantile is where it lies between two values."""
_SCALARS: Final = (bool, int, float, Decimal, str, date, datetime, time)
_IGNORABLE: Final = {
    "expect_column_pair": ("both_values_are_missing", "either_value_is_missing", "neither"),
    "expect_": ("all_values_are_missing", "any_value_is_missing", "never"),
}
_UNMATCHABLE: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|(\(\?(?:[=!>(]|<[=!]|P=))", re.DOTALL)
_REFERENCE: Final = re.compile(r"(?:[^\\]|^)(?:\\\\)*\\[1-9]")


def refused(check: Expectation, sentences: str) -> InvalidRequestError:
    """Return the error about an expectation; `{name}` in the sentences is its name."""
    return InvalidRequestError(sentences.format(name=repr(check.name)), check=check.name, type=check.type)


def _require(check: Expectation, is_met: bool, sentence: str) -> None:  # noqa: FBT001
    if not is_met:
        raise refused(check, f"{sentence} Correct its arguments.")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return False
    return not isnan(value)


def _is_names(value: object) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(one, str) and one for one in value)


def _name(argument: str) -> Rule:
    def rule(check: Expectation) -> None:
        value = check.arguments[argument]
        _require(check, isinstance(value, str) and bool(value), f"Argument `{argument}` of check {{name}} is no name.")

    return rule


def _names(argument: str, *, at_least: int = 1) -> Rule:
    def rule(check: Expectation) -> None:
        value = check.arguments[argument]
        is_met = _is_names(value) and len(set(value)) == len(value) and len(value) >= at_least
        _require(
            check, is_met, f"Argument `{argument}` of check {{name}} is no list of {at_least} or more distinct names."
        )

    return rule


def _flag(argument: str) -> Rule:
    def rule(check: Expectation) -> None:
        value = check.arguments[argument]
        _require(check, isinstance(value, bool), f"Argument `{argument}` of check {{name}} is neither true nor false.")

    return rule


def _bound(argument: str) -> Rule:
    def rule(check: Expectation) -> None:
        value = check.arguments[argument]
        is_met = isinstance(value, _SCALARS) and not (isinstance(value, (float, Decimal)) and isnan(value))
        _require(check, is_met, f"Argument `{argument}` of check {{name}} is no value.")

    return rule


def _value_set(check: Expectation) -> None:
    value = check.arguments["value_set"]
    is_met = isinstance(value, (list, tuple, set, frozenset)) and 0 < len(value) <= MOST_VALUES
    _require(check, is_met, f"The set of check {{name}} does not have 1 to {MOST_VALUES:,} values.")
    _require(
        check,
        all(isinstance(one, _SCALARS) and not (isinstance(one, float) and isnan(one)) for one in value),
        "The set of check {name} has members that are no values; null and NaN count neither for nor against.",
    )


def _value_pairs(check: Expectation) -> None:
    value = check.arguments["value_pairs_set"]
    is_met = isinstance(value, (list, tuple, set, frozenset)) and 0 < len(value) <= MOST_VALUES
    _require(check, is_met, f"The set of check {{name}} does not have 1 to {MOST_VALUES:,} pairs.")
    pairs = all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in value)
    _require(check, pairs, "The set of check {name} is not made of pairs.")
    _require(
        check,
        all(one is None or isinstance(one, _SCALARS) for pair in value for one in pair),
        "The set of check {name} has members that are no values.",
    )


def _require_pattern(check: Expectation, pattern: object) -> None:
    is_text = isinstance(pattern, str) and 0 < len(pattern) <= MOST_CHARACTERS
    _require(check, is_text, f"A pattern of check {{name}} is not text of 1 to {MOST_CHARACTERS:,} characters.")
    text = str(pattern)
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise refused(check, "A pattern of check {name} is no regular expression. Correct its arguments.") from error
    looks_around = any(found.group(1) for found in _UNMATCHABLE.finditer(text))
    _require(
        check,
        not looks_around and not _REFERENCE.search(text),
        "A pattern of check {name} looks ahead or back, or refers to a group, which cannot be matched in linear time.",
    )


def _patterns(check: Expectation) -> None:
    several = check.arguments["regex_list"]
    _require(check, _is_names(several), "Argument `regex_list` of check {name} is no list of patterns.")
    for pattern in several:
        _require_pattern(check, pattern)


def _one_of(argument: str, *allowed: str) -> Rule:
    def rule(check: Expectation) -> None:
        listed = ", ".join(allowed)
        is_met = check.arguments[argument] in allowed
        _require(check, is_met, f"Argument `{argument}` of check {{name}} is none of {listed}.")

    return rule


def _ignored(check: Expectation) -> None:
    start = next(prefix for prefix in _IGNORABLE if check.type.startswith(prefix))
    _one_of("ignore_row_if", *_IGNORABLE[start])(check)


def _quantiles(check: Expectation) -> None:
    given = check.arguments["quantile_ranges"]
    is_map = hasattr(given, "keys") and set(given) == {"quantiles", "value_ranges"}
    _require(check, is_map, "The ranges of check {name} do not have exactly `quantiles` and `value_ranges`.")
    shares, ranges = given["quantiles"], given["value_ranges"]
    _require(
        check,
        isinstance(shares, (list, tuple)) and bool(shares) and all(_is_number(q) and 0 <= q <= 1 for q in shares),
        "The quantiles of check {name} are not numbers between 0 and 1.",
    )
    _require(
        check,
        isinstance(ranges, (list, tuple)) and len(ranges) == len(shares),
        "Check {name} has not one range for each quantile.",
    )
    for pair in ranges:
        is_pair = isinstance(pair, (list, tuple)) and len(pair) == 2
        is_pair = is_pair and all(one is None or _is_number(one) for one in pair)
        _require(check, is_pair, "A range of check {name} is not a pair of numbers or null.")
        _require(
            check, None in pair or pair[0] <= pair[1], "A range of check {name} has its lower end above the upper."
        )


def _either_type(check: Expectation) -> None:
    listed = check.arguments.get("type_list")
    listed = (check.arguments["type_"],) if listed is None else listed
    _require(check, _is_names(listed), "Check {name} names no type.")
    for one in listed:
        known_type(one)


def _schema(check: Expectation) -> None:
    columns = check.arguments["columns"]
    _require(check, hasattr(columns, "items") and bool(columns), "Argument `columns` of check {name} names no columns.")
    for wanted in columns.values():
        _require(check, isinstance(wanted, str), "A column of check {name} has no type.")
        known_type(wanted.removesuffix(" not null"))


def _range(check: Expectation) -> None:
    low, high = check.arguments.get("min_value"), check.arguments.get("max_value")
    _require(check, low is not None or high is not None, "Check {name} has neither a lowest nor a highest value.")
    if low is None or high is None:
        return
    try:
        is_above, is_same = bool(low > high), bool(low == high)
    except TypeError as error:
        raise refused(
            check, "The lowest and the highest value of check {name} cannot be compared. Correct its arguments."
        ) from error
    _require(check, not is_above, "The lowest value of check {name} is above the highest.")
    is_strict = check.arguments.get("strict_min") or check.arguments.get("strict_max")
    _require(check, not (is_same and is_strict), "No value can lie strictly between the ends of check {name}.")


def _numeric_range(check: Expectation) -> None:
    ends = (check.arguments.get("min_value"), check.arguments.get("max_value"))
    _require(check, all(one is None or _is_number(one) for one in ends), "An end of check {name} is not a number.")


def _whole_range(check: Expectation) -> None:
    ends = (check.arguments.get("min_value"), check.arguments.get("max_value"))
    is_met = all(one is None or _is_count(one) for one in ends)
    _require(check, is_met, "An end of check {name} is not a whole number from 0 on.")


def _share_range(check: Expectation) -> None:
    ends = (check.arguments.get("min_value"), check.arguments.get("max_value"))
    is_met = all(one is None or (_is_number(one) and 0 <= one <= 1) for one in ends)
    _require(check, is_met, "An end of check {name} is not a share between 0 and 1.")


def _count(argument: str) -> Rule:
    def rule(check: Expectation) -> None:
        is_met = _is_count(check.arguments[argument])
        _require(check, is_met, f"Argument `{argument}` of check {{name}} is not a whole number from 0 on.")

    return rule


def _positive(argument: str) -> Rule:
    def rule(check: Expectation) -> None:
        value = check.arguments[argument]
        is_met = _is_number(value) and isfinite(value) and value > 0
        _require(check, is_met, f"Argument `{argument}` of check {{name}} is not a number above 0.")

    return rule


def _number(check: Expectation) -> None:
    value = check.arguments["sum_total"]
    is_met = _is_number(value) and isfinite(value)
    _require(check, is_met, "Argument `sum_total` of check {name} is not a number.")


def _order(check: Expectation) -> None:
    value = check.arguments["order_by"]
    is_met = (isinstance(value, str) and bool(value)) or _is_names(value)
    _require(check, is_met, "Argument `order_by` of check {name} names no columns.")


def _interpolation(check: Expectation) -> None:
    value = check.arguments["allow_relative_error"]
    is_met = isinstance(value, bool) or value in INTERPOLATIONS
    _require(
        check, is_met, f"Argument `allow_relative_error` of check {{name}} is none of {', '.join(INTERPOLATIONS)}."
    )


def _query(check: Expectation) -> None:
    value = check.arguments["unexpected_rows_query"]
    is_text = isinstance(value, str) and bool(value.strip()) and len(value) <= MOST_CHARACTERS
    _require(check, is_text, "Argument `unexpected_rows_query` of check {name} is no query.")


def _format(check: Expectation) -> None:
    value = check.arguments["strftime_format"]
    _require(check, isinstance(value, str) and "%" in value, "The format of check {name} has no directive such as %Y.")
    try:
        datetime.strptime(datetime(2000, 2, 29, 13, 14, 15).strftime(value), value)  # noqa: DTZ001, DTZ007
    except ValueError as error:
        raise refused(check, "The format of check {name} cannot be read back. Correct its arguments.") from error


def _reference(check: Expectation) -> None:
    given: Mapping[str, Any] = check.arguments
    one, several = given.get("column"), given.get("column_list")
    _require(check, (one is None) != (several is None), "Check {name} needs either `column` or `column_list`.")
    here = (one,) if one is not None else several
    there = given.get("other_columns", here)
    is_met = _is_names(there) and _is_names(here) and len(there) == len(here or ())
    _require(check, is_met, "Check {name} does not name one column of the other table for each of its own.")


RULES: Final[dict[str, Rule]] = {
    "column": _name("column"),
    "column_A": _name("column_A"),
    "column_B": _name("column_B"),
    "other_table": _name("other_table"),
    "other_table_name": _name("other_table_name"),
    "column_list": _names("column_list"),
    "column_set": _names("column_set"),
    "other_columns": _names("other_columns"),
    "order_by": _order,
    "column_index": _count("column_index"),
    "min_value": _bound("min_value"),
    "max_value": _bound("max_value"),
    "strict_min": _flag("strict_min"),
    "strict_max": _flag("strict_max"),
    "strictly": _flag("strictly"),
    "or_equal": _flag("or_equal"),
    "ties_okay": _flag("ties_okay"),
    "exact_match": _flag("exact_match"),
    "double_sided": _flag("double_sided"),
    "value": _count("value"),
    "value_set": _value_set,
    "value_pairs_set": _value_pairs,
    "regex": lambda check: _require_pattern(check, check.arguments["regex"]),
    "regex_list": _patterns,
    "match_on": _one_of("match_on", "any", "all"),
    "ignore_row_if": _ignored,
    "quantile_ranges": _quantiles,
    "allow_relative_error": _interpolation,
    "threshold": _positive("threshold"),
    "max_age_seconds": _positive("max_age_seconds"),
    "sum_total": _number,
    "strftime_format": _format,
    "type_": _either_type,
    "type_list": _either_type,
    "columns": _schema,
    "unexpected_rows_query": _query,
}
"""By argument: what it must be like."""

_RANGED: Final = {
    "expect_column_values_to_be_between": (),
    "expect_column_value_lengths_to_be_between": (_whole_range,),
    "expect_column_unique_value_count_to_be_between": (_whole_range,),
    "expect_table_row_count_to_be_between": (_whole_range,),
    "expect_table_column_count_to_be_between": (_whole_range,),
    "expect_column_proportion_of_unique_values_to_be_between": (_share_range,),
    "expect_column_proportion_of_non_null_values_to_be_between": (_share_range,),
    "expect_column_min_to_be_between": (),
    "expect_column_max_to_be_between": (),
    "expect_column_mean_to_be_between": (_numeric_range,),
    "expect_column_median_to_be_between": (_numeric_range,),
    "expect_column_stdev_to_be_between": (_numeric_range,),
    "expect_column_sum_to_be_between": (_numeric_range,),
}
_SEVERAL: Final = ("expect_multicolumn_sum_to_equal", "expect_select_column_values_to_be_unique_within_record")

RULES_OF_TYPES: Final[dict[str, tuple[Rule, ...]]] = {
    **{type_: (*rules, _range) for type_, rules in _RANGED.items()},
    **dict.fromkeys((*_SEVERAL, "expect_compound_columns_to_be_unique"), (_names("column_list", at_least=2),)),
    "expect_column_values_to_exist_in_other_table": (_reference,),
}
"""By type: what its arguments must be like together."""
