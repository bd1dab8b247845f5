"""Parquet files with recordings to rows."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.audio import encoded
from helpers.hub import Hub, serve_hub
from helpers.sources import refusal_of, tone, write
from huggingface_hub import constants

from asrscale.common.errors import CliError
from asrscale.sources.formats import Source, SourceOptions
from asrscale.sources.opening import open_source
from asrscale.sources.recordings import open_audio
from asrscale.sources.rows import ColumnNames, Row

AUDIO = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def write_parquet(path: Path, columns: dict[str, Any], features: dict[str, Any] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if features:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=2)
    return path


def audio_column(*seconds: float | None) -> Any:
    return pa.array([seconds and {"bytes": tone(seconds), "path": f"{seconds}.wav"} for seconds in seconds], AUDIO)


def opened(path: object, folder: Path, names: ColumnNames | None = None) -> Source:
    options = SourceOptions(names=names or ColumnNames(), unpack_folder=str(folder / "unpacked"))
    return open_source(str(path), options=options)


def sound_of(row: Row, source: Source) -> bytes:
    content = open_audio(row, source.audio_root)
    return Path(content).read_bytes() if isinstance(content, str) else content.getvalue()


def test_rows_and_their_recordings(tmp_path: Path) -> None:
    columns = {
        "audio": audio_column(0.1, 0.2, 0.3),
        "sentence": ["one", None, "three"],
        "gender": [0, 1, None],
        "speaker_id": [7, 8, 9],
        "tags": [["x"], [], None],
    }
    features = {"gender": {"_type": "ClassLabel", "names": ["male", "female"]}, "audio": {"_type": "Audio"}}
    source = opened(write_parquet(tmp_path / "a.parquet", columns, features), tmp_path)
    for _ in range(2):
        rows = [*source.read_rows()]
        assert [(row.line, row.audio, row.text) for row in rows] == [
            (1, "0.1.wav", "one"),
            (2, "0.2.wav", ""),
            (3, "0.3.wav", "three"),
        ]
        assert [row.extra for row in rows] == [
            {"gender": "male", "speaker_id": "7", "tags": '["x"]'},
            {"gender": "female", "speaker_id": "8", "tags": "[]"},
            {"speaker_id": "9"},
        ]
        assert [sound_of(row, source) for row in rows] == [tone(0.1), tone(0.2), tone(0.3)]


def test_bytes_alone_paths_alone_and_recordings_that_are_missing(tmp_path: Path) -> None:
    (tmp_path / "b.wav").write_bytes(tone(0.2))
    bytes_alone = {"audio": pa.array([tone(0.1), None], pa.binary()), "text": ["one", "lost"]}
    source = opened(write_parquet(tmp_path / "a.parquet", bytes_alone), tmp_path)
    one, lost = source.read_rows()
    assert sound_of(one, source) == tone(0.1)
    assert (lost.text, lost.tar) == ("lost", None)  # will be rejected, not left out
    for name, column in (
        ("paths", pa.array([{"bytes": None, "path": "b.wav"}], AUDIO)),
        ("names", pa.array(["b.wav"])),
    ):
        source = opened(write_parquet(tmp_path / f"{name}.parquet", {"audio": column, "text": ["one"]}), tmp_path)
        [row] = source.read_rows()
        assert sound_of(row, source) == tone(0.2)


def test_a_folder_with_splits(tmp_path: Path) -> None:
    for name, seconds in (
        ("train-00000-of-00002", 0.1),
        ("train-00001-of-00002", 0.2),
        ("validation-00000-of-00001", 0.3),
    ):
        columns = {"audio": audio_column(seconds), "text": [str(seconds)]}
        write_parquet(tmp_path / f"set/data/{name}.parquet", columns)
    source = opened(tmp_path / "set", tmp_path)
    rows = [*source.read_rows()]
    assert [(row.line, row.text, row.extra) for row in rows] == [
        (1, "0.1", {"split": "train"}),
        (2, "0.2", {"split": "train"}),
        (3, "0.3", {"split": "valid"}),
    ]
    assert [sound_of(row, source) for row in rows] == [tone(0.1), tone(0.2), tone(0.3)]
    assert source.split_column == "split"
    (tmp_path / "set/data/validation-00000-of-00001.parquet").unlink()
    assert opened(tmp_path / "set", tmp_path).split_column is None


def test_remote_files_and_folders_as_behind_hf(tmp_path: Path) -> None:
    local = write_parquet(tmp_path / "a.parquet", {"audio": audio_column(0.1), "text": ["one"]})
    memory = fsspec.filesystem("memory")
    for name in ("train-0", "test-0"):
        memory.pipe(f"/parquets/data/{name}.parquet", local.read_bytes())
    try:
        source = opened("memory://parquets", tmp_path)
        rows = [*source.read_rows()]
        assert [row.extra["split"] for row in rows] == ["test", "train"]
        assert [sound_of(row, source) for row in rows] == [tone(0.1)] * 2
        [row] = opened("memory://parquets/data/train-0.parquet", tmp_path).read_rows()
        assert sound_of(row, source) == tone(0.1)
        with pytest.raises(CliError, match=r"a remote folder without \*.parquet"):
            opened("memory://elsewhere", tmp_path)
    finally:
        memory.rm("/parquets", recursive=True)


@pytest.fixture(scope="module")
def hub_files() -> dict[str, bytes]:
    """The files of a dataset, each Parquet larger than what a file system reads ahead."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (12, 16_000 * 20)).astype(np.float32)
    files = {"README.md": b"# speech"}
    for number, split in enumerate(("train", "validation")):
        clips = [
            {"bytes": encoded(clip, 16_000, "WAV"), "path": f"{position}.wav"}
            for position, clip in enumerate(noise[6 * number :][:6])
        ]
        buffer = io.BytesIO()
        texts = [f"text {position}" for position in range(len(clips))]
        pq.write_table(pa.table({"audio": pa.array(clips, AUDIO), "sentence": texts}), buffer, row_group_size=2)
        files[f"data/{split}-00000-of-00001.parquet"] = buffer.getvalue()
    return files


