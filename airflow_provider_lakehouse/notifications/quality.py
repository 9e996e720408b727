"""Tell people that data did not pass: by Slack, by a webhook, or by mail."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseNotifier

from airflow_provider_lakehouse.notifications.channels import send_message
from airflow_provider_lakehouse.notifications.message import message_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class LakehouseQualityNotifier(BaseNotifier):
    """Send one message about a task that failed, or a run that missed its deadline.

    It names table, checks, counts, severities, owners, run, the task's page and the page about what its checks found, and no value
    of a row. Use it as
    `on_failure_callback`, or in a `DeadlineAlert`, where only the run is known.

    Args:
        channel: `slack`, `webhook` or `email`.
        conn_id: A connection of the channel's provider: `slackwebhook`, `http` or `smtp`.
        to: Addresses of a mail, as a list, or as text with commas.
        endpoint: Path of the webhook below the connection's host; None for the host itself.
        context: Airflow's; given where a deadline is missed.
    """

    template_fields: Sequence[str] = ("channel", "conn_id", "to", "endpoint")

    def __init__(
        self,
        *,
        channel: Literal["slack", "webhook", "email"],
        conn_id: str,
        to: str | Sequence[str] = (),
        endpoint: str | None = None,
        context: Any = None,  # noqa: ANN401 - as Airflow gives it
    ) -> None:
        super().__init__(context)
        self.channel = channel
        self.conn_id = conn_id
        self.to = to
        self.endpoint = endpoint

    def notify(self, context: Mapping[str, Any]) -> None:
        """Send the message.

        Raises:
            InvalidRequestError: There is no such channel, or a mail has no address.
            UnsupportedError: The provider of the channel is not installed.
        """
        names = self.to.split(",") if isinstance(self.to, str) else self.to
        send_message(
            message_of(context),
            channel=self.channel,
            conn_id=self.conn_id,
            to=[name.strip() for name in names if name.strip()],
            endpoint=self.endpoint,
        )

    async def async_notify(self, context: Mapping[str, Any]) -> None:
        """Send the message without blocking the event loop: in a triggerer."""
        await asyncio.to_thread(self.notify, context)
