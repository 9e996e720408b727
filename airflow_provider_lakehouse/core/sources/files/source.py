"""Files as a source: CSV, JSON lines, Parquet and Avro, on local disk and on S3.

What becomes of every object that is found:

| Object | Outcome |
|---|---|
| seen before with the same content | left out: `already seen` |
| the same name with new content | another object: read again, as a whole. Choose a mode of load that expects it |
| came late, whatever its date | like any other: nothing is remembered but which objects were seen |
| hidden or temporary (`.name`, `_name`, `name.partial`, `name.tmp`) | left out: `temporary name` |
| modified less than `settle` ago | left out: `still being written`; a later plan finds it |
| of an unknown kind, where the format is `auto` | left out: `no reader for its name` |
| gone or written anew between plan and read | `DataRejectedError`, fact `changed`; nothing of it was delivered |
| empty, or nothing but a header | read: no rows |
| corrupt (truncated, broken compression, wrong encoding) | one refused row without a number; or `on_corrupt="fail"` |
| typed, with two columns of one name, or one of a type that no table can hold | likewise |
| a folder, a pipe, a link to nowhere | not found; a link to a file is a file of its own |
| a row that cannot be taken apart, or breaks the schema | refused with its line, its text and the reason |
| has columns that the schema lacks | delivered as further columns; or `extra_columns="leave out"` |
| lacks columns of the schema | null; where a column is not nullable its rows are refused |
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.sources.base import ExtractPlan, Slice
from airflow_provider_lakehouse.core.sources.files.columns import (
    RESERVED,
    avro_columns,
    csv_columns,
    json_columns,
    json_has_only,
    merge_columns,
    parquet_columns,
)
from airflow_provider_lakehouse.core.sources.files.copies import CorruptFileError, PlannedFile, head, opened
from airflow_provider_lakehouse.core.sources.files.lines import CsvDialect
from airflow_provider_lakehouse.core.sources.files.listing import identity_of, list_files
from airflow_provider_lakehouse.core.sources.files.options import options_of, with_options
from airflow_provider_lakehouse.core.sources.files.reading import FilesReading
from airflow_provider_lakehouse.core.sources.files.values import check_readable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import pyarrow as pa

    from airflow_provider_lakehouse.core.sources.base import Json, Rejects
    from airflow_provider_lakehouse.core.sources.files.listing import ListedFile

FileFormat = Literal["csv", "jsonl", "parquet", "avro"]
_ENDINGS: Final[dict[str, FileFormat]] = {
    "csv": "csv", "jsonl": "jsonl", "ndjson": "jsonl", "json": "jsonl", "parquet": "parquet", "pq": "parquet",
    "avro": "avro",
}  # fmt: skip
_TEXTS: Final = ("csv", "jsonl")
_HEAD_BYTES: Final = 256 * 1024
_MAX_HEAD_BYTES: Final = 16 * 1024 * 1024
SEEN: Final = "seen"
"""Name under which a position gives the contents that were seen, by URI."""


@dataclass(frozen=True)
class FileSettings:
    """Which files to read, and how.

    Args:
        uri: A local path, `file://` or `s3://`. `*`, `?`, `[a-z]` within one folder, `**` for any folders below; a
            slash at the end names all files of a folder.
        format: `auto` goes by the ending: `.csv`, `.jsonl`, `.ndjson`, `.json`, `.parquet`, `.pq`, `.avro`, texts also
            with `.gz` behind it.
        schema: What the rows shall be. None infers it when a plan is made, from the footer of a typed file and the
            first 1,000 rows of a text, and keeps it in the plan.
        csv: How CSV files are written.
        encoding: Of texts, any that Python knows. Others than UTF-8 are copied into it first.
        settle: An object modified more recently is taken as still being written. Zero trusts that objects appear whole,
            as they do on S3, and on disk where writers rename: set it where they do not.
        order: In which order files are read: by `name`, or by instant of modification.
        extra_columns: What happens to columns that `schema` lacks: `deliver` them behind it, for the schema policy of
            the load to decide (as `string` from texts), or `leave out`.
        on_corrupt: What a corrupt file does: it becomes one refused row (`quarantine`), or ends the read (`fail`).
        properties: For S3, by Iceberg's names: `s3.endpoint`, `s3.access-key-id`, `s3.secret-access-key`,
            `s3.session-token`, `s3.region`, `s3.path-style-access`. May hold secrets, so it is left out of `repr`.
        memory_bytes: What DuckDB may use while it reads texts, at least 128 MiB. Beside it a read takes
            at most 224 MiB: 64 MiB of rows that wait, on disk from there on, and the batch at hand with its copies. Of
            Parquet it takes a row group as well, where that is larger.
        threads: What it may use; None for all cores.
        folder: Where copies and waiting rows go; None for the system's folder for temporary files. It needs room for
            the copies of remote and compressed files of one statement (64 MiB of files, or one file).
    """

    uri: str
    format: FileFormat | Literal["auto"] = "auto"
    schema: Schema | None = None
    csv: CsvDialect = field(default_factory=CsvDialect)
    encoding: str = "utf-8"
    settle: timedelta = timedelta(0)
    order: Literal["name", "modified"] = "name"
    extra_columns: Literal["deliver", "leave out"] = "deliver"
    on_corrupt: Literal["quarantine", "fail"] = "quarantine"
    properties: Mapping[str, str] = field(default_factory=dict, repr=False)
    memory_bytes: int = 512 * 1024 * 1024
    threads: int | None = None
    folder: str | None = None

    def __post_init__(self) -> None:
        """Refuse a schema whose columns carry the names that the source adds, or cannot be read from text."""
        columns = self.schema.columns if self.schema is not None else ()
        taken = tuple(column.name for column in columns if column.name in RESERVED)
        if taken:
            raise InvalidRequestError(
                "A source of files adds columns of that name itself. Rename yours.", columns=taken
            )
        if self.format in (*_TEXTS, "auto"):
            for column in columns:
                check_readable(column)


class FileSource:
    r"""A `Source` of files; see the table above for what becomes of every object.

    Rows come in the order of the files, and within a file in its order (but for the odd one that needs a second look),
    with the file's URI and the line on which the row starts (Parquet and Avro: its place), both counted from 1.

    Args:
        settings: Which files, and how.

    Guarantees:
        Replay: a plan names contents, not only names, so the same plan gives the same rows or raises.
        Any pattern: a plan holds how it is read, so a source of another pattern reads it to the same rows.
        Whole files: no row is delivered before its file was read to the end and found to be what was planned.

    Example:
        >>> import tempfile, pathlib
        >>> from datetime import UTC, datetime
        >>> from airflow_provider_lakehouse.core.sources.base import Rejects
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> written = (folder / "a.csv").write_text("id,price\n1,2.50\n2,cheap\n")
        >>> schema = Schema.of(Column("id", "long"), Column("price", "decimal(10,2)"))
        >>> source = FileSource(FileSettings(f"{folder}/*.csv", schema=schema))
        >>> plan = source.plan(position=None, now=datetime.now(UTC))
        >>> rejects = Rejects()
        >>> [(row["id"], row["_source_row"]) for row in source.read(plan, rejects=rejects).read_all().to_pylist()]
        [(1, 2)]
        >>> [(row.reason, row.source_row, row.payload) for row in rejects.rows]
        [('price: not a decimal(10,2)', 3, '2,cheap')]
    """

    def __init__(self, settings: FileSettings) -> None:
        self.settings = settings

    @property
    def identity(self) -> str:
        """The pattern, as a URI."""
        return identity_of(self.settings.uri)

    def plan(self, *, position: Mapping[str, Json] | None, now: datetime) -> ExtractPlan:
        """Decide which files to read.

        Args:
            position: `{"seen": {uri: [identity, ...]}}`, what a ledger of files has seen; None for nothing. Files have
                no position of their own: see `core.extract.plan.plan_files`.
            now: The instant of planning.

        Returns:
            A plan with a slice for each file: its URI, size and content, and the columns it has beyond the schema.

        Raises:
            InvalidRequestError: Access is denied, or the URI cannot be listed.
            UnavailableError: The storage did not answer.
        """
        seen = (position or {}).get(SEEN) or {}
        left_out: dict[str, str] = {}
        found: list[ListedFile] = []
        for file in list_files(self.settings.uri, self.settings.properties):
            reason = self._reason_to_leave_out(file, seen if isinstance(seen, dict) else {}, now)
            if reason:
                left_out[file.uri] = reason
            else:
                found.append(file)
        if self.settings.order == "modified":
            found.sort(key=lambda file: (file.modified_at, file.uri))
        slices = tuple(Slice(file.uri, self._facts(file)) for file in found)
        return ExtractPlan(self.identity, now, slices, left_out=left_out, options=options_of(self.settings))

    def schema_of(self, plan: ExtractPlan) -> Schema | None:
        """Return the columns that a plan's rows will have, before the two that tell where they come from.

        None for a plan without any column: nothing is planned, or files that are empty, and no schema is set.
        """
        extra = merge_columns(_columns(one.facts.get("columns")) for one in plan.slices)
        declared = self._settings_for(plan).schema
        if declared is not None:
            return declared.with_columns(*(c for c in extra if c.name not in declared.by_name))
        return Schema(extra) if extra else None

    def read(self, plan: ExtractPlan, *, rejects: Rejects) -> pa.RecordBatchReader:
        """Stream the rows of a plan; refused rows are in `rejects` when the stream has ended.

        Args:
            plan: Of any source of files. A plan of this pattern is read with these settings, so that what is wrong with
                them can be put right; a plan of another pattern with the options that it was made with.
            rejects: Where refused rows go.

        Raises:
            InvalidRequestError: The plan is not of files.
            DataRejectedError: A file is gone or has other content (fact `changed`), is corrupt with
                `on_corrupt="fail"`, or too many rows are refused.
            UnavailableError: The storage did not answer, or memory ran out.
        """
        settings = self._settings_for(plan)
        files = tuple(
            PlannedFile(s.name, str(s.facts["identity"]), int(str(s.facts["size"])), str(s.facts["format"]))
            for s in plan.slices
        )
        return FilesReading(settings, files, self.schema_of(plan), rejects).reader()

    def _settings_for(self, plan: ExtractPlan) -> FileSettings:
        if plan.source == self.identity:
            return self.settings
        if "csv" not in plan.options:
            raise InvalidRequestError(
                "The plan is of another source. Read it with the source that made it.",
                plan=plan.source,
                source=self.identity,
            )
        return with_options(self.settings, plan.options)

    def _reason_to_leave_out(self, file: ListedFile, seen: Mapping[str, Json], now: datetime) -> str | None:
        known = seen.get(file.uri)
        if isinstance(known, list) and file.identity in known:
            return "already seen"
        if file.is_temporary:
            return "temporary name"
        if self.settings.settle and now - file.modified_at < self.settings.settle:
            return "still being written"
        return None if self._format_of(file.uri) else "no reader for its name"

    def _format_of(self, uri: str) -> FileFormat | None:
        if self.settings.format != "auto":
            return self.settings.format
        found = _ENDINGS.get(uri.lower().removesuffix(".gz").rpartition(".")[2])
        return found if found in _TEXTS or not uri.lower().endswith(".gz") else None

    def _facts(self, file: ListedFile) -> dict[str, Json]:
        format_ = self._format_of(file.uri)
        facts: dict[str, Json] = {"identity": file.identity, "size": file.size_bytes, "format": format_}
        declared = self.settings.schema
        if declared is None or self.settings.extra_columns == "deliver":
            planned = PlannedFile(file.uri, file.identity, file.size_bytes, str(format_))
            known = declared.by_name if declared is not None else {}
            extra = [c for c in self._columns_of(planned, infers=declared is None) if c.name not in known]
            if extra:
                facts["columns"] = [[column.name, column.type] for column in extra]
        return facts

    def _columns_of(self, file: PlannedFile, *, infers: bool) -> tuple[Column, ...]:
        """Return what a look at the beginning of a file tells. A corrupt file tells nothing; its reading says so."""
        if file.size_bytes == 0:
            return ()
        try:
            if file.is_text:
                return self._columns_of_text(file, infers=infers)
            known = () if self.settings.schema is None else self.settings.schema.names
            with opened(file, self.settings.properties) as stream:
                of_format = parquet_columns if file.format == "parquet" else avro_columns
                return of_format(stream, known=known)
        except CorruptFileError:
            return ()

    def _columns_of_text(self, file: PlannedFile, *, infers: bool) -> tuple[Column, ...]:
        size = _HEAD_BYTES
        declared = () if self.settings.schema is None else self.settings.schema.names
        while True:
            start = head(file, size_bytes=size, encoding=self.settings.encoding, properties=self.settings.properties)
            is_whole = len(start) < size
            if file.format == "jsonl" and not infers and json_has_only(start, declared):
                return ()
            lines = io.BytesIO(start if is_whole else start[: start.rfind(b"\n") + 1]).readlines()
            if file.format == "jsonl":
                found = json_columns(lines, infers=infers)
            else:
                found = csv_columns(lines, self.settings.csv, is_whole=is_whole, infers=infers)
            if found or is_whole or size >= _MAX_HEAD_BYTES:
                is_named = file.format == "jsonl" or self.settings.csv.has_header or infers
                return tuple(c for c in found if is_named and c.name not in RESERVED)
            size *= 8


def _columns(found: Json) -> tuple[Column, ...]:
    pairs = found if isinstance(found, list) else []
    return tuple(Column(str(pair[0]), str(pair[1])) for pair in pairs if isinstance(pair, list))


def open_source(settings: FileSettings) -> FileSource:
    """Open a source of files; the factory that the registry knows."""
    return FileSource(settings)
