"""Errors that a user can act on, and what a library says is wrong as one line of them."""

from collections.abc import Sequence

LENGTH = 200


class UserError(Exception):
    """A mistake in input or configuration, shown as one line without a traceback: `WHERE: WHAT; REMEDY`.

    `where` is the file, option or key, `what` is wrong with it, `remedy` tells what to do. `details` are listed below,
    one a line. Pickles as it is, so that worker processes can raise it.
    """

    def __init__(self, where: object, what: str, remedy: str, details: Sequence[str] = ()) -> None:
        super().__init__(where, what, remedy, tuple(details))
        self.where, self.what, self.remedy, self.details = where, what, remedy, tuple(details)

    def __str__(self) -> str:
        return "\n  ".join([f"{self.where}: {self.what}; {self.remedy}", *self.details])


def reason(error: Exception) -> str:
    """The message of an exception in one line of bounded length; its type where the message is empty."""
    text = " ".join(str(error).split())
    if len(text) > LENGTH:
        return f"{text[:LENGTH]} ..."
    return text or type(error).__name__
