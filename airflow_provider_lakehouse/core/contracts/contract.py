"""A data contract as frozen values, in the words of the Open Data Contract Standard 3.

What a value does not name is kept in `extra`, so that a contract that is read and written back loses nothing.
Source: Open Data Contract Standard 3.2, sections "Fundamentals", "Schema", "Data Quality" and "Service-Level Agreement".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from airflow_provider_lakehouse.core.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow_provider_lakehouse.core.contracts.service_level import ServiceLevel

RuleKind = Literal["library", "sql", "custom", "text"]
Operator = Literal[
    "mustBe", "mustNotBe", "mustBeGreaterThan", "mustBeGreaterOrEqualTo", "mustBeLessThan", "mustBeLessOrEqualTo",
    "mustBeBetween", "mustNotBeBetween",
]  # fmt: skip
OPERATORS: Final[tuple[str, ...]] = get_args(Operator)


@dataclass(frozen=True)
class CustomProperty:
    """A property that the standard does not know.

    Args:
        name: Its name; those of this package start with `lakehouse`.
        value: Anything that YAML writes.
        extra: What else was said of it.
    """

    name: str
    value: Any = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """What a measured number must be.

    Args:
        operator: As the standard names it.
        value: What it is compared with; a pair for the two operators that end in `Between`.
    """

    operator: Operator
    value: Any


@dataclass(frozen=True)
class Rule:
    """A rule of quality, of a table or of a column.

    Args:
        kind: `library` for a metric of the standard, `sql` for a query, `custom` for another tool's, `text` for people.
        id: Stable reference; empty where there is none.
        name: For people; empty where there is none.
        metric: Of kind `library`: such as `nullValues`.
        arguments: Of the metric.
        must: What the metric or the query's answer must be.
        unit: `rows` or `percent` of the rows.
        query: Of kind `sql`: one query that answers with one value.
        engine: Of kind `custom`: whose rule it is.
        implementation: Of kind `custom`: the rule, as text or as a mapping.
        dimension: Such as `completeness`.
        severity: As the contract writes it.
        description: For people.
        custom: Properties that the standard does not know.
        extra: What else was said of it.
        line: Where it starts in the file; 0 where it comes from nowhere.
    """

    kind: RuleKind = "library"
    id: str = ""
    name: str = ""
    metric: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    must: Comparison | None = None
    unit: str = "rows"
    query: str = ""
    engine: str = ""
    implementation: str | Mapping[str, Any] = ""
    dimension: str = ""
    severity: str = ""
    description: str = ""
    custom: tuple[CustomProperty, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    line: int = field(default=0, compare=False)


@dataclass(frozen=True)
class ContractColumn:
    """A column, or a field, an element, a key or a value inside one.

    Args:
        name: In the contract; empty for elements, keys and values.
        id: Stable reference; empty where there is none.
        physical_name: In the table; empty where it is `name`.
        logical_type: One of the standard's types; empty where none is declared.
        physical_type: As a database writes it.
        options: Of the logical type, such as `minimum`.
        required: Whether it may not be null. A column of the primary key never may, whatever is said here.
        unique: Whether no value stands twice.
        primary_key: Whether it is part of the key.
        primary_key_position: Place in the key, from 1; None where it is not declared.
        partitioned: Whether the table is partitioned by it.
        partition_position: Place in the partitioning, from 1; None where it is not declared.
        classification: How delicate its values are, such as `confidential`.
        tags: For people and catalogs.
        description: For people.
        rules: Of quality.
        fields: Of an object.
        items: Of an array: what an element is.
        key: Of a map: what a key is.
        value: Of a map: what a value is.
        custom: Properties that the standard does not know.
        extra: What else was said of it.
        line: Where it starts in the file; 0 where it comes from nowhere.
    """

    name: str = ""
    id: str = ""
    physical_name: str = ""
    logical_type: str = ""
    physical_type: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    required: bool = False
    unique: bool = False
    primary_key: bool = False
    primary_key_position: int | None = None
    partitioned: bool = False
    partition_position: int | None = None
    classification: str = ""
    tags: tuple[str, ...] = ()
    description: str = ""
    rules: tuple[Rule, ...] = ()
    fields: tuple[ContractColumn, ...] = ()
    items: ContractColumn | None = None
    key: ContractColumn | None = None
    value: ContractColumn | None = None
    custom: tuple[CustomProperty, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    line: int = field(default=0, compare=False)

    @property
    def stored_name(self) -> str:
        """Its name in the table."""
        return self.physical_name or self.name

    @property
    def is_stored(self) -> bool:
        """Whether the table has it. Measures and dimensions are computed by whoever asks."""
        return str(self.extra.get("semanticType", "column")) == "column"

    @property
    def allowed_values(self) -> tuple[Any, ...]:
        """The only values there may be; empty for any."""
        return tuple(one["value"] for one in self.extra.get("enum", ()))


@dataclass(frozen=True)
class ContractTable:
    """A table.

    Args:
        name: In the contract.
        id: Stable reference; empty where there is none.
        physical_name: In the lakehouse, such as `silver.orders`; empty where it is `name`.
        physical_type: Such as `table`, `view`, `topic`.
        description: For people.
        tags: For people and catalogs.
        columns: In order.
        rules: Of quality.
        custom: Properties that the standard does not know.
        extra: What else was said of it.
        line: Where it starts in the file; 0 where it comes from nowhere.
    """

    name: str
    id: str = ""
    physical_name: str = ""
    physical_type: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    columns: tuple[ContractColumn, ...] = ()
    rules: tuple[Rule, ...] = ()
    custom: tuple[CustomProperty, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    line: int = field(default=0, compare=False)

    @property
    def stored_name(self) -> str:
        """Its name in the lakehouse."""
        return self.physical_name or self.name

    @property
    def stored_columns(self) -> tuple[ContractColumn, ...]:
        """The columns that the table has, in order."""
        return tuple(column for column in self.columns if column.is_stored)

    @property
    def key(self) -> tuple[ContractColumn, ...]:
        """The columns of its primary key: by position, and in the order of the contract where none is declared."""
        last = len(self.columns)
        return tuple(
            sorted((c for c in self.stored_columns if c.primary_key), key=lambda c: c.primary_key_position or last)
        )

    @property
    def partitioning(self) -> tuple[ContractColumn, ...]:
        """The columns it is partitioned by, ordered as those of the key are."""
        last = len(self.columns)
        return tuple(
            sorted((c for c in self.stored_columns if c.partitioned), key=lambda c: c.partition_position or last)
        )

    def column(self, name: str) -> ContractColumn | None:
        """Return the column of a name, a physical name or an id; None where there is none."""
        return next((c for c in self.columns if name in (c.name, c.stored_name) or (c.id and c.id == name)), None)


@dataclass(frozen=True)
class Member:
    """A person of the team.

    Args:
        name: User name or address.
        role: Such as `owner`.
        extra: What else was said of them.
    """

    name: str
    role: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Team:
    """Who answers for the contract.

    Args:
        name: Of the team; empty where it has none.
        members: Its people.
        is_list: Whether it is written as a list of people, as before version 3.1 of the standard.
        extra: What else was said of it.
    """

    name: str = ""
    members: tuple[Member, ...] = ()
    is_list: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        """Who is told when something is broken: the team, or its first member with `owner` in the role.

        Example:
            >>> Team(members=(Member("ann", "analyst"), Member("bob", "Data Owner"))).owner
            'bob'
        """
        if self.name:
            return self.name
        return next((one.name for one in self.members if "owner" in one.role.casefold()), "")


@dataclass(frozen=True)
class Contract:
    """A data contract.

    Args:
        id: Of the contract, the same in all its versions.
        version: Of the contract.
        name: For people.
        status: Such as `draft`, `active`, `deprecated`.
        domain: The part of the business it belongs to.
        purpose: What the data is for.
        api_version: Version of the standard it is written in.
        team: Who answers for it.
        tags: For people and catalogs.
        tables: What it promises.
        service_levels: What it promises about the service.
        custom: Properties that the standard does not know.
        extra: What else was said of it.
        source: The file it was read from, for messages.
    """

    id: str
    version: str
    name: str = ""
    status: str = ""
    domain: str = ""
    purpose: str = ""
    api_version: str = "v3.2.0"
    team: Team = field(default_factory=Team)
    tags: tuple[str, ...] = ()
    tables: tuple[ContractTable, ...] = ()
    service_levels: tuple[ServiceLevel, ...] = ()
    custom: tuple[CustomProperty, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    source: str = field(default="", compare=False)

    def table(self, name: str) -> ContractTable:
        """Return the table of a name or physical name.

        Raises:
            InvalidRequestError: There is none; the error names those there are.
        """
        found = next((one for one in self.tables if name in (one.name, one.stored_name)), None)
        if found is None:
            raise InvalidRequestError(
                f"The contract has no table {name!r}. Use one of those there are.",
                file=self.source,
                tables=tuple(one.name for one in self.tables),
            )
        return found

    def levels_of(self, table: ContractTable) -> Iterator[tuple[ServiceLevel, ContractColumn | None]]:
        """Yield the service levels of one table, each with the column it is about; None where it is about no column.

        A level that names no element is about every table of the contract.
        """
        for level in self.service_levels:
            if not level.elements:
                yield level, None
            for element in level.elements:
                place = self.place_of(element)
                if place is not None and place[0] is table:
                    yield level, place[1]

    def place_of(self, element: str) -> tuple[ContractTable, ContractColumn | None] | None:
        """Return the table and column that an element such as `orders.ordered_at` names; None where there is none.

        Where the contract has one table, its name may be left out.
        """
        for table in self.tables:
            for name in {table.name, table.stored_name, table.id} - {""}:
                if element == name:
                    return table, None
                column = table.column(element[len(name) + 1 :]) if element.startswith(f"{name}.") else None
                if column is not None:
                    return table, column
        if len(self.tables) == 1 and (only := self.tables[0].column(element)) is not None:
            return self.tables[0], only
        return None


def custom_value(custom: tuple[CustomProperty, ...], name: str) -> Any:  # noqa: ANN401
    """Return the value of a property that the standard does not know; None where it is not given."""
    return next((one.value for one in custom if one.name == name), None)
