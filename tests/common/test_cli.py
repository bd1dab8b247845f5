"""Command lines: every flag is declared, typed, and checked before any work."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrscale.common.cli import compose, flags_of, main, parse, setting, usage
from asrscale.common.errors import CliError, DataError, TransientError


@dataclasses.dataclass(frozen=True)
class Options:
    """Trains something."""

    run: str = setting(help="run folder")
    epochs: int = setting(3, help="length of the run")
    learning_rate: float = setting(1e-4, help="peak")
    resume: bool = setting(True, help="go on from the last checkpoint")
    train: tuple[str, ...] | None = setting(None, help="data sets")
    precision: Literal["auto", "fp32"] = setting("auto", help="arithmetic")
    limit: int | None = setting(None, help="most utterances")


def options(words: str) -> Options:
    return Options(**parse(Options, words.split()))


def test_only_flags_that_were_given_are_parsed() -> None:
    assert parse(Options, ["--run", "x"]) == {"run": "x"}
    assert parse(Options, ["--run", "x", "--epochs", "3"]) == {"run": "x", "epochs": 3}


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("--run 1e5", "run", "1e5"),  # fire alone would make it a float
        ("--run=1_000", "run", "1_000"),
        ("--run a,b", "run", "a,b"),
        ("--run a=b", "run", "a=b"),
        ("--run [1,2]", "run", "[1,2]"),
        ("--run x --epochs 5", "epochs", 5),
        ("--run x --epochs=-1", "epochs", -1),
        ("--run x --learning_rate 3", "learning_rate", 3.0),
        ("--run x --learning-rate 3e-3", "learning_rate", 3e-3),
        ("--run x --resume", "resume", True),
        ("--run x --resume false", "resume", False),
        ("--run x --noresume", "resume", False),
        ("--run x --train a", "train", ("a",)),
        ("--run x --train a,b,,c,", "train", ("a", "b", "c")),
        ("--run x --precision fp32", "precision", "fp32"),
        ("--run x --limit 7", "limit", 7),
    ],
)
def test_a_value_has_the_type_of_its_field(words: str, name: str, value: Any) -> None:
    parsed = getattr(options(words), name)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--epochs 3", "missing flag --run: run folder"),
        ("--run x --epoch 3", "unknown flag --epoch: did you mean --epochs?"),
        ("--run x --zzz 3", "unknown flag --zzz: --help lists the flags"),
        ("--run x --epochs 3.5", "--epochs 3.5: give a whole number"),
        ("--run x --epochs", "--epochs needs a value"),
        ("--run x --learning_rate fast", "--learning_rate fast: give a number"),
        ("--run x --learning_rate nan", "--learning_rate nan: give a number"),
        ("--run x --learning_rate=-inf", "--learning_rate -inf: give a number"),
        ("--run x --resume maybe", "--resume maybe: give true or false"),
        ("--run x --precision fp8", "--precision fp8: choose one of auto, fp32"),
        ("--run x --train ,", "--train is empty: give one value or several joined by commas"),
        ("--run x --train", "--train needs a value"),
        ("--run --epochs 3", "--run needs a value"),
        ("--run=", "--run needs a value"),
        ("x", "unexpected word 'x': every value follows a flag, as in --flag value"),
        ("--run x y", "unexpected word 'y': every value follows a flag, as in --flag value"),
        ("--run x -- --interactive", "unknown flag --interactive: --help lists the flags"),
        ("--run x --", "unexpected word '--': every value follows a flag, as in --flag value"),
        ("--run x --run y", "--run is given twice: give it once"),
        ("--run x --nonsense", "unknown flag --nonsense: --help lists the flags"),
        ("--run x -e 3", "unexpected word '-e': every value follows a flag, as in --flag value"),
        ("--run x --epochs " + "9" * 400, f"--epochs {'9' * 40}: give a whole number"),
        ("--run x - upper", "unexpected word '-': every value follows a flag, as in --flag value"),
    ],
)
def test_a_bad_command_line_is_one_line_that_names_the_flag(words: str, message: str) -> None:
    with pytest.raises(CliError) as caught:
        options(words)
    assert str(caught.value) == message


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(alphabet="-=,.xrunepochs19 ", max_size=8), max_size=6))
def test_no_command_line_is_answered_by_a_traceback(words: list[str]) -> None:
    try:
        parsed = Options(**parse(Options, words))
    except CliError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(parsed.run, str)


@given(
    st.builds(
        Options,
        run=st.sampled_from(["runs/a", "-5", "None", "1e5", "é"]),
        epochs=st.integers(-(10**9), 10**9),
        learning_rate=st.floats(allow_nan=False, allow_infinity=False),
        resume=st.booleans(),
        train=st.lists(st.sampled_from(["data/a", "b c", "0"]), min_size=1).map(tuple),
        precision=st.sampled_from(["auto", "fp32"]),
        limit=st.integers(0, 99),
    )
)
def test_flags_give_back_what_was_written_in_them(given_options: Options) -> None:
    words = [
        f"--{name}={','.join(value) if isinstance(value, tuple) else value}"
        for name, value in dataclasses.asdict(given_options).items()
    ]
    assert Options(**parse(Options, words)) == given_options


@pytest.fixture(autouse=True)
def first_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)


def test_main_does_no_work_for_an_unknown_flag(capsys: pytest.CaptureFixture[str]) -> None:
    worked: list[Options] = []
    with pytest.raises(SystemExit) as caught:
        main(Options, worked.append, ["--run", "x", "--epoch", "3"])
    assert caught.value.code == 2
    assert worked == []
    assert capsys.readouterr().err == "error: unknown flag --epoch: did you mean --epochs?\n"


def test_main_exits_with_what_the_function_returns() -> None:
    for returned, code in ((None, 0), (75, 75)):
        with pytest.raises(SystemExit) as caught:
            main(Options, lambda _, returned=returned: returned, ["--run", "x"])  # type: ignore[misc]
        assert caught.value.code == code


def test_main_builds_with_the_flags_that_were_given() -> None:
    def run_named_after_epochs(run: str, epochs: int = 9) -> Options:
        return Options(f"{run}-{epochs}", epochs)

    started: list[Options] = []
    with pytest.raises(SystemExit):
        main(Options, started.append, ["--run", "x"], build=run_named_after_epochs)
    assert started == [Options("x-9", 9)]


def test_main_turns_a_cli_error_of_the_function_into_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(_: Options) -> None:
        raise CliError("data/x is missing: build it first")

    with pytest.raises(SystemExit) as caught:
        main(Options, refuse, ["--run", "x"])
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: data/x is missing: build it first\n"


def test_of_all_ranks_of_a_node_the_first_prints_the_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(SystemExit) as caught:
        main(Options, lambda _: 0, ["--epochs", "3"])
    assert caught.value.code == 2
    assert capsys.readouterr().err == ""


def test_main_leaves_our_own_faults_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        main(Options, lambda _: 1 // 0, ["--run", "x"])


@pytest.mark.parametrize("words", [["--help"], ["--run", "x", "--help"], ["-h"]])
def test_help_lists_every_flag_with_its_default_and_exits_0(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(Options, lambda _: 1, words)
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert shown == usage(Options) + "\n"
    assert shown.startswith("Trains something.\n")
    for field in dataclasses.fields(Options):
        assert f"--{field.name} " in shown
        assert field.metadata["help"] in shown
    for text in ("(required)", "(default 0.0001)", "(default true)", "(default none)", "auto|fp32"):
        assert text in shown


@pytest.mark.parametrize("module", ["shard", "demo"])
def test_every_program_refuses_a_wrong_flag_before_any_work(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", f"asrscale.{module}", "--typo"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: unknown flag --typo")


def test_a_wrong_setting_is_reported_once_a_node_but_damage_by_the_rank_that_meets_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    cases = (
        (CliError("wrong flag"), 2, ""),
        (TransientError("no rank 3"), 1, ""),  # 2 is for what no other attempt can cure
        (DataError("bad shard"), 1, "error: bad shard\n"),
    )
    for error, code, shown in cases:

        def fail(_: Options, error: Exception = error) -> None:
            raise error

        with pytest.raises(SystemExit) as ended:
            main(Options, fail, ["--run", "x"])
        assert ended.value.code == code
        assert capsys.readouterr().err == shown


@dataclasses.dataclass(frozen=True)
class WithWords:
    """Reads files."""

    model: str = setting(help="model")
    audio: tuple[str, ...] = setting((), help="recordings", words=True)
    loud: bool = setting(False, help="noise")


@pytest.mark.parametrize(
    ("words", "audio"),
    [
        ("--model m a.wav b,c.mp3", ("a.wav", "b,c.mp3")),
        ("a.wav --model m 1e5", ("a.wav", "1e5")),
        ("--model=m --loud=true 007 a=b x/y-z", ("007", "a=b", "x/y-z")),
        ("--model m - b.wav", ("/dev/stdin", "b.wav")),
        ("--model m", ()),
    ],
)
def test_words_without_a_flag_go_where_they_may(words: str, audio: tuple[str, ...]) -> None:
    assert WithWords(**parse(WithWords, words.split())).audio == audio


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--model m --audio a", "unknown flag --audio"),
        ("--model m a --", "unexpected word '--'"),
        ("--model m a -x b", "unexpected word '-x'"),
        ("a b", "missing flag --model"),
    ],
)
def test_words_are_taken_strictly(words: str, message: str) -> None:
    with pytest.raises(CliError, match=message):
        parse(WithWords, words.split())


def test_help_shows_words_without_a_flag() -> None:
    assert "  AUDIO …\n        recordings" in usage(WithWords)
    assert "--audio" not in usage(WithWords)


@dataclasses.dataclass(frozen=True)
class Regularisation:
    """Against overfitting.

    More about it, which --help does not show.
    """

    layerdrop: float = setting(0.1, help="layers left out")
    mask: bool = setting(True, help="SpecAugment")


@dataclasses.dataclass(frozen=True)
class Data:
    """What is read."""

    train: tuple[str, ...] = setting(help="data sets")
    seed: int | None = setting(None, help="of the order")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Trains in sections."""

    data: Data
    run: str = setting(help="run folder")
    regularisation: Regularisation = Regularisation()
    epochs: int = setting(3, help="length of the run")


