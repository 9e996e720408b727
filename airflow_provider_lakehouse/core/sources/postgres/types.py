"""Which column type holds every value of a PostgreSQL type, unchanged.

| PostgreSQL | Column type | Remark |
|---|---|---|
| `smallint`, `integer` / `bigint`, `oid` | `int` / `long` | |
| `numeric(P,S)` with at most 38 digits | `decimal(P,S)` | `NaN` does not fit, see below; a negative scale widens P |
| other `numeric` | `string` | exact text, also `NaN` and `Infinity` |
| `real` / `double precision` | `float` / `double` | NaN and infinities too |
| `boolean`, `bytea`, `uuid` | `boolean`, `binary`, `uuid` | |
| `date`, `timestamp`, `timestamptz`, `time` | the same | `timestamptz` in UTC |
| `T[]` | `list<T>` | one dimension counted from 1; `string` where elements have another separator than a comma |
| domains | as the type they restrict | |
| everything else | `string` | PostgreSQL's own text: `char(n)` with its padding, `json` and `jsonb` to the last digit, `interval` in ISO 8601, `timetz`, `money`, enums, ranges, network addresses, composites, bit strings, XML |

**What does not fit**: infinite dates and instants, those outside the years 1 to 9999, the time `24:00:00`, `NaN` in a
`decimal`, and arrays of other dimensions or bounds. PostgreSQL allows them per value, so they are found while reading and
rejected or read as null, as the source is set; never wrapped, rounded or read as 0. A column named in `as_text` comes as
PostgreSQL's text, in which everything fits.
"""  # noqa: E501

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.types import MAX_DECIMAL_PRECISION

if TYPE_CHECKING:
    from collections.abc import Mapping

NUMERIC_OID: Final = 1700
# Object identifiers of built-in types are fixed: pg_type.dat in PostgreSQL's source.
_BUILT_IN: Final[dict[int, str]] = {
    16: "boolean", 17: "binary", 20: "long", 21: "int", 23: "int", 26: "long", 700: "float", 701: "double",
    1082: "date", 1083: "time", 1114: "timestamp", 1184: "timestamptz", 2950: "uuid",
}  # fmt: skip
_VECTORS: Final = frozenset({22, 30})  # int2vector and oidvector: arrays by their catalog entry, but not by their text
_HAS_UNFIT_VALUES: Final = ("date", "time", "timestamp", "timestamptz", "decimal", "list")


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """A column as the source delivers it.

    Args:
        name: As in the catalog.
        type: Column type, see `core.types`.
        sql_type: What PostgreSQL calls its type.
        base_type: The same without length, precision and domain: what a literal is cast to before it is compared.
        nullable: False where the catalog forbids nulls.
    """

    name: str
    type: str
    sql_type: str
    base_type: str
    nullable: bool = True

    @property
    def may_be_unfit(self) -> bool:
        """True where PostgreSQL allows values that the column type does not hold."""
        return self.type.startswith(_HAS_UNFIT_VALUES)


@dataclass(frozen=True, slots=True)
class CatalogType:
    """A row of `pg_type`.

    Args:
        element: Object identifier of an array's element type, 0 for other types.
        separator: What stands between elements in an array of this type.
        base: Object identifier of the type that a domain restricts, 0 for other types.
        base_modifier: Modifier that the domain gives it.
    """

    element: int = 0
    separator: str = ","
    base: int = 0
    base_modifier: int = -1


def column_type(oid: int, modifier: int, catalog: Mapping[int, CatalogType]) -> str:
    """Return the column type for a PostgreSQL type.

    Args:
        oid: Object identifier of the type.
        modifier: Its `atttypmod`; -1 for none.
        catalog: The type, and all that it is made of.

    Example:
        >>> column_type(1231, ((12 << 16) | 2) + 4, {1231: CatalogType(element=1700)})
        'list<decimal(12,2)>'
    """
    oid, modifier = base_of(oid, modifier, catalog)
    element = catalog.get(oid, CatalogType()).element
    if not element or oid in _VECTORS:
        return _scalar_type(oid, modifier)
    element, modifier = base_of(element, modifier, catalog)
    of_element = catalog.get(element, CatalogType())
    if of_element.separator != "," or of_element.element:
        return "string"
    return f"list<{_scalar_type(element, modifier)}>"


def base_of(oid: int, modifier: int, catalog: Mapping[int, CatalogType]) -> tuple[int, int]:
    """Return type and modifier below any domains."""
    while oid in catalog and catalog[oid].base:
        oid, modifier = catalog[oid].base, catalog[oid].base_modifier
    return oid, modifier


def _scalar_type(oid: int, modifier: int) -> str:
    if oid == NUMERIC_OID:
        return _decimal_type(modifier)
    return _BUILT_IN.get(oid, "string")


def _decimal_type(modifier: int) -> str:
    """Read precision and scale as numeric.c packs them: scale in 11 bits, signed, since PostgreSQL 15."""
    if modifier < 0:
        return "string"
    packed = modifier - 4
    precision, scale = (packed >> 16) & 0xFFFF, ((packed & 0x7FF) ^ 1024) - 1024
    if scale < 0:
        precision, scale = precision - scale, 0
    precision = max(precision, scale)
    return f"decimal({precision},{scale})" if precision <= MAX_DECIMAL_PRECISION else "string"
