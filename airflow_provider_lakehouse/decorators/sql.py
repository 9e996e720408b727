"""`@task.lakehouse_sql`: a function returns the query, Airflow runs it in the lakehouse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import (
    SET_DURING_EXECUTION,
    DecoratedOperator,
    context_merge,
    determine_kwargs,
    task_decorator_factory,
)

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.operators.query import LakehouseQueryOperator

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from airflow.providers.common.compat.sdk import TaskDecorator
    from airflow.sdk import Context


class LakehouseSqlDecoratedOperator(DecoratedOperator, LakehouseQueryOperator):
    """Run the query that a function returns; see `LakehouseQueryOperator` for the arguments, retries and kills.

    Args:
        python_callable: Returns one SELECT; it may hold Jinja.
        op_args: Its positional arguments.
        op_kwargs: Its keyword arguments.
        **options: Of `LakehouseQueryOperator`, but `sql`.
    """

    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *(name for name in LakehouseQueryOperator.template_fields if name not in DecoratedOperator.template_fields),
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **DecoratedOperator.template_fields_renderers,
        **LakehouseQueryOperator.template_fields_renderers,
    }
    custom_operator_name = "@task.lakehouse_sql"
    overwrite_rtif_after_execution = True

    def __init__(
        self,
        *,
        python_callable: Callable[..., str],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(
            python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, sql=SET_DURING_EXECUTION, **options
        )

    def execute(self, context: Context) -> Any:  # noqa: ANN401
        """Ask the function for the query, render it and run it."""
        context_merge(context, self.op_kwargs)
        arguments = determine_kwargs(self.python_callable, self.op_args, context)
        sql: object = self.python_callable(*self.op_args, **arguments)
        if not isinstance(sql, str) or not sql.strip():
            raise InvalidRequestError(
                f"Function {self.python_callable.__name__!r} returns no SQL. Return the text of one SELECT.",
                returned=type(sql).__name__,
            )
        self.sql = sql
        self.render_template_fields(context)
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