@pytest.fixture
def hub(hub_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    subsets = {f"{subset}/train/0.parquet": hub_files["data/train-00000-of-00001.parquet"] for subset in ("en", "de")}
    datasets = {"me/speech": hub_files, "me/gated": hub_files, "me/text": {"a.csv": b"x"}, "me/languages": subsets}
    with serve_hub(datasets, gated=frozenset({"me/gated"})) as hub:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        yield hub


def test_datasets_on_the_hub(hub: Hub, hub_files: dict[str, bytes], tmp_path: Path) -> None:
    hub.failures = 1
    source = opened("hf://datasets/me/speech", tmp_path)
    rows = [*source.read_rows()]
    assert [row.extra["split"] for row in rows] == ["train"] * 6 + ["valid"] * 6
    table = pq.read_table(pa.BufferReader(hub_files["data/validation-00000-of-00001.parquet"]))
    assert [sound_of(row, source) for row in rows[6:]] == [clip["bytes"] for clip in table["audio"].to_pylist()]
    size_bytes = sum(map(len, hub_files.values()))
    assert sum(num_bytes for _, num_bytes in hub.sent) < 1.5 * size_bytes  # transcripts and footers are read again

    rows = [*opened("hf://datasets/me/speech@main/data/train-00000-of-00001.parquet", tmp_path).read_rows()]
    assert [row.text for row in rows] == [f"text {position}" for position in range(6)]
    assert len([*opened("hf://datasets/me/languages/en", tmp_path).read_rows()]) == 6


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gated", "the hub refuses access .*: accept its terms on its page .*, and log in with `hf auth login`"),
        ("absent", r"cannot be listed \(.*repository not found.*authenticated.*: give the URL"),
        ("text", r"a remote folder without \*\.parquet: give the URL"),
        ("speech/data/absent.parquet", "no such file: give the path"),
        ("languages", "has several subsets, de, en: give one, as in --csv hf://datasets/me/languages/de$"),
    ],
)
def test_datasets_on_the_hub_that_cannot_be_read(hub: Hub, tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(CliError, match=rf"^hf://datasets/me/{name}[^\n]*: {message}"):
        opened(f"hf://datasets/me/{name}", tmp_path)


def test_a_file_that_changes_is_copied_anew(tmp_path: Path) -> None:
    for seconds in (0.1, 0.2):
        path = write_parquet(tmp_path / "a.parquet", {"audio": audio_column(seconds, seconds), "text": ["one", "two"]})
        source = opened(path, tmp_path)
        assert [sound_of(row, source) for row in source.read_rows()] == [tone(seconds)] * 2


def test_a_text_of_megabytes_is_an_unusable_row(tmp_path: Path) -> None:
    """A column has each of its values once on the disk, where it is repeated."""
    rows = 300
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * rows + [1], pa.int32()), ["a" * 8_000_000, "b"])
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"audio": audio_column(*[0.01] * (rows + 1)), "text": texts}), path, compression="zstd")
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    before = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        read = list(opened(path, tmp_path).read_rows())
    finally:
        pa.set_memory_pool(before)
    assert [row.text for row in read] == [""] * rows + ["b"]
    assert [row.unusable for row in read[-2:]] == [
        "unusable transcript: 'text' has more than 1,048,576 characters, which no text has",
        "",
    ]
    assert pool.max_memory() < 700 * 2**20


