"""Passwords, tokens and signatures in addresses are in nothing that a command writes, prints or shows to others."""

import csv
import os
from pathlib import Path

import pytest
from helpers.canaries import Canaries, run_watched, secret_addresses, served
from helpers.sharding import COMMAND, ROOT, rejected, write_clip

import asrscale.__main__
from asrscale import shard
from asrscale.common import cli
from asrscale.common.errors import EXIT_USAGE, CliError
from asrscale.corpus.build_options import ShardOptions
from asrscale.corpus.index_tars import IndexOptions
from asrscale.data.tars import read_records
from asrscale.demo import DemoOptions
from asrscale.evaluate import EvaluateOptions
from asrscale.export import ExportOptions
from asrscale.lm import LmOptions
from asrscale.shard import MergeOptions, StatsOptions, VerifyOptions
from asrscale.training.config import TrainConfig, train_config
from asrscale.training.plan_options import PlanOptions
from asrscale.transcribe import TranscribeOptions

SECRET = "c4n4ry"


def test_a_build_from_signed_addresses_tells_nobody_their_passwords_and_signatures(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'asrscale[remote]'")
    canaries = Canaries()
    environment = {**os.environ, "TMPDIR": str(tmp_path), **canaries.environment()}
    with served(tmp_path / "public") as server:
        write_signed_corpus(tmp_path / "public", server.host, canaries)
        place = f"http://ann:{canaries.new('--csv')}@{server.host}"
        source = f"train={place}/a.csv?sig={canaries.new('--csv')}"
        root = f"http://ann:{canaries.new('--audio_root')}@{server.host}/clips"
        out = tmp_path / "out"
        command = [*COMMAND, "--csv", source, "--audio_root", root, "--out", out, "--max_rejected", 1, "--workers", 1]
        for expected in ("building", "already built"):
            done = run_watched(*command, cwd=ROOT, environment=environment, log=tmp_path / "log")
            assert done.code == 0, done.printed
            assert not canaries.found_in(done.printed.encode()), done.printed
            assert not any(canaries.found_in(line.encode()) for line in done.command_lines)
            assert expected == "building" or expected in done.printed
    assert not canaries.found_below(out)
    *others, missing, unclear, empty = rejected(out)
    assert not others
    assert [missing["reason"], unclear["reason"], empty["reason"]] == ["missing file", "address", "empty transcript"]
    assert missing["audio"] == f"http://{server.host}/clips/missing.wav"
    records = read_records(str(out / "train/train-000000.tar"))
    assert {record["page"] for record in records.values() if "page" in record} >= {"https://host/watch?v=dQw4w9WgXcQ"}


def write_signed_corpus(folder: Path, host: str, canaries: Canaries) -> None:
    """Writes a table with secrets in all columns, whose last three rows have to be rejected, and its recording."""
    write_clip(folder / "clips/0.wav", seconds=5)
    addresses = [*secret_addresses(canaries, host), "https://host/watch?v=dQw4w9WgXcQ"]
    texts = [f"Look at {address} now" for address in addresses]
    rows = [
        *(["0.wav", *columns] for columns in zip(texts, addresses, addresses[1:] + addresses[:1], strict=True)),
        [f"http://ann:{canaries.new('row')}@{host}/clips/0.wav?sig={canaries.new('row')}", "One", "", "s1"],
        [f"http://{host}/clips/0.wav#{canaries.new('row')}", "Two", "", "s1"],
        [f"http://{host}/clips/missing.wav?sig={canaries.new('missing')}", "Three", "", "s2"],
        [f"http://ann:{canaries.new('slash')}/{canaries.new('slash')}@{host}/clips/0.wav", "Four", "", "s3"],
        ["0.wav", f"<a href=http://{host}/?{canaries.new('markup')}>", "", "s4"],
    ]
    with (folder / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["filename", "text", "page", "client_id"], *rows])


def text_flags(schema: type) -> list[str]:
    """The flags of a command that take any text."""
    return [flag.name for flag in cli.flags_of(schema) if flag.type in (str, tuple[str, ...]) and not flag.words]


SCHEMAS = (ShardOptions, VerifyOptions, StatsOptions, MergeOptions, IndexOptions, PlanOptions, TrainConfig)
SCHEMAS += (EvaluateOptions, TranscribeOptions, ExportOptions, DemoOptions, LmOptions)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_flag_whose_address_cannot_be_cleaned_is_refused_and_not_repeated(
    schema: type, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"s3://ann:{SECRET}/{SECRET}@bucket/x"
    words = [[f"--{name}", address] for name in text_flags(schema)] + [[address], [f"--{address}"]]
    assert len(words) > 2
    for flags in words:
        with pytest.raises(SystemExit) as end:
            cli.main(schema, lambda _: None, flags)
        assert end.value.code == EXIT_USAGE
        assert SECRET not in capsys.readouterr().err, flags


def test_an_address_in_the_place_of_a_verb_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    for address in (f"https://ann:{SECRET}@host/a.csv", f"s3://ann:{SECRET}/{SECRET}@bucket/x"):
        with pytest.raises(SystemExit) as end:
            shard.main([address])
        assert end.value.code == EXIT_USAGE
        printed = capsys.readouterr().err
        assert "no verb" in printed and SECRET not in printed


def test_an_address_in_the_place_of_a_command_is_not_repeated(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["asrscale", f"https://ann:{SECRET}@host/a.csv"])
    monkeypatch.setattr("asrscale.__main__.keep_current_folder_out", lambda: None)  # this process's path is the tests'
    with pytest.raises(SystemExit) as end:
        asrscale.__main__.main()
    assert end.value.code == EXIT_USAGE
    printed = capsys.readouterr().err
    assert "no command" in printed and SECRET not in printed


@pytest.mark.parametrize("name", text_flags(TrainConfig))
@pytest.mark.parametrize("address", [f"https://{SECRET}@host/x", f"https://ann:{SECRET}/@h/x", f"https://h/x?{SECRET}"])
def test_training_takes_no_address_with_a_secret(name: str, address: str) -> None:
    given = {"train": ("a",), "valid": ("a",)}
    given |= {name: (address,) if name in given else address}
    with pytest.raises(CliError, match=f"--{name}: ") as error:
        train_config(**given)
    assert SECRET not in str(error.value)
