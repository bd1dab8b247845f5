"""How a build normalises transcripts: flags, the language that a corpus names, what is recorded and printed."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.sharding import refusal_in_process, rejected, shard, write_clip, write_csv

from asrscale.corpus.text_options import TextOptions, text_rules
from asrscale.data.catalog import read_catalog
from asrscale.data.index import read_index
from asrscale.sources.rows import Row
from asrscale.speech.normalisation import NEUTRAL, TextRules, steps_of


def rows_of(*languages: str, column: str = "locale") -> list[Row]:
    """A row in each language; "" names none."""
    return [
        Row(line=2 + number, source="a.tsv", audio="a.wav", text="text", extra={column: language} if language else {})
        for number, language in enumerate(languages)
    ]


@pytest.mark.parametrize(
    ("languages", "filter", "found"),
    [
        (["tr", "tr"], None, "tr"),
        (["zh-CN"], None, "zh-cn"),
        (["tr", "de"], None, ""),
        (["tr", "de"], "locale=='de'", "de"),
        (["tr", ""], None, ""),
        (["", "tr"], None, ""),
        (["not a code"], None, ""),
        ([], None, ""),
    ],
)
def test_the_language_is_what_all_used_rows_name(
    languages: list[str], filter: str | None, found: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert text_rules(TextOptions(), lambda: rows_of(*languages), filter).language == found
    printed = capsys.readouterr()
    assert (f"a.tsv: its rows are in the language '{found}'" in printed.out) == bool(found)
    assert ("rows in several languages" in printed.err) == (
        len(set(languages)) > 1 and languages[0] != "" and not found
    )


def test_the_flag_wins_over_the_column_and_other_columns_are_known() -> None:
    assert text_rules(TextOptions(language="DE"), lambda: rows_of("tr")).language == "de"
    assert text_rules(TextOptions(), lambda: rows_of("ca", column="lang")).language == "ca"


@pytest.mark.parametrize(
    ("given", "rules"),
    [
        ({}, NEUTRAL),
        ({"text": ("keep_case",), "hyphens": "keep"}, TextRules(keep_case=True, hyphens="keep")),
        ({"text": ("keep_case", "keep_punctuation")}, TextRules(keep_case=True, keep_punctuation=True)),
        ({"text": ("characters",)}, TextRules(form="characters", markup="keep")),
        ({"text": ("none",), "language": "fr"}, TextRules(form="none", markup="keep", language="fr")),
        ({"markup": "reject"}, TextRules(markup="reject")),
    ],
)
def test_flags_to_rules(given: dict[str, Any], rules: TextRules) -> None:
    assert text_rules(TextOptions(**given), lambda: []) == rules


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--language german", "--language 'german' is no code of a language"),
        ("--text none,keep_case", "--text none keeps everything: give it alone"),
        (
            "--text characters --hyphens join",
            "--text characters leaves transcripts as they are: leave out --hyphens join",
        ),
        ("--text none --markup reject", "leave out --markup reject"),
        ("--text loud", "--text loud: choose one of keep_case, keep_punctuation, characters, none"),
        ("--numbers spell --language kab", "--numbers spell: num2words does not know 'kab'"),
        ("--numbers spell", "--numbers spell needs to know the language: give --language CODE"),
    ],
)
def test_flags_that_are_refused(flags: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if "numbers" in flags:
        pytest.importorskip("num2words", reason="needs num2words: pip install 'asrscale[numbers]'")
    write_clip(tmp_path / "a.wav")
    table = write_csv(tmp_path / "a.csv", [("a.wav", "one")])
    line = refusal_in_process(capsys, "--csv", f"train={table}", "--out", tmp_path / "out", *flags.split())
    assert message in line


def dataset_of(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "dataset.json").read_bytes())
    return loaded


def test_a_build_in_the_language_of_its_column_records_prints_and_counts(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.wav", seconds=2)
    texts = ["İSTANBUL [noise]", "IŞIK &amp; su 5 %", "kalem %"]
    table = write_csv(tmp_path / "a.csv", [("a.wav", text, "tr") for text in texts], "filename,text,locale")
    done = shard("--csv", f"train={table}", "--out", tmp_path / "out")
    folder = tmp_path / "out/train"
    assert sorted(read_index([str(folder)]).texts.to_pylist()) == ["istanbul", "kalem", "ışık su 5"]
    dataset = dataset_of(folder)
    rules = TextRules(language="tr")
    assert dataset["text"] == rules.to_json() and dataset["normalisation"] == list(steps_of(rules))
    assert dataset["markup"] == {"[noise]": 1, "&amp;": 1} and dataset["symbols"] == {"%": 2, "&": 1}
    assert read_catalog([str(folder)]).text_rules == (rules,)
    assert "markup, taken out, entities decoded: 2" in done.stdout and "[noise] ×1" in done.stdout
    assert "symbols, left out though they may be spoken: 3  % ×2, & ×1" in done.stdout
    assert "transcripts: tr: drop markup" in done.stdout and "digits, kept and not spelled: 1" in done.stdout

    again = shard("--csv", f"train={table}", "--out", tmp_path / "out")
    assert f"{folder}: already built\n" in again.stdout
    other = shard("--csv", f"train={table}", "--out", tmp_path / "out", "--language", "de", expect=2)
    assert "was built with other options or input (language)" in other.stderr


def test_markup_may_cost_the_row(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.wav", seconds=2)
    table = write_csv(
        tmp_path / "a.csv", [("a.wav", "fine"), ("a.wav", "not [noise] <so>"), ("a.wav", "nor this&#33;")]
    )
    shard("--csv", f"train={table}", "--out", tmp_path / "out", "--markup", "reject", "--max_rejected", "1")
    reasons = [(line["reason"], line["detail"]) for line in rejected(tmp_path / "out")]
    assert reasons == [("markup", "[noise] <so>"), ("markup", "&#33;")]


def test_a_folder_of_an_older_version_counts_as_built_and_the_difference_is_said(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.wav", seconds=2)
    table = write_csv(tmp_path / "a.csv", [("a.wav", "IŞIK", "tr"), ("a.wav", "su", "tr")], "filename,text,locale")
    shard("--csv", f"train={table}", "--out", tmp_path / "out")
    path = tmp_path / "out/train/dataset.json"
    dataset = dataset_of(path.parent)
    del dataset["text"], dataset["options"]["language"]
    path.write_text(json.dumps(dataset | {"normalisation": ["lower_case"]}))
    done = shard("--csv", f"train={table}", "--out", tmp_path / "out")
    assert ": its transcripts were normalised by other steps than those of now for tr" in done.stdout
    assert "normalised by the steps of another version of asrscale" in done.stdout
    given = shard("--csv", f"train={table}", "--out", tmp_path / "out", "--language", "tr", expect=2)
    assert "was built with other options or input (language)" in given.stderr


def test_an_index_of_foreign_tars_takes_the_same_flags(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.wav", seconds=2)
    table = write_csv(tmp_path / "a.csv", [("a.wav", "L’ÉTÉ peut-être")])
    shard("--csv", f"train={table}", "--out", tmp_path / "out", "--text", "none")
    tars = tmp_path / "tars"
    tars.mkdir()
    [tar] = (tmp_path / "out/train").glob("*.tar")
    tar.rename(tars / tar.name)
    shard("index", "--data", tars, "--language", "fr")
    assert read_index([str(tars)]).texts.to_pylist() == ["l'été peut-être"]
    assert dataset_of(tars)["text"]["language"] == "fr"
