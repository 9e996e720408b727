"""The source of files against a real S3 server."""

from __future__ import annotations

import gzip
import io
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError, UnavailableError
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.sources.base import Rejects
from airflow_provider_lakehouse.core.sources.files.listing import open_s3
from airflow_provider_lakehouse.core.sources.files.source import FileSettings, FileSource

if TYPE_CHECKING:
    from .s3_server import S3Server

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ITEMS = Schema.of(Column("id", "long"), Column("name", "string"))
GOOD = b"id,name\n1,a\n2,b\n"


class Bucket:
    def __init__(self, server: S3Server) -> None:
        self.properties = {
            "s3.endpoint": server.endpoint,
            "s3.access-key-id": server.access_key,
            "s3.secret-access-key": server.secret_key,
            "s3.region": server.region,
            "s3.path-style-access": "true",
        }
        self.name = server.create_bucket(f"files-{uuid.uuid4().hex[:12]}").removeprefix("s3://").rstrip("/")
        self.system = open_s3(self.properties)

    def put(self, name: str, content: bytes) -> str:
        self.system.pipe_file(f"{self.name}/{name}", content)
        return f"s3://{self.name}/{name}"

    def source(self, pattern: str = "**", **settings: Any) -> FileSource:
        return FileSource(
            FileSettings(f"s3://{self.name}/{pattern}", schema=ITEMS, properties=self.properties, **settings)
        )


@pytest.fixture
def bucket(s3_server: S3Server) -> Bucket:
    return Bucket(s3_server)


def rows_of(source: FileSource, rejects: Rejects | None = None) -> list[tuple[Any, ...]]:
    plan = source.plan(position=None, now=NOW)
    with source.read(plan, rejects=rejects or Rejects()) as reader:
        return [tuple(row.values()) for row in reader.read_all().to_pylist()]


def test_objects_of_all_kinds_are_found_by_their_pattern_and_read(bucket: Bucket):
    sink = io.BytesIO()
    pq.write_table(pa.table({"id": [5], "name": ["e"]}), sink)
    csv = bucket.put("in/2017/a.csv", GOOD)
    zipped = bucket.put("in/b.csv.gz", gzip.compress(GOOD))
    parquet = bucket.put("in/c.parquet", sink.getvalue())
    bucket.put("other/d.csv", GOOD)
    bucket.put("in/_temporary.csv", GOOD)
    assert rows_of(bucket.source("in/**/*")) == [
        (1, "a", csv, 2), (2, "b", csv, 3), (1, "a", zipped, 2), (2, "b", zipped, 3), (5, "e", parquet, 1),
    ]  # fmt: skip


def test_the_same_bytes_written_again_are_the_same_object_and_other_bytes_are_not(bucket: Bucket):
    uri = bucket.put("a.csv", GOOD)
    source = bucket.source()
    (first,) = source.plan(position=None, now=NOW).slices
    seen = {"seen": {uri: [first.facts["identity"]]}}
    bucket.put("a.csv", GOOD)
    assert source.plan(position=seen, now=NOW).left_out == {uri: "already seen"}
    bucket.put("a.csv", GOOD + b"3,c\n")
    assert [s.name for s in source.plan(position=seen, now=NOW).slices] == [uri]


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.csv.gz"])
def test_an_object_written_anew_or_removed_after_the_plan_is_named(bucket: Bucket, name: str):
    uri = bucket.put(name, GOOD)
    source = bucket.source()
    plan = source.plan(position=None, now=NOW)
    for change in (lambda: bucket.put(name, b"id,name\n9,z\n"), lambda: bucket.system.rm_file(uri)):
        change()
        with pytest.raises(DataRejectedError) as caught:
            source.read(plan, rejects=Rejects()).read_all()
        assert caught.value.facts["changed"] == (uri,)


def test_a_corrupt_object_is_refused_as_a_whole(bucket: Bucket):
    bucket.put("a.csv", GOOD + b"\xff\n")
    rejects = Rejects()
    assert rows_of(bucket.source(), rejects) == []
    assert [row.reason for row in rejects.rows] == ["corrupt file: not valid utf-8"]


def test_wrong_credentials_and_a_server_that_is_not_there_are_told_apart(bucket: Bucket):
    bucket.put("a.csv", GOOD)
    wrong = FileSource(
        FileSettings(f"s3://{bucket.name}/*", properties={**bucket.properties, "s3.secret-access-key": "wrong"})
    )
    with pytest.raises(InvalidRequestError, match="denied"):
        wrong.plan(position=None, now=NOW)
    away = FileSource(
        FileSettings(f"s3://{bucket.name}/*", properties={**bucket.properties, "s3.endpoint": "http://127.0.0.1:9"})
    )
    with pytest.raises(UnavailableError):
        away.plan(position=None, now=NOW)


def test_a_bucket_that_is_not_there_has_no_files(bucket: Bucket):
    source = FileSource(FileSettings("s3://no-such-bucket-here/*", properties=bucket.properties))
    assert source.plan(position=None, now=NOW).slices == ()
