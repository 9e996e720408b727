"""What the source for any database decides, without a database."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_lakehouse.core.errors import InvalidRequestError, UnsupportedError
from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.sources.dbapi.drivers import driver_of
from airflow_provider_lakehouse.core.sources.dbapi.plan import Dialect, RangeFacts, lowered, text_of, value_of
from airflow_provider_lakehouse.core.sources.dbapi.settings import PARAMSTYLES, DbApiSettings
from airflow_provider_lakehouse.core.sources.dbapi.source import open_source
from airflow_provider_lakehouse.core.sources.relations import Condition, PartitionRange

HARD_NAME = 'a"b`c; DROP TABLE x --%s?:1 ä'
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BOUNDS = (Condition(HARD_NAME, ">", "7"), Condition(HARD_NAME, "<=", "9"))


def of(relation: str = "t", **settings: Any) -> DbApiSettings:
    return DbApiSettings(**{"connect": lambda: None, "uri": "mysql://host/shop", "relation": relation} | settings)


@pytest.mark.parametrize(
    ("paramstyle", "first", "second", "bound"),
    [
        ("qmark", "?", "?", (7, 9)),
        ("numeric", ":1", ":2", (7, 9)),
        ("dollar", "$1", "$2", (7, 9)),
        ("named", ":p1", ":p2", {"p1": 7, "p2": 9}),
        ("format", "%s", "%s", (7, 9)),
        ("pyformat", "%s", "%s", (7, 9)),
    ],
)
def test_bounds_are_parameters_in_the_style_of_the_driver(paramstyle: str, first: str, second: str, bound: Any) -> None:
    dialect = Dialect(paramstyle)
    name = '"' + HARD_NAME.replace('"', '""') + '"'
    if paramstyle in ("format", "pyformat"):
        name = name.replace("%", "%%")
    assert dialect.select("*", '"t"', BOUNDS) == f'SELECT * FROM "t" WHERE {name} > {first} AND {name} <= {second}'
    assert dialect.bind([7, 9]) == bound
    assert dialect.bind([]) is None


def test_every_style_is_one_that_can_be_set() -> None:
    for style in PARAMSTYLES:
        assert of(paramstyle=style).paramstyle == style


def test_names_are_quoted_with_the_quotes_of_the_database() -> None:
    assert Dialect("format", "`").origin(of('shop."a`b"')) == "`shop`.`a``b`"
    assert Dialect("qmark").origin(of('c.s."a""b"')) == '"c"."s"."a""b"'


def test_a_query_stands_in_parentheses_that_its_comment_cannot_hide() -> None:
    assert Dialect("qmark").origin(of("", query=" SELECT 1 AS a -- one; ")) == "(SELECT 1 AS a -- one\n) source"


@pytest.mark.parametrize(
    "settings",
    [
        {"relation": ""},
        {"relation": "t", "query": "SELECT 1"},
        {"relation": "a.b.c.d"},
        {"uri": "shop"},
        {"mode": "some"},
        {"mode": "incremental"},
        {"cursor": "id"},
        {"lag": 1},
        {"mode": "incremental", "cursor": "id", "lag": -1},
        {"mode": "partition"},
        {"partition": PartitionRange("id", "1")},
        {"parallelism": 0},
        {"unfit": "drop"},
        {"as_text": ("id",)},
        {"paramstyle": "braces"},
        {"columns": ("_source_row",)},
        {"columns": {"id": "varchar"}},
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        of(**settings)


def test_unknown_settings_and_drivers_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="DbApiSettings"):
        open_source(driver="sqlite3", uri="sqlite://", relation="t", colour="red")
    with pytest.raises(UnsupportedError, match=r"airflow-provider-lakehouse\[adbc\]"):
        open_source(driver="no_such_driver", uri="x://", relation="t")
    with pytest.raises(InvalidRequestError, match="connect"):
        open_source(driver="json", uri="x://", relation="t")


def test_the_identity_holds_no_secret_and_settings_show_none() -> None:
    source = open_source(connect=lambda: None, uri="mysql://user:s3cret@host:3306/shop?key=s3cret", relation='s."a.b"')
    assert source.identity == "mysql://host:3306/shop/s.a.b"
    query = open_source(connect=lambda: None, uri="mysql://host/shop", query="SELECT 's3cret'")
    assert query.identity.startswith("mysql://host/shop/query-")
    assert "s3cret" not in repr(query.settings)


def test_the_registry_knows_it() -> None:
    assert find("sources", "dbapi") is open_source


class Connection:
    """Of a driver whose module says nothing."""


def test_a_driver_that_does_not_say_its_style_needs_the_setting() -> None:
    with pytest.raises(InvalidRequestError, match="paramstyle"):
        driver_of(Connection())
    assert driver_of(Connection(), paramstyle="named", quote="`").dialect == Dialect("named", "`")


@pytest.mark.parametrize(
    "value",
    [0, -(2**70), Decimal("1.20"), date(1, 1, 1), NOON, NOON.replace(tzinfo=None, microsecond=1), "a'b", ""],
)
def test_a_bound_survives_its_text(value: Any) -> None:
    kind, text = text_of(value, column="c")
    again = value_of(json.loads(json.dumps(text)), kind=kind, column="c")
    assert (again, type(again)) == (value, type(value))


def test_instants_with_a_zone_are_bounds_in_utc() -> None:
    local = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert text_of(local, column="c") == ("timestamptz", "2026-03-01 12:00:00+00:00")
    assert value_of("2026-03-01 12:00", kind="timestamptz", column="c") == NOON


@pytest.mark.parametrize("value", [1.5, True, b"x", Decimal("NaN"), timedelta(1)])
def test_values_without_an_exact_order_bound_nothing(value: Any) -> None:
    with pytest.raises(InvalidRequestError):
        text_of(value, column="c")


@pytest.mark.parametrize(
    ("kind", "text", "lag", "expected"),
    [
        ("long", "5", 2, "3"),
        ("decimal", "1.25", 1, "0.25"),
        ("date", "2024-03-01", timedelta(hours=36), "2024-02-28"),
        ("date", "0001-01-02", timedelta(days=9), "0001-01-01"),
        ("timestamp", "2024-01-01 00:00:00.000001", timedelta(microseconds=1), "2024-01-01 00:00:00"),
        ("timestamptz", "0001-01-01 00:00:00+00:00", timedelta(days=1), "0001-01-01 00:00:00+00:00"),
        ("string", "b", None, "b"),
    ],
)
def test_a_lag_is_exact_and_ends_at_the_first_day(kind: str, text: str, lag: Any, expected: str) -> None:
    assert lowered(text, kind=kind, lag=lag, column="c") == expected


@pytest.mark.parametrize(
    ("kind", "text", "lag"), [("long", "5", timedelta(1)), ("date", "2024-03-01", 1), ("string", "b", 1)]
)
def test_a_lag_of_another_kind_is_refused(kind: str, text: str, lag: Any) -> None:
    with pytest.raises(InvalidRequestError, match="lag"):
        lowered(text, kind=kind, lag=lag, column="c")


_names = st.text(min_size=1, max_size=8)


@given(
    facts=st.builds(
        RangeFacts,
        columns=st.lists(st.tuples(_names, st.just("long")), max_size=3).map(tuple),
        bound=st.just("long"),
        conditions=st.lists(
            st.builds(Condition, _names, st.sampled_from([">", ">=", "<", "<="]), st.integers().map(str)), max_size=2
        ).map(tuple),
    )
)
def test_facts_of_a_slice_travel_as_json(facts: RangeFacts) -> None:
    assert RangeFacts.from_json(json.loads(json.dumps(facts.to_json()))) == facts


@pytest.mark.parametrize("facts", [{}, {"columns": [["a"]], "bound": "", "conditions": []}, {"blocks": None}])
def test_facts_of_another_source_are_refused(facts: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match="Plan anew"):
        RangeFacts.from_json(facts)
