"""Tables in memory: the smallest thing that keeps every promise, and the reference for the other backends.

Tables live as long as the process and are shared by all catalogs of the same warehouse. For tests, examples and previews.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.errors import ConflictError, InvalidRequestError
from airflow_provider_lakehouse.core.schema import changed, check_rows
from airflow_provider_lakehouse.core.tables.base import (
    FILE_COLUMN,
    HEAD,
    NO_VERSION,
    POSITION_COLUMN,
    CommitResult,
    Positions,
    TableFacts,
    TableIdentity,
    VersionFacts,
    no_probe,
)
from airflow_provider_lakehouse.core.tables.calendar import refuse_far_partitions
from airflow_provider_lakehouse.core.tables.data_files import conformed
from airflow_provider_lakehouse.core.tables.encoding import in_utf8
from airflow_provider_lakehouse.core.tables.filters import arrow_expression
from airflow_provider_lakehouse.core.tables.memory.partitions import partition_keys
from airflow_provider_lakehouse.core.tables.memory.state import (
    Part,
    State,
    Store,
    changed_spec,
    filled,
    live_rows,
    new_rows,
    removed_positions,
)
from airflow_provider_lakehouse.core.tables.publishing import require_audited
from airflow_provider_lakehouse.core.tables.truncation import refuse_low_partitions

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from airflow_provider_lakehouse.core.tables.base import (
        At,
        CatalogSettings,
        Change,
        Probe,
        WriteToken,
    )
    from airflow_provider_lakehouse.core.tables.filters import Filter
    from airflow_provider_lakehouse.core.tables.spec import TableSpec

MAIN: Final = "main"


_WAREHOUSES: dict[str, dict[str, Store]] = {}


class MemoryCatalog:
    """Finds tables of one warehouse; see `Catalog`."""

    def __init__(self, settings: CatalogSettings, *, probe: Probe = no_probe) -> None:
        self._settings = settings
        self._stores = _WAREHOUSES.setdefault(settings.warehouse, {})
        self._probe = probe

    def table(self, name: str) -> MemoryTable:
        """Return the table, whether it exists or not."""
        location = f"{self._settings.warehouse.rstrip('/')}/{name.replace('.', '/')}"
        return MemoryTable(TableIdentity("memory", name, location), self._stores, probe=self._probe)

    def tables(self, namespace: str) -> tuple[str, ...]:
        """Return the names of the tables of a namespace, sorted."""
        return tuple(sorted(name for name, store in self._stores.items() if store.heads and _is_in(name, namespace)))


def _is_in(name: str, namespace: str) -> bool:
    return name.rpartition(".")[0] == namespace


def open_catalog(settings: CatalogSettings, *, probe: Probe = no_probe) -> MemoryCatalog:
    """Open a warehouse in memory; the same warehouse is the same tables for the life of the process."""
    return MemoryCatalog(settings, probe=probe)


class MemoryTable:
    """A table in memory; see `Table` and the abilities it has.

    Example:
        >>> import pyarrow as pa
        >>> from airflow_provider_lakehouse.core.schema import Column, Schema
        >>> from airflow_provider_lakehouse.core.tables.base import CatalogSettings, Change, WriteToken
        >>> from airflow_provider_lakehouse.core.tables.spec import TableSpec
        >>> table = open_catalog(CatalogSettings("memory", "memory://doctest")).table("sales.orders")
        >>> table.create(TableSpec(Schema.of(Column("id", "long"))))
        True
        >>> rows = pa.table({"id": [1, 2]})
        >>> table.commit(Change(rows=rows.to_reader()), token=WriteToken("doc", "first")).rows_added
        2
        >>> table.commit(Change(rows=rows.to_reader()), token=WriteToken("doc", "first")).replayed
        True
        >>> table.drop()
    """

    def __init__(self, identity: TableIdentity, stores: dict[str, Store], *, probe: Probe = no_probe) -> None:
        self._identity = identity
        self._stores = stores
        self._probe = probe

    @property
    def identity(self) -> TableIdentity:
        """Which table."""
        return self._identity

    def exists(self) -> bool:
        """Tell whether the table is there."""
        return self._identity.name in self._stores

    def create(self, spec: TableSpec) -> bool:
        """Create the table unless it is there."""
        self._probe("before memory.create")
        store = Store()
        state = State(version=0, parent=None, committed_at=datetime.now(UTC), spec=spec)
        store.states[0], store.heads[MAIN] = state, 0
        created = self._stores.setdefault(self._identity.name, store) is store
        self._probe("after memory.create")
        return created

    def drop(self) -> None:
        """Forget the table."""
        self._stores.pop(self._identity.name, None)

    def facts(self, *, at: At = HEAD) -> TableFacts:
        """Describe the table."""
        store = self._store()
        state = self._state(at)
        parts = [part for part in state.parts if len(part.removed) < part.rows.num_rows]
        return TableFacts(
            identity=self._identity,
            version=state.version,
            committed_at=state.committed_at,
            schema=state.spec.schema,
            partitioning=state.spec.partition_fields,
            sort_order=state.spec.sort_fields,
            properties=dict(state.spec.properties),
            comment=state.spec.comment,
            rows=sum(part.rows.num_rows - len(part.removed) for part in parts),
            files=len(parts),
            size_bytes=sum(part.rows.nbytes for part in parts),
            branches={name: version for name, version in store.heads.items() if name != MAIN},
            tags=dict(store.tags),
            target_file_bytes=state.spec.target_file_bytes,
        )

    def read(
        self, *, columns: tuple[str, ...] | None = None, where: Filter = (), at: At = HEAD
    ) -> pa.RecordBatchReader:
        """Stream rows."""
        chosen = self._state(at).spec.schema.names if columns is None else columns
        return self._reader(chosen, where=where, at=at, addressed=False)

    def read_addressed(self, *, columns: tuple[str, ...], where: Filter = (), at: At = HEAD) -> pa.RecordBatchReader:
        """Stream rows with their address."""
        return self._reader(columns, where=where, at=at, addressed=True)

    def read_apart(self, *, before: At | None, after: At) -> tuple[pa.RecordBatchReader, pa.RecordBatchReader]:
        """Stream the rows of parts that are not the same in two states."""
        new = self._state(after)
        old = replace(new, parts=()) if before is None else self._state(before)
        shared = {(p.name, p.removed) for p in old.parts} & {(p.name, p.removed) for p in new.parts}
        return self._rows_of(old, other_than=shared), self._rows_of(new, other_than=shared)

    def _rows_of(self, state: State, *, other_than: set[tuple[str, frozenset[int]]]) -> pa.RecordBatchReader:
        import pyarrow as pa

        schema = pa.schema([field.with_nullable(True) for field in state.spec.schema.to_arrow()])
        parts = [part for part in state.parts if (part.name, part.removed) not in other_than]
        rows = [live_rows(part, schema).select(schema.names).cast(schema) for part in parts]
        return pa.concat_tables([schema.empty_table(), *rows]).to_reader()

    def find(self, token: WriteToken) -> CommitResult | None:
        """Return what a token wrote."""
        self._probe("before memory.find")
        known = self._store().tokens.get(token.key)
        self._probe("after memory.find")
        if known is None or (token.is_ordered and known.token.batch < token.batch):  # type: ignore[operator]
            return None
        return replace(known, token=token, replayed=True)

    def commit(self, change: Change, *, token: WriteToken) -> CommitResult:
        """Write a change once."""
        if (known := self.find(token)) is not None:
            return known
        branch = change.branch or MAIN
        store = self._store()
        rows = self._collect(change)
        self._probe("before memory.commit")
        with store.lock:
            if self._stores.get(self._identity.name) is not store:
                raise ConflictError(
                    "The table was dropped or made anew meanwhile. Run again.", table=self._identity.name
                )
            if (known := self.find(token)) is None:
                known = self._apply(change, rows, branch=branch, token=token)
        self._probe("after memory.commit")
        return known

    def publish(self, branch: str, *, token: WriteToken, audited: int | None = None) -> CommitResult:
        """Fast-forward the main branch to a staged one, and drop that."""
        if (known := self.find(token)) is not None:
            return known
        store = self._store()
        self._probe("before memory.publish")
        with store.lock:
            if (known := self.find(token)) is not None:
                return known
            if branch not in store.heads or branch == MAIN:
                raise InvalidRequestError(
                    f"There is no branch {branch!r} to publish. Stage a batch first.", branch=branch
                )
            staged = store.states[store.heads[branch]]
            require_audited(branch, version=staged.version, audited=audited, table=self._identity.name)
            lineage = list(self._lineage(staged))
            base = store.heads[MAIN]
            if base not in [state.version for state in lineage]:
                raise ConflictError(
                    "The main branch moved since the batch was staged. Stage it again.",
                    table=self._identity.name,
                    branch=branch,
                    version=base,
                )
            new = [state for state in lineage if state.version > base]
            result = CommitResult(
                token,
                version=staged.version,
                committed_at=datetime.now(UTC),
                rows_added=sum(state.rows_added for state in new),
                rows_removed=sum(state.rows_removed for state in new),
                files_added=sum(state.rows_added > 0 for state in new),
                bytes_added=None,
            )
            store.heads[MAIN] = staged.version
            del store.heads[branch]
            store.staged.pop(branch, None)
            store.tokens[token.key] = result
        self._probe("after memory.publish")
        return result

    def drop_branch(self, branch: str) -> None:
        """Forget a branch and the tokens of what was staged on it."""
        if branch == MAIN:
            raise InvalidRequestError("The main branch cannot be dropped. Drop the table.")
        store = self._store()
        store.heads.pop(branch, None)
        for key, before in store.staged.pop(branch, {}).items():
            store.tokens.pop(key, None)
            if before is not None:
                store.tokens[key] = before

    def tag(self, name: str, *, at: At = HEAD) -> None:
        """Name a state."""
        version = self._state(at).version
        if self._store().tags.setdefault(name, version) != version:
            raise InvalidRequestError(f"Tag {name!r} stands for another version. Drop it first.", tag=name)

    def drop_tag(self, name: str) -> None:
        """Forget a name."""
        self._store().tags.pop(name, None)

    def roll_back(self, to: At, *, token: WriteToken) -> CommitResult:
        """Make the main branch hold what it held at `to`."""
        if (known := self.find(token)) is not None:
            return known
        store = self._store()
        target = self._state(to)
        with store.lock:
            if (known := self.find(token)) is not None:
                return known
            head = store.states[store.heads[MAIN]]
            spec = head.spec
            state = replace(
                target, spec=spec, operation="rollback", changes_rows=True, summary={"to": str(target.version)}
            )
            return self._append(state, branch=MAIN, token=token, result=CommitResult(token, 0, datetime.now(UTC)))

    def history(self, *, since: int | None = None) -> tuple[VersionFacts, ...]:
        """Return the commits of the main branch, oldest first."""
        store = self._store()
        entries = [
            VersionFacts(
                s.version,
                s.parent,
                s.committed_at,
                s.operation,
                s.changes_rows,
                s.rows_added,
                s.rows_removed,
                s.summary,
            )
            for s in self._lineage(store.states[store.heads[MAIN]])
        ][::-1]
        versions = [entry.version for entry in entries]
        if since is None or since == NO_VERSION:
            return tuple(entries)
        if since not in versions:
            raise InvalidRequestError(f"Version {since} is not part of the table's history.", version=since)
        return tuple(entries[versions.index(since) + 1 :])

    def _store(self) -> Store:
        store = self._stores.get(self._identity.name)
        if store is None:
            raise InvalidRequestError(
                f"There is no table {self._identity.name!r}. Create it.", table=self._identity.name
            )
        return store

    def _state(self, at: At) -> State:
        store = self._store()
        version: int | None = store.heads[MAIN]
        if at.version is not None:
            version = at.version
        elif at.branch is not None:
            version = store.heads.get(at.branch)
        elif at.tag is not None:
            version = store.tags.get(at.tag)
        elif at.as_of is not None:
            line = self._lineage(store.states[store.heads[MAIN]])
            version = next((state.version for state in line if state.committed_at <= at.as_of), None)
        if version is None or version not in store.states:
            raise InvalidRequestError(f"Table {self._identity.name!r} has no such state. Choose another.", at=str(at))
        return store.states[version]

    def _lineage(self, state: State) -> Iterator[State]:
        store = self._store()
        current: State | None = state
        while current is not None:
            yield current
            current = store.states[current.parent] if current.parent is not None else None

    def _reader(self, columns: tuple[str, ...], *, where: Filter, at: At, addressed: bool) -> pa.RecordBatchReader:
        import pyarrow as pa

        state = self._state(at)
        schema = state.spec.schema
        schema.require([*columns, *(c.column for c in where)], purpose="reading")
        whole = schema.to_arrow()
        fields = [whole.field(name).with_nullable(True) for name in columns]
        if addressed:
            fields += [pa.field(FILE_COLUMN, pa.string()), pa.field(POSITION_COLUMN, pa.int64())]
        result = pa.schema(fields)
        condition = arrow_expression(where)

        def batches() -> Iterator[pa.RecordBatch]:
            for part in state.parts:
                rows = live_rows(part, whole, addressed=addressed)
                if condition is not None:
                    rows = rows.filter(condition)
                yield from rows.select(result.names).cast(result).to_batches(max_chunksize=65_536)

        return pa.RecordBatchReader.from_batches(result, batches())

    def _collect(self, change: Change) -> pa.Table | None:
        if change.rows is None:
            return None
        import pyarrow as pa

        head = self._store().heads.get(change.branch or MAIN, self._store().heads[MAIN])
        columns = changed(self._store().states[head].spec.schema, change.schema_changes)
        check_rows(change.rows.schema, columns)
        schema = columns.to_arrow()
        rows = pa.Table.from_batches([conformed(in_utf8(batch), schema) for batch in change.rows], schema=schema)
        for part in self._store().states[head].spec.partition_fields:
            values = rows.column(part.column).combine_chunks()
            if part.transform == "identity":
                refuse_far_partitions(values, part.column)
            elif part.transform == "truncate":
                refuse_low_partitions(values, part.column, width=part.parameter or 1)
        return rows

    def _apply(self, change: Change, rows: pa.Table | None, *, branch: str, token: WriteToken) -> CommitResult:
        store = self._store()
        head = store.states[store.heads.get(branch, store.heads[MAIN])]
        self._check_conflicts(change, head)
        spec = changed_spec(head.spec, change)
        parts, removed = self._without_removed(change, head, rows)
        added = rows.num_rows if rows is not None else 0
        version = max(store.states) + 1
        if rows is not None and added:
            parts = (*parts, Part(f"memory:{token.digest}-{version}", version, rows))
        state = replace(
            head,
            spec=spec,
            parts=parts,
            operation="append" if not removed else "overwrite",
            changes_rows=bool(added or removed),
            rows_added=added,
            rows_removed=removed,
            summary=dict(change.summary),
        )
        result = CommitResult(
            token, version, datetime.now(UTC), rows_added=added, rows_removed=removed, files_added=int(added > 0),
            files_removed=len(head.parts) - len([p for p in parts if p.added_by != version]),
            bytes_added=rows.nbytes if rows else 0,
        )  # fmt: skip
        return self._append(state, branch=branch, token=token, result=result)

    def _append(self, state: State, *, branch: str, token: WriteToken, result: CommitResult) -> CommitResult:
        store = self._store()
        version = max(store.states) + 1
        parent = store.heads.get(branch, store.heads[MAIN])
        store.states[version] = replace(state, version=version, parent=parent, committed_at=datetime.now(UTC))
        store.heads[branch] = version
        if branch != MAIN:
            store.staged.setdefault(branch, {}).setdefault(token.key, store.tokens.get(token.key))
        store.tokens[token.key] = replace(result, version=version)
        return store.tokens[token.key]

    def _check_conflicts(self, change: Change, head: State) -> None:
        if change.base is None or change.base == head.version:
            return
        if isinstance(change.removes, Positions):
            base = {part.name: part.removed for part in self._store().states[change.base].parts}
            now = {part.name: part.removed for part in head.parts}
            touched = set(change.removes.rows.column(FILE_COLUMN).unique().to_pylist())
            if any(name not in now or now[name] != base.get(name) for name in touched):
                raise self._conflict("removed or rewrote rows that this change removes", change, head)
        if change.guard is None:
            return
        condition = arrow_expression(change.guard)
        known = {part.name: part for part in self._store().states[change.base].parts}
        for part in head.parts:
            rows = new_rows(part, known.get(part.name), head.spec.schema.to_arrow())
            if (rows if condition is None else rows.filter(condition)).num_rows:
                raise self._conflict("added rows that this change had to know of", change, head)

    def _conflict(self, what: str, change: Change, head: State) -> ConflictError:
        return ConflictError(
            f"Another commit {what}. Run again.", table=self._identity.name, base=change.base, version=head.version
        )

    def _without_removed(self, change: Change, head: State, rows: pa.Table | None) -> tuple[tuple[Part, ...], int]:
        if change.removes == "nothing":
            return head.parts, 0
        if change.removes == "all":
            return (), sum(part.rows.num_rows - len(part.removed) for part in head.parts)
        gone = (
            removed_positions(change.removes)
            if isinstance(change.removes, Positions)
            else self._of_partitions(head, rows)
        )
        parts = tuple(replace(p, removed=p.removed | gone.get(p.name, frozenset())) for p in head.parts)
        removed = sum(len(new.removed) - len(old.removed) for new, old in zip(parts, head.parts, strict=True))
        return tuple(part for part in parts if len(part.removed) < part.rows.num_rows), removed

    def _of_partitions(self, head: State, rows: pa.Table | None) -> dict[str, frozenset[int]]:
        fields = head.spec.partition_fields
        if not fields:
            raise InvalidRequestError(
                "The table has no partitions to overwrite. Use 'replace'.", table=self._identity.name
            )
        wanted = set(partition_keys(rows, head.spec)) if rows is not None else set()
        whole = head.spec.schema.to_arrow()
        return {
            part.name: frozenset(
                index for index, key in enumerate(partition_keys(filled(part.rows, whole), head.spec)) if key in wanted
            )
            for part in head.parts
        }
