"""The text of --augment: what it means, and what a person reads who writes it wrongly."""

import re
from pathlib import Path

import pytest

from asrscale.augmentation.effects import CODECS, KINDS, Effect, describe_effects, parse_effects
from asrscale.common.errors import CliError
from asrscale.training.config import train_config


def test_each_kind_alone_has_defaults() -> None:
    effects = parse_effects("codec,telephone,clip,gain,noise=N,rir=R")
    assert tuple(effect.kind for effect in effects) == KINDS  # in the order in which they are applied
    assert {effect.probability for effect in effects} == {0.5}
    by_kind = {effect.kind: effect for effect in effects}
    assert by_kind["noise"] == Effect("noise", folder="N", range_db=(5, 20))
    assert by_kind["rir"] == Effect("rir", folder="R")
    assert by_kind["gain"].range_db == (-18, 6) and by_kind["clip"].range_db == (3, 15)
    assert by_kind["codec"].codecs == CODECS


@pytest.mark.parametrize(
    ("part", "effect"),
    [
        ("noise=/a/b:10..30dB@0.3", Effect("noise", 0.3, "/a/b", (10, 30))),
        ("noise=a:-5..7.5db@30%", Effect("noise", 0.3, "a", (-5, 7.5))),
        ("noise=a:15dB", Effect("noise", 0.5, "a", (15, 15))),
        ("rir=a/b@1", Effect("rir", 1.0, "a/b")),
        ("gain=-10..-2dB@0", Effect("gain", 0.0, "", (-10, -2))),
        ("codec=opus+mp3+opus@.25", Effect("codec", 0.25, "", None, ("mp3", "opus"))),
        (" telephone @ 0.1 ", Effect("telephone", 0.1)),
        ("noise=~/n", Effect("noise", 0.5, str(Path.home() / "n"), (5, 20))),
        ("noise=a:b/c", Effect("noise", 0.5, "a:b/c", (5, 20))),
    ],
)
def test_parts_say_how_much_and_how_often(part: str, effect: Effect) -> None:
    assert parse_effects(part) == (effect,)


def test_the_description_of_effects_has_all_but_their_folders() -> None:
    text = "telephone@0.1,noise=/somewhere:0..5dB,noise=/else@0.2,codec=mulaw"
    described = describe_effects(parse_effects(text))
    assert described == "noise=0..5dB@0.5,noise=5..20dB@0.2,telephone@0.1,codec=mulaw@0.5"
    assert described == describe_effects(parse_effects(text.replace("/somewhere", "/moved")))


@pytest.mark.parametrize("name", ["a,b", "a@b", "a@0.5", "a:5..6dB", "a,telephone", "with space"])
@pytest.mark.parametrize("suffix", ["", ":1..2dB", "@0.25", ":1..2dB@0.25"])
def test_a_folder_that_exists_may_have_any_name(name: str, suffix: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    noise, telephone = parse_effects(f"noise={folder}{suffix},telephone")
    assert noise.folder == str(folder) and telephone == Effect("telephone")
    assert noise.range_db == ((1, 2) if "dB" in suffix else (5, 20))
    assert noise.probability == (0.25 if "@" in suffix else 0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--augment is empty: give one part or several joined by commas, such as noise=DIR:10..30dB@0.3"),
        (" , ", "--augment is empty"),
        ("nois=/x", "--augment nois=/x: there is no kind 'nois': did you mean noise?"),
        ("Telephone@0.1", "--augment Telephone@0.1: there is no kind 'Telephone': did you mean telephone?"),
        (
            "gain,reverse",
            "--augment reverse: there is no kind 'reverse': choose among clip, codec, gain, noise, rir, tel",
        ),
        (
            "noise=/no/a,b:1..2dB",
            "--augment b:1..2dB: there is no kind 'b:1..2dB': choose among .*; a comma divides parts",
        ),
        ("noise", "--augment noise: noise needs a folder: write it as noise=DIR:10..30dB@0.3"),
        ("noise=:1..2dB", "--augment noise=:1..2dB: noise needs a folder"),
        ("rir=@0.3", "--augment rir=@0.3: rir needs a folder: write it as rir=DIR@0.2"),
        ("noise=/x:30..10dB", "--augment noise=/x:30..10dB: 30..10dB begins above its end: write it as 10..30dB"),
        ("noise=/x:10..30@0.3", "'10..30' is no range of decibels: write it as noise=DIR:10..30dB@0.3"),
        ("noise=/x:a..bdB", "'a..bdB' is no range of decibels"),
        ("noise=/x:0..999dB", "0..999dB is beyond 100 dB"),
        ("rir=/x:1..2dB", "rir takes no decibels: write it as rir=DIR@0.2"),
        ("noise=s3://bucket/n", "noise is read from a local disk only: copy the folder there"),
        ("gain=3", "'3' is no range of decibels: write it as gain=-18..6dB@0.2"),
        ("gain=", "nothing follows the equals sign: write it as gain=-18..6dB@0.2, or gain"),
        ("clip=-3..3dB", "of clip is below 0 dB, where nothing is cut off: give 0 or more"),
        ("telephone=3", "telephone takes no value: write it as telephone@0.1"),
        ("codec=aac", "there is no codec 'aac': choose among mp3, opus, mulaw, joined by +"),
        ("codec=mp3+", "there is no codec ''"),
        ("telephone@1.5", "--augment telephone@1.5: '@1.5' is no probability: give a number from 0 to 1"),
        ("telephone@-0.1", "'@-0.1' is no probability"),
        ("telephone@nan", "'@nan' is no probability"),
        ("telephone@101%", "'@101%' is no probability"),
        ("telephone@", "'@' is no probability"),
        ("clip,gain,clip@0.1", "--augment has clip twice: give it once"),
        ("noise=https://a:b@c/d", "user, password and query of an address"),
    ],
)
def test_what_is_written_wrongly_is_refused_with_the_part_and_a_cure(text: str, message: str) -> None:
    pattern = message if ".*" in message else re.escape(message)
    with pytest.raises(CliError, match=pattern) as caught:
        train_config(train=("a",), valid=("b",), augment=text)
    assert "\n" not in str(caught.value)
