"""`@task.lakehouse_check`: a function returns the checks, Airflow runs them in the lakehouse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import DecoratedOperator, task_decorator_factory

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.decorators.filled import FilledOperator, all_template_fields
from airflow_provider_lakehouse.operators.check import LakehouseCheckOperator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow.providers.common.compat.sdk import TaskDecorator
    from airflow.sdk import Context

    from airflow_provider_lakehouse.core.quality.checks import Check


class LakehouseCheckDecoratedOperator(FilledOperator, LakehouseCheckOperator):
    """Run the checks that a function returns; see `LakehouseCheckOperator` for the arguments, retries and kills.

    Args:
        python_callable: Returns checks, or mappings that describe them; never none at all.
        op_args: Its positional arguments.
        op_kwargs: Its keyword arguments.
        **options: Of `LakehouseCheckOperator`, but `checks`.
    """

    filled = "checks"
    custom_operator_name = "@task.lakehouse_check"
    template_fields: Sequence[str] = all_template_fields(LakehouseCheckOperator)
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **DecoratedOperator.template_fields_renderers,
        **LakehouseCheckOperator.template_fields_renderers,
    }

    def accept(self, returned: object) -> list[Any]:
        """Refuse what is no list, and an empty one: a task that checks nothing would pass."""
        if not isinstance(returned, (list, tuple)) or not returned:
            raise InvalidRequestError(
                f"Function {self.python_callable.__name__!r} returns no checks. Return a list of at least one.",
                returned=type(returned).__name__,
            )
        return list(returned)

    def execute(self, context: Context) -> dict[str, Any]:
        """Ask the function for the checks and run them."""
        self.fill(context)
        return LakehouseCheckOperator.execute(self, context)


def lakehouse_check_task(
    python_callable: Callable[..., Sequence[Mapping[str, Any] | Check]] | None = None,
    **options: Any,  # noqa: ANN401
) -> TaskDecorator:
    """Turn a function that returns checks into a task; Airflow offers it as `@task.lakehouse_check`.

    Args:
        python_callable: The function.
        **options: Of `LakehouseCheckOperator`.

    Returns:
        The decorated function.
    """
    return task_decorator_factory(
        python_callable=python_callable, decorated_operator_class=LakehouseCheckDecoratedOperator, **options
    )
