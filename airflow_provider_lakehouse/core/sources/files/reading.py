"""Read planned files: many texts at once where they are good, each by itself and with care where they are not."""

from __future__ import annotations

import tempfile
from collections import Counter, deque
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.errors import DataRejectedError
from airflow_provider_lakehouse.core.sources.base import RejectedRow
from airflow_provider_lakehouse.core.sources.files.avro import avro_batches, avro_schema
from airflow_provider_lakehouse.core.sources.files.careful_path import (
    parquet_batches,
    read_records_carefully,
    read_text_carefully,
    read_typed,
)
from airflow_provider_lakehouse.core.sources.files.columns import csv_header, new_columns
from airflow_provider_lakehouse.core.sources.files.copies import CorruptFileError, check_unchanged, plain_copy
from airflow_provider_lakehouse.core.sources.files.fast_path import (
    NEEDS_CARE,
    CarefulReadingNeededError,
    TextFile,
    batch_rows,
    connect,
    read_fast,
    record_texts,
    row_lines,
)
from airflow_provider_lakehouse.core.sources.files.plain_json import read_plain_json
from airflow_provider_lakehouse.core.sources.files.rows import RowsInWaiting, delivered_schema, with_source

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator, Sequence

    import pyarrow as pa
    from duckdb import DuckDBPyConnection

    from airflow_provider_lakehouse.core.schema import Schema
    from airflow_provider_lakehouse.core.sources.base import Rejects
    from airflow_provider_lakehouse.core.sources.files.careful_path import Rows
    from airflow_provider_lakehouse.core.sources.files.copies import PlannedFile
    from airflow_provider_lakehouse.core.sources.files.source import FileSettings

_STATEMENT_BYTES: Final = 64 * 1024 * 1024
_STATEMENT_FILES: Final = 500
_START_BYTES: Final = 256 * 1024
_MAX_DOUBTS: Final = 10_000


@dataclass(frozen=True)
class _Run:
    """Neighbouring texts of one layout.

    Args:
        texts: At least one.
        needs_care: True for one that the fast path has refused.
        is_plain: True where lines of JSON are taken to be plain and good.
    """

    texts: tuple[TextFile, ...]
    needs_care: bool = False
    is_plain: bool = False

    def split(self, suspects: frozenset[int]) -> list[_Run]:
        """Return what to read instead after it failed: the suspects with care, or halves when nobody is named."""
        if self.is_plain:
            return [_Run(self.texts)]
        if len(self.texts) == 1:
            return [_Run(self.texts, needs_care=True)]
        if not suspects:
            middle = len(self.texts) // 2
            return [_Run(self.texts[:middle]), _Run(self.texts[middle:])]
        runs: list[_Run] = []
        for is_suspect, places in groupby(range(len(self.texts)), suspects.__contains__):
            texts = [self.texts[place] for place in places]
            runs += [_Run((text,), needs_care=True) for text in texts] if is_suspect else [_Run(tuple(texts))]
        return runs


