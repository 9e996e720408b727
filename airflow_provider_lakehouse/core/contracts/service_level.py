"""A promise of a contract about the service: how late data may be, how long it is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_lakehouse.core.contracts.contract import CustomProperty

_SECONDS: Final = {
    "s": 1, "sec": 1, "second": 1, "seconds": 1, "min": 60, "minute": 60, "minutes": 60, "h": 3_600, "hr": 3_600,
    "hour": 3_600, "hours": 3_600, "d": 86_400, "day": 86_400, "days": 86_400, "w": 604_800, "week": 604_800,
    "weeks": 604_800,
}  # fmt: skip
"""Units of a fixed length. A month and a year have none, and `m` may be either a minute or a month."""
_SYNONYMS: Final = {
    "av": "availability", "th": "throughput", "er": "errorrate", "ga": "generalavailability", "es": "endofsupport",
    "el": "endoflife", "re": "retention", "fy": "frequency", "ly": "latency", "fr": "freshness", "td": "timetodetect",
    "tn": "timetonotify", "tr": "timetorepair",
}  # fmt: skip
_MAX_SECONDS: Final = 10**11
"""More than three thousand years: whoever writes it means something else, and a `timedelta` ends not far beyond."""


@dataclass(frozen=True)
class ServiceLevel:
    """A promise about the service, such as how late data may be.

    Args:
        name: What it is about, as the contract writes it: `latency`, `retention`, ...
        value: What is promised.
        unit: Of the value; empty where it needs none.
        element: `table.column` it is about, several separated by commas; empty for the whole contract.
        scheduler: What starts its check, such as `cron`.
        schedule: When it is checked, in the words of the scheduler.
        description: For people.
        custom: Properties that the standard does not know.
        extra: What else was said of it.
        line: Where it starts in the file; 0 where it comes from nowhere.
    """

    name: str
    value: Any
    unit: str = ""
    element: str = ""
    scheduler: str = ""
    schedule: str = ""
    description: str = ""
    custom: tuple[CustomProperty, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    line: int = field(default=0, compare=False)

    @property
    def property_name(self) -> str:
        """What it is about, in lower case and without abbreviation.

        Example:
            >>> ServiceLevel("LY", 4).property_name
            'latency'
        """
        name = self.name.casefold()
        return _SYNONYMS.get(name, name)

    @property
    def elements(self) -> tuple[str, ...]:
        """What it is about, one by one."""
        return tuple(part.strip() for part in self.element.split(",") if part.strip())

    def duration(self) -> timedelta:
        """Return value and unit as a length of time.

        Raises:
            InvalidRequestError: The value is no number above 0, or the unit has no fixed length.

        Example:
            >>> ServiceLevel("latency", 4, "h").duration()
            datetime.timedelta(seconds=14400)
        """
        seconds = _SECONDS.get(self.unit.strip().casefold(), 0)
        number = self.value
        is_number = isinstance(number, int | float) and not isinstance(number, bool)
        if not is_number or not 0 < number * seconds < _MAX_SECONDS:
            raise InvalidRequestError(
                f"Service level {self.name!r} is no length of time. Give a number above 0 and a unit of a fixed length.",
                line=self.line,
                unit=self.unit,
                units=tuple(sorted(_SECONDS)),
            )
        return timedelta(seconds=number * seconds)
