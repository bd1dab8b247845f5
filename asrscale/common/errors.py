"""The errors that asrscale raises on purpose, and the exit codes of its commands.

Any other exception is a fault in asrscale and keeps its traceback.
"""

from asrscale.common.addresses import clean_text

EXIT_COMPLETE = 0
EXIT_FAULT = 1  # another attempt may fare better; what Python itself exits with for an exception
EXIT_USAGE = 2  # bad input or settings: change something before trying again
EXIT_STOPPED = 75  # stopped on request: the same command goes on (EX_TEMPFAIL of sysexits.h, "try again")
EXIT_INTERRUPTED = 130  # what shells report for Ctrl-C


class AsrscaleError(Exception):
    """Base of the errors that asrscale raises on purpose; no address in a message has a password or a query."""

    def __init__(self, message: str = "") -> None:
        super().__init__(clean_text(message))


class CliError(AsrscaleError):
    """Bad input or settings: one line that names the file, row, key or flag, and the cure."""


class OneRankError(CliError):
    """As a CliError, and of one rank alone, which prints it whichever rank it is."""


class TransientError(AsrscaleError):
    """Trouble that another attempt may not meet, such as ranks that start late: one line, too."""


class AudioError(AsrscaleError):
    """One recording cannot be used; the message is the reason that rejected.jsonl gives for it."""


class DataError(AsrscaleError):
    """A shard does not hold what its index promises; the message names shard and key."""


class OutOfTime(Exception):
    """The time of a run is over; raised before a step begins, on all ranks alike."""


class Stopped(Exception):  # not an AsrscaleError: it is no error
    """The run was requested to stop, and all ranks have agreed to."""
