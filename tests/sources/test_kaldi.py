"""Kaldi's data folders to rows."""

from pathlib import Path

import pytest
from helpers.sources import refusal_of, root_of, rows_of, write

from asrscale.sources.opening import open_source
from asrscale.sources.rows import Row


def kaldi_folder(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    names = {"wav": "wav.scp", "channels": "reco2file_and_channel"}
    for name, content in files.items():
        write(folder / names.get(name, name), content)
    return folder


def test_an_utterance_a_recording(tmp_path: Path) -> None:
    folder = kaldi_folder(
        tmp_path / "data",
        wav="a-1 audio/a 1.wav\na-2 /abs/a2.flac\nb-1\taudio/b1.wav\nno-text audio/n.wav\n",
        text="a-1 hello there\na-2 two  spaces\nb-1\tby tab\nno-wav lost\n",
        utt2spk="a-1 ann\na-2 ann\nb-1 bo\n",
    )
    source = str(folder / "text")
    expected = [
        Row(1, source, "audio/a 1.wav", "hello there", {"id": "a-1", "speaker": "ann"}),
        Row(2, source, "/abs/a2.flac", "two  spaces", {"id": "a-2", "speaker": "ann"}),
        Row(3, source, "audio/b1.wav", "by tab", {"id": "b-1", "speaker": "bo"}),
        Row(4, source, "audio/n.wav", "", {"id": "no-text"}),  # will be rejected, not left out
        Row(5, source, "no-wav", "lost", {"id": "no-wav"}),
    ]
    for path in (folder, folder / "text", folder / "wav.scp"):
        assert rows_of(path) == expected
        assert root_of(path) == str(folder)


def test_segments_and_channels(tmp_path: Path) -> None:
    folder = kaldi_folder(
        tmp_path,
        wav="call-A call.wav\ncall-B call.wav\n",
        text="a1 one\na2 two\nb1 three\n",
        segments="a1 call-A 0.5 2.25\na2 call-A 2.25 -1\nb1 call-B 1 2\n",
        channels="call-A call A\ncall-B call B\n",
    )
    found = [(row.audio, row.text, row.segment, row.extra["channel"]) for row in rows_of(folder)]
    assert found == [
        ("call.wav", "one", (0.5, 1.75), "0"),
        ("call.wav", "two", (2.25, None), "0"),
        ("call.wav", "three", (1.0, 1.0), "1"),
    ]


def test_folders_for_splits(tmp_path: Path) -> None:
    for split in ("train", "dev", "test", "local", "lang"):
        folder = tmp_path / "data" / split
        if split in ("local", "lang"):
            folder.mkdir()
        else:
            kaldi_folder(folder, wav="a a.wav\n", text=f"a {split}\n")
    source = open_source(str(tmp_path / "data"))
    found = [(row.line, row.audio, row.text, row.extra["split"]) for row in source.read_rows()]
    assert found == [
        (1, "dev/a.wav", "dev", "valid"),
        (2, "test/a.wav", "test", "test"),
        (3, "train/a.wav", "train", "train"),
    ]
    assert source.split_column == "split"
    kaldi_folder(tmp_path / "data/train_sp", wav="a a.wav\n", text="a b\n")
    assert "train and train_sp are both for train: give the one to use" in refusal_of(tmp_path / "data")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"wav": "a sph2pipe -f wav x.sph |\n"}, "wav.scp entry 1 (a): 'sph2pipe -f wav x.sph |' is a command"),
        ({"wav": "a a.wav\nb data/b.ark:102\n"}, "wav.scp entry 2 (b): 'data/b.ark:102' is a place in Kaldi's archive"),
        ({"wav": "a a.wav\na b.wav\n"}, "wav.scp line 2: a is there a second time"),
        ({"wav": "a a.wav\n", "segments": "a a 2 1\n"}, "segments: a a 2 1: ends before it starts"),
        ({"wav": "a a.wav\n", "segments": "a a 0:01 1\n"}, "give utterance, recording, start, end (s)"),
    ],
)
def test_what_is_not_read_is_named(tmp_path: Path, files: dict[str, str], message: str) -> None:
    folder = kaldi_folder(tmp_path, text="a one\n", **files)
    assert message in refusal_of(folder)
