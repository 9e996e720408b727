"""`@task.lakehouse_sql`: a function returns the query, Airflow runs it in the lakehouse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import DecoratedOperator, task_decorator_factory

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.decorators.filled import FilledOperator, all_template_fields
from airflow_provider_lakehouse.operators.query import LakehouseQueryOperator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow.providers.common.compat.sdk import TaskDecorator
    from airflow.sdk import Context


class LakehouseSqlDecoratedOperator(FilledOperator, LakehouseQueryOperator):
    """Run the query that a function returns; see `LakehouseQueryOperator` for the arguments, retries and kills.

    Args:
        python_callable: Returns one SELECT; it may hold Jinja.
        op_args: Its positional arguments.
        op_kwargs: Its keyword arguments.
        **options: Of `LakehouseQueryOperator`, but `sql`.
    """

    filled = "sql"
    custom_operator_name = "@task.lakehouse_sql"
    template_fields: Sequence[str] = all_template_fields(LakehouseQueryOperator)
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **DecoratedOperator.template_fields_renderers,
        **LakehouseQueryOperator.template_fields_renderers,
    }

    def accept(self, returned: object) -> str:
        """Refuse what is no text."""
        if not isinstance(returned, str) or not returned.strip():
            raise InvalidRequestError(
                f"Function {self.python_callable.__name__!r} returns no SQL. Return the text of one SELECT.",
                returned=type(returned).__name__,
            )
        return returned

    def execute(self, context: Context) -> Any:  # noqa: ANN401
        """Ask the function for the query and run it."""
        self.fill(context)
        return LakehouseQueryOperator.execute(self, context)


def lakehouse_sql_task(python_callable: Callable[..., str] | None = None, **options: Any) -> TaskDecorator:  # noqa: ANN401
    """Turn a function that returns SQL into a task; Airflow offers it as `@task.lakehouse_sql`.

    Args:
        python_callable: The function.
        **options: Of `LakehouseQueryOperator`.

    Returns:
        The decorated function.
    """
    return task_decorator_factory(
        python_callable=python_callable, decorated_operator_class=LakehouseSqlDecoratedOperator, **options
    )
