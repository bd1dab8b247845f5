"""Ids, revisions, the cache and refusals of the hub, against a stand-in on loopback."""

from pathlib import Path

import pytest
import torch
from helpers.checkpoints import write_letters, write_mms
from helpers.hub_server import Repository, commit_of, serving
from huggingface_hub.errors import LocalEntryNotFoundError

from asrscale.common.checkpoint_files import at_revision, checkpoint_file, hub_refusal, may_be_hub_id, split_revision
from asrscale.common.errors import CliError
from asrscale.model.building import build_recognizer
from asrscale.model.pretrained import load_recognizer
from asrscale.model.recognizer import describe


def test_an_id_may_name_its_revision_and_a_path_may_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert may_be_hub_id("me/speech") and may_be_hub_id("me/speech@v1") and may_be_hub_id("me/speech@refs/pr/1")
    assert not any(map(may_be_hub_id, ("speech", "./me/speech", "a/b/c", "a/b.json", "/a", "~/a")))
    assert split_revision("me/speech@refs/pr/1") == ("me/speech", "refs/pr/1")
    assert split_revision("me/speech") == ("me/speech", None)
    assert at_revision("me/speech", "v1") == "me/speech@v1" and at_revision("me/speech", None) == "me/speech"
    monkeypatch.chdir(tmp_path)
    Path("runs/a@b").mkdir(parents=True)
    assert split_revision("runs/a@b") == ("runs/a@b", None)
    with pytest.raises(CliError, match="--revision v1: runs/a@b is no Hugging Face id: leave it out"):
        at_revision("runs/a@b", "v1")
    with pytest.raises(CliError, match="--revision v2: me/speech@v1 names a revision already"):
        at_revision("me/speech@v1", "v2")


def test_a_model_of_the_hub_at_any_revision_and_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = write_letters(tmp_path / "new", seed=1)
    old = write_letters(tmp_path / "old", seed=2)
    repository = Repository({"main": tmp_path / "new", "v1": tmp_path / "old"})
    with serving({"me/speech": repository}, tmp_path / "cache", monkeypatch):
        for name, expected in (("me/speech", new), ("me/speech@v1", old)):
            for recognizer in (load_recognizer(name), build_recognizer(name, "xyz")):
                assert torch.equal(recognizer.model.lm_head.weight, expected.lm_head.weight), name
        assert describe(load_recognizer("me/speech@v1"))["revision"] == commit_of(tmp_path / "old")
        with pytest.raises(CliError, match=r"me/speech@v9 cannot be loaded: me/speech has no revision v9: give one of"):
            load_recognizer("me/speech@v9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # from the cache
    assert torch.equal(load_recognizer("me/speech@v1").model.lm_head.weight, old.lm_head.weight)


def test_a_language_of_the_hub_downloads_its_adapter_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mms(tmp_path / "mms")
    with serving({"me/mms": Repository({"main": tmp_path / "mms"})}, tmp_path / "cache", monkeypatch):
        recognizer = build_recognizer("me/mms", "", language="tr", train_adapter=True)
        local = build_recognizer(str(tmp_path / "mms"), "", language="tr")
        assert torch.equal(recognizer.model.lm_head.weight, local.model.lm_head.weight)
        assert recognizer.languages and recognizer.languages.base == f"me/mms@{commit_of(tmp_path / 'mms')}"
        cached = {path.name for path in (tmp_path / "cache").rglob("adapter.*.safetensors")}
        assert cached == {"adapter.tur.safetensors"}
        recognizer.save_adapter(tmp_path / "adapter")
        loaded = load_recognizer(str(tmp_path / "adapter"))
        own = recognizer.model.state_dict()
        assert all(weight.equal(own[name]) for name, weight in loaded.model.state_dict().items())


@pytest.mark.parametrize(
    ("refusal", "message"),
    [
        (
            (403, "GatedRepo"),
            "accept their terms at https://huggingface.co/me/speech, then run hf auth login, or set",
        ),
        (
            (401, "GatedRepo"),
            "accept their terms at https://huggingface.co/me/speech, then run hf auth login, or set",
        ),
        ((401, "RepoNotFound"), "no such model, or it is private: correct the id; where it is private, run hf auth"),
        ((404, "RepoNotFound"), "no such model, or it is private: correct the id; where it is private, run hf auth"),
    ],
)
def test_a_refusal_of_the_hub_is_one_line_with_its_cure(
    refusal: tuple[int, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repositories = {"me/speech": Repository(refusal=refusal)}
    with serving(repositories, tmp_path / "cache", monkeypatch):
        for load in (lambda: load_recognizer("me/speech"), lambda: build_recognizer("me/speech", "abc")):
            with pytest.raises(CliError, match=message) as caught:
                load()
            assert "\n" not in str(caught.value) and str(caught.value).startswith("--model me/speech")


def test_an_optional_file_that_cannot_be_asked_for_counts_as_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert checkpoint_file("me/speech", "vocab.json", optional=True) is None
    with pytest.raises(OSError):
        checkpoint_file("me/speech", "vocab.json")


def test_without_the_hub_a_model_is_to_be_copied_as_a_folder() -> None:
    refusal = hub_refusal("me/speech@v1", LocalEntryNotFoundError("no connection"))
    assert refusal is not None
    assert "run hf download me/speech --revision v1 --local-dir FOLDER on a machine that reaches it" in refusal


def test_what_is_no_model_at_all_is_told_what_a_model_may_be() -> None:
    with pytest.raises(CliError, match=r"no such folder; give a folder, a Hugging Face id such as .*\(tiny\)"):
        build_recognizer("runs/not/there", "xyz")
