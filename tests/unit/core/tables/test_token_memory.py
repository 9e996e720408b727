"""How a table remembers many batches in little room, and when it forgets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from airflow_provider_lakehouse.core.errors import DamagedError, InvalidRequestError
from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, Change, CommitResult, WriteToken
from airflow_provider_lakehouse.core.tables.spec import TableSpec
from airflow_provider_lakehouse.core.tables.token_memory import (
    KEEP_BATCHES_PROPERTY,
    KEEP_DAYS_PROPERTY,
    WHOLE_TOKENS,
    condensed,
    past_name,
    past_result,
)
from airflow_provider_lakehouse.core.tables.tokens import TOKEN_PREFIX, encode_result

if TYPE_CHECKING:
    from pathlib import Path

START = datetime(2026, 1, 1, tzinfo=UTC)


def write(properties: dict[str, str], batches: range, *, apart: timedelta, pipeline: str = "p") -> None:
    """Remember batches one after the other, as a table does."""
    for number in batches:
        token, at = WriteToken(pipeline, f"run {number}"), START + number * apart
        changes = condensed(properties, token, at=at)
        changes[TOKEN_PREFIX + token.key] = encode_result(CommitResult(token, number, at))
        for name, value in changes.items():
            properties.pop(name, None) if value is None else properties.update({name: value})


def is_known(properties: dict[str, str], number: int, pipeline: str = "p") -> bool:
    token = WriteToken(pipeline, f"run {number}")
    return TOKEN_PREFIX + token.key in properties or past_result(properties, token, version=1) is not None


def size(properties: dict[str, str]) -> int:
    return sum(len(name) + len(value) for name, value in properties.items())


def test_a_thousand_batches_are_all_known_in_little_room() -> None:
    properties: dict[str, str] = {}
    write(properties, range(1000), apart=timedelta(hours=1))
    assert all(is_known(properties, number) for number in range(1000))
    assert not is_known(properties, 1000)
    assert not is_known(properties, 5, pipeline="q")
    assert size(properties) < WHOLE_TOKENS * 250 + 1000 * 12


def test_old_batches_are_forgotten_only_when_many_newer_ones_are_there() -> None:
    properties = {KEEP_DAYS_PROPERTY: "3", KEEP_BATCHES_PROPERTY: "200"}
    write(properties, range(1000), apart=timedelta(hours=1))
    known = [number for number in range(1000) if is_known(properties, number)]
    assert known == list(range(known[0], 1000))
    assert 300 <= len(known) <= 300 + 24
    before = size(properties)
    write(properties, range(1000, 2000), apart=timedelta(hours=1))
    assert size(properties) < before * 1.1


def test_young_batches_are_kept_however_many_there_are() -> None:
    properties = {KEEP_DAYS_PROPERTY: "2", KEEP_BATCHES_PROPERTY: "0"}
    write(properties, range(2000), apart=timedelta(minutes=1))
    assert all(is_known(properties, number) for number in range(2000))


def test_other_pipelines_and_numbered_batches_are_left_alone() -> None:
    properties: dict[str, str] = {KEEP_DAYS_PROPERTY: "0", KEEP_BATCHES_PROPERTY: "0"}
    write(properties, range(3), apart=timedelta(0), pipeline="rests")
    write(properties, range(1000), apart=timedelta(hours=1))
    assert all(is_known(properties, number, pipeline="rests") for number in range(3))
    assert condensed(properties, WriteToken("p", 5), at=START) == {}


def test_batches_that_are_staged_stay_as_they_are() -> None:
    properties: dict[str, str] = {}
    write(properties, range(WHOLE_TOKENS), apart=timedelta(hours=1))
    changes = condensed(properties, WriteToken("p", "next"), at=START, spared=frozenset({0}))
    assert TOKEN_PREFIX + WriteToken("p", "run 0").key not in changes
    assert changes.get(TOKEN_PREFIX + WriteToken("p", "run 1").key, "") in ("", None)


def test_a_memory_that_cannot_be_read_is_damage_and_a_setting_that_is_no_number_a_mistake() -> None:
    with pytest.raises(DamagedError):
        past_result({past_name("p"): "[]"}, WriteToken("p", "x"), version=1)
    properties: dict[str, str] = {}
    write(properties, range(WHOLE_TOKENS), apart=timedelta(hours=1))
    with pytest.raises(InvalidRequestError, match="keep-days"):
        condensed({**properties, KEEP_DAYS_PROPERTY: "-1"}, WriteToken("p", "next"), at=START)


def test_an_iceberg_table_knows_a_batch_long_after_its_counts_are_gone(tmp_path: Path) -> None:
    table = find("tables", "iceberg")(CatalogSettings("iceberg", f"file://{tmp_path}/lake")).table("a.b")
    table.create(TableSpec(Schema.of(Column("id", "long"))))
    table.commit(Change(branch="audit"), token=WriteToken("p", "staged"))
    for number in range(WHOLE_TOKENS + 2):
        table.commit(Change(), token=WriteToken("p", f"run {number}"))
    known = table.find(WriteToken("p", "run 0"))
    assert known is not None
    assert (known.replayed, known.rows_added) == (True, None)
    assert table.commit(Change(), token=WriteToken("p", "run 0")).replayed
    assert table.find(WriteToken("p", "run 101")).rows_added == 0
    table.drop_branch("audit")
    assert table.find(WriteToken("p", "staged")) is None
    assert not any(name.startswith(TOKEN_PREFIX) for name in table.facts().properties)
