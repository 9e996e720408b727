"""The specification of the real servers: what the rest of the tests may rely on."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any
from uuid import uuid4

import obstore
import psycopg
import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
import pytest
import s3fs  # type: ignore[import-untyped, unused-ignore]
from botocore.exceptions import ClientError  # type: ignore[import-untyped, unused-ignore]
from deltalake import DeltaTable, write_deltalake
from obstore.exceptions import AlreadyExistsError, PreconditionError
from obstore.store import S3Store
from pyiceberg.io import load_file_io

from . import s3_server as s3_module
from .fixtures import REQUIRE_VARIABLE, report_missing
from .postgres_server import PROGRAMS_VARIABLE, PostgresServer
from .process import ServiceFailedError, ServiceMissingError
from .s3_server import PROGRAM_VARIABLE, S3Server

WRITERS = 16
ROUNDS = 10
PART_BYTES = 5 * 1024 * 1024
FOREGROUND_DEADLINE_SECONDS = 30


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    """Creates a bucket for one test."""
    name = f"test-{uuid4().hex[:12]}"
    s3_server.create_bucket(name)
    return name


@pytest.fixture
def client(s3_server: S3Server) -> Iterator[Any]:
    """Opens a client that does not repeat what is refused."""
    with contextlib.closing(s3_server.client(max_pool_connections=WRITERS, retries={"max_attempts": 0})) as opened:
        yield opened


def status_of(request: Callable[[], Any]) -> int:
    """Sends a request and returns the status that the server answers."""
    try:
        answer = request()
    except ClientError as refusal:
        answer = refusal.response
    status: int = answer["ResponseMetadata"]["HTTPStatusCode"]
    return status


def race(request: Callable[[int], Any]) -> list[int]:
    """Sends a request from all writers at once and returns the status each one got."""
    barrier = Barrier(WRITERS)

    def write(writer: int) -> int:
        barrier.wait()
        return status_of(lambda: request(writer))

    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(write, range(WRITERS)))


def put(client: Any, **target: str) -> Callable[[int], Any]:
    """Returns a write that each writer does with a content of its own.

    The content names the condition as well: a tag is a digest, so the same content again would bring back an old tag.
    """
    return lambda writer: client.put_object(**target, Body=f"writer {writer} of {target}")


def test_a_create_of_an_existing_object_is_refused(client: Any, bucket: str) -> None:
    create = [status_of(lambda: client.put_object(Bucket=bucket, Key="a/b", IfNoneMatch="*")) for _ in range(2)]
    assert create == [200, 412]


def test_a_replacement_of_an_object_that_has_changed_is_refused(client: Any, bucket: str) -> None:
    tag = client.put_object(Bucket=bucket, Key="a", Body=b"1")["ETag"]
    replace = [status_of(lambda: client.put_object(Bucket=bucket, Key="a", Body=b"2", IfMatch=tag)) for _ in range(2)]
    assert replace == [200, 412]


def test_a_multipart_upload_does_not_complete_over_an_existing_object(client: Any, bucket: str) -> None:
    target = {"Bucket": bucket, "Key": "large"}

    def upload() -> Any:
        number = client.create_multipart_upload(**target)["UploadId"]
        part = client.upload_part(**target, UploadId=number, PartNumber=1, Body=bytes(PART_BYTES))
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        return client.complete_multipart_upload(**target, UploadId=number, MultipartUpload=parts, IfNoneMatch="*")

    assert [status_of(upload) for _ in range(2)] == [200, 412]


def test_racing_creates_have_exactly_one_winner(client: Any, bucket: str) -> None:
    for number in range(ROUNDS):
        target = {"Bucket": bucket, "Key": f"race/{number}"}
        statuses = race(put(client, **target, IfNoneMatch="*"))
        assert sorted(statuses) == [200] + [412] * (WRITERS - 1)
        assert client.get_object(**target)["Body"].read().decode().startswith(f"writer {statuses.index(200)} of ")


def test_racing_replacements_have_exactly_one_winner(client: Any, bucket: str) -> None:
    target = {"Bucket": bucket, "Key": "pointer"}
    tag = client.put_object(**target, Body=b"start")["ETag"]
    for _ in range(ROUNDS):
        statuses = race(put(client, **target, IfMatch=tag))
        assert sorted(statuses) == [200] + [412] * (WRITERS - 1)
        tag = client.head_object(**target)["ETag"]


def test_a_request_with_a_wrong_secret_is_refused(s3_server: S3Server, bucket: str) -> None:
    filesystem = s3fs.S3FileSystem(key=s3_server.access_key, secret="wrong", endpoint_url=s3_server.endpoint)
    with pytest.raises(PermissionError):
        filesystem.ls(bucket)


@pytest.mark.usefixtures("s3_server")
def test_objects_survive_a_crash_of_the_server() -> None:
    with S3Server() as server, contextlib.closing(server.client()) as client:
        server.create_bucket("kept")
        client.put_object(Bucket="kept", Key="a/b", Body=b"still here", Metadata={"colour": "blue"})
        server.crash()
        server.start()
        found = client.get_object(Bucket="kept", Key="a/b")
        assert (found["Body"].read(), found["Metadata"]) == (b"still here", {"colour": "blue"})


@pytest.mark.usefixtures("s3_server")
def test_creates_stay_exclusive_where_the_disk_keeps_no_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_module, "keeps_attributes", lambda _folder: False)
    with S3Server() as server, contextlib.closing(server.client(max_pool_connections=WRITERS)) as client:
        server.create_bucket("plain")
        statuses = race(put(client, Bucket="plain", Key="a/b", IfNoneMatch="*"))
        assert sorted(statuses) == [200] + [412] * (WRITERS - 1)


def test_s3fs_refuses_an_exclusive_create_of_an_existing_file(s3_server: S3Server, bucket: str) -> None:
    filesystem = s3fs.S3FileSystem(
        key=s3_server.access_key, secret=s3_server.secret_key, endpoint_url=s3_server.endpoint, skip_instance_cache=True
    )
    filesystem.pipe_file(f"{bucket}/a", b"1", mode="create")
    with pytest.raises(FileExistsError):
        filesystem.pipe_file(f"{bucket}/a", b"2", mode="create")


def test_obstore_refuses_a_create_and_a_stale_update_of_an_existing_object(s3_server: S3Server, bucket: str) -> None:
    store = S3Store(
        bucket,
        endpoint=s3_server.endpoint,
        access_key_id=s3_server.access_key,
        secret_access_key=s3_server.secret_key,
        region=s3_server.region,
        client_options={"allow_http": True},
    )
    first = obstore.put(store, "a", b"1", mode="create")
    with pytest.raises(AlreadyExistsError):
        obstore.put(store, "a", b"2", mode="create")
    obstore.put(store, "a", b"2", mode={"e_tag": first["e_tag"]})
    with pytest.raises(PreconditionError):
        obstore.put(store, "a", b"3", mode={"e_tag": first["e_tag"]})


def test_concurrent_delta_appends_all_land(s3_server: S3Server, bucket: str) -> None:
    location, writers = f"s3://{bucket}/table", 4
    options = {
        "AWS_ENDPOINT_URL": s3_server.endpoint,
        "AWS_ACCESS_KEY_ID": s3_server.access_key,
        "AWS_SECRET_ACCESS_KEY": s3_server.secret_key,
        "AWS_REGION": s3_server.region,
        "AWS_ALLOW_HTTP": "true",
    }
    rows = pa.table({"id": [1, 2, 3]})
    write_deltalake(location, rows, storage_options=options)
    with ThreadPoolExecutor(writers) as pool:
        appends = [
            pool.submit(write_deltalake, location, rows, mode="append", storage_options=options) for _ in range(writers)
        ]
    for append in appends:
        append.result()
    assert DeltaTable(location, storage_options=options).version() == writers


def test_the_files_of_iceberg_can_be_written_read_and_deleted(s3_server: S3Server, bucket: str) -> None:
    files = load_file_io(
        {
            "py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO",
            "s3.endpoint": s3_server.endpoint,
            "s3.access-key-id": s3_server.access_key,
            "s3.secret-access-key": s3_server.secret_key,
            "s3.region": s3_server.region,
        }
    )
    location = f"s3://{bucket}/metadata/v1.json"
    with files.new_output(location).create() as stream:
        stream.write(b"{}")
    with files.new_input(location).open() as stream:
        assert stream.read() == b"{}"
    files.delete(location)
    assert not files.new_input(location).exists()


@pytest.mark.usefixtures("s3_server")
def test_the_s3_server_runs_in_the_foreground_for_a_person(tmp_path: Path) -> None:
    script = [sys.executable, s3_module.__file__, "--port", "0", "--data", str(tmp_path / "kept"), "--bucket", "demo"]
    with subprocess.Popen(script, stdout=subprocess.PIPE, text=True) as person:
        assert person.stdout is not None
        assert person.stdout.readline().startswith("S3 server on http://127.0.0.1:")
        person.send_signal(signal.SIGINT)
        assert person.wait(FOREGROUND_DEADLINE_SECONDS) == 0
    assert (tmp_path / "kept" / "demo").is_dir()


def test_postgres_decodes_the_write_ahead_log(postgres_server: PostgresServer) -> None:
    with psycopg.connect(postgres_server.create_database("decoded"), autocommit=True) as connection:
        connection.execute("CREATE TABLE orders (id int PRIMARY KEY)")
        connection.execute("CREATE PUBLICATION changes FOR TABLE orders")
        connection.execute("SELECT pg_create_logical_replication_slot('changes', 'pgoutput')")
        connection.execute("INSERT INTO orders VALUES (1)")
        changes = connection.execute(
            "SELECT count(*) FROM pg_logical_slot_get_binary_changes("
            "'changes', NULL, NULL, 'proto_version', '1', 'publication_names', 'changes'"
            ") WHERE get_byte(data, 0) = ascii('I')"
        ).fetchone()
        connection.execute("SELECT pg_drop_replication_slot('changes')")
    assert changes == (1,)


def test_postgres_listens_on_loopback_only_and_not_as_root(postgres_server: PostgresServer) -> None:
    with psycopg.connect(postgres_server.dsn) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("127.0.0.1",)
    owner = subprocess.run(["ps", "-o", "uid=", "-p", str(postgres_server.pid)], capture_output=True, check=True)
    assert int(owner.stdout) != 0


def test_postgres_refuses_a_wrong_password(postgres_server: PostgresServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres_server.dsn, password="wrong")


@pytest.mark.usefixtures("postgres_server")
def test_committed_rows_survive_a_crash_of_postgres() -> None:
    with PostgresServer() as server:
        with psycopg.connect(server.dsn) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        server.crash()
        server.start()
        with psycopg.connect(server.dsn) as connection:
            assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


@pytest.mark.usefixtures("s3_server")
def test_a_server_leaves_neither_a_process_nor_files_behind() -> None:
    with S3Server() as server:
        pid, scratch = server.pid, server.scratch
    assert not scratch.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_server_whose_port_is_taken_says_so(s3_server: S3Server) -> None:
    with pytest.raises(ServiceFailedError, match="address already in use"), S3Server(port=s3_server.port):
        pytest.fail("a second server has started on the port of the first")


@pytest.mark.parametrize(
    ("server", "variable"), [(S3Server, PROGRAM_VARIABLE), (PostgresServer, PROGRAMS_VARIABLE)], ids=["s3", "postgres"]
)
def test_a_missing_program_is_reported_with_what_to_install(
    server: type[S3Server | PostgresServer], variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "absent"))
    with pytest.raises(ServiceMissingError, match=r"install\.sh"), server():
        pytest.fail("a server has started without its program")


def test_a_missing_server_skips_a_test_unless_servers_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(REQUIRE_VARIABLE, raising=False)
    with pytest.raises(pytest.skip.Exception, match="install Go"):
        report_missing(ServiceMissingError("install Go"))
    monkeypatch.setenv(REQUIRE_VARIABLE, "1")
    with pytest.raises(pytest.fail.Exception, match="install Go"):
        report_missing(ServiceMissingError("install Go"))
