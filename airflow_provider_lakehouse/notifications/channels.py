"""Ways to send a message: the hooks of Airflow's own providers, imported when they are used."""

from __future__ import annotations

import json
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.errors import InvalidRequestError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_provider_lakehouse.notifications.message import QualityMessage


def send_message(
    message: QualityMessage, *, channel: str, conn_id: str, to: Sequence[str] = (), endpoint: str | None = None
) -> None:
    """Send a message.

    Args:
        message: What.
        channel: `slack` (a connection of an incoming webhook), `webhook` (an HTTP connection; JSON is posted), or `email`
            (an SMTP connection that says from whom).
        conn_id: The connection.
        to: Addresses of a mail.
        endpoint: Path of the webhook below the connection's host; None for the host itself.

    Raises:
        InvalidRequestError: There is no such channel, or a mail has no address.
        UnsupportedError: The provider of the channel is not installed.
    """
    if channel not in CHANNELS:
        raise InvalidRequestError(
            f"There is no channel {channel!r}. Use one of those there are.", channels=tuple(CHANNELS)
        )
    CHANNELS[channel](message, conn_id, tuple(to), endpoint)


def _slack(message: QualityMessage, conn_id: str, _to: tuple[str, ...], _endpoint: str | None) -> None:
    hook = _hook("airflow.providers.slack.hooks.slack_webhook", "SlackWebhookHook", "apache-airflow-providers-slack")
    hook(slack_webhook_conn_id=conn_id).send(text=message.slack_text)


def _webhook(message: QualityMessage, conn_id: str, _to: tuple[str, ...], endpoint: str | None) -> None:
    hook = _hook("airflow.providers.http.hooks.http", "HttpHook", "apache-airflow-providers-http")
    body, headers = json.dumps(message.to_json()), {"Content-Type": "application/json"}
    hook(method="POST", http_conn_id=conn_id).run(endpoint, data=body, headers=headers)


def _email(message: QualityMessage, conn_id: str, to: tuple[str, ...], _endpoint: str | None) -> None:
    if not to:
        raise InvalidRequestError("A mail needs somebody to go to. Give 'to'.")
    hook = _hook("airflow.providers.smtp.hooks.smtp", "SmtpHook", "apache-airflow-providers-smtp")
    with hook(smtp_conn_id=conn_id) as opened:
        opened.send_email_smtp(to=list(to), subject=message.subject, html_content=message.html)


def _hook(module: str, name: str, package: str) -> Any:  # noqa: ANN401
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        raise UnsupportedError(
            f"The package {package!r} is not installed, and sends such messages. Install it.", package=package
        ) from error


CHANNELS: Final[dict[str, Callable[[QualityMessage, str, tuple[str, ...], str | None], None]]] = {
    "slack": _slack,
    "webhook": _webhook,
    "email": _email,
}
"""Every channel, by its name."""
