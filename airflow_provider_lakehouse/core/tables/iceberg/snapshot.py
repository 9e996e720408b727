"""Make a snapshot of an Iceberg table: manifests, manifest list and summary.

Every snapshot's sequence number is one above the newest of the whole table, and catalogs refuse a number that is not:
so a commit to any branch since the table was loaded makes this one lose its race, whichever branch it is for.
"""

from __future__ import annotations

import itertools
import uuid
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.tables.iceberg.files import metadata_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pyiceberg.io import FileIO
    from pyiceberg.manifest import DataFile, ManifestEntry, ManifestFile, ManifestWriter
    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Operation, Snapshot, Summary

MERGE_AT_MANIFESTS: Final = 50
"""Small manifests of one kind that are merged into one when there are so many: else each append adds one for ever.
Merging reads and rewrites them all, so a larger number makes commits cheaper and planning dearer."""
SMALL_MANIFEST_BYTES: Final = 4 * 1024 * 1024
ROWS_ADDED: Final = "lakehouse.rows-added"
ROWS_REMOVED: Final = "lakehouse.rows-removed"
TOTAL_RECORDS: Final = "total-records"
TOTAL_POSITION_DELETES: Final = "total-position-deletes"
TOTAL_EQUALITY_DELETES: Final = "total-equality-deletes"


@dataclass(frozen=True)
class FileChanges:
    """What a snapshot does to the files of a branch.

    Args:
        added: Data and delete files that are new.
        removed: Data and delete files that go; they are live at the parent.
    """

    added: tuple[DataFile, ...] = ()
    removed: tuple[DataFile, ...] = ()

    def of(self, files: Iterable[DataFile], *, data: bool) -> tuple[DataFile, ...]:
        """Return the data files, or the delete files, among some of these."""
        from pyiceberg.manifest import DataFileContent

        return tuple(file for file in files if (file.content == DataFileContent.DATA) == data)

    def operation(self) -> Operation:
        """Return the name Iceberg has for it."""
        from pyiceberg.table.snapshots import Operation

        added = bool(self.of(self.added, data=True))
        if not self.removed and not self.of(self.added, data=False):
            return Operation.APPEND
        return Operation.OVERWRITE if added else Operation.DELETE


