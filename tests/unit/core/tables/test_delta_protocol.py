"""What a Delta table may ask of its readers and writers here; all else is refused by name, and nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError, UnsupportedError
from airflow_provider_lakehouse.core.schema import Column, Schema, SchemaChange
from airflow_provider_lakehouse.core.tables.base import FILE_COLUMN, POSITION_COLUMN, Change, Positions, WriteToken
from airflow_provider_lakehouse.core.tables.spec import TableSpec

from .delta_tables import NUMBERS, actions_of, add, delta_table, folder, foreign_table, held, numbers, seen_by_delta_rs

TOKEN = WriteToken("p", "a")


def features(*writer: str, reader: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": list(reader),
        "writerFeatures": [*reader, *writer],
    }


def field(**metadata: Any) -> list[dict[str, Any]]:
    return [{"name": "n", "type": "long", "nullable": True, "metadata": metadata}]


def one() -> Change:
    import pyarrow as pa

    return Change(rows=pa.table({"n": [1]}).to_reader())


@pytest.mark.parametrize(
    "protocol",
    [
        {"minReaderVersion": 1, "minWriterVersion": 1},
        {"minReaderVersion": 1, "minWriterVersion": 4},
        {"minReaderVersion": 2, "minWriterVersion": 6},
        features("appendOnly", "invariants", "domainMetadata", "inCommitTimestamp"),
        features(reader=("timestampNtz", "deletionVectors", "v2Checkpoint")),
    ],
)
def test_a_table_that_asks_for_nothing_unknown_is_written(tmp_path: Path, protocol: dict[str, Any]) -> None:
    foreign_table(Path(folder(tmp_path)), protocol=protocol)
    delta_table(tmp_path).commit(one(), token=TOKEN)
    assert held(delta_table(tmp_path)) == seen_by_delta_rs(folder(tmp_path)) == [1]


@pytest.mark.parametrize(
    ("protocol", "properties", "metadata", "named"),
    [
        (features("rowTracking", "domainMetadata"), {}, {}, "rowTracking"),
        (features("icebergCompatV1"), {}, {}, "icebergCompatV1"),
        (features("clustering", "domainMetadata"), {}, {}, "clustering"),
        (
            features("inCommitTimestamp"),
            {"delta.enableInCommitTimestamps": "true"},
            {},
            "delta.enableInCommitTimestamps",
        ),
        (features(), {"delta.setTransactionRetentionDuration": "interval 1 days"}, {}, "setTransactionRetention"),
        (features("checkConstraints"), {"delta.constraints.positive": "n > 0"}, {}, "delta.constraints.positive"),
        (features("generatedColumns"), {}, {"delta.generationExpression": "1"}, "delta.generationExpression"),
        (features("invariants"), {}, {"delta.invariants": '{"expression":{"expression":"n > 0"}}'}, "delta.invariants"),
        (
            features("identityColumns"),
            {},
            {"delta.identity.start": 1, "delta.identity.step": 1},
            "delta.identity.start",
        ),
    ],
)
def test_a_table_that_asks_writers_for_more_is_read_and_not_written(
    tmp_path: Path, protocol: dict[str, Any], properties: dict[str, str], metadata: dict[str, Any], named: str
) -> None:
    foreign_table(Path(folder(tmp_path)), protocol=protocol, properties=properties, fields=field(**metadata))
    table = delta_table(tmp_path)
    assert held(table) == []
    with pytest.raises(UnsupportedError) as raised:
        table.commit(one(), token=TOKEN)
    assert named in str(raised.value)
    assert table.facts().version == 0
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.parametrize("feature", ["typeWidening", "catalogManaged", "fromTheFuture", "vacuumProtocolCheck"])
def test_a_table_that_asks_readers_for_the_unknown_is_not_read(tmp_path: Path, feature: str) -> None:
    foreign_table(Path(folder(tmp_path)), protocol=features(reader=(feature,)))
    with pytest.raises(UnsupportedError):
        delta_table(tmp_path).facts()


def test_a_column_of_a_type_that_is_not_known_is_refused_by_name(tmp_path: Path) -> None:
    fields = [{"name": "v", "type": "variant", "nullable": True, "metadata": {}}]
    foreign_table(Path(folder(tmp_path)), protocol=features(reader=("variantType",)), fields=fields)
    with pytest.raises(UnsupportedError, match="variant"):
        delta_table(tmp_path).facts()


def test_a_table_that_only_takes_appends_loses_no_row(tmp_path: Path) -> None:
    table = delta_table(tmp_path)
    table.create(TableSpec(NUMBERS, properties={"delta.appendOnly": "true"}))
    add(table, 1, batch="a")
    for removal in (Change(removes="all"), Change(rows=numbers(2), removes="all")):
        with pytest.raises(UnsupportedError, match="appendOnly"):
            table.commit(removal, token=WriteToken("p", "b"))
    assert held(table) == [1]


def test_changed_rows_of_a_table_with_a_change_feed_are_refused_and_appends_are_not(tmp_path: Path) -> None:
    protocol = {"minReaderVersion": 1, "minWriterVersion": 4}
    foreign_table(Path(folder(tmp_path)), protocol=protocol, properties={"delta.enableChangeDataFeed": "true"})
    table = delta_table(tmp_path)
    table.commit(one(), token=TOKEN)
    rows = table.read_addressed(columns=()).read_all().select([FILE_COLUMN, POSITION_COLUMN])
    with pytest.raises(UnsupportedError, match="change data feed"):
        table.commit(Change(removes=Positions(rows), base=1), token=WriteToken("p", "b"))


@pytest.mark.parametrize(("kind", "instead"), [("uuid", "string"), ("time", "string"), ("fixed(16)", "binary")])
def test_a_type_that_delta_lacks_is_refused_with_what_to_use_instead(tmp_path: Path, kind: str, instead: str) -> None:
    with pytest.raises(UnsupportedError, match=instead):
        delta_table(tmp_path).create(TableSpec(Schema.of(Column("x", kind), Column("y", "long"))))
    assert not delta_table(tmp_path).exists()


@pytest.mark.parametrize(
    "spec",
    [
        TableSpec(Schema.of(Column("at", "date"), Column("n", "long")), partitioning=("month(at)",)),
        TableSpec(Schema.of(Column("b", "binary"), Column("n", "long")), partitioning=("b",)),
        TableSpec(Schema.of(Column("n", "long")), partitioning=("n",)),
        TableSpec(Schema.of(Column("Name", "long"), Column("name", "long"))),
        TableSpec(NUMBERS, properties={"delta.enableChangeDataFeed": "true"}),
        TableSpec(NUMBERS, properties={"delta.setTransactionRetentionDuration": "interval 1 days"}),
    ],
)
def test_what_a_delta_table_cannot_be_here_is_refused_before_it_is_there(tmp_path: Path, spec: TableSpec) -> None:
    with pytest.raises(UnsupportedError):
        delta_table(tmp_path).create(spec)
    assert not delta_table(tmp_path).exists()


def test_properties_that_ask_for_what_is_not_done_are_refused_on_a_table_that_is_there(tmp_path: Path) -> None:
    table = delta_table(tmp_path)
    table.create(TableSpec(NUMBERS))
    for properties in ({"delta.enableRowTracking": "true"}, {"delta.columnMapping.mode": "name"}):
        with pytest.raises(UnsupportedError):
            table.commit(Change(properties=properties), token=TOKEN)
    with pytest.raises(InvalidRequestError):
        table.commit(Change(properties={"lakehouse.identifier": None}), token=TOKEN)


def test_a_table_has_the_lowest_protocol_that_its_columns_need(tmp_path: Path) -> None:
    delta_table(tmp_path).create(TableSpec(NUMBERS))
    assert actions_of(Path(folder(tmp_path)), 0, "protocol") == [{"minReaderVersion": 1, "minWriterVersion": 2}]
    delta_table(tmp_path, "a.local").create(TableSpec(Schema.of(Column("at", "timestamp"))))
    (protocol,) = actions_of(Path(folder(tmp_path, "a.local")), 0, "protocol")
    assert protocol["readerFeatures"] == ["timestampNtz"]
    assert protocol["writerFeatures"] == ["appendOnly", "invariants", "timestampNtz"]


def test_narrow_integers_of_other_writers_stay_narrow_and_take_no_wider_value(tmp_path: Path) -> None:
    import pyarrow as pa

    fields = [{"name": "n", "type": "byte", "nullable": True, "metadata": {}}]
    foreign_table(Path(folder(tmp_path)), protocol={"minReaderVersion": 1, "minWriterVersion": 2}, fields=fields)
    table = delta_table(tmp_path)
    table.commit(Change(rows=pa.table({"n": pa.array([-128], pa.int32())}).to_reader()), token=TOKEN)
    with pytest.raises(DataRejectedError):
        table.commit(Change(rows=pa.table({"n": pa.array([128], pa.int32())}).to_reader()), token=WriteToken("p", "b"))
    assert held(table) == seen_by_delta_rs(folder(tmp_path)) == [-128]


def test_an_empty_text_is_no_partition_because_delta_reads_it_as_null(tmp_path: Path) -> None:
    table = delta_table(tmp_path)
    table.create(TableSpec(NUMBERS, partitioning=("s",)))
    with pytest.raises(DataRejectedError, match="empty text"):
        table.commit(Change(rows=numbers(1, text="")), token=TOKEN)
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_null_partition_of_a_column_that_allows_none_is_refused(tmp_path: Path) -> None:
    table = delta_table(tmp_path)
    schema = Schema.of(Column("n", "long"), Column("s", "string", nullable=False))
    table.create(TableSpec(schema, partitioning=("s",)))
    with pytest.raises(DataRejectedError, match="null"):
        table.commit(Change(rows=numbers(1, text=None)), token=TOKEN)


def test_columns_become_nullable_and_commented_and_nothing_else(tmp_path: Path) -> None:
    table = delta_table(tmp_path)
    schema = Schema.of(Column("n", "long", nullable=False), Column("s", "string", nullable=False), identifier=("n",))
    table.create(TableSpec(schema))
    relaxed = SchemaChange("relax", Column("s", "string"))
    commented = SchemaChange("comment", Column("s", "string", comment="Text"))
    table.commit(Change(schema_changes=(relaxed, commented), comment="Numbers"), token=TOKEN)
    facts = table.facts()
    assert (facts.schema.by_name["s"], facts.comment) == (Column("s", "string", comment="Text"), "Numbers")
    for refused in (
        SchemaChange("relax", Column("n", "long")),
        SchemaChange("relax", Column("nope", "long")),
        SchemaChange("add", Column("n", "string")),
        SchemaChange("add", Column("more", "string", nullable=False)),
    ):
        with pytest.raises(InvalidRequestError):
            table.commit(Change(schema_changes=(refused,)), token=WriteToken("p", "b"))
    with pytest.raises(UnsupportedError, match="widen"):
        table.commit(Change(schema_changes=(SchemaChange("widen", Column("n", "double")),)), token=WriteToken("p", "b"))


@pytest.mark.parametrize("name", ["", "a..b", "a/b", "a.\\b", ".."])
def test_a_name_that_is_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidRequestError):
        delta_table(tmp_path, name)


def test_a_local_folder_that_delta_rs_cannot_open_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="%"):
        delta_table(tmp_path / "100%").create(TableSpec(NUMBERS))


def test_names_with_spaces_and_unicode_are_folders(tmp_path: Path) -> None:
    table = delta_table(tmp_path / "my lake é", "größe.my table's")
    table.create(TableSpec(NUMBERS))
    add(table, 1, batch="a")
    assert held(table) == [1]
