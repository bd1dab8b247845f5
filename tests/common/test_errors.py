"""The errors that asrscale raises on purpose, and what a command makes of each."""

from dataclasses import dataclass

import pytest

from asrscale.common import cli
from asrscale.common.errors import (
    EXIT_FAULT,
    EXIT_USAGE,
    AsrscaleError,
    AudioError,
    CliError,
    DataError,
    Stopped,
    TransientError,
)


@dataclass(frozen=True)
class NoFlags:
    """Fails."""


@pytest.mark.parametrize(
    ("error", "code"),
    [(CliError, EXIT_USAGE), (TransientError, EXIT_FAULT), (AudioError, EXIT_FAULT), (DataError, EXIT_FAULT)],
)
def test_what_is_raised_on_purpose_is_one_line_and_only_bad_input_is_not_to_be_tried_again(
    error: type[AsrscaleError], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: NoFlags) -> None:
        raise error("a.csv line 3: no text")

    with pytest.raises(SystemExit) as end:
        cli.main(NoFlags, fail, [])
    assert end.value.code == code
    assert capsys.readouterr().err == "error: a.csv line 3: no text\n"


@pytest.mark.parametrize("error", [Stopped, ValueError])
def test_what_is_no_error_of_ours_is_not_made_a_line(error: type[Exception]) -> None:
    def fail(_: NoFlags) -> None:
        raise error("inside")

    with pytest.raises(error):
        cli.main(NoFlags, fail, [])
