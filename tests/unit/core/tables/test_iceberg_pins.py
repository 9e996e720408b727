"""What we use of PyIceberg beyond its documented interface is still there and does what we rely on."""

from __future__ import annotations

import inspect
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest
from pyiceberg.catalog import Catalog, MetastoreCatalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.io import load_file_io
from pyiceberg.io.pyarrow import PyArrowFileIO, compute_statistics_plan, parquet_path_to_id_mapping
from pyiceberg.manifest import ManifestContent, ManifestWriter, ManifestWriterV2, write_manifest_list
from pyiceberg.schema import Schema, index_name_by_id, make_compatible_name
from pyiceberg.table.snapshots import Operation, SnapshotSummaryCollector, Summary, update_snapshot_summaries
from pyiceberg.types import ListType, LongType, NestedField, StringType

from airflow_provider_lakehouse.core.tables.iceberg.io import IO_CLASS
from airflow_provider_lakehouse.core.tables.iceberg.snapshot import delete_manifest_writer
from airflow_provider_lakehouse.core.tables.iceberg.updates import set_properties

from .iceberg_tables import add, connection, table

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = Schema(
    NestedField(1, "a", LongType(), required=True),
    NestedField(2, "b", ListType(3, StringType(), element_required=False), required=False),
)


def test_the_release_is_the_one_that_was_read() -> None:
    assert version("pyiceberg").startswith("0.12.")


def test_manifest_writers_take_their_kind_from_two_members() -> None:
    assert issubclass(ManifestWriterV2, ManifestWriter)
    assert isinstance(inspect.getattr_static(ManifestWriter, "_meta"), property)
    assert delete_manifest_writer().content(None) == ManifestContent.DELETES
    assert list(inspect.signature(ManifestWriterV2.__init__).parameters)[1:] == [
        "spec", "schema", "output_file", "snapshot_id", "avro_compression",
    ]  # fmt: skip
    assert {"existing", "delete", "add_entry", "to_manifest_file"} <= set(dir(ManifestWriter))
    assert "sequence_number" in inspect.signature(write_manifest_list).parameters


def test_statistics_are_planned_by_field_id_and_parquet_path() -> None:
    plan = compute_statistics_plan(SCHEMA, {"write.metadata.metrics.default": "truncate(4)"})
    assert {field_id: (column.mode.type.value, column.mode.length) for field_id, column in plan.items()} == {
        1: ("full", None),
        3: ("counts", None),
    }
    assert parquet_path_to_id_mapping(SCHEMA) == {"a": 1, "b.list.element": 3}
    assert index_name_by_id(SCHEMA) == {1: "a", 2: "b", 3: "b.element"}
    assert make_compatible_name("the name") != "the name"


def test_file_access_on_s3_is_made_in_one_place() -> None:
    assert "_initialize_s3_fs" in inspect.getsource(PyArrowFileIO._initialize_fs)
    file_io = load_file_io({"py-io-impl": IO_CLASS, "s3.region": "eu-west-1"})
    assert isinstance(file_io, PyArrowFileIO)
    assert type(file_io)._initialize_s3_fs is not PyArrowFileIO._initialize_s3_fs


def test_summaries_carry_totals_on() -> None:
    collector = SnapshotSummaryCollector()
    before = {"total-records": "5", "total-data-files": "2"}
    summary = update_snapshot_summaries(Summary(operation=Operation.APPEND, **collector.build()), before)
    assert summary.additional_properties["total-records"] == "5"


def test_a_catalog_commits_once_and_leaves_trying_again_to_us(tmp_path: Path) -> None:
    assert "retry" not in inspect.getsource(SqlCatalog.commit_table)
    assert "commit_table" in Catalog.__abstractmethods__
    assert "validate" in inspect.getsource(MetastoreCatalog._update_and_stage_table)
    target = table(tmp_path)
    add(target, 1)
    reached = connection(tmp_path)
    stale = reached.load("shop.items")
    from airflow_provider_lakehouse.core.tables.iceberg.updates import reference_is

    add(target, 2)
    with pytest.raises(CommitFailedException):
        reached.catalog.commit_table(stale, (reference_is(stale.metadata, "main"),), (set_properties({"a": "b"}),))


def test_catalogs_refuse_a_sequence_number_that_is_taken_on_any_branch(tmp_path: Path) -> None:
    from airflow_provider_lakehouse.core.tables.iceberg.snapshot import Draft, FileChanges
    from airflow_provider_lakehouse.core.tables.iceberg.updates import add_snapshot

    target = table(tmp_path)
    add(target, 1)
    reached = connection(tmp_path)
    stale = reached.load("shop.items")
    add(target, 2, branch="other")
    draft = Draft(stale, stale.metadata.new_snapshot_id(), stale.current_snapshot(), "pins")
    snapshot = draft.snapshot(FileChanges(), schema_id=0, at_ms=stale.metadata.last_updated_ms + 1, notes={})
    updates, requirements = add_snapshot(stale.metadata, snapshot, branch="main")
    with pytest.raises(ValueError, match="sequence number"):
        reached.catalog.commit_table(stale, tuple(requirements), tuple(updates))
