"""Which Delta tables may be read and written here, feature by feature; what is not known is refused by name.

Source: Delta transaction log protocol, sections "Protocol Evolution" and "Valid Feature Names in Table Features".
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.errors import InvalidRequestError, UnsupportedError
from airflow_provider_lakehouse.core.tables.delta.schema import refuse_computed

if TYPE_CHECKING:
    from collections.abc import Mapping

FEATURES_READER: Final = 3
FEATURES_WRITER: Final = 7
_IMPLIED_BY_WRITER: Final = {
    2: ("appendOnly", "invariants"),
    3: ("checkConstraints",),
    4: ("changeDataFeed", "generatedColumns"),
    5: ("columnMapping",),
    6: ("identityColumns",),
}
_READABLE: Final = frozenset(
    {"columnMapping", "deletionVectors", "timestampNtz", "v2Checkpoint", "variantType", "variantType-preview"}
)
_WRITABLE: Final = frozenset(
    {
        "allowColumnDefaults", "appendOnly", "changeDataFeed", "checkConstraints", "columnMapping", "deletionVectors",
        "domainMetadata", "generatedColumns", "identityColumns", "inCommitTimestamp", "invariants", "timestampNtz",
        "v2Checkpoint", "variantType", "variantType-preview",
    }
)  # fmt: skip
"""Features that a table may list.

What it uses of them is looked at below, or where it matters: a variant, for one, is no type of a column.
"""
_REFUSED_WHEN_TRUE: Final = ("delta.enableInCommitTimestamps", "delta.enableRowTracking")
_FORGETS_TOKENS: Final = "delta.setTransactionRetentionDuration"
"""Makes readers forget application transactions by age, and with them which batches were written, the newest of an idle
pipeline included: a batch that is run again would be doubled, so such a table is not written."""
_SETTABLE: Final = frozenset(
    {
        "delta.appendOnly", "delta.autoOptimize.autoCompact", "delta.autoOptimize.optimizeWrite",
        "delta.checkpoint.writeStatsAsJson", "delta.checkpoint.writeStatsAsStruct", "delta.checkpointInterval",
        "delta.dataSkippingNumIndexedCols",
        "delta.dataSkippingStatsColumns", "delta.deletedFileRetentionDuration", "delta.enableExpiredLogCleanup",
        "delta.isolationLevel", "delta.logRetentionDuration", "delta.targetFileSize", "delta.tuneFileSizesForRewrites",
    }
)  # fmt: skip
"""Delta's own properties that ask nothing of writers that is not done here."""


@dataclass(frozen=True)
class Protocol:
    """What a table asks of its readers and writers.

    Args:
        reader: Lowest reader version.
        writer: Lowest writer version.
        reader_features: Listed for readers.
        writer_features: Listed for writers.
    """

    reader: int
    writer: int
    reader_features: tuple[str, ...] = ()
    writer_features: tuple[str, ...] = ()

    @property
    def features(self) -> tuple[str, ...]:
        """What writers must know: listed, or implied by the version."""
        if self.writer >= FEATURES_WRITER:
            return self.writer_features
        return tuple(name for version, names in _IMPLIED_BY_WRITER.items() if version <= self.writer for name in names)

    def to_action(self) -> dict[str, Any]:
        """Return the action of the log."""
        action: dict[str, Any] = {"minReaderVersion": self.reader, "minWriterVersion": self.writer}
        if self.writer >= FEATURES_WRITER:
            if self.reader >= FEATURES_READER:
                action["readerFeatures"] = list(self.reader_features)
            action["writerFeatures"] = list(self.writer_features)
        return {"protocol": action}

    def for_fields(self, fields: list[dict[str, Any]]) -> Protocol:
        """Return the protocol that a table with these columns needs, raised from this one."""
        if '"timestamp_ntz"' not in json.dumps(fields) or "timestampNtz" in self.features:
            return self
        mapped = ("columnMapping",) if self.reader == _MAPPING_READER else self.reader_features
        features = tuple(dict.fromkeys((*self.features, "timestampNtz")))
        return Protocol(FEATURES_READER, FEATURES_WRITER, (*mapped, "timestampNtz"), features)


