"""Rows of a shard that are packed several at a time."""

import io
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asrscale.corpus import packing
from asrscale.corpus.checks import Rules
from asrscale.corpus.packing import pack_rows
from asrscale.corpus.shard_task import Task
from asrscale.sources.rows import Row

NUM_ROWS = 37  # more than two batches, and not a whole number of them


def make_task(folder: Path) -> Task:
    """Every fifth row has no transcript, and every seventh no sound."""
    soundfile.write(folder / "sound.wav", 0.5 * np.sin(np.arange(16_000) / 10), 16_000)
    soundfile.write(folder / "silence.wav", np.zeros(16_000), 16_000)
    rows = tuple(
        Row(line, "a.csv", "sound.wav" if line % 7 else "silence.wav", f"text {line} %" if line % 5 else "", {})
        for line in range(1, NUM_ROWS + 1)
    )
    return Task(str(folder / "train-000000.tar"), "train", rows, str(folder), Rules(0.1, 20))


@pytest.mark.parametrize("bytes_at_once", [1, 40_000, 1 << 20])
def test_utterances_and_rejects_are_in_the_order_of_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bytes_at_once: int
) -> None:
    monkeypatch.setattr(packing, "_BYTES_AT_ONCE", bytes_at_once)
    tar = io.BytesIO()
    packed = pack_rows(make_task(tmp_path), tar, lambda _: None)
    lines = range(1, NUM_ROWS + 1)
    used = [line for line in lines if line % 5 and line % 7]
    assert [utterance.text for utterance in packed.utterances] == [f"text {line}" for line in used]
    assert [reject.line for reject in packed.rejects] == [line for line in lines if line not in used]
    reasons = {reject.line: reject.reason for reject in packed.rejects}
    assert (reasons[5], reasons[7], reasons[35]) == ("empty transcript", "silent", "empty transcript")
    assert packed.symbols == Counter({"%": len(used)})
    offsets = [utterance.offset for utterance in packed.utterances]
    with tarfile.open(fileobj=io.BytesIO(tar.getvalue())) as written:
        assert offsets == [member.offset_data for member in written if member.name.endswith(".flac")]


def test_the_row_in_hand_is_known_while_its_text_and_its_recording_are_looked_at(tmp_path: Path) -> None:
    """So that a worker's death is blamed on the right one."""
    task = make_task(tmp_path)
    begun: list[int] = []
    pack_rows(task, io.BytesIO(), begun.append)
    times = Counter(begun)
    assert [times[number] for number in range(NUM_ROWS)] == [1 if row.text == "" else 2 for row in task.rows]


def test_a_fault_names_its_row_and_not_the_first_of_those_beside_it(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    broken = replace(task.rows[20], extra={"speaker": 3})  # type: ignore[dict-item]  # no reader makes such a row
    rows = (*task.rows[:20], broken, *task.rows[21:])
    packed = pack_rows(replace(task, rows=rows), io.BytesIO(), lambda _: None)
    faults = [reject.line for reject in packed.rejects if reject.reason == "fault"]
    assert faults == [broken.line]
