"""Errors that a user can fix, and messages of libraries as one line."""

from collections.abc import Sequence

LENGTH = 200  # characters of a library's message


class UserError(Exception):
    """A mistake in input or configuration, printed as one line without a traceback: `WHERE: WHAT; REMEDY`.

    `where` is the file, option or key, `what` is wrong with it, `remedy` fixes it; `details` follow, one per line.
    It can be pickled, so worker processes can raise it. PPL_TRACEBACK=1 prints the traceback (`ppl.jobs.command`).
    """

    def __init__(self, where: object, what: str, remedy: str, details: Sequence[str] = ()) -> None:
        super().__init__(where, what, remedy, tuple(details))
        self.where, self.what, self.remedy, self.details = where, what, remedy, tuple(details)

    def __str__(self) -> str:
        return "\n  ".join([f"{self.where}: {self.what}; {self.remedy}", *self.details])


def reason(error: Exception) -> str:
    """Return the message of an exception in one line of bounded length; its type if the message is empty."""
    text = " ".join(str(error).split())
    if len(text) > LENGTH:
        return f"{text[:LENGTH]} ..."
    return text or type(error).__name__
