import io
from pathlib import Path

from helpers.folders import make_folder

from asrscale.data.index import read_index
from asrscale.results.evaluation import Evaluation
from asrscale.results.metrics import ErrorCounts
from asrscale.results.predictions import predictions, table


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


def test_the_table_has_a_line_a_data_set(tone_shards: Path) -> None:
    index = read_index([str(tone_shards / "valid")])
    errors = ErrorCounts(utterances=2, word_hits=8, word_substitutions=1, word_deletions=1, character_hits=10)
    lines = table({"cv/test": (index, Evaluation(errors, None, io.StringIO()))}).splitlines()
    assert len(lines) == 2 and "20.00%" in lines[1] and lines[1].startswith("cv/test")
