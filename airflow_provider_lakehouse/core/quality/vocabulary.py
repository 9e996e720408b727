"""The types of expectations there are: their arguments, and what each looks at.

Names and arguments are those of Great Expectations; four of ours have no counterpart there and say so. The meaning of each
is in `docs/how-to/write-checks.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.quality.arguments import RULES, RULES_OF_TYPES, refused
from airflow_provider_lakehouse.core.quality.checks import Expectation

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_lakehouse.core.quality.checks import Check

Scope = Literal["row", "group", "aggregate", "table"]
"""What is judged: each row alone, each row among others, one number of a column, or the table."""


@dataclass(frozen=True, slots=True)
class ExpectationKind:
    """A type of expectation.

    Args:
        type: Its name.
        scope: What is judged.
        required: Arguments that have to be there.
        optional: Arguments that may be there.
        is_extension: True where Great Expectations does not know the type.
        conditional: Whether it can be limited to rows by `row_condition`.
    """

    type: str
    scope: Scope
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    is_extension: bool = False
    conditional: bool = True

    @property
    def tolerant(self) -> bool:
        """Whether it counts rows, so that `mostly` means something."""
        return self.scope in ("row", "group")


_RANGE: Final = ("min_value", "max_value", "strict_min", "strict_max")
_PAIR: Final = ("column_A", "column_B")
_IGNORE: Final = ("ignore_row_if",)


def _column(name: str, scope: Scope, *required: str, optional: tuple[str, ...] = ()) -> ExpectationKind:
    return ExpectationKind(f"expect_column_{name}", scope, ("column", *required), optional)


def _of_schema(name: str, required: tuple[str, ...] = (), optional: tuple[str, ...] = ()) -> ExpectationKind:
    return ExpectationKind(name, "table", required, optional, conditional=False)


KINDS: Final = {
    kind.type: kind
    for kind in (
        _of_schema("expect_column_to_exist", ("column",), ("column_index",)),
        _of_schema("expect_column_values_to_be_of_type", ("column", "type_")),
        _of_schema("expect_column_values_to_be_in_type_list", ("column", "type_list")),
        _of_schema("expect_table_columns_to_match_set", ("column_set",), ("exact_match",)),
        _of_schema("expect_table_columns_to_match_ordered_list", ("column_list",)),
        _of_schema("expect_table_column_count_to_equal", ("value",)),
        _of_schema("expect_table_column_count_to_be_between", (), ("min_value", "max_value")),
        ExpectationKind("expect_table_to_match_schema", "table", ("columns",), ("exact_match",), True, False),
        _column("values_to_not_be_null", "row"),
        _column("values_to_be_null", "row"),
        _column("values_to_be_in_set", "row", "value_set"),
        _column("values_to_not_be_in_set", "row", "value_set"),
        _column("values_to_be_between", "row", optional=_RANGE),
        _column("values_to_match_regex", "row", "regex"),
        _column("values_to_not_match_regex", "row", "regex"),
        _column("values_to_match_regex_list", "row", "regex_list", optional=("match_on",)),
        _column("values_to_not_match_regex_list", "row", "regex_list"),
        _column("values_to_match_strftime_format", "row", "strftime_format"),
        _column("value_lengths_to_be_between", "row", optional=_RANGE),
        _column("value_lengths_to_equal", "row", "value"),
        ExpectationKind("expect_column_pair_values_to_be_equal", "row", _PAIR, _IGNORE),
        ExpectationKind("expect_column_pair_values_a_to_be_greater_than_b", "row", _PAIR, ("or_equal", *_IGNORE)),
        ExpectationKind("expect_column_pair_values_to_be_in_set", "row", (*_PAIR, "value_pairs_set"), _IGNORE),
        ExpectationKind("expect_multicolumn_sum_to_equal", "row", ("column_list", "sum_total"), _IGNORE),
        ExpectationKind("expect_select_column_values_to_be_unique_within_record", "row", ("column_list",), _IGNORE),
        _column("values_to_be_unique", "group"),
        _column("values_to_be_increasing", "group", "order_by", optional=("strictly",)),
        _column("values_to_be_decreasing", "group", "order_by", optional=("strictly",)),
        _column("value_z_scores_to_be_less_than", "group", "threshold", "double_sided"),
        ExpectationKind("expect_compound_columns_to_be_unique", "group", ("column_list",), _IGNORE),
        ExpectationKind(
            "expect_column_values_to_exist_in_other_table",
            "group",
            ("other_table",),
            ("column", "column_list", "other_columns"),
            True,
        ),
        _column("unique_value_count_to_be_between", "aggregate", optional=_RANGE),
        _column("proportion_of_unique_values_to_be_between", "aggregate", optional=_RANGE),
        _column("proportion_of_non_null_values_to_be_between", "aggregate", optional=_RANGE),
        _column("min_to_be_between", "aggregate", optional=_RANGE),
        _column("max_to_be_between", "aggregate", optional=_RANGE),
        _column("mean_to_be_between", "aggregate", optional=_RANGE),
        _column("median_to_be_between", "aggregate", optional=_RANGE),
        _column("stdev_to_be_between", "aggregate", optional=_RANGE),
        _column("sum_to_be_between", "aggregate", optional=_RANGE),
        _column("quantile_values_to_be_between", "aggregate", "quantile_ranges", optional=("allow_relative_error",)),
        _column("distinct_values_to_be_in_set", "aggregate", "value_set"),
        _column("distinct_values_to_contain_set", "aggregate", "value_set"),
        _column("distinct_values_to_equal_set", "aggregate", "value_set"),
        _column("most_common_value_to_be_in_set", "aggregate", "value_set", optional=("ties_okay",)),
        ExpectationKind("expect_column_max_to_be_recent", "aggregate", ("column", "max_age_seconds"), (), True),
        ExpectationKind("expect_table_row_count_to_be_between", "table", (), _RANGE),
        ExpectationKind("expect_table_row_count_to_equal", "table", ("value",)),
        ExpectationKind("expect_table_row_count_to_equal_other_table", "table", ("other_table_name",)),
        _of_schema("unexpected_rows_expectation", ("unexpected_rows_query",)),
    )
}
"""Every type of expectation by its name."""


def kind_of(check: Expectation) -> ExpectationKind:
    """Return the type of an expectation.

    Raises:
        InvalidRequestError: There is no such type; the error lists those there are.

    Example:
        >>> from airflow_provider_lakehouse.core.quality.checks import Expectation
        >>> kind_of(Expectation("expect_column_values_to_be_unique", {"column": "id"})).scope
        'group'
    """
    found = KINDS.get(check.type)
    if found is None:
        raise InvalidRequestError(
            f"There is no expectation {check.type!r}. Use one of those there are.",
            check=check.name,
            known=tuple(sorted(KINDS)),
        )
    return found


def require_valid(checks: Iterable[Check]) -> None:
    """Refuse expectations that cannot mean anything, before anything runs.

    Raises:
        InvalidRequestError: A type is not known, an argument is missing, not known, of the wrong kind or in contradiction
            to another, or a setting means nothing for the type.

    Example:
        >>> from airflow_provider_lakehouse.core.quality.checks import Expectation
        >>> wrong = {"column": "n", "min_value": 5, "max_value": 1}
        >>> require_valid([Expectation("expect_column_values_to_be_between", wrong, name="n")])
        Traceback (most recent call last):
        ...
        airflow_provider_lakehouse.core.errors.InvalidRequestError: The lowest value of check 'n' is above the highest. \