@dataclass
class Draft:
    """A snapshot in the making, on the newest state of one branch.

    Args:
        table: The newest state.
        snapshot_id: Of the snapshot; the same for every attempt at one commit.
        parent: The branch's newest snapshot; None where there is none.
        token_folder: Name of the folder for the manifests of one token.
        written: URIs of the metadata files made so far, to be removed when the attempt fails.
    """

    table: IcebergTable
    snapshot_id: int
    parent: Snapshot | None
    token_folder: str
    written: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Name the files of this attempt."""
        folder = metadata_folder(self.metadata)
        self._prefix = f"{folder}/{self.token_folder}/{self.snapshot_id}-{uuid.uuid4().hex[:12]}"
        self._numbers = itertools.count()

    @property
    def metadata(self) -> TableMetadata:
        """The table's metadata."""
        return self.table.metadata

    @property
    def _io(self) -> FileIO:
        return self.table.io

    def snapshot(self, changes: FileChanges, *, schema_id: int, at_ms: int, notes: Mapping[str, str]) -> Snapshot:
        """Write manifests for changes to the parent's files, and return the snapshot.

        Args:
            changes: New and removed files.
            schema_id: Of the schema the files were written with.
            at_ms: When, in milliseconds since 1970.
            notes: For the summary.
        """
        manifests = self._kept(changes.removed) + self._new(changes.added)
        return self._listed(manifests, summary=self._summary(changes, notes), schema_id=schema_id, at_ms=at_ms)

    def copy(self, of: Snapshot | None, *, summary: Summary, at_ms: int) -> Snapshot:
        """Return a snapshot that holds the very files of another."""
        manifests = of.manifests(self._io) if of is not None else []
        live = [m for m in manifests if m.has_added_files() or m.has_existing_files()]
        return self._listed(live, summary=summary, schema_id=self.metadata.current_schema_id, at_ms=at_ms)

    def _listed(self, manifests: Sequence[ManifestFile], *, summary: Summary, schema_id: int, at_ms: int) -> Snapshot:
        from pyiceberg.manifest import write_manifest_list
        from pyiceberg.table.snapshots import Snapshot

        uri = f"{self._prefix}-snapshot.avro"
        self.written.append(uri)
        parent_id = self.parent.snapshot_id if self.parent is not None else None
        with write_manifest_list(
            format_version=self.metadata.format_version,
            output_file=self._io.new_output(uri),
            snapshot_id=self.snapshot_id,
            parent_snapshot_id=parent_id,
            sequence_number=self.metadata.next_sequence_number(),
            avro_compression=self._compression,
        ) as writer:
            writer.add_manifests(list(manifests))
        return Snapshot.model_validate(
            {
                "snapshot-id": self.snapshot_id,
                "parent-snapshot-id": parent_id,
                "manifest-list": uri,
                "sequence-number": self.metadata.next_sequence_number(),
                "summary": summary,
                "schema-id": schema_id,
                "timestamp-ms": at_ms,
            }
        )

    @property
    def _compression(self) -> Any:  # noqa: ANN401
        return self.metadata.properties.get("write.avro.compression-codec", "gzip")

    def _kept(self, removed: tuple[DataFile, ...]) -> list[ManifestFile]:
        """Return the parent's manifests, rewritten where files go, merged where there are many small ones."""
        if self.parent is None:
            return []
        gone = {file.file_path for file in removed}
        touched = {(file.spec_id, file.content == 0) for file in removed}
        live = [m for m in self.parent.manifests(self._io) if m.has_added_files() or m.has_existing_files()]
        kept = []
        for manifest in live:
            if (manifest.partition_spec_id, manifest.content == 0) in touched:
                kept.append(self._without(manifest, gone))
            else:
                kept.append(manifest)
        return self._merged(kept)

    def _without(self, manifest: ManifestFile, gone: set[str]) -> ManifestFile:
        entries = manifest.fetch_manifest_entry(self._io)
        if not any(entry.data_file.file_path in gone for entry in entries):
            return manifest
        with self._writer(manifest.partition_spec_id, deletes=manifest.content != 0) as writer:
            for entry in entries:
                if entry.data_file.file_path in gone:
                    writer.delete(entry)
                else:
                    writer.existing(entry)
        return writer.to_manifest_file()

    def _merged(self, manifests: list[ManifestFile]) -> list[ManifestFile]:
        kinds: dict[tuple[int, int], list[ManifestFile]] = defaultdict(list)
        for manifest in manifests:
            fresh = manifest.added_snapshot_id == self.snapshot_id  # has entries that say what this snapshot removed
            if manifest.manifest_length <= SMALL_MANIFEST_BYTES and not fresh:
                kinds[manifest.partition_spec_id, manifest.content].append(manifest)
        for (spec_id, content), small in kinds.items():
            if len(small) >= MERGE_AT_MANIFESTS:
                merged = self._merge(small, spec_id=spec_id, deletes=content != 0)
                manifests = [m for m in manifests if m not in small] + [merged]
        return manifests

    def _merge(self, manifests: list[ManifestFile], *, spec_id: int, deletes: bool) -> ManifestFile:
        with self._writer(spec_id, deletes=deletes) as writer:
            for manifest in manifests:
                for entry in manifest.fetch_manifest_entry(self._io):
                    writer.existing(entry)
        return writer.to_manifest_file()

    def _new(self, added: tuple[DataFile, ...]) -> list[ManifestFile]:
        from pyiceberg.manifest import ManifestEntry, ManifestEntryStatus

        kinds: dict[tuple[int, bool], list[DataFile]] = defaultdict(list)
        for file in added:
            kinds[file.spec_id, file.content != 0].append(file)
        manifests = []
        for (spec_id, deletes), files in kinds.items():
            with self._writer(spec_id, deletes=deletes) as writer:
                for file in files:
                    entry: ManifestEntry = ManifestEntry.from_args(
                        status=ManifestEntryStatus.ADDED,
                        snapshot_id=self.snapshot_id,
                        sequence_number=None,
                        data_file=file,
                    )
                    writer.add_entry(entry)
            manifests.append(writer.to_manifest_file())
        return manifests

    def _writer(self, spec_id: int, *, deletes: bool) -> ManifestWriter:
        uri = f"{self._prefix}-m{next(self._numbers)}.avro"
        self.written.append(uri)
        kind = delete_manifest_writer() if deletes else _data_manifest_writer()
        writer: ManifestWriter = kind(
            self.metadata.specs()[spec_id],
            self.metadata.schema(),
            self._io.new_output(uri),
            self.snapshot_id,
            self._compression,
        )
        return writer

    def _summary(self, changes: FileChanges, notes: Mapping[str, str]) -> Summary:
        from pyiceberg.table.snapshots import SnapshotSummaryCollector, Summary, update_snapshot_summaries

        collector = SnapshotSummaryCollector()
        schema, specs = self.metadata.schema(), self.metadata.specs()
        for file in changes.added:
            collector.add_file(file, schema, specs[file.spec_id])
        for file in changes.removed:
            collector.remove_file(file, schema, specs[file.spec_id])
        summary = Summary(operation=changes.operation(), **{**notes, **collector.build()})
        return update_snapshot_summaries(summary, self.parent.summary if self.parent is not None else None)


def _data_manifest_writer() -> type[ManifestWriter]:
    from pyiceberg.manifest import ManifestWriterV2

    return ManifestWriterV2


def delete_manifest_writer() -> type[ManifestWriter]:
    """Return PyIceberg's writer of manifests, told that its entries are delete files."""
    from pyiceberg.manifest import ManifestContent, ManifestWriterV2

    class DeleteManifestWriter(ManifestWriterV2):
        def content(self) -> ManifestContent:
            return ManifestContent.DELETES

        @property
        def _meta(self) -> dict[str, str]:
            return {**super()._meta, "content": "deletes"}

    return DeleteManifestWriter


def live_entries(
    snapshot: Snapshot | None, io: FileIO, *, other_than: frozenset[str] = frozenset()
) -> dict[str, ManifestEntry]:
    """Return the live data and delete files of a snapshot by path.

    Args:
        snapshot: None holds none.
        io: Reads manifests.
        other_than: Paths of manifests to leave out.
    """
    if snapshot is None:
        return {}
    found: dict[str, ManifestEntry] = {}
    for manifest in snapshot.manifests(io):
        if manifest.manifest_path not in other_than and (manifest.has_added_files() or manifest.has_existing_files()):
            found |= {entry.data_file.file_path: entry for entry in manifest.fetch_manifest_entry(io)}
    return found
