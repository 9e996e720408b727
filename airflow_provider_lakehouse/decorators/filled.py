"""What the decorators share: a function returns one argument of an operator when the task runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import (
    SET_DURING_EXECUTION,
    DecoratedOperator,
    context_merge,
    determine_kwargs,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from airflow.sdk import Context


class FilledOperator(DecoratedOperator):
    """Asks a function for the argument `filled`, renders it, and lets the operator it is mixed into run.

    Args:
        python_callable: Returns the argument; what it returns may hold Jinja.
        op_args: Its positional arguments.
        op_kwargs: Its keyword arguments.
        **options: Of the operator, but the argument that is filled.
    """

    filled: ClassVar[str]
    overwrite_rtif_after_execution = True

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        options[self.filled] = SET_DURING_EXECUTION
        super().__init__(python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, **options)

    def accept(self, returned: object) -> Any:  # noqa: ANN401
        """Return what the function returned as the argument it stands for.

        Raises:
            InvalidRequestError: It cannot be.
        """
        return returned

    def fill(self, context: Context) -> None:
        """Ask the function and render what it returns."""
        context_merge(context, self.op_kwargs)
        arguments = determine_kwargs(self.python_callable, self.op_args, context)
        setattr(self, self.filled, self.accept(self.python_callable(*self.op_args, **arguments)))
        self.render_template_fields(context)


def all_template_fields(operator: type) -> tuple[str, ...]:
    """Return the template fields of a decorated operator: Airflow's first, then the operator's own."""
    own: tuple[str, ...] = tuple(getattr(operator, "template_fields", ()))
    shared = tuple(DecoratedOperator.template_fields)
    return (*shared, *(name for name in own if name not in shared))
