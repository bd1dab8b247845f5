"""The errors a person meets, and the exit codes a program meets.

Everything else that is raised is a fault of ours and keeps its traceback.
"""

EXIT_COMPLETE = 0


EXIT_FAULT = 1  # another attempt may fare better; what Python itself gives for an exception


EXIT_USAGE = 2  # bad input or settings: change something before trying again


EXIT_INTERRUPTED = 130  # what shells report for Ctrl-C


EXIT_STOPPED = 75  # stopped on request: the same command goes on (EX_TEMPFAIL of sysexits.h, "try again")


class AsrscaleError(Exception):
    """Base of the errors that asrscale raises on purpose."""


class CliError(AsrscaleError):
    """Bad input or settings: one line that names the file, row, key or flag, and the cure."""


class TransientError(AsrscaleError):
    """Trouble that another attempt may not meet, such as ranks that come late; one line, too."""


class AudioError(AsrscaleError):
    """One recording cannot be used; the message is the reason, as it stands in rejected.jsonl."""


class DataError(AsrscaleError):
    """A shard does not hold what its index promises; names shard and key."""


class Stopped(Exception):  # no error: somebody asked for it
    """Somebody asked the run to stop, and all ranks have agreed to."""