@dataclass
class FilesReading:
    """One read of a plan.

    Args:
        settings: How.
        files: What, in order.
        schema: The planned columns; None when no file has any.
        rejects: Where refused rows go.
    """

    settings: FileSettings
    files: Sequence[PlannedFile]
    schema: Schema | None
    rejects: Rejects

    def __post_init__(self) -> None:
        """Decide what the rows look like."""
        self._arrow = delivered_schema(self.schema)
        self._connection: DuckDBPyConnection | None = None
        self._folder = ""
        self._takes_json_as_plain = True

    def reader(self) -> pa.RecordBatchReader:
        """Return the stream of rows; nothing is read before it is."""
        import pyarrow as pa

        return pa.RecordBatchReader.from_batches(self._arrow, self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        with ExitStack() as stack:
            root = stack.enter_context(_temporary_folder(self.settings.folder))
            stack.callback(self._disconnect)
            for group in _groups(self.files):
                with _temporary_folder(root) as self._folder:
                    if group[0].is_text:
                        yield from self._texts(group)
                        continue
                    for file in group:
                        yield from self._one(file)

    def _connected(self) -> DuckDBPyConnection:
        if self._connection is None:
            settings = self.settings
            folder = str(Path(self._folder).parent)
            self._connection = connect(memory_bytes=settings.memory_bytes, threads=settings.threads, folder=folder)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _texts(self, group: Sequence[PlannedFile]) -> Iterator[pa.RecordBatch]:
        """Read texts together as far as they are laid out alike."""
        alike: list[TextFile] = []
        for file in group:
            text = self._prepared(file)
            if alike and (text is None or text.layout != alike[0].layout):
                yield from self._alike(alike)
                alike = []
            if text is not None:
                alike.append(text)
        if alike:
            yield from self._alike(alike)

    def _prepared(self, file: PlannedFile) -> TextFile | None:
        """Return the plain text of a file; None when there is nothing to read in it."""
        settings = self.settings
        try:
            path = plain_copy(file, folder=self._folder, encoding=settings.encoding, properties=settings.properties)
            with Path(path).open("rb") as lines:
                first = next((line for line in lines if line.strip()), b"")
                lines.seek(0)
                header = csv_header(lines, settings.csv, is_whole=True) if file.format == "csv" else ((), 0)
                lines.seek(0)
                start = lines.read(_START_BYTES)
            check_unchanged(file)
        except CorruptFileError as error:
            self._refuse(file, error.reason)
            return None
        if not first or header is None:
            return None
        if self.schema is None:
            self._refuse(file, "without any column")
            return None
        names, header_lines = header
        if file.format == "csv" and not settings.csv.has_header and settings.schema is not None:
            names = settings.schema.names
        end = "\r\n" if first.endswith(b"\r\n") else "\n"
        return TextFile(file, path, names, header_lines, end, len(start) // (start.count(b"\n") + 1))

    def _alike(self, texts: Sequence[TextFile]) -> Iterator[pa.RecordBatch]:
        """Read texts of one layout in as few statements as they allow, and those that allow none by themselves."""
        is_plain = self._takes_json_as_plain and texts[0].file.format == "jsonl"
        runs = deque([_Run(tuple(texts), is_plain=is_plain)])
        while runs:
            run = runs.popleft()
            try:
                yield from self._carefully(run.texts[0]) if run.needs_care else self._together(run)
            except CarefulReadingNeededError as error:  # before any row was delivered
                self._takes_json_as_plain &= not run.is_plain  # those that follow will hardly be plainer
                runs.extendleft(reversed(run.split(error.places)))

    def _rows_of(self, run: _Run) -> Iterator[tuple[int, pa.RecordBatch]]:
        how = self._how
        if run.is_plain:
            how.pop("dialect")
            return read_plain_json(self._connected(), run.texts, **how)
        return read_fast(self._connected(), run.texts, **how)

    def _together(self, run: _Run) -> Iterator[pa.RecordBatch]:
        """Read texts of one layout in one statement.

        Raises:
            CarefulReadingNeededError: It does not vouch for all of them. No row was delivered.
        """
        texts = run.texts
        waiting = RowsInWaiting(self._folder)
        counts = [0] * len(texts)
        refused: list[tuple[int, int, str]] = []
        try:
            for place, rows in self._rows_of(run):
                refused.extend((place, *one) for one in _refused(rows, counts[place]))
                counts[place] += rows.num_rows
                waiting.add(place, rows)
                _check_doubts(refused)
                self._check_count(texts, refused)
            starts = self._starts(texts, counts)
        except CarefulReadingNeededError:
            waiting.drop()
            raise
        again: list[pa.RecordBatch] = []
        for place, text in enumerate(texts):
            again.extend(self._refused_rows(text, [one[1:] for one in refused if one[0] == place], starts[place]))
            check_unchanged(text.file)
        yield from self._delivered(texts, starts, waiting)
        yield from again

    def _check_count(self, texts: Sequence[TextFile], refused: Sequence[tuple[int, int, str]]) -> None:
        """Give up as soon as too many rows are refused, rather than hold them all."""
        certain = [one for one in refused if one[-1] != NEEDS_CARE]
        if len(certain) + len(self.rejects.rows) > self.rejects.max_rows:
            for place, row, reason in certain:
                self.rejects.add(RejectedRow(reason, texts[place].file.uri, row, ""))

    def _refused_rows(
        self, text: TextFile, refused: Sequence[tuple[int, str]], starts: array[int] | None
    ) -> Iterator[pa.RecordBatch]:
        """Refuse rows of a file, and read once more, with care, those that only may be bad."""
        if not refused:
            return
        lines = [text.header_lines + 1 + row if starts is None else starts[row] for row, _ in refused]
        records = record_texts(text, lines, starts=starts)
        doubtful = {
            line: records[line] for line, (_, reason) in zip(lines, refused, strict=True) if reason == NEEDS_CARE
        }
        rejects = [
            RejectedRow(reason, text.file.uri, line, records[line])
            for line, (_, reason) in zip(lines, refused, strict=True)
            if reason != NEEDS_CARE
        ]
        if doubtful:
            how = {name: value for name, value in self._how.items() if name != "dialect"}
            rows, numbers, more = read_records_carefully(self._connected(), text, doubtful, **how)
            rejects = sorted([*rejects, *more], key=lambda row: row.source_row or 0)
            yield with_source(rows, uri=text.file.uri, numbers=numbers, schema=self._arrow)
        for row in rejects:
            self.rejects.add(row)

    def _starts(self, texts: Sequence[TextFile], counts: Sequence[int]) -> list[array[int] | None]:
        found: list[array[int] | None] = []
        for place, (text, rows) in enumerate(zip(texts, counts, strict=True)):
            try:
                found.append(row_lines(text, rows=rows, quote=self.settings.csv.quote))
            except CarefulReadingNeededError as error:
                raise CarefulReadingNeededError(frozenset({place})) from error
        return found

    def _delivered(
        self, texts: Sequence[TextFile], starts: Sequence[array[int] | None], waiting: RowsInWaiting
    ) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        done = [0] * len(texts)
        for place, rows in waiting.take():
            text, at = texts[place], done[place]
            done[place] = end = at + rows.num_rows
            lines, above = starts[place], text.header_lines + 1
            numbers = pa.arange(at + above, end + above) if lines is None else pa.array(lines[at:end], pa.int64())
            reasons = rows.column(rows.num_columns - 1)
            if reasons.null_count < len(reasons):
                numbers = numbers.filter(reasons.is_null())
            good = rows.filter(reasons.is_null()) if reasons.null_count < len(reasons) else rows
            yield with_source(good, uri=text.file.uri, numbers=numbers, schema=self._arrow)

    def _carefully(self, text: TextFile) -> Iterator[pa.RecordBatch]:
        yield from self._whole(text.file, read_text_carefully(self._connected(), text, **self._how))

    @property
    def _how(self) -> Any:  # noqa: ANN401
        allows_others = self.settings.schema is not None and self.settings.extra_columns == "leave out"
        return {"schema": self.schema, "dialect": self.settings.csv, "allows_others": allows_others}

    def _one(self, file: PlannedFile) -> Iterator[pa.RecordBatch]:
        """Read a file of a format that has types."""
        if file.size_bytes == 0:
            check_unchanged(file)
            return
        yield from self._whole(file, self._typed(file))

    def _typed(self, file: PlannedFile) -> Iterator[Rows]:
        settings = self.settings
        path = plain_copy(file, folder=self._folder, encoding=settings.encoding, properties=settings.properties)
        batches = parquet_batches(path) if file.format == "parquet" else _avro(path)
        names = () if settings.schema is None else settings.schema.names
        first = 1
        for batch in batches:
            if first == 1 and settings.extra_columns == "deliver":
                new_columns(batch.schema, known=names)
            if self.schema is None:
                raise CorruptFileError("without any column")
            yield read_typed(self._connected, batch, first=first, schema=self.schema, uri=file.uri)
            first += batch.num_rows

    def _whole(self, file: PlannedFile, found: Iterator[Rows]) -> Iterator[pa.RecordBatch]:
        """Deliver the rows of a file when it has been read to its end; of a corrupt one none."""
        waiting = RowsInWaiting(self._folder)
        refused: list[RejectedRow] = []
        try:
            for rows, numbers, rejected in found:
                waiting.add(0, with_source(rows, uri=file.uri, numbers=numbers, schema=self._arrow))
                refused.extend(rejected)
                if len(refused) > self.rejects.max_rows:
                    break
            check_unchanged(file)
        except CorruptFileError as error:
            waiting.drop()
            self._refuse(file, error.reason)
            return
        for row in refused:
            self.rejects.add(row)
        for _, batch in waiting.take():
            yield batch

    def _refuse(self, file: PlannedFile, reason: str) -> None:
        """Refuse a file as a whole.

        Raises:
            DataRejectedError: The settings want it, or too many rows are refused.
        """
        check_unchanged(file)
        if self.settings.on_corrupt == "fail":
            raise DataRejectedError(
                "A file is corrupt. Have it delivered again, or quarantine such files.", uri=file.uri, reason=reason
            )
        self.rejects.add(RejectedRow(f"corrupt file: {reason}", file.uri, None, ""))


def _refused(rows: pa.RecordBatch, before: int) -> list[tuple[int, str]]:
    """Return which rows of a batch are refused, counted from the start of the file, and why."""
    import pyarrow.compute as pc

    reasons = rows.column(rows.num_columns - 1)
    if reasons.null_count == len(reasons):
        return []
    places = pc.indices_nonzero(reasons.is_valid()).to_pylist()
    return [(before + place, reasons[place].as_py()) for place in places]


def _check_doubts(refused: Sequence[tuple[int, int, str]]) -> None:
    """Have files with very many doubtful rows read with care as a whole.

    Raises:
        CarefulReadingNeededError: There are.
    """
    doubtful = Counter(place for place, _, reason in refused if reason == NEEDS_CARE)
    if doubtful.total() > _MAX_DOUBTS:
        raise CarefulReadingNeededError(frozenset(doubtful))


def _temporary_folder(parent: str | None) -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="lakehouse-files-", dir=parent, ignore_cleanup_errors=True)


def _groups(files: Sequence[PlannedFile]) -> Iterator[list[PlannedFile]]:
    """Group neighbouring files of one format up to the size of a statement."""
    group: list[PlannedFile] = []
    size = 0
    for file in files:
        is_full = size + file.size_bytes > _STATEMENT_BYTES or len(group) >= _STATEMENT_FILES
        if group and (is_full or file.format != group[0].format):
            yield group
            group, size = [], 0
        group.append(file)
        size += file.size_bytes
    if group:
        yield group


def _avro(path: str) -> Iterator[pa.RecordBatch]:
    with Path(path).open("rb") as file:
        schema = avro_schema(file)
        file.seek(0)
        yield from avro_batches(file, schema=schema, rows=min(10_000, batch_rows(len(schema))))
