"""Each silent error that fine-tuning speech models is known for, put in on purpose: a test of ours must notice.

    pytest -m slow tests/test_faults.py      # -v shows them as a table

A fault is one change of the source, made in a copy of the project, where the test named beside it then fails; without
it, the same test passes there.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import OF_THIS_PROCESS, REPOSITORY

PADDING = "test_model.py::test_padding_does_not_change_logits_and_alone_they_are_stock"
CURVES = "test_train.py::test_losses_and_gradients_do_not_depend_on_ranks_stages_and_memory[2-3]"
FROZEN = "test_train.py::test_a_checkpoint_is_fine_tuned_with_its_stem_untouched[2-bf16]"
# Kind: module, what is replaced, by what, the test.
FAULTS: dict[str, tuple[str, str, str, str]] = {
    "group norm over the padding": (
        "model", "if self.num_frames is None:", "if True:", f"{PADDING}[group]"),
    "waveform normalised over the padding": (
        "model", "x = standardise(x, num_samples[:, None], 1e-7)",
        "x = standardise(x, torch.full_like(num_samples, x.shape[1])[:, None], 1e-7)", f"{PADDING}[layer]"),
    "padding seen by attention and the positional convolution": (
        "model", "attention_mask=mask).logits", "attention_mask=torch.ones_like(mask)).logits", f"{PADDING}[layer]"),
    "a slice of the stem with the lengths of another": (
        "model", "self.num_samples[rows]", "self.num_samples[: len(input_values[rows])]",
        "test_model.py::test_a_frozen_stem_in_slices_changes_no_logit[group]"),
    "waveform normalised in bf16": (
        "model", "x = waveforms.float() / PCM_SCALE", "x = (waveforms / PCM_SCALE).to(recognizer.model.dtype)",
        "test_model.py::test_in_bf16_the_waveform_is_normalised_in_fp32"),
    "norm statistics in bf16": (
        "model", "standardise(x.float(), self.num_frames", "standardise(x, self.num_frames.to(x.dtype)",
        "test_model.py::test_in_bf16_a_group_norm_has_its_statistics_in_fp32"),
    "CTC in bf16": (
        "model", "torch.log_softmax(logits.float(), dim=-1)", "torch.log_softmax(logits, dim=-1).float()",
        "test_model.py::test_ctc_of_bf16_logits_is_computed_in_fp32"),
    "CTC not divided by the length of the label": (
        "model", "return losses / num_labels", "return losses",
        "test_model.py::test_ctc_equals_float64_and_is_divided_by_label_length"),
    "loss over padded frames": (
        "fit", "num_frames = count_frames(recognizer.model, batch.num_samples)",
        "num_frames = torch.full_like(batch.num_samples, logits.shape[1])",
        "test_fit.py::test_a_damaged_utterance_leaves_the_step_of_the_others"),
    "text of padded frames": (
        "model", "path[:frames].tolist()", "path.tolist()", "test_model.py::test_greedy_text_is_cut_to_true_length"),
    "blank that is not the pad token": (
        "model", '"pad_token_id": vocabulary.blank_id', '"pad_token_id": 0',
        "test_model.py::test_a_saved_folder_is_stock_and_comes_back"),
    "rows permuted when the head moves to another vocabulary": (
        "model", "head.weight[list(twins)] = old.weight[list(twins.values())]",
        "head.weight[list(twins)] = old.weight[list(twins)]",
        "test_model.py::test_a_trained_head_keeps_its_letters_in_another_vocabulary"),
    "a head trusted because its size fits": (
        "model", "return move_head(recognizer, wanted) if wanted else recognizer",
        "return Recognizer(recognizer.model, _new_processor(wanted, config), wanted) if wanted else recognizer",
        "test_model.py::test_a_trained_head_keeps_its_letters_in_another_vocabulary"),
    "attention as asked for, but not used": (
        "model", 'None if attention == "auto" else attention', "None",
        "test_model.py::test_attention_implementations_agree_and_are_recorded"),
    "infeasible targets let through": (
        "data/run_plan", "feasible[number] = 0 < frames_needed(labels) <= frames[number]",
        "feasible[number] = 0 < frames_needed(labels)",
        "data/test_run_plan.py::test_an_utterance_needs_a_frame_a_label_and_one_between_equal_ones"),
    "LayerDrop from a generator of the rank's own": (
        "regularise", "(hash_keys(config.num_hidden_layers, seed, step, _LAYER_SALT) >> np.uint64(11)) * 2.0**-53",
        "np.random.default_rng().random(config.num_hidden_layers)",
        "test_regularise.py::test_dropped_layers_are_the_steps_and_keep_zero_gradients[False]"),
    "a dropped layer without gradients": (
        "regularise", "inputs[0] + 0.0 * output", "inputs[0]",
        "test_regularise.py::test_dropped_layers_are_the_steps_and_keep_zero_gradients[False]"),
    "SpecAugment from the global generator": (
        "regularise", "np.random.seed(int(hash_keys(1, seed, step, int(utterance), _MASK_SALT)[0]) % 2**32)", "pass",
        "test_regularise.py::test_an_utterance_is_masked_alike_in_any_pass_and_anew_in_each_step"),
    "SpecAugment over the padding": (
        "regularise", "time_mask[row, :length] = _compute_mask_indices((1, length), *spans)[0]",
        "time_mask[row] = _compute_mask_indices((1, time_mask.shape[1]), *spans)[0]",
        "test_regularise.py::test_no_mask_reaches_into_the_padding_or_an_empty_pass"),
    "masks left where the batch is read": (
        "regularise", "model.config, model.device, int", "model.config, batch.waveforms.device, int",
        "test_regularise.py::test_masks_are_where_the_model_is"),
    "dropout from the global generator": (
        "regularise", "generator.manual_seed(int(hash_keys(1, seed, step, first, _DROPOUT_SALT)[0]))", "pass",
        "test_regularise.py::test_dropout_is_seeded_by_seed_step_and_first_utterance"),
    "weight decay on weights that wait for the head": (
        "engine", "learning_rate if group[\"is_head\"] or not head_only else 0.0", "learning_rate",
        "test_fit.py::test_weights_that_wait_for_the_head_are_not_decayed[1]"),
    "gradients added up in bf16": (
        "engine", '"data_types": {"grad_accum_dtype": "fp32"}', '"data_types": {"grad_accum_dtype": "bf16"}',
        "test_engine.py::test_16_bit_sums_gradients_in_fp32_or_is_refused"),
    "the mean of each rank's own utterances": (
        "fit", "batch, step.number, good, meter)",
        "batch, step.number, sum(len(one.utterances) for one in step.batches) * job.world.world_size, meter)",
        CURVES),
    "ZeRO-3 loaded with another rank's part": (
        "engine", "part = padded[size * world.rank : size * (world.rank + 1)]", "part = padded[:size]",
        "test_train.py::test_a_killed_run_goes_on_as_if_nothing_had_happened[4-3]"),
    "frozen weights left out of the checkpoint": (
        "engine", "return (frozen if world.is_main else {}) | _gather", "return _gather",
        "test_checkpoint.py::test_a_checkpoint_holds_every_weight_and_both_moments"),
    "frozen weights rounded on their way to the export": (
        "fit", "frozen = {name: p.detach().clone()", "frozen = {name: p.detach().bfloat16().float()", FROZEN),
    "an export that is not what was trained": (
        "checkpoint", "    load_weights(recognizer, checkpoint)\n    merge", "    merge",
        "test_checkpoint.py::test_an_export_is_complete_and_stock_transformers_computes_the_same[dtype0]"),
    "WER averaged over utterances": (
        "metrics", "found = np.array([rates[0],",
        "found = np.array([(amounts[:, ::2] / np.maximum(1, amounts[:, 1::2])).mean(axis=0),",
        "test_breakdown.py::test_groups_add_up_to_the_whole"),
    "utterances evaluated by two ranks": (
        "evaluate", "cut[world.rank] for cut in cuts", "cut[0] for cut in cuts",
        "test_evaluate.py::test_two_ranks_write_the_same_predictions_as_one"),
    "word times a frame late": (
        "transcribe", 'float(found[f"{edge}_offset"])', 'float(found[f"{edge}_offset"] + 1)',
        "test_transcribe.py::test_word_times_are_those_of_the_sound"),
    "windows joined a frame late": (
        "transcribe", "counts = slice(context if start else 0,", "counts = slice(context + 1 if start else 0,",
        "test_transcribe.py::test_windows_hold_every_frame_once_and_its_context[320-400]"),
}  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy to put faults into."""
    copy = tmp_path_factory.mktemp("faults") / "project"
    for folder in ("asrscale", "ds_configs", "launch", "tests"):
        shutil.copytree(REPOSITORY / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", copy)
    return copy


def run_tests(project: Path, *names: str) -> str:
    """What pytest says of tests in the copy."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(OF_THIS_PROCESS)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(f"tests/{name}" for name in names)]
    environment = own | {"PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.slow
def test_without_a_fault_all_pass(project: Path) -> None:
    names = {test for *_, test in FAULTS.values()}
    assert f"{len(names)} passed" in (said := run_tests(project, *sorted(names))), said


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_is_noticed(kind: str, project: Path) -> None:
    module, right, wrong, test = FAULTS[kind]
    path = project / "asrscale" / f"{module}.py"
    source = path.read_text()
    assert source.count(right) == 1, f"{module}.py has {source.count(right)} of {right}"
    path.write_text(source.replace(right, wrong))
    try:
        said = run_tests(project, test)
    finally:
        path.write_text(source)
    assert "1 failed" in said and "error" not in said.splitlines()[-1], said
