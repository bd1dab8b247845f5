"""Errors of other libraries as part of a message of one line."""

MAX_CHARACTERS = 200  # some hold a whole page


def short_reason(error: Exception, max_characters: int = MAX_CHARACTERS) -> str:
    """Returns the beginning of an error's message, on one line."""
    return " ".join(str(error).split())[:max_characters]
