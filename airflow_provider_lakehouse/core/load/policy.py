"""What happens to rows that do not fit the columns of a table."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Literal, Self, get_args

from airflow_provider_lakehouse.core.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

Reaction = Literal["evolve", "freeze", "discard_row", "discard_value", "quarantine"]
REACTIONS: Final[tuple[str, ...]] = get_args(Reaction)
ROW_REACTIONS: Final = frozenset({"discard_row", "quarantine"})


@dataclass(frozen=True, slots=True)
class SchemaPolicy:
    """What to do with columns a table lacks, with values its columns cannot hold, and with columns the batch lacks.

    | Reaction | to a new column | to a value that its column cannot hold |
    |---|---|---|
    | `freeze` | refuse the batch | refuse the batch |
    | `evolve` | add the column, nullable | widen the column where that loses nothing, else refuse the batch |
    | `discard_row` | leave out rows that have a value in it | leave out the row |
    | `discard_value` | leave out the column | write null; refuse the batch where the column allows no null |
    | `quarantine` | keep such rows aside, with the reason | keep the row aside, with the reason |

    A column cannot hold a value of another kind of type, a number outside its range or with more digits than it has, an
    instant finer than a microsecond, and, where it is not nullable, a null. Types change by lossless widening only (see
    `is_widening`). A batch that is refused changes nothing: `DataRejectedError`.

    Args:
        new_columns: Reaction to columns of the batch that the table lacks. `_source_file` and `_source_row`, which
            every source adds, are left out quietly where the table lacks them.
        wrong_values: Reaction to values that their column cannot hold.
        missing_columns: Nullable columns of the table that the batch lacks: `fill` with null (a merge keeps the table's
            value in rows that are there), or `freeze`: refuse the batch. A missing column that is not nullable is
            refused.

    Example:
        >>> SchemaPolicy.from_json("evolve")
        SchemaPolicy(new_columns='evolve', wrong_values='evolve', missing_columns='fill')
        >>> SchemaPolicy.from_json({"wrong_values": "quarantine"}).new_columns
        'freeze'
    """

    new_columns: Reaction = "freeze"
    wrong_values: Reaction = "freeze"
    missing_columns: Literal["fill", "freeze"] = "freeze"

    def __post_init__(self) -> None:
        """Refuse words that are no reaction."""
        fits = self.new_columns in REACTIONS and self.wrong_values in REACTIONS
        if not fits or self.missing_columns not in ("fill", "freeze"):
            raise InvalidRequestError(
                "A schema policy has a reaction that does not exist. Use one of those there are.",
                reactions=REACTIONS,
                missing_columns=("fill", "freeze"),
            )

    @property
    def quarantines(self) -> bool:
        """True when refused rows need a place to be kept."""
        return "quarantine" in (self.new_columns, self.wrong_values)

    @classmethod
    def from_json(cls, value: str | Mapping[str, Any]) -> Self:
        """Read a policy: settings by name, or one reaction for new columns and wrong values alike.

        A single `freeze` refuses missing columns too; every other single word fills them.

        Raises:
            InvalidRequestError: No such reaction or setting.
        """
        if isinstance(value, str):
            missing = "freeze" if value == "freeze" else "fill"
            value = {"new_columns": value, "wrong_values": value, "missing_columns": missing}
        unknown = set(value) - {setting.name for setting in fields(cls)}
        if unknown:
            raise InvalidRequestError(
                "A schema policy has no such setting. Correct the name.", unknown=tuple(sorted(unknown))
            )
        return cls(**value)

    def to_json(self) -> dict[str, str]:
        """Return the policy as JSON."""
        return asdict(self)


FREEZE: Final = SchemaPolicy()
"""Refuse every batch that does not fit."""
