"""Load modes as settings."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.load.modes import (
    Append,
    Dedup,
    Merge,
    OverwritePartitions,
    Replace,
    Scd2,
    SnapshotDiff,
    mode_from_json,
    mode_to_json,
)
from airflow_provider_lakehouse.core.load.policy import REACTIONS, SchemaPolicy

EVERY = [
    Append(),
    Replace(),
    OverwritePartitions(),
    Dedup(columns=("a",)),
    Merge(("a", "b"), update_columns=("c",), condition="true", sequence="s", delete_when="false"),
    Scd2(("a",), "at", track=("b",)),
    SnapshotDiff(("a",), max_deleted_share=0.0, removes_missing=False),
]


@pytest.mark.parametrize("mode", EVERY, ids=lambda mode: type(mode).__name__)
def test_a_mode_survives_json(mode: Any) -> None:
    assert mode_from_json(mode_to_json(mode)) == mode


@pytest.mark.parametrize(
    "value",
    ["upsert", {}, {"mode": "merge"}, {"mode": "merge", "keys": []}, {"mode": "merge", "keys": ["a", "a"]},
     {"mode": "append", "keys": ["a"]}, {"mode": "snapshot_diff", "keys": ["a"], "max_deleted_share": 20},
     {"mode": "scd2", "keys": ["valid_from"], "effective_at": "at"}, {"mode": "dedup", "columns": []}],
)  # fmt: skip
def test_settings_that_make_no_mode_are_refused(value: Any) -> None:
    with pytest.raises(InvalidRequestError):
        mode_from_json(value)


def test_one_key_may_be_written_without_a_list() -> None:
    assert mode_from_json({"mode": "merge", "keys": "id"}) == Merge(("id",))


@pytest.mark.parametrize("reaction", REACTIONS)
def test_a_policy_survives_json(reaction: str) -> None:
    policy = SchemaPolicy.from_json(reaction)
    assert SchemaPolicy.from_json(policy.to_json()) == policy


@pytest.mark.parametrize(
    "value", ["ignore", {"new_columns": "ignore"}, {"columns": "freeze"}, {"missing_columns": "x"}]
)
def test_a_policy_that_does_not_exist_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequestError):
        SchemaPolicy.from_json(value)
