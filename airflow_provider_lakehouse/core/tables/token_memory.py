"""How many write tokens a table remembers whose format has properties of text, and how.

The newest `WHOLE_TOKENS` text batches of a pipeline are remembered with what they wrote, in some 200 bytes each. Of older
ones only the digest is kept, in 11 bytes, by the day of the commit: a batch that is run again is still known to be
written, its counts are not. A day is forgotten once it is older than `lakehouse.tokens.keep-days` and at least
`lakehouse.tokens.keep-batches` newer digests are there. Only then, a batch that is run again is written again.

Whatever is forgotten is forgotten in the commit of a later batch of the same pipeline, so the newest batches of a pipeline
that rests are remembered for ever. Batches that are numbers need none of this: the highest stands for all.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final, Self

from airflow_provider_lakehouse.core.errors import DamagedError, InvalidRequestError
from airflow_provider_lakehouse.core.tables.base import CommitResult, WriteToken
from airflow_provider_lakehouse.core.tables.tokens import TOKEN_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

WHOLE_TOKENS: Final = 100
"""Text batches of one pipeline that are remembered with what they wrote."""
KEEP_DAYS_PROPERTY: Final = "lakehouse.tokens.keep-days"
KEEP_BATCHES_PROPERTY: Final = "lakehouse.tokens.keep-batches"
KEEP_DAYS: Final = 90
KEEP_BATCHES: Final = 10_000
PAST_PREFIX: Final = f"{TOKEN_PREFIX}past."
_DIGEST_BYTES: Final = 8


@dataclass(frozen=True)
class Past:
    """Digests of a pipeline's older text batches.

    Args:
        days: Digests, 8 bytes each, by the day of their commit in UTC.
    """

    days: Mapping[date, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, properties: Mapping[str, str], pipeline: str) -> Self:
        """Read what a table remembers of a pipeline.

        Raises:
            DamagedError: The property holds something else.
        """
        text = properties.get(past_name(pipeline))
        if text is None:
            return cls()
        try:
            return cls({date.fromisoformat(d): base64.b64decode(t, validate=True) for d, t in json.loads(text).items()})
        except (ValueError, AttributeError, TypeError) as error:
            raise DamagedError(
                "The table's memory of older batches cannot be read. Look at its properties.", key=past_name(pipeline)
            ) from error

    @property
    def batches(self) -> int:
        """How many there are."""
        return sum(map(len, self.days.values())) // _DIGEST_BYTES

    def day_of(self, token: WriteToken) -> date | None:
        """Return the day on which a token was committed; None when it is not among them."""
        wanted = bytes.fromhex(token.digest)
        return next((day for day, known in self.days.items() if wanted in _digests(known)), None)

    def with_digest(self, digest: str, day: date) -> Past:
        """Return the memory with one more batch."""
        return Past({**self.days, day: self.days.get(day, b"") + bytes.fromhex(digest)})

    def without_old(self, *, today: date, keep_days: int, keep_batches: int) -> Past:
        """Return the memory without days that are old enough, and have enough newer batches."""
        kept, newer = {}, 0
        for day in sorted(self.days, reverse=True):
            if day >= today - timedelta(days=keep_days) or newer < keep_batches:
                kept[day] = self.days[day]
            newer += len(self.days[day]) // _DIGEST_BYTES
        return Past(kept)

    def to_text(self) -> str:
        """Return the text of the property."""
        days = {day.isoformat(): base64.b64encode(self.days[day]).decode() for day in sorted(self.days)}
        return json.dumps(days, separators=(",", ":"))


def past_name(pipeline: str) -> str:
    """Return the name of the property with a pipeline's older batches."""
    return PAST_PREFIX + WriteToken(pipeline, 0).key


def past_result(properties: Mapping[str, str], token: WriteToken, *, version: int) -> CommitResult | None:
    """Return what is known of an older text batch: that it was written, and on which day.

    Args:
        properties: The table's.
        token: The batch.
        version: A version that holds it.
    """
    day = None if token.is_ordered else Past.of(properties, token.pipeline).day_of(token)
    if day is None:
        return None
    at = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return CommitResult(token, version, at, None, None, None, None, None, replayed=True)


def condensed(
    properties: Mapping[str, str], token: WriteToken, *, at: datetime, spared: frozenset[int] = frozenset()
) -> dict[str, str | None]:
    """Decide what of its older text batches a table remembers less of, or forgets, when a token of a pipeline is added.

    Args:
        properties: The table's, without the new token.
        token: The new token.
        at: The instant of its commit.
        spared: Versions whose tokens stay as they are, because they are staged and may yet be taken back.

    Returns:
        Properties to set; None as a value removes.

    Raises:
        InvalidRequestError: A setting is not a number.
    """
    if token.is_ordered or sum(name.startswith(TOKEN_PREFIX) for name in properties) < WHOLE_TOKENS:
        return {}
    whole = sorted(_whole(properties, token.pipeline, spared))
    surplus = whole[: max(0, len(whole) + 1 - WHOLE_TOKENS)]
    if not surplus:
        return {}
    past = Past.of(properties, token.pipeline)
    for committed_at, name in surplus:
        past = past.with_digest(name.removeprefix(TOKEN_PREFIX), committed_at.astimezone(UTC).date())
    past = past.without_old(
        today=at.astimezone(UTC).date(),
        keep_days=_setting(properties, KEEP_DAYS_PROPERTY, KEEP_DAYS),
        keep_batches=_setting(properties, KEEP_BATCHES_PROPERTY, KEEP_BATCHES),
    )
    return {**{name: None for _, name in surplus}, past_name(token.pipeline): past.to_text()}


def _whole(properties: Mapping[str, str], pipeline: str, spared: frozenset[int]) -> Iterator[tuple[datetime, str]]:
    """Yield instant and property of the text batches that are remembered with what they wrote."""
    for name, text in properties.items():
        if not name.startswith(TOKEN_PREFIX) or name.startswith(PAST_PREFIX):
            continue
        try:
            value = json.loads(text)
            if value["pipeline"] == pipeline and isinstance(value["batch"], str) and value["version"] not in spared:
                yield datetime.fromisoformat(value["at"]), name
        except (ValueError, KeyError, TypeError):
            continue  # damage is told to whoever asks for that token


def _digests(content: bytes) -> frozenset[bytes]:
    return frozenset(content[at : at + _DIGEST_BYTES] for at in range(0, len(content), _DIGEST_BYTES))


def _setting(properties: Mapping[str, str], name: str, otherwise: int) -> int:
    text = properties.get(name, str(otherwise))
    if not text.isdecimal():
        raise InvalidRequestError(f"Property {name!r} is a number that is not negative. Correct it.", property=name)
    return int(text)
