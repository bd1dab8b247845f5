from pathlib import Path

from helpers.folders import make_folder

from asrscale.data.index import read_index
from asrscale.results.metrics import ErrorCounts
from asrscale.results.predictions import Row, predictions, table


def test_a_row_has_the_utterance_and_its_text(tone_shards: Path) -> None:
    index = read_index([str(tone_shards / "valid")])
    [row] = predictions(index, [(3, "a dog")])
    assert row == {
        "key": index.keys[3].as_py(),
        "seconds": index.num_samples[3] / 16_000,
        "reference": index.texts[3].as_py(),
        "hypothesis": "a dog",
    }


def test_rows_of_two_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    index = read_index([str(make_folder(tmp_path / corpus / "valid", (1,))) for corpus in ("cv", "orders")])
    keys = [row["key"] for row in predictions(index, [(0, "a"), (1, "b")])]
    assert keys == ["cv/valid/valid-00000001", "orders/valid/valid-00000001"]


def test_the_table_has_a_line_a_data_set() -> None:
    errors = ErrorCounts(utterances=2, word_hits=8, word_substitutions=1, word_deletions=1, character_hits=10)
    lines = table({"cv/test": Row(errors, hours=0.5)}, "wer").splitlines()
    assert len(lines) == 2 and "20.00%" in lines[1] and lines[1].startswith("cv/test")


def test_the_deciding_rate_comes_first_with_its_kinds_of_errors() -> None:
    errors = ErrorCounts(
        utterances=2, word_hits=1, word_substitutions=1, character_hits=6, character_deletions=3, character_insertions=9
    )
    [header, line] = table({"cv/test": Row(errors, hours=0.5)}, "cer").splitlines()
    assert header.split() == ["data", "utterances", "hours", "CER", "WER", "sub", "del", "ins"]
    assert line.split()[3:] == ["133.33%", "50.00%", "0", "3", "9"]


def test_another_normaliser_has_columns_of_its_own_name() -> None:
    row = Row(ErrorCounts(utterances=1, word_hits=1, character_hits=1), hours=0.5)
    english = {"a": {"wer": 0.125, "cer": 0.0625}, "b": {}}
    [header, a, b] = table({"a": row, "b": row}, "cer", english).splitlines()
    assert header.endswith("ins  CER english  WER english") and len(header) == len(a) == len(b)
    assert a.split()[-2:] == ["6.25%", "12.50%"] and b.split()[-2:] == ["none", "none"]
