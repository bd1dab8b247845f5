"""lhotse's manifests and Shar folders to rows."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.sources import refusal_of, rows_of, tone, write, write_tar

from asrscale.sources.recordings import open_audio
from asrscale.sources.rows import Row
from asrscale.speech.decoding import decode

RECORDING = {
    "id": "r0",
    "sources": [{"type": "file", "channels": [0], "source": "wavs/r0.wav"}],
    "sampling_rate": 16000,
    "num_samples": 48000,
    "duration": 3.0,
    "channel_ids": [0],
}
SUPERVISIONS = [
    {
        "id": f"s{number}",
        "recording_id": "r0",
        "start": float(number),
        "duration": 1.0,
        "channel": 0,
        "text": f"text {number}",
        "language": "en",
        "speaker": "ann",
    }
    for number in range(2)
]
CUT = {
    "id": "c0",
    "start": 0.5,
    "duration": 2.5,
    "channel": 0,
    "supervisions": SUPERVISIONS,
    "recording": RECORDING,
    "type": "MonoCut",
}


def write_lines(path: Path, objects: list[dict[str, Any]]) -> str:
    content = "".join(json.dumps(value) + "\n" for value in objects).encode()
    return write(path, gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize("name", ["cuts.jsonl", "cuts.jsonl.gz"])
def test_a_supervision_of_a_cut_is_a_row(tmp_path: Path, name: str) -> None:
    path = write_lines(tmp_path / name, [CUT, CUT | {"id": "c1", "supervisions": []}])
    extra = {"language": "en", "speaker": "ann"}
    assert rows_of(path) == [
        Row(1, path, "wavs/r0.wav", "text 0", {"id": "s0", **extra}, 0.5, 1.0),
        Row(2, path, "wavs/r0.wav", "text 1", {"id": "s1", **extra}, 1.5, 1.0),
        Row(3, path, "wavs/r0.wav", "", {}, 0.5, 2.5),  # will be rejected, not left out
    ]


def test_supervisions_and_recordings_are_found_by_each_other_s_names(tmp_path: Path) -> None:
    whole = SUPERVISIONS[0] | {"id": "whole", "duration": 3.0}
    path = write_lines(tmp_path / "x_supervisions_train.jsonl.gz", [*SUPERVISIONS, whole])
    assert "a manifest of supervisions without its recordings" in refusal_of(path)
    recordings = write_lines(tmp_path / "x_recordings_train.jsonl.gz", [RECORDING])
    for given in (path, recordings):
        rows = rows_of(given)
        assert [(row.line, row.text, row.segment) for row in rows] == [
            (1, "text 0", (0.0, 1.0)),
            (2, "text 1", (1.0, 1.0)),
            (3, "text 0", (0.0, None)),  # all of it
        ]
    write_lines(tmp_path / "x_recordings_train.jsonl.gz", [RECORDING | {"id": "other"}])
    assert "line 1: recording 'r0' is not in" in refusal_of(path)


def test_a_channel_of_several_is_a_column(tmp_path: Path) -> None:
    stereo = RECORDING | {"sources": [{"type": "file", "channels": [0, 1], "source": "a.wav"}], "channel_ids": [0, 1]}
    supervisions = [SUPERVISIONS[0], SUPERVISIONS[1] | {"channel": 1}]
    rows = rows_of(write_lines(tmp_path / "c.jsonl", [CUT | {"recording": stereo, "supervisions": supervisions}]))
    assert [row.extra.get("channel") for row in rows] == ["0", "1"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recording": RECORDING | {"transforms": [{"name": "Speed"}]}}, "changed on the fly (Speed): save its audio"),
        (
            {
                "recording": RECORDING
                | {"sources": [{"type": "command", "channels": [0], "source": "sox x -t wav - |"}]}
            },
            "read from command, not from one file: save its audio",
        ),
        ({"type": "MixedCut"}, "line 1: a MixedCut, which is made of several: save its audio"),
        ({"recording": None}, "a cut without a recording"),
        ({"start": "now"}, "start 'now' is no number of seconds"),
    ],
)
def test_cuts_that_need_lhotse_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    assert message in refusal_of(write_lines(tmp_path / "c.jsonl", [CUT | changes]))


def test_shar(tmp_path: Path) -> None:
    in_tar = RECORDING | {"sources": [{"type": "shar", "channels": [0], "source": ""}], "duration": 1.0}
    for shard, seconds in (("000000", 1.0), ("000001", 2.0)):
        cuts = [
            {
                **CUT,
                "id": f"{shard}-{n}",
                "start": 0,
                "duration": 1.0,
                "recording": in_tar,
                "supervisions": [supervision],
            }
            for n, supervision in enumerate([SUPERVISIONS[0], SUPERVISIONS[0] | {"duration": 0.25}])
        ]
        write_lines(tmp_path / f"cuts.{shard}.jsonl.gz", cuts)
        manifest = json.dumps(in_tar).encode()
        write_tar(
            tmp_path / f"recording.{shard}.tar",
            {f"{shard}-0.wav": tone(seconds), f"{shard}-0.json": manifest, f"{shard}-1.wav": tone(seconds)},
        )
    rows = rows_of(tmp_path)
    assert [row.line for row in rows] == [1, 2, 3, 4]
    lengths = [len(decode(open_audio(row, str(tmp_path)), 20, *row.segment)[0]) for row in rows]
    assert lengths == [16_000, 4_000, 32_000, 4_000]
    (tmp_path / "recording.000001.tar").unlink()
    assert "recording.000001.tar, which has its recordings: copy it, or export" in refusal_of(tmp_path)


def test_what_lhotse_itself_writes(tmp_path: Path) -> None:
    """Every supervision's sound, by lhotse and by us, from cuts, from both manifests and from Shar."""
    lhotse = pytest.importorskip("lhotse", reason="`make bench` installs it")
    (tmp_path / "r0.wav").write_bytes(tone(3.0))
    recording = lhotse.Recording.from_file(tmp_path / "r0.wav")
    segments = [lhotse.SupervisionSegment(**{**member, "recording_id": recording.id}) for member in SUPERVISIONS]
    recordings = lhotse.RecordingSet.from_recordings([recording])
    supervisions = lhotse.SupervisionSet.from_segments(segments)
    recordings.to_file(tmp_path / "recordings.jsonl.gz")
    supervisions.to_file(tmp_path / "supervisions.jsonl.gz")
    cuts = lhotse.CutSet.from_manifests(recordings=recordings, supervisions=supervisions)
    cuts.to_file(tmp_path / "cuts.jsonl")
    trimmed = cuts.trim_to_supervisions().to_eager()
    (tmp_path / "shar").mkdir()
    trimmed.to_shar(tmp_path / "shar", fields={"recording": "wav"})

    expected = [(cut.supervisions[0].text, cut.load_audio()[0]) for cut in trimmed]
    for name in ("cuts.jsonl", "supervisions.jsonl.gz", "recordings.jsonl.gz", "shar"):
        rows = rows_of(tmp_path / name)
        for row, (text, samples) in zip(rows, expected, strict=True):
            assert row.text == text
            waveform, _ = decode(open_audio(row, str(tmp_path)), 20, *row.segment)
            np.testing.assert_array_equal(waveform, samples)