def test_the_flags_of_sections_stand_where_the_sections_do() -> None:
    flags = list(flags_of(Settings))
    assert [(flag.name, flag.section) for flag in flags] == [
        ("train", "What is read."),
        ("seed", "What is read."),
        ("run", ""),
        ("layerdrop", "Against overfitting."),
        ("mask", "Against overfitting."),
        ("epochs", ""),
    ]


def test_a_flag_has_the_type_default_and_help_of_its_field() -> None:
    flags = {flag.name: flag for flag in flags_of(Settings)}
    assert (flags["seed"].type, flags["seed"].default, flags["seed"].help) == (int, None, "of the order")
    assert flags["run"].default is dataclasses.MISSING
    assert flags["train"].type == tuple[str, ...]
    assert not any(flag.words for flag in flags.values())
    assert [flag.name for flag in flags_of(WithWords) if flag.words] == ["audio"]


def test_sections_are_composed_of_the_flags_that_were_given() -> None:
    values = {"train": ("a", "b"), "run": "x", "mask": False}
    assert compose(Settings, values) == Settings(
        data=Data(train=("a", "b")), run="x", regularisation=Regularisation(mask=False), epochs=3
    )


def test_flags_of_sections_are_parsed_like_others() -> None:
    started: list[Settings] = []
    words = ["--run", "x", "--train", "a,b", "--nomask", "--layerdrop", "30%", "--seed=7", "--epochs", "1"]
    with pytest.raises(SystemExit) as ended:
        main(Settings, started.append, words)
    assert ended.value.code == 0
    assert started == [
        Settings(
            data=Data(train=("a", "b"), seed=7),
            run="x",
            regularisation=Regularisation(layerdrop=0.3, mask=False),
            epochs=1,
        )
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--run x", "missing flag --train: data sets"),
        ("--run x --train a --layerdrop much", "--layerdrop much: give a number"),
        ("--run x --train a --layerdop 0.1", "unknown flag --layerdop: did you mean --layerdrop?"),
        ("--run x --train a --data b", "unknown flag --data: --help lists the flags"),
    ],
)
def test_flags_of_sections_are_checked_like_others(words: str, message: str) -> None:
    with pytest.raises(CliError) as caught:
        parse(Settings, words.split())
    assert str(caught.value) == message


def test_help_has_a_heading_for_each_section() -> None:
    assert (
        usage(Settings)
        == """\
Trains in sections.

what is read:
  --train TEXT[,…]
        data sets (required)
  --seed N
        of the order (default none)

flags:
  --run TEXT
        run folder (required)

against overfitting:
  --layerdrop X
        layers left out (default 0.1)
  --mask true|false
        SpecAugment (default true)

flags:
  --epochs N
        length of the run (default 3)"""
    )


def test_a_path_with_commas_may_have_a_number_behind_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "c,d", "e=f", "g=1,h"):
        (tmp_path / name).mkdir()
    for text, expected in {
        "a=0.3,b": ("a=0.3", "b"),
        "a, b = 2.5": ("a", "b = 2.5"),
        "a,c,d=0.3,b": ("a", "c,d=0.3", "b"),
        "c,d,e=f,e=f=2": ("c,d", "e=f", "e=f=2"),
        "g=1,h=2,s3://x/y=0.3,b=1": ("g=1,h=2", "s3://x/y=0.3", "b=1"),
    }.items():
        assert parse(Options, ["--run", "x", f"--train={text}"])["train"] == expected
        assert parse(Options, ["--run", "x", "--train", text])["train"] == expected
