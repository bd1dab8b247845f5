"""What a shard was made of, and whether that has changed; test_repair.py has whole builds."""

from dataclasses import replace
from pathlib import Path

from asrscale.corpus.shard_inputs import (
    has_repaired_recording,
    inputs_of,
    inputs_path,
    is_content,
    join_inputs,
    read_joined_inputs,
    sum_of_content,
    write_inputs,
)
from asrscale.sources.rows import Row

ROWS = [Row(line, "a.csv", f"{line}.wav", f"text {line}", {"age": "7"}) for line in range(2, 6)]
STATUSES = [(100, 1), None, (100, 3), (100, 4)]


def test_a_recording_that_was_missing_or_is_another_one_repairs_its_shard() -> None:
    before = inputs_of("out/train/train-000000.tar", ROWS, [], STATUSES)
    assert before.shard == "train-000000.tar"
    for statuses, is_repaired in (
        (STATUSES, False),
        ([(100, 1), (7, 7), (100, 3), (100, 4)], True),
        ([(100, 1), None, (100, 9), (100, 4)], True),
        ([None, None, None, None], False),  # what was built of them stays
    ):
        assert has_repaired_recording(before, inputs_of("x.tar", ROWS, [], statuses)) == is_repaired
    assert has_repaired_recording(before, inputs_of("x.tar", ROWS[1:], [], STATUSES[1:]))


def test_what_rows_say_is_the_same_in_any_order_and_wherever_their_recordings_lie() -> None:
    elsewhere = [replace(row, tar="b.tar", tar_offset=512, tar_size=9) for row in reversed(ROWS)]
    assert sum_of_content(elsewhere) == sum_of_content(ROWS)
    assert sum_of_content([replace(ROWS[0], audio="2.flac"), *ROWS[1:]]) == sum_of_content(ROWS)
    for other in (replace(ROWS[0], text="other"), replace(ROWS[0], audio="9.wav"), replace(ROWS[0], extra={})):
        assert sum_of_content([other, *ROWS[1:]]) != sum_of_content(ROWS)

    shards = [inputs_of("a.tar", ROWS[:2], ROWS[2:3], STATUSES[:2]), inputs_of("b.tar", ROWS[3:], [], STATUSES[3:])]
    assert is_content(ROWS, shards)
    assert not is_content(ROWS[1:], shards)
    assert not is_content(ROWS, [replace(shards[0], content=""), shards[1]])  # of an older version: not known


def test_the_inputs_of_a_split_are_read_as_they_were_written(tmp_path: Path) -> None:
    tars = [tmp_path / "train" / f"train-{number:06d}.tar" for number in range(3)]
    tars[0].parent.mkdir()
    written = [inputs_of(str(tar), ROWS, [], STATUSES) for tar in tars[:2]]
    for tar, inputs in zip(tars, written, strict=False):
        write_inputs(tar, inputs)
    assert inputs_path(tars[0]).exists() and read_joined_inputs(str(tmp_path), "train") == {}
    join_inputs(str(tmp_path), "train", tars)
    assert list(read_joined_inputs(str(tmp_path), "train").values()) == written

    path = tmp_path / ".recordings-train.jsonl"
    path.write_text('{"shard": "a", "unheard": 1}\n')
    assert read_joined_inputs(str(tmp_path), "train") == {}
    for tar in tars:
        inputs_path(tar).unlink(missing_ok=True)
    join_inputs(str(tmp_path), "train", tars)
    assert not path.exists()


def test_damaged_inputs_are_not_known(tmp_path: Path) -> None:
    tars = [tmp_path / f"train-{number:06d}.tar" for number in range(4)]
    write_inputs(tars[0], inputs_of(str(tars[0]), ROWS, [], STATUSES))
    for tar, content in zip(tars[1:], ("[" * 100_000, '{"shard": ', "[]"), strict=True):
        inputs_path(tar).write_text(content)
    join_inputs(str(tmp_path), "train", tars)
    assert list(read_joined_inputs(str(tmp_path), "train")) == ["train-000000.tar"]
