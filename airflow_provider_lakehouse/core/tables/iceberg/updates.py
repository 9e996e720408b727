"""The updates and requirements that Iceberg catalogs take, by what they are for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyiceberg.schema import Schema as IcebergSchema
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot
    from pyiceberg.table.update import TableRequirement, TableUpdate


def add_snapshot(
    metadata: TableMetadata, snapshot: Snapshot, *, branch: str
) -> tuple[list[TableUpdate], list[TableRequirement]]:
    """Put a new snapshot on a branch, which must not have moved."""
    from pyiceberg.table.update import AddSnapshotUpdate

    updates, requirements = move_branch(metadata, branch, snapshot.snapshot_id)
    return [AddSnapshotUpdate(snapshot=snapshot), *updates], requirements


def move_branch(
    metadata: TableMetadata, branch: str, snapshot_id: int
) -> tuple[list[TableUpdate], list[TableRequirement]]:
    """Point a branch to a snapshot, keeping its retention; it must not have moved."""
    from pyiceberg.table.update import SetSnapshotRefUpdate

    ref = metadata.refs.get(branch)
    retention = ref.model_dump(by_alias=True, exclude={"snapshot_id", "snapshot_ref_type"}) if ref is not None else {}
    update = {**retention, "ref-name": branch, "type": "branch", "snapshot-id": snapshot_id}
    # Of a table without any snapshot, catalogs want to hear that the main branch has none.
    asked = branch if metadata.snapshots else "main"
    return [SetSnapshotRefUpdate.model_validate(update)], [reference_is(metadata, asked)]


def set_tag(name: str, snapshot_id: int) -> TableUpdate:
    """Let a tag stand for a snapshot."""
    from pyiceberg.table.update import SetSnapshotRefUpdate

    return SetSnapshotRefUpdate.model_validate({"ref-name": name, "type": "tag", "snapshot-id": snapshot_id})


def remove_reference(name: str) -> TableUpdate:
    """Forget a branch or a tag."""
    from pyiceberg.table.update import RemoveSnapshotRefUpdate

    return RemoveSnapshotRefUpdate.model_validate({"ref-name": name})


def reference_is(metadata: TableMetadata, name: str) -> TableRequirement:
    """Require that a branch or tag is where it was, or is still not there."""
    from pyiceberg.table.update import AssertRefSnapshotId

    ref = metadata.refs.get(name)
    return AssertRefSnapshotId.model_validate(
        {"ref": name, "snapshot-id": ref.snapshot_id if ref is not None else None}
    )


def set_schema(metadata: TableMetadata, schema: IcebergSchema) -> tuple[int, list[TableUpdate], list[TableRequirement]]:
    """Make a schema the current one; it must have been made from the one that still is.

    Returns:
        The id of the schema, the updates and the requirements; none of these where it is the current one already.
    """
    from pyiceberg.table import update as u

    if schema == metadata.schema():
        return metadata.current_schema_id, [], []
    required: list[TableRequirement] = [
        u.AssertCurrentSchemaId.model_validate({"current-schema-id": metadata.current_schema_id}),
        u.AssertLastAssignedFieldId.model_validate({"last-assigned-field-id": metadata.last_column_id}),
    ]
    for known in metadata.schemas:
        if known == schema:
            return known.schema_id, [_current_schema(known.schema_id)], required
    new_id = max(known.schema_id for known in metadata.schemas) + 1
    added = u.AddSchemaUpdate.model_validate({"schema": schema.model_copy(update={"schema_id": new_id})})
    return new_id, [added, _current_schema(-1)], required


def set_properties(properties: dict[str, str]) -> TableUpdate:
    """Set properties."""
    from pyiceberg.table.update import SetPropertiesUpdate

    return SetPropertiesUpdate(updates=properties)


def remove_properties(names: Iterable[str]) -> TableUpdate:
    """Remove properties that are there."""
    from pyiceberg.table.update import RemovePropertiesUpdate

    return RemovePropertiesUpdate(removals=list(names))


def kind_of(metadata: TableMetadata, name: str) -> Literal["branch", "tag"] | None:
    """Tell what a name stands for; None for nothing."""
    ref = metadata.refs.get(name)
    if ref is None:
        return None
    return "branch" if ref.snapshot_ref_type.value == "branch" else "tag"


def _current_schema(schema_id: int) -> TableUpdate:
    from pyiceberg.table.update import SetCurrentSchemaUpdate

    return SetCurrentSchemaUpdate.model_validate({"schema-id": schema_id})