def test_columns_that_the_user_names(tmp_path: Path) -> None:
    columns = {"audio": audio_column(0.1), "other": audio_column(0.2), "said": ["one"], "who": ["ann"]}
    path = write_parquet(tmp_path / "a.parquet", columns)
    source = opened(path, tmp_path, ColumnNames(audio="other", text="said", speaker="who"))
    [row] = source.read_rows()
    assert (row.text, row.speaker, sound_of(row, source)) == ("one", "ann", tone(0.2))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": ["one"], "id": [1]}, "a Parquet without a column 'audio' of recordings; it has text, id: give one"),
        (
            {"audio": audio_column(0.1), "label": ["one"]},
            "no column 'text' of transcripts; it has audio, label: name it",
        ),
        (
            {"audio": [{"array": [0.1, 0.2], "sampling_rate": 16_000}], "text": ["one"]},
            "'audio' has decoded samples, not recordings: write it anew with bytes",
        ),
    ],
)
def test_what_has_no_recordings_is_named(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    assert message in refusal_of(write_parquet(tmp_path / "a.parquet", columns))


def test_damaged_files_and_verbs_without_a_place_for_the_recordings(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"audio": audio_column(0.1), "text": ["one"]})
    assert "can only be built into shards" in refusal_of(path)
    assert "cannot be read as Parquet" in refusal_of(write(tmp_path / "b.parquet", path.read_bytes()[:-9]))


def test_what_datasets_itself_writes(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="`make bench` installs it")
    audio = [{"bytes": tone(0.1), "path": "x.wav"}, {"bytes": tone(0.2), "path": None}]
    features = datasets.Features({"audio": datasets.Value("string"), "sentence": datasets.Value("string")})
    features["audio"] = datasets.Audio(decode=False)
    table = pa.table({"audio": pa.array(audio, AUDIO), "sentence": ["one", "two"]})
    datasets.Dataset(table, info=datasets.DatasetInfo(features=features)).to_parquet(tmp_path / "a.parquet")
    source = opened(tmp_path / "a.parquet", tmp_path)
    rows = [*source.read_rows()]
    assert [row.text for row in rows] == ["one", "two"]
    assert [sound_of(row, source) for row in rows] == [tone(0.1), tone(0.2)]
