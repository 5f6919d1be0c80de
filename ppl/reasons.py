"""What a library says is wrong, for the one line of a UserError."""

LENGTH = 200


def reason(error: Exception) -> str:
    """The message of an exception in one line of bounded length; its type where it says nothing."""
    text = " ".join(str(error).split())
    if len(text) > LENGTH:
        return f"{text[:LENGTH]} ..."
    return text or type(error).__name__
