"""Adapters of languages, beside stock transformers'."""

from pathlib import Path

import pytest
import torch
from helpers.checkpoints import LIKE_MMS, speaking_model, write_mms
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2ForCTC

from asrscale.common.errors import CliError
from asrscale.model.language_adapters import (
    Languages,
    adapter_weights,
    find_adapter,
    has_adapters,
    load_adapter,
    reset_adapter,
    train_adapter_only,
    write_adapters,
)


@pytest.fixture(scope="module")
def mms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mms") / "base"
    write_mms(folder)
    return folder


def test_a_loaded_language_is_that_of_stock_transformers(mms: Path) -> None:
    stock = Wav2Vec2ForCTC.from_pretrained(mms, target_lang="tur", ignore_mismatched_sizes=True)
    model = Wav2Vec2ForCTC.from_pretrained(mms)
    path = find_adapter(str(mms), "tur")
    assert path is not None
    load_adapter(model, path)
    assert model.config.vocab_size == stock.config.vocab_size
    expected = stock.state_dict()
    assert all(torch.equal(weight, expected[name]) for name, weight in model.state_dict().items())
    assert find_adapter(str(mms), "deu") is None


def test_what_is_written_is_what_stock_transformers_reads_and_others_come_along(mms: Path, tmp_path: Path) -> None:
    model = Wav2Vec2ForCTC.from_pretrained(mms)
    write_adapters(model, Languages("eng", folder=str(mms), others={"tur": {}}), tmp_path)
    written = load_file(tmp_path / "adapter.eng.safetensors")
    stock = model._get_adapters()
    assert written.keys() == stock.keys() == adapter_weights(model).keys()
    assert all(torch.equal(weight, stock[name]) for name, weight in written.items())
    assert (tmp_path / "adapter.tur.safetensors").read_bytes() == (mms / "adapter.tur.safetensors").read_bytes()


def test_only_what_is_a_languages_own_is_trained() -> None:
    model = speaking_model(8, **LIKE_MMS)
    train_adapter_only(model)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained == set(adapter_weights(model)) and len(trained) < len(list(model.parameters()))


def test_a_new_language_begins_close_to_adding_nothing() -> None:
    model = speaking_model(8, **LIKE_MMS)
    head = model.lm_head.weight.clone()
    reset_adapter(model)
    adapters = {name: weight for name, weight in adapter_weights(model).items() if not name.startswith("lm_head")}
    outputs = [weight for name, weight in adapters.items() if name.endswith("linear_2.weight")]
    biases = [weight for name, weight in adapters.items() if name.endswith("bias")]
    assert len(outputs) == 2 and all(0 < weight.std() < 2 * model.config.initializer_range for weight in outputs)
    assert len(biases) == 6 and not any(weight.count_nonzero() for weight in biases)
    assert torch.equal(model.lm_head.weight, head)
    assert has_adapters(model.config) and not has_adapters(speaking_model(8).config)


def test_the_adapter_of_another_model_and_damaged_files_are_refused(mms: Path, tmp_path: Path) -> None:
    model = Wav2Vec2ForCTC.from_pretrained(mms)
    weights = load_file(mms / "adapter.tur.safetensors")
    first = min(weights)
    save_file({first: weights[first]}, tmp_path / "adapter.few.safetensors")
    save_file(weights | {first: weights[first][:, None]}, tmp_path / "adapter.wide.safetensors")
    (tmp_path / "adapter.cut.safetensors").write_bytes((mms / "adapter.tur.safetensors").read_bytes()[:1_000])
    torch.save([1, 2], tmp_path / "adapter.list.bin")
    (tmp_path / "adapter.text.bin").write_text("no pickle")
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    for name, message in (
        ("few.safetensors", "is the adapter of another model: "),
        ("wide.safetensors", "is the adapter of another model: "),
        ("cut.safetensors", "cannot be read: "),
        ("list.bin", "holds no weights by name"),
        ("text.bin", "holds no weights: "),
    ):
        with pytest.raises(CliError, match=message):
            load_adapter(model, tmp_path / f"adapter.{name}")
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
