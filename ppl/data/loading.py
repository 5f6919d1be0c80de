"""Errors of a user's files in the worker processes of a torch DataLoader, which sends them on as tracebacks."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from ppl.files import UserError


class LoadingError(UserError):
    """A UserError that stays one line on its way: the DataLoader makes it anew of the text of a traceback."""

    def __init__(self, text: str) -> None:
        super().__init__(text.rpartition(f"{LoadingError.__name__}: ")[2].strip())


def in_one_line(get: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A `__getitem__` whose UserErrors cross from a worker process as they were."""

    @wraps(get)
    def item(self: Any, index: Any) -> Any:
        try:
            return get(self, index)
        except UserError as error:
            raise LoadingError(str(error)) from None

    return item
