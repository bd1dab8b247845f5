"""The weights of data sets: from a flag, or from a temperature."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from helpers.folders import make_folder

from asrscale.common.errors import CliError
from asrscale.data.mixing import data_sets, describe_mix, read_mix, split_weight

if TYPE_CHECKING:
    from conftest import Server


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: data sets `a` of 10 s in three shards and `b` of 3 s, and one whose name has a sign."""
    make_folder(tmp_path / "a", (2, 0, 2))
    make_folder(tmp_path / "b", (2,))
    make_folder(tmp_path / "year=2017", (1,))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def weights(*train: str, temperature: float = 1.0) -> list[float]:
    """The weight of each data set."""
    return [one.weight for one in data_sets(read_mix(train, temperature))]


def test_a_folder_has_the_weight_behind_it_or_1(here: Path) -> None:
    catalog = read_mix(["a=0.3", "b"])
    assert catalog.weights.tolist() == [0.3, 0.3, 0.3, 1.0]
    assert [Path(shard).parent for shard in catalog.shards] == [here / "a"] * 3 + [here / "b"]
    assert catalog.hours == pytest.approx(13 / 3600) and catalog.epoch_hours == pytest.approx((3 + 3) / 3600)
    assert weights(f"{here}/b/ = 2.5", "a/=1e1") == [2.5, 10.0]


def test_a_folder_whose_name_ends_in_a_number_is_a_folder(here: Path) -> None:
    assert split_weight("year=2017") == ("year=2017", None)
    assert split_weight("year=2017=0.5") == ("year=2017", 0.5)
    assert weights("year=2017", "year=2017/../b=3") == [1.0, 3.0]
    make_folder(here / "a=0.3", (1,))
    assert [one.hours for one in data_sets(read_mix(["a=0.3"]))] == [pytest.approx(1 / 3600)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("b=0", "--train b=0: weight 0 visits nothing: leave the folder out"),
        ("b=-0.0", "--train b=-0.0: weight 0 visits nothing: leave the folder out"),
        ("b=-1", "--train b=-1: give a weight from 0.001 to 1,000, as b=0.5"),
        ("b=1e-9", "--train b=1e-9: give a weight from 0.001 to 1,000, as b=0.5"),
        ("b=nan", "--train b=nan: give a weight from 0.001 to 1,000, as b=0.5"),
        ("b=inf", "--train b=inf: give a weight from 0.001 to 1,000, as b=0.5"),
        ("b=1e9", "--train b=1e9: give a weight from 0.001 to 1,000, as b=0.5"),
        ("b=", "--train b=: '' is no weight: give a number, as b=0.5"),
        ("b=half", "--train b=half: 'half' is no weight: give a number, as b=0.5"),
    ],
)
def test_what_is_no_weight_is_refused(here: Path, text: str, message: str) -> None:
    with pytest.raises(CliError, match=f"^{re.escape(message)}$"):
        read_mix(["a", text])


@pytest.mark.parametrize("text", ["absent=0.5", "year=2018", "=0.5", "="])
def test_a_folder_that_is_missing_is_named_with_all_that_was_given(here: Path, text: str) -> None:
    with pytest.raises(CliError, match=f"/{text}: no such folder: correct the path"):
        read_mix([text])


def test_an_address_may_have_equals_signs(http_server: "Server", own_shards: Path) -> None:
    url = f"{http_server.url}/train"
    assert split_weight(f"{url}=0.5") == (url, 0.5)
    assert split_weight(f"{http_server.url}/lang=tr/train") == (f"{http_server.url}/lang=tr/train", None)
    (own_shards / "train").rename(own_shards / "year=7")
    assert split_weight(f"{http_server.url}/year=7") == (f"{http_server.url}/year=7", None)
    assert split_weight(f"{http_server.url}/year=7=2") == (f"{http_server.url}/year=7", 2.0)


def test_a_temperature_makes_the_shares_of_an_epoch_more_even(here: Path) -> None:
    hours = np.array([10, 3])  # in the ratio of
    for temperature in (1.0, 1.5, 2.0, 5.0, 1e6):
        catalog = read_mix(["a", "b"], temperature)
        assert catalog.epoch_hours == pytest.approx(catalog.hours, rel=1e-5)
        shares = np.array([one.epoch_hours for one in data_sets(catalog)]) / catalog.hours
        expected = hours ** (1 / temperature) / (hours ** (1 / temperature)).sum()
        assert shares == pytest.approx(expected, rel=1e-5)
    assert weights("a", "b") == [1.0, 1.0]
    assert weights("b", temperature=3.0) == [1.0]
    # What is shown gives the same as a weight.
    line = describe_mix(read_mix(["a", "b"], 2.0))
    shown = re.findall(r"× (\S+)", line)
    assert weights(f"a={shown[0]}", f"b={shown[1]}") == weights("a", "b", temperature=2.0)


def test_weights_and_a_temperature_exclude_each_other(here: Path) -> None:
    with pytest.raises(CliError, match=r"^--train b=2 and --mix_temperature 3 both say how often .*: give one of the"):
        read_mix(["a", "b=2"], 3.0)


def test_a_temperature_that_repeats_an_utterance_too_often_is_refused(here: Path) -> None:
    make_folder(here / "huge", (200,))  # 20,100 s
    assert max(weights("huge", "b", temperature=3.0)) < 1_000
    with pytest.raises(
        CliError, match=r"^--mix_temperature 100 would visit each utterance of b 3,\d{3} times an epoch"
    ):
        read_mix(["huge", "b"], 100.0)


def test_the_mix_is_described_where_there_is_one(here: Path) -> None:
    (here / "a").rename(here / "c")
    make_folder(here / "d/c", (60,))
    assert describe_mix(read_mix(["d/c"])) == ""
    assert describe_mix(read_mix(["d/c=2"])) == "c 0.51 h × 2 = 1.02 h: 1.02 h an epoch"
    line = describe_mix(read_mix(["d/c", "c=0.5"]))
    assert line == f"d/c 0.51 h × 1, {here.name}/c 0.00 h × 0.5 = 0.00 h: 0.51 h an epoch"
