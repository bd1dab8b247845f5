"""JSON lines and LibriSpeech's transcripts to rows."""

import io
import json
from pathlib import Path

import pytest
from helpers.sources import refusal_of, root_of, rows_of, tone, write, write_tar

from asrscale.common.errors import AudioError, CliError
from asrscale.sources.recordings import open_audio
from asrscale.sources.rows import Row
from asrscale.speech import decoding


def test_json_lines_whole_files_and_segments(tmp_path: Path) -> None:
    records = [
        {"audio_filepath": "a.wav", "text": "one", "duration": 1.25},
        {"audio_filepath": "b.wav", "text": "two", "duration": 0.5, "offset": 2, "speaker": "ann", "lang": None},
        {"audio_filepath": "s3://bucket/c.wav", "text": None, "tags": [1, "x"]},
    ]
    path = write(tmp_path / "manifest.json", "\n\n".join(map(json.dumps, records)))
    assert rows_of(path) == [
        Row(1, path, "a.wav", "one", {"duration": "1.25"}, None, 1.25),
        Row(3, path, "b.wav", "two", {"duration": "0.5", "offset": "2", "speaker": "ann"}, 2.0, 0.5),
        Row(5, path, "s3://bucket/c.wav", "", {"tags": '[1, "x"]'}),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"audio_filepath": "a", "text": "b"}\n{"audio_filepath": "a"}\n',
            "line 2: needs 'audio_filepath' and 'text'",
        ),
        ('{"audio_filepath": "a", "text": "b"}\n\n[1]\n', "line 3: not a JSON object"),
        ('{"audio_filepath": "a", "text": "b"}\n{"audio_filepath": "a", "te', "line 2: not a JSON object"),
        ('{"audio_filepath": "a", "text": "\\ud800"}\n', "line 1: not a JSON object"),
        ('{"audio_filepath": "a", "text": "b", "offset": NaN, "duration": 1}\n', "line 1: offset 'NaN' is no number"),
        ('{"audio_filepath": "a", "text": "b", "offset": -1, "duration": 1}\n', "line 1: offset '-1' is no number"),
        ('{"a":' * 100_000, "line 1: not a JSON object"),
        ('{"audio_filepath": "a", "text": NaN}\n', "line 1: text is NaN, which is no text: correct it"),
        ('{"audio_filepath": "a", "text": true}\n', "line 1: text is true, which is no text"),
        ('{"audio_filepath": "a", "text": ["b"]}\n', 'line 1: text is ["b"], which is no text'),
        ('{"audio_filepath": "a", "text": {"b": 1}}\n', 'line 1: text is {"b": 1}, which is no text'),
        ('{"audio_filepath": "a", "sentence": 1.5}\n', "line 1: sentence is 1.5, which is no text"),
        ('{"audio_filepath": ["a"], "text": "b"}\n', 'line 1: audio_filepath is ["a"], which is no text'),
        ('{"audio_filepath": "a", "text": NaN}\n' * 3, "(2 more lines of this kind: 2, 3)"),
    ],
)
def test_bad_manifests_are_refused_in_one_line_with_the_place(tmp_path: Path, content: str, message: str) -> None:
    assert message in refusal_of(write(tmp_path / "a.csv", content))


def test_what_is_missing_in_json_is_no_word(tmp_path: Path) -> None:
    """NaN is what pandas writes for it; a number is what it makes of a word of digits."""
    lines = '{"audio_filepath": "a", "text": null, "speaker": NaN, "lang": null}\n{"audio_filepath": "b", "text": 5}\n'
    first, second = rows_of(write(tmp_path / "a.json", lines))
    assert (first.text, first.extra, second.text) == ("", {}, "5")


def test_tarred_manifest_of_nemo(tmp_path: Path) -> None:
    write_tar(tmp_path / "audio_0.tar", {"a.wav": tone(1.0)})
    write_tar(tmp_path / "audio_1.tar", {"a.wav": tone(2.0)})
    record = {"audio_filepath": "a.wav", "text": "yes", "duration": 0.25, "offset": 0.5, "shard_id": 0}
    further = record | {"audio_filepath": "a-sub1.wav", "offset": 0.75}
    absent = record | {"audio_filepath": "z.wav"}
    path = write(tmp_path / "m.json", "\n".join(map(json.dumps, [record, further, record | {"shard_id": 1}, absent])))
    rows = rows_of(path)
    lengths = [len(decoding.decode(open_audio(row, str(tmp_path)), 9)[0]) for row in rows[:3]]
    assert lengths == [16_000, 16_000, 32_000]
    assert [row.start_seconds for row in rows] == [0.5, 0.75, 0.5, 0.5]
    with pytest.raises(AudioError, match=r"^missing file"):
        open_audio(rows[3], str(tmp_path))


