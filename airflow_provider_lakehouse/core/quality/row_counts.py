"""Which row counts are out of the ordinary."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from statistics import median
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

_NORMAL_SCALE: Final = 1.4826
"""By which the median absolute deviation of normally distributed values estimates their standard deviation."""


@dataclass(frozen=True, slots=True)
class RowCountRule:
    """Bounds of usual row counts: the median of earlier ones, give or take robust standard deviations.

    The median absolute deviation, unlike the standard deviation, is not moved by the outliers it is to find (Rousseeuw and
    Croux, "Alternatives to the Median Absolute Deviation", 1993; Leys et al., "Detecting outliers", 2013).

    Args:
        deviations: How many robust standard deviations from the median are usual.
        tolerance: Share of the median that is always usual, however little earlier counts differ.
        points: So many earlier counts are needed; before that, only the fixed bounds count.
        window: So many of the newest counts are looked at.
        lowest_rows: Fewer are never usual; None for no bound.
        highest_rows: More are never usual; None for no bound.

    Raises:
        InvalidRequestError: The numbers mean nothing.

    Example:
        >>> rule = RowCountRule(points=5)
        >>> counts = (1000, 1020, 990, 1010, 1005)
        >>> rule.bounds(counts), rule.is_anomaly(12, before=counts)
        ((904.5, 1105.5), True)
    """

    deviations: float = 5.0
    tolerance: float = 0.1
    points: int = 7
    window: int = 30
    lowest_rows: int | None = None
    highest_rows: int | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        low, high = self.lowest_rows or 0, self.highest_rows if self.highest_rows is not None else inf
        if not (self.deviations > 0 and self.tolerance >= 0 and 1 <= self.points <= self.window and 0 <= low <= high):
            raise InvalidRequestError(
                "A rule on row counts needs positive deviations, no more points than its window, and bounds in order. "
                "Correct it.",
                deviations=self.deviations,
                points=self.points,
                window=self.window,
                lowest_rows=self.lowest_rows,
                highest_rows=self.highest_rows,
            )

    def bounds(self, before: Sequence[int]) -> tuple[float, float]:
        """Return the lowest and the highest usual count.

        Args:
            before: Earlier counts, oldest first.
        """
        low = float(self.lowest_rows or 0)
        high = float(self.highest_rows) if self.highest_rows is not None else inf
        counts = before[-self.window :]
        if len(counts) < self.points:
            return low, high
        middle = median(counts)
        spread = _NORMAL_SCALE * median(abs(count - middle) for count in counts)
        width = max(self.deviations * spread, self.tolerance * middle)
        return max(low, middle - width), min(high, middle + width)

    def is_anomaly(self, rows: int, *, before: Sequence[int]) -> bool:
        """Tell whether a count is out of the ordinary."""
        low, high = self.bounds(before)
        return not low <= rows <= high
