"""The measured speed of a card."""

import json
import math
from pathlib import Path

import pytest

from asrscale.common.errors import CliError
from asrscale.memory.card_speed import read_calibration
from asrscale.memory.gpus import Slowdown

TIMES = {"least": 2, "likely": 2.5, "most": 3.0}
NO_TIMES = (0, -1, 9, True, "2", None, math.nan, math.inf)
USELESS = [
    "",
    "[]",
    "{",
    "{}",
    json.dumps({"card": "A100"}),
    json.dumps({"card": 1, "slowdown": TIMES}),
    json.dumps({"card": "A100\x1b[31m", "slowdown": TIMES}),
    json.dumps({"card": "A100", "slowdown": [2, 3, 4]}),
    *(json.dumps({"card": "A100", "slowdown": TIMES | {"likely": wrong}}) for wrong in NO_TIMES),
    '{"card": "A100", "slowdown": {"least": 1, "likely": 2, "most": 1' + "0" * 400 + "}}",
]


def test_what_gpu_check_writes_is_read(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text(json.dumps({"card": "NVIDIA A100", "slowdown": TIMES, "parts": [1, 2]}))
    expected = Slowdown(2.0, 2.5, 3.0, source="as measured on NVIDIA A100")
    assert read_calibration(str(tmp_path / "card.json")) == expected


@pytest.mark.parametrize("content", USELESS)
def test_another_file_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "card.json").write_text(content)
    with pytest.raises(CliError, match=r"^--calibration .*card\.json: ") as caught:
        read_calibration(str(tmp_path / "card.json"))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(CliError, match=r"^--calibration .*absent\.json: cannot be read: "):
        read_calibration(str(tmp_path / "absent.json"))