def test_a_manifest_whose_tar_is_missing_is_refused(tmp_path: Path) -> None:
    record = {"audio_filepath": "a.wav", "text": "yes", "duration": 0.25, "offset": 0.5, "shard_id": 7}
    path = write(tmp_path / "m.json", json.dumps(record))
    with pytest.raises(CliError, match=r"audio_7.tar: No such file or directory: correct the path"):
        rows_of(path)


def test_librispeech_tree_and_single_file(tmp_path: Path) -> None:
    folders = [tmp_path / "84/121123", tmp_path / "1988/24833"]
    for folder in folders:
        folder.mkdir(parents=True)
        name = f"{folder.parent.name}-{folder.name}"
        write(folder / f"{name}.trans.txt", f"{name}-0000 GO DO YOU HEAR\n{name}-0001 BUT\n")
    rows = rows_of(tmp_path)
    assert [row.audio for row in rows] == [
        "1988/24833/1988-24833-0000.flac",
        "1988/24833/1988-24833-0001.flac",
        "84/121123/84-121123-0000.flac",
        "84/121123/84-121123-0001.flac",
    ]
    assert [(row.line, row.text, row.speaker) for row in rows[1:3]] == [(2, "BUT", "1988"), (3, "GO DO YOU HEAR", "84")]
    assert root_of(tmp_path) == str(tmp_path)
    [file] = folders[0].iterdir()
    assert (rows_of(file)[0].audio, root_of(file)) == ("84-121123-0000.flac", str(folders[0]))


def test_every_recording_beside_librispeech_transcripts_is_a_row(tmp_path: Path) -> None:
    (tmp_path / "1/2").mkdir(parents=True)
    (tmp_path / "1/3").mkdir()
    write(tmp_path / "1/2/1-2.trans.txt", "1-2-0000 ONE\n1-2-0001 TWO\n1-2-0002 THREE\n1-2-0001 AGAIN\n")
    write(tmp_path / "1/3/1-3.trans.txt", "1-3-0000 ONE\n")
    write(tmp_path / "1/3/._1-3.trans.txt", "\0\5\x16\7")
    for name in (
        "2/1-2-0000.flac",
        "2/1-2-0000.wav",
        "2/1-2-0001.WAV",
        "2/1-2-0003.flac",
        "2/._1-2-0000.flac",
        "2/a.jpg",
    ):
        write(tmp_path / "1" / name, "x")
    rows = rows_of(tmp_path)
    assert [(row.line, row.audio, row.text) for row in rows] == [
        (1, "1/2/1-2-0000.flac", "ONE"),
        (2, "1/2/1-2-0001.WAV", "TWO"),
        (3, "1/2/1-2-0002.flac", "THREE"),
        (4, "1/2/1-2-0001.WAV", "AGAIN"),
        (5, "1/2/1-2-0003.flac", ""),
        (6, "1/3/1-3-0000.flac", "ONE"),
    ]
    assert [bool(row.unusable) for row in rows] == [False] * 4 + [True, False]
    assert rows[4].unusable == "no transcript: no *.trans.txt beside the recording names it"


def test_manifests_of_single_tars(tmp_path: Path) -> None:
    for shard, seconds in enumerate((1.0, 2.0)):
        write_tar(tmp_path / f"audio_{shard}.tar", {"a.wav": tone(seconds)})
    folder = tmp_path / "sharded_manifests"
    folder.mkdir()
    for shard in (0, 1):
        record = {"audio_filepath": "a.wav", "text": f"text {shard}", "shard_id": shard}
        write(folder / f"manifest_{shard}.json", json.dumps(record) + "\n")
    for path, texts in ((folder, ["text 0", "text 1"]), (folder / "manifest_1.json", ["text 1"])):
        rows = rows_of(path)
        assert [(row.line, row.text) for row in rows] == list(enumerate(texts, start=1))
        assert all(isinstance(open_audio(row, str(folder)), io.BytesIO) for row in rows)


def test_the_manifest_beside_tars_has_their_transcripts(tmp_path: Path) -> None:
    write_tar(tmp_path / "audio_0.tar", {"a.wav": tone(1.0)})
    record = {"audio_filepath": "a.wav", "text": "yes", "shard_id": 0}
    write(tmp_path / "tarred_audio_manifest.json", json.dumps(record) + "\n")
    assert [row.text for row in rows_of(tmp_path)] == ["yes"]
