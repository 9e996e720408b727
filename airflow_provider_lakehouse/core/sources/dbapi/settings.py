"""What to read from a database, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.sources.base import SOURCE_FILE_COLUMN, SOURCE_ROW_COLUMN
from airflow_provider_lakehouse.core.sources.relations import parse_relation
from airflow_provider_lakehouse.core.types import parse_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_lakehouse.core.sources.relations import PartitionRange

MAX_NAME_PARTS: Final = 3
PARAMSTYLES: Final = ("qmark", "numeric", "named", "format", "pyformat", "dollar")
"""Those of PEP 249, and `dollar` for `$1`, which is PostgreSQL's own."""


@dataclass(frozen=True, slots=True)
class DbApiSettings:
    """What to read from a database, and how.

    Args:
        connect: Opens a connection; called for every plan and every read, and in the thread that uses it.
        uri: Where the database is, for plans, lineage and logs; user, password and query are left out of it.
        relation: A table or view: `table`, `schema.table` or `catalog.schema.table`, see `parse_relation`. Or:
        query: A SELECT.
        columns: Which columns, in which order; empty for all. A mapping also says their types (`{"id": "long"}`), and
            these win over what the database or its driver says.
        mode: `full`; `incremental` by `cursor`; or one `partition`.
        cursor: Column whose values only grow: a whole number, decimal, date, timestamp, or text that sorts so.
        lag: How far below the last high-water mark an increment starts again: a timedelta for dates and timestamps, a
            whole number for numbers; None for none.
        partition: Bounds, for `partition`.
        parallelism: Connections at most. One is used: databases share no snapshot in a way that is common to them.
        unfit: What becomes of a value that its column's type does not hold: its row is rejected, or it is null.
        as_text: Nothing is taken as text here; cast in a query instead.
        paramstyle: How statements name their parameters, see `PARAMSTYLES`; empty takes the driver's word.
        quote: Character around names; empty for the driver's: a backtick for MySQL and SQLite, else a double quote.

    Raises:
        InvalidRequestError: The settings contradict each other.
    """

    connect: Callable[[], Any] = field(repr=False)
    uri: str
    relation: str = ""
    query: str = field(default="", repr=False)
    columns: tuple[str, ...] | Mapping[str, str] = ()
    mode: Literal["full", "incremental", "partition"] = "full"
    cursor: str = ""
    lag: timedelta | int | None = None
    partition: PartitionRange | None = None
    parallelism: int = 1
    unfit: Literal["reject", "null"] = "reject"
    as_text: tuple[str, ...] = ()
    paramstyle: str = ""
    quote: str = ""

    def __post_init__(self) -> None:
        """Check that the settings go together."""
        is_incremental, is_partition = self.mode == "incremental", self.mode == "partition"
        rules = {
            "Give a URI such as mysql://host:3306/shop.": bool(urlsplit(self.uri).scheme) and "://" in self.uri,
            "Give either a relation or a query.": bool(self.relation) != bool(self.query.strip()),
            "Use one of the modes full, incremental, partition.": self.mode in ("full", "incremental", "partition"),
            "Mode incremental needs a cursor, other modes have none.": is_incremental == bool(self.cursor),
            "A lag is for mode incremental, and not negative.": self.lag is None
            or (is_incremental and self._lag_is_sound),
            "Mode partition needs a partition, other modes have none.": is_partition == bool(self.partition),
            "Use a parallelism of 1 or more.": self.parallelism >= 1,
            "Unfit values are for reject or null.": self.unfit in ("reject", "null"),
            "Only PostgreSQL's own source takes columns as text; cast them in a query.": not self.as_text,
            f"Use a paramstyle of {', '.join(PARAMSTYLES)}.": self.paramstyle in ("", *PARAMSTYLES),
            f"Leave {SOURCE_FILE_COLUMN} and {SOURCE_ROW_COLUMN} to the source.": not {
                SOURCE_FILE_COLUMN,
                SOURCE_ROW_COLUMN,
            }.intersection(self.columns),
        }
        for rule, holds in rules.items():
            if not holds:
                raise InvalidRequestError(f"The settings of a database source contradict each other. {rule}")
        if self.relation:
            parse_relation(self.relation, max_parts=MAX_NAME_PARTS)
        for text in self.declared.values():
            parse_type(text)

    @property
    def declared(self) -> Mapping[str, str]:
        """Types that the caller gave, by column."""
        return self.columns if isinstance(self.columns, Mapping) else {}

    @property
    def server(self) -> str:
        """The URI without user, password and query."""
        parts = urlsplit(self.uri)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"

    @property
    def _lag_is_sound(self) -> bool:
        lag = self.lag
        return lag >= timedelta(0) if isinstance(lag, timedelta) else isinstance(lag, int) and lag >= 0
