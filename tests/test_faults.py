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

PADDING = "model/test_padding.py::test_padding_does_not_change_logits_and_alone_they_are_stock"
CURVES = "test_equal_ranks.py::test_losses_and_gradients_do_not_depend_on_ranks_stages_and_memory[2-3]"
FROZEN = "test_train.py::test_a_checkpoint_is_fine_tuned_with_its_stem_untouched[2-bf16]"
WAITING = "training/test_step.py::test_weights_below_the_head_wait_and_begin_without_a_jump"
# Kind: module, what is replaced, by what, the test.
FAULTS: dict[str, tuple[str, str, str, str]] = {
    "group norm over the padding": (
        "model/padding", "if self.num_frames is None:", "if True:", f"{PADDING}[wav2vec2]"),
    "waveform normalised over the padding": (
        "model/forward", "standardise_samples(samples, num_samples, is_real)",
        "standardise_samples(samples, torch.full_like(num_samples, samples.shape[1]), is_real)",
        "model/test_forward.py::test_a_waveform_is_normalised_over_its_own_samples"),
    "padding seen by attention and the positional convolution": (
        "model/forward", "attention_mask=is_real.long() if is_needed else None",
        "attention_mask=torch.ones_like(is_real).long() if is_needed else None",
        f"{PADDING}[wav2vec2 layer]"),
    "a slice of the stem with the lengths of another": (
        "model/padding", "self.num_samples[rows]", "self.num_samples[: len(input_values[rows])]",
        "model/test_padding.py::test_a_frozen_stem_in_slices_changes_no_logit[wav2vec2]"),
    "waveform normalised in bf16": (
        "model/forward", "samples = waveforms.float().div_(PCM_SCALE)",
        "samples = (waveforms / PCM_SCALE).to(recognizer.model.dtype)",
        "model/test_forward.py::test_in_bf16_the_waveform_is_normalised_in_fp32"),
    "norm statistics in bf16": (
        "model/padding", "= standardise(x.float(), count", "= standardise(x, count.to(x.dtype)",
        "model/test_padding.py::test_in_bf16_a_group_norm_has_its_statistics_in_fp32"),
    "CTC in bf16": (
        "model/forward", "torch.log_softmax(logits.float(), dim=-1)", "torch.log_softmax(logits, dim=-1).float()",
        "model/test_forward.py::test_ctc_of_bf16_logits_is_computed_in_fp32"),
    "CTC not divided by the length of the label": (
        "model/forward", "return losses / num_labels", "return losses",
        "model/test_forward.py::test_ctc_equals_float64_and_is_divided_by_label_length"),
    "loss over padded frames": (
        "training/step", "num_frames = torch.from_numpy(recognizer.geometry.num_frames(batch.num_samples.numpy()))",
        "num_frames = torch.full_like(batch.num_samples, logits.shape[1])",
        "training/test_step.py::test_a_damaged_utterance_leaves_the_step_of_the_others"),
    "text of padded frames": (
        "model/forward", "path[:frames].tolist()", "path.tolist()",
        "model/test_forward.py::test_greedy_text_is_cut_to_true_length"),
    "blank that is not the pad token": (
        "model/configuring", '"pad_token_id": vocabulary.blank_id', '"pad_token_id": 0',
        "model/test_recognizer.py::test_a_saved_folder_is_stock_and_comes_back"),
    "rows permuted when the head moves to another vocabulary": (
        "model/heads", "new.weight[new_rows] = old.weight[old_rows]", "new.weight[new_rows] = old.weight[new_rows]",
        "model/test_building.py::test_a_trained_head_keeps_its_letters_in_another_vocabulary"),
    "a head trusted because its size fits": (
        "model/starting_points", "recognizer = move_head(recognizer, start.requested)",
        "recognizer = replace(recognizer, vocabulary=start.requested)",
        "model/test_building.py::test_a_trained_head_keeps_its_letters_in_another_vocabulary"),
    "attention as requested, but not used": (
        "model/attention", "return attention", "return None",
        "model/test_attention.py::test_attention_implementations_agree_and_are_recorded"),
    "infeasible targets let through": (
        "data/run_plan", "feasible[number] = 0 < frames_needed(labels) <= frames[number]",
        "feasible[number] = 0 < frames_needed(labels)",
        "data/test_run_plan.py::test_an_utterance_needs_a_frame_a_label_and_one_between_equal_ones"),
    "LayerDrop from a generator of the rank's own": (
        "model/regularisation", "(hashes >> np.uint64(11)) * 2.0**-53", "np.random.default_rng().random(num_layers)",
        "model/test_regularisation.py::test_dropped_layers_are_the_steps_and_keep_zero_gradients[False]"),
    "a dropped layer without gradients": (
        "model/layerdrop", "_PassOn.apply(hidden, *trained) if trained else hidden", "hidden",
        "model/test_regularisation.py::test_dropped_layers_are_the_steps_and_keep_zero_gradients[False]"),
    "SpecAugment from the global generator": (
        "model/regularisation",
        "np.random.seed(int(hash_keys(1, seed, step, int(utterance), _MASK_SALT)[0]) % 2**32)", "pass",
        "model/test_regularisation.py::test_an_utterance_is_masked_alike_in_any_pass_and_anew_in_each_step"),
    "SpecAugment over the padding": (
        "model/regularisation", "time_mask[row, :length] = _draw_time_mask(length,",
        "time_mask[row] = _draw_time_mask(padded_frames,",
        "model/test_regularisation.py::test_no_mask_reaches_into_the_padding_or_an_empty_pass"),
    "masks left where the batch is read": (
        "model/regularisation", "torch.from_numpy(mask).to(model.device, non_blocking=True)", "torch.from_numpy(mask)",
        "model/test_regularisation.py::test_masks_are_where_the_model_is"),
    "masks that the host waits to send": (
        "model/regularisation", "to(model.device, non_blocking=True)", "to(model.device)",
        "test_device_steps.py::test_a_step_asks_for_its_norm_alone_twice_where_memory_ran_out[never]"),
    "a loss that the host asks for in each pass": (
        "training/step", "        return share.detach()\n",
        "        return share.detach() * float(share.detach().isfinite())\n",
        "test_device_steps.py::test_a_step_asks_for_its_norm_alone_twice_where_memory_ran_out[never]"),
    "dropout that depends on the place in the batch": (
        "model/dropout", "hash_keys(dropout.places, seed, step, int(utterance), _SALT) for utterance in utterances",
        "hash_keys(dropout.places, seed, step, row, _SALT) for row in range(len(utterances))",
        "model/test_regularisation.py::test_an_utterance_drops_alike_in_any_pass_and_anew_in_each_step[False-eager]"),
    "torch's own dropout left on": (
        "model/dropout", "            changed.p = 0.0\n", "",
        "model/test_regularisation.py::test_an_utterance_drops_alike_in_any_pass_and_anew_in_each_step[False-eager]"),
    "attention's own dropout left on": (
        "model/dropout", "        attention.dropout = 0.0\n", "",
        "model/test_regularisation.py::test_an_utterance_drops_alike_in_any_pass_and_anew_in_each_step[False-eager]"),
    "weight decay on weights that wait for the head": (
        "training/optimizer", 'rates.head if group["is_head"] else rates.below', "rates.head",
        f"{WAITING}[0-fp32-offload0]"),
    "moments that begin when their correction has run out": (
        "training/optimizer", ' if not group["is_held"]]', "]", f"{WAITING}[0-fp32-offload0]"),
    "gradients added up in bf16": (
        "training/ds_config", '"data_types": {"grad_accum_dtype": "fp32"}',
        '"data_types": {"grad_accum_dtype": "bf16"}',
        "training/test_ds_config.py::test_16_bit_sums_gradients_in_fp32_or_is_refused"),
    "the mean of each rank's own utterances": (
        "training/step", "run_pass(engine, context, batch, step.number, good, meter)",
        "run_pass(engine, context, batch, step.number, "
        "sum(len(one.utterances) for one in step.batches) * context.world.world_size, meter)",
        CURVES),
    "ZeRO-3 loaded with another rank's part": (
        "training/engine", "part = padded[size * world.rank : size * (world.rank + 1)]",
        "part = padded[:size]",
        "test_killed_runs.py::test_a_killed_run_goes_on_as_if_nothing_had_happened[4-3]"),
    "frozen weights left out of the checkpoint": (
        "training/engine", "return (frozen if world.is_main else {}) | trained", "return trained",
        "training/test_checkpoint.py::test_a_checkpoint_holds_every_weight_and_both_moments"),
    "frozen weights rounded on their way to the export": (
        "training/loop", "weight.clone() for name", "weight.bfloat16().float() for name", FROZEN),
    "an export that is not what was trained": (
        "training/candidates", "    checkpoint.load_weights(recognizer, newest)\n", "",
        "test_train.py::test_the_run_folder_holds_what_was_promised"),
    "WER averaged over utterances": (
        "results/intervals", "error_rates(amounts.sum(axis=0))", "error_rates(amounts).mean(axis=0)",
        "results/test_breakdown.py::test_groups_add_up_to_the_whole"),
    "the other error rate chooses the best model": (
        "training/validation", "return (*rates, math.inf", "return (*reversed(rates), math.inf",
        "training/test_validation.py::test_the_deciding_rate_is_compared_first_and_said_first"),
    "utterances of a speaker taken for independent in a comparison": (
        "results/paired", "independent_samples(np.hstack([amounts, others]), speakers)",
        'np.hstack([amounts, others]), "speakers"',
        "results/test_paired.py::test_a_difference_that_one_speaker_makes_is_not_sure_where_speakers_are_known"),
    "utterances evaluated by two ranks": (
        "results/evaluation", "return passes[source.world.rank]", "return passes[0]",
        "test_evaluate.py::test_two_ranks_write_the_same_predictions_as_one"),
    "word times a frame late": (
        "results/transcription", "samples = float(frame) * geometry", "samples = float(frame + 1) * geometry",
        "results/test_transcription.py::test_word_times_are_those_of_the_sound"),
    "windows joined a frame late": (
        "results/windows", "own_end = _window_samples(geometry) // stride - context_frames",
        "own_end = _window_samples(geometry) // stride",
        "results/test_windows.py::test_windows_without_a_pause_hold_every_frame_once_and_its_context[320-400]"),
    "effects drawn from a generator of the process": (
        "augmentation/augment", "keys = hash_keys(_DRAWS, key, _SALTS[kind], occurrence)",
        'import numpy as np; keys = np.random.default_rng().integers(0, 2**63, _DRAWS).astype("uint64")',
        "augmentation/test_augment.py::test_the_same_key_draws_the_same_samples_and_another_key_others"),
    "effects that are always drawn together": (
        "augmentation/augment", "hash_keys(_DRAWS, key, _SALTS[kind], occurrence)",
        'hash_keys(_DRAWS, key, _SALTS["rir"], 1)',
        "augmentation/test_augment.py::test_as_many_are_changed_as_was_asked_for_and_each_effect_draws_for_itself"),
    "a room that delays the words": (
        "augmentation/sound", "[direct_path : direct_path + len(waveform)]", "[: len(waveform)]",
        "augmentation/test_sound.py::test_a_room_is_the_convolution_with_its_response_in_time_and_at_the_same_power"
        "[1000-4001]"),
    "noise by the ratio of levels instead of powers": (
        "augmentation/sound", "10 ** (-snr_db / 20)", "10 ** (-snr_db / 10)",
        "augmentation/test_sound.py::test_noise_has_the_ratio_that_was_asked_for[13.7]"),
    "visits of a weight below 1 drawn anew in each epoch": (
        "data/copies", "turned = angles + turn * np.uint64(epoch + 1)",
        "turned = hash_keys(len(shard_ids), seed, window, epoch, _VISIT_SALT)",
        "data/test_copies.py::test_several_epochs_visit_each_utterance_as_often_as_they_should[0.3]"),
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


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_fits_the_source_and_its_test_is_there(kind: str) -> None:
    module, right, wrong, test = FAULTS[kind]
    assert (REPOSITORY / "asrscale" / f"{module}.py").read_text().count(right) == 1 and wrong != right
    path, name = test.split("::")
    assert f"def {name.split('[')[0]}(" in (REPOSITORY / "tests" / path).read_text()


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
    path.write_text(source.replace(right, wrong))
    try:
        said = run_tests(project, test)
    finally:
        path.write_text(source)
    assert "1 failed" in said and "error" not in said.splitlines()[-1], said
