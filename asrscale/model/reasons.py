"""Errors of other libraries as part of a message of one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from asrscale.common.checkpoint_files import hub_refusal
from asrscale.common.errors import AsrscaleError, CliError

MAX_CHARACTERS = 200  # some hold a whole page


def short_reason(error: Exception, max_characters: int = MAX_CHARACTERS) -> str:
    """Returns the beginning of an error's message, on one line."""
    return " ".join(str(error).split())[:max_characters]


@contextmanager
def one_line_errors(what: str, checkpoint: str) -> Iterator[None]:
    """Has whatever is wrong with a file of a checkpoint end in one line: others wrote it, and it may hold anything.

    Args:
        what: What cannot be loaded, as `--model NAME: its vocab.json`.
        checkpoint: A folder, or an id of the hub.

    Raises:
        CliError: In the place of any error but our own.
    """
    try:
        yield
    except AsrscaleError:
        raise
    except Exception as error:
        kind = type(error).__name__
        is_clear = isinstance(error, OSError | ValueError | TypeError) and str(error)
        reason = hub_refusal(checkpoint, error) or (
            short_reason(error) if is_clear else f"{kind} {short_reason(error)}"
        )
        raise CliError(f"{what} cannot be loaded: {reason.strip()}") from error