_MAPPING_READER: Final = 2
INITIAL: Final = Protocol(1, 2)
"""Of a table that is created here, before its columns are looked at."""


def check_readable(protocol: Protocol, properties: Mapping[str, str], *, table: str) -> None:
    """Check that reading the table gives the rows it holds.

    Raises:
        UnsupportedError: Names the version, the feature or the property that is not known.
    """
    unknown = tuple(sorted({*protocol.reader_features} - _READABLE))
    if protocol.reader > FEATURES_READER or unknown:
        raise _unsupported("read", table, protocol.reader, unknown)
    if properties.get("delta.columnMapping.mode") == "id":
        raise UnsupportedError(
            f"Delta table {table!r} finds columns by field id, which is not supported. Read it with Spark.",
            table=table,
            feature="delta.columnMapping.mode=id",
        )


def check_writable(
    protocol: Protocol, properties: Mapping[str, str], fields: list[dict[str, Any]], *, table: str
) -> None:
    """Check that everything the table asks of its writers is done here.

    Raises:
        UnsupportedError: Names what is not. Nothing was written.
    """
    check_readable(protocol, properties, table=table)
    unknown = tuple(sorted({*protocol.features} - _WRITABLE))
    if protocol.writer > FEATURES_WRITER or unknown:
        raise _unsupported("written", table, protocol.writer, unknown)
    asked = [name for name in properties if name.startswith("delta.constraints.")]
    asked += [name for name in _REFUSED_WHEN_TRUE if properties.get(name, "").lower() == "true"]
    if properties.get("delta.columnMapping.mode", "none") != "none":
        asked.append("delta.columnMapping.mode")
    if _FORGETS_TOKENS in properties:
        asked.append(_FORGETS_TOKENS)
    if asked:
        raise UnsupportedError(
            f"Delta table {table!r} asks writers for {asked[0]!r}, which is not supported. Write it with Spark.",
            table=table,
            feature=asked[0],
        )
    refuse_computed(fields)


def check_properties(properties: Mapping[str, str | None], protocol: Protocol) -> None:
    """Check properties that are to be set.

    Raises:
        UnsupportedError: A property of Delta's own asks for something that is not done here, or is not known.
        InvalidRequestError: A property that holds how the provider keeps the table is to be removed.
    """
    for name, value in properties.items():
        if name.startswith("delta.") and name not in _SETTABLE:
            raise UnsupportedError(f"Property {name!r} is not supported on Delta tables. Leave it out.", property=name)
        if name == "delta.appendOnly" and value == "true" and "appendOnly" not in protocol.features:
            raise UnsupportedError("The table's protocol lacks 'appendOnly'. Add the feature first.", property=name)
        if name.startswith("lakehouse.") and value is None:
            raise InvalidRequestError(f"Property {name!r} belongs to the provider. Leave it.", property=name)


def check_removal(properties: Mapping[str, str], *, by_row: bool, table: str) -> None:
    """Check that the table lets rows be removed in this way.

    Raises:
        UnsupportedError: The table only takes appends; or it keeps a change feed, and rows are removed one by one.
    """
    if properties.get("delta.appendOnly", "").lower() == "true":
        raise UnsupportedError(
            f"Delta table {table!r} only takes appends ('delta.appendOnly'). Append, or change the property.",
            table=table,
        )
    if by_row and properties.get("delta.enableChangeDataFeed", "").lower() == "true":
        raise UnsupportedError(
            f"Delta table {table!r} keeps a change data feed, not written here for changed rows. Write it with Spark.",
            table=table,
            feature="changeDataFeed",
        )


def _unsupported(done: str, table: str, version: int, unknown: tuple[str, ...]) -> UnsupportedError:
    return UnsupportedError(
        f"Delta table {table!r} cannot be {done} here: it uses {', '.join(unknown) or f'protocol version {version}'}. "
        "Use an engine that knows it.",
        table=table,
        version=version,
        features=unknown,
    )