Correct its arguments. [check='n' type='expect_column_values_to_be_between']
    """
    for check in checks:
        if isinstance(check, Expectation):
            _require_valid(check)


def _require_valid(check: Expectation) -> None:
    kind = kind_of(check)
    given = {name for name, value in check.arguments.items() if value is not None}
    missing = tuple(sorted(set(kind.required) - given))
    unknown = tuple(sorted(set(check.arguments) - {*kind.required, *kind.optional}))
    if missing or unknown:
        raise InvalidRequestError(
            f"Check {check.name!r} has other arguments than its type takes. Correct their names.",
            type=check.type,
            missing=missing,
            unknown=unknown,
            known=(*kind.required, *kind.optional),
        )
    if check.mostly < 1 and not kind.tolerant:
        raise refused(
            check, "The share `mostly` is for checks that count rows, and check {name} does not. Leave it out."
        )
    if check.row_condition and not kind.conditional:
        raise refused(check, "Check {name} does not look at rows one by one. Leave its row condition out.")
    _require_severity(check, kind)
    for rule in (*RULES_OF_TYPES.get(check.type, ()), *(RULES[name] for name in sorted(given) if name in RULES)):
        rule(check)


def _require_severity(check: Expectation, kind: ExpectationKind) -> None:
    if kind.scope != "row" and (check.severity in ("quarantine", "drop") or check.limit is not None):
        raise refused(check, "Check {name} does not judge single rows, so none can be set aside. Let it fail or warn.")
