"""What to read from PostgreSQL, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.sources.relations import parse_relation

if TYPE_CHECKING:
    from airflow_provider_lakehouse.core.sources.relations import PartitionRange

MAX_PARALLELISM: Final = 32


@dataclass(frozen=True, slots=True)
class PostgresSettings:
    """What to read from PostgreSQL, and how.

    Args:
        dsn: Connection string as libpq reads it; never shown.
        relation: `schema.table`, see `parse_relation`: a table, partitioned table, view or materialised view.
        query: A SELECT, instead of a relation; read over one connection.
        columns: Which columns, in which order; empty for all.
        mode: `full`; `incremental` by `cursor`; or one `partition`.
        cursor: Column whose values only grow, for `incremental`: a whole number, numeric, date or timestamp.
        lag: How far below the last high-water mark an increment starts again, because transactions commit in another
            order than they take their cursor values: a timedelta for dates and timestamps, a whole number for numbers;
            None for none. Longer than the longest transaction that writes the table; rows read twice are for the target
            to merge.
        partition: Bounds, for `partition`.
        parallelism: Connections at most; only tables are read over more than one.
        unfit: What becomes of a value that no column type holds, see `types`: its row is rejected, or it is
            read as null.
        as_text: Columns to deliver as PostgreSQL's text, whatever their type.

    Raises:
        InvalidRequestError: The settings contradict each other.
    """

    dsn: str = field(repr=False)
    relation: str = ""
    query: str = field(default="", repr=False)
    columns: tuple[str, ...] = ()
    mode: Literal["full", "incremental", "partition"] = "full"
    cursor: str = ""
    lag: timedelta | int | None = None
    partition: PartitionRange | None = None
    parallelism: int = 2
    unfit: Literal["reject", "null"] = "reject"
    as_text: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that the settings go together."""
        is_incremental, is_partition = self.mode == "incremental", self.mode == "partition"
        rules = {
            "Give either a relation or a query.": bool(self.relation) != bool(self.query.strip()),
            "Use one of the modes full, incremental, partition.": self.mode in ("full", "incremental", "partition"),
            "Mode incremental needs a cursor, other modes have none.": is_incremental == bool(self.cursor),
            "A lag is for mode incremental, and not negative.": self.lag is None
            or (is_incremental and self._lag_is_sound),
            "Mode partition needs a partition, other modes have none.": is_partition == bool(self.partition),
            f"Use a parallelism of 1 to {MAX_PARALLELISM}.": 1 <= self.parallelism <= MAX_PARALLELISM,
            "Unfit values are for reject or null.": self.unfit in ("reject", "null"),
        }
        for rule, holds in rules.items():
            if not holds:
                raise InvalidRequestError(f"The settings of a PostgreSQL source contradict each other. {rule}")
        if self.relation:
            parse_relation(self.relation)

    @property
    def _lag_is_sound(self) -> bool:
        lag = self.lag
        return lag >= timedelta(0) if isinstance(lag, timedelta) else isinstance(lag, int) and lag >= 0
