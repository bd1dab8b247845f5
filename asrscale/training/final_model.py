"""The model of a run: built from settings, exported from the best checkpoint, evaluated, published."""

import math
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from asrscale.common import distributed
from asrscale.common.atomic_files import write_json, write_jsonl, write_text
from asrscale.common.checkpoint_files import at_revision
from asrscale.data.catalog import Catalog
from asrscale.model.architectures import ARCHITECTURES
from asrscale.model.building import build_recognizer
from asrscale.model.export import (
    dtype_name,
    export_model,
    has_adapter_only,
    has_card,
    read_provenance,
    withdraw_card,
    write_provenance,
)
from asrscale.model.hub import push_model
from asrscale.model.lora import add_lora
from asrscale.model.model_card import model_card
from asrscale.model.pretrained import load_recognizer
from asrscale.model.recognizer import Recognizer
from asrscale.results.by_data_set import rates_by_data_set, rows_by_data_set
from asrscale.results.evaluation import Evaluation, evaluate
from asrscale.results.frame_texts import text_reader
from asrscale.results.metrics import ErrorCounts, Metric, both_metrics
from asrscale.results.predictions import TOGETHER, Row, predictions_with_confidences, print_damaged, row_of, table
from asrscale.training import checkpoint
from asrscale.training.candidates import Candidate, averages_are_those_of, find_candidates, load_candidate
from asrscale.training.card_facts import card_facts
from asrscale.training.checkpoint import RunState
from asrscale.training.config import TrainConfig
from asrscale.training.disk_errors import disk_errors_explained
from asrscale.training.metrics_plot import plot_metrics
from asrscale.training.milestones import Milestone, describe_milestones, milestones
from asrscale.training.other_formats import write_other_formats
from asrscale.training.published import card_settings
from asrscale.training.run_context import RunContext
from asrscale.training.run_report import REPORT_FILE, write_report
from asrscale.training.validation import reports_evaluating, score_of

COMPARED_FOLDER = "compared"  # of a run: a model that is evaluated beside the best, and gone at the end
MASKED = 0.05  # any share above 0
EXPORT_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def new_recognizer(config: TrainConfig, catalog: Catalog) -> Recognizer:
    """Builds the model before training; the same whenever it is built."""
    recognizer = build_recognizer(
        at_revision(config.model.model, config.model.revision),
        catalog.characters,
        seed=config.general.seed,
        vocab=config.model.vocab,
        spaced=any(rules.form == "characters" for rules in catalog.text_rules),
        language=config.model.language or "",
        train_adapter=config.model.train_adapter,
        new_head=config.model.new_head,
        attention=config.model.attention,
        mask_time_prob=_mask_prob(config, "mask_time_prob"),
        mask_feature_prob=_mask_prob(config, "mask_feature_prob"),
        dropout=config.model.dropout,
    )
    different_rules = set(catalog.text_rules)
    if len(different_rules) == 1:
        recognizer.record_text_rules(different_rules.pop())
    if config.model.lora_rank:
        add_lora(recognizer.model, config.model.lora_rank)
    return recognizer


def _mask_prob(config: TrainConfig, name: str) -> float:
    """Returns a share of SpecAugment; where it is not chosen yet, one for which the model gets its mask vector."""
    if name in config.open and config.model.model not in ARCHITECTURES:
        return MASKED
    return float(getattr(config.model, name))


def is_complete(context: RunContext, state: RunState) -> bool:
    """Whether RUN/model is finished, in the precision of --export_dtype, and the best of the run. A collective.

    Args:
        context: Of the run.
        state: Of the newest checkpoint.
    """
    is_done = context.world.is_main and _is_best_exported(context, state)
    is_done_on_main: bool = distributed.gather_objects(is_done, context.world)[0]
    return is_done_on_main


def _is_best_exported(context: RunContext, state: RunState) -> bool:
    """Whether what was compared for RUN/model is what would be compared now."""
    model_folder = context.folder / "model"
    if not has_card(model_folder):
        return False
    if has_adapter_only(model_folder) != context.config.evaluation.export_adapter:
        return False
    exported = read_provenance(model_folder)
    if exported is None or exported.dtype != dtype_name(EXPORT_DTYPES[context.config.evaluation.export_dtype]):
        return False

    # Older versions recorded the best only.
    compared = exported.compared or {"best": {str(exported.step): exported.checkpoint_sha256}}
    [(step, best_sha256)] = compared["best"].items()
    return _is_best(context, state, int(step), best_sha256) and averages_are_those_of(context, state, compared)


def _is_best(context: RunContext, state: RunState, step: int, sha256: str) -> bool:
    """Whether the weights of `step` are what would be taken for the best now."""
    if step == state.best_step:
        kept_sha256 = checkpoint.weights_sha256(checkpoint.checkpoint_at(context.folder, step))
        return kept_sha256 in (None, sha256)
    # The best one was damaged when the model was exported: then it is what would be exported now.
    stand_in, _ = checkpoint.whole_checkpoint(context.folder, state.best_step)
    return stand_in is not None and sha256 == checkpoint.weights_sha256(stand_in)


def withdraw_model(context: RunContext) -> None:
    """Takes back that RUN/model is the finished model of this run, before the run goes on. For the main rank."""
    withdraw_card(context.folder / "model")


@dataclass(frozen=True)
class FinalModel:
    """What was exported, and how good it is.

    Attributes:
        exported: The weights in RUN/model.
        results: Of all weights that were compared, each on all validation data.
        by_data_set: Of the exported model, where the validation data are several data sets; on rank 0.
    """

    exported: Candidate
    results: Mapping[Candidate, Evaluation]
    by_data_set: Mapping[str, Row] = field(default_factory=dict)

    @property
    def result(self) -> Evaluation:
        """Of the exported model."""
        return self.results[self.exported]


def export_and_evaluate(context: RunContext, state: RunState) -> FinalModel:
    """Writes RUN/model from the best of all weights that may be exported, each evaluated on all validation data.

    What is evaluated is the model as a folder has it. Without averages only the checkpoint of the best evaluation is.
    A collective.

    Raises:
        CliError: The disk does not take it.
        Stopped: A rank was asked to stop.
    """
    candidates = find_candidates(context, state)
    best, *others = candidates
    results = {best: _export_and_evaluate(context, best, candidates, context.folder / "model")}
    exported = best
    for candidate in others:
        folder = context.folder / COMPARED_FOLDER
        results[candidate] = _export_and_evaluate(context, candidate, candidates, folder)
        metric = context.metric
        if score_of(results[candidate], metric) < score_of(results[exported], metric):
            exported = candidate
            _replace_model(context, folder)
    if context.world.is_main:
        shutil.rmtree(context.folder / COMPARED_FOLDER, ignore_errors=True)

    path = context.folder / "eval" / "valid.jsonl"
    by_data_set: dict[str, Row] = {}
    with disk_errors_explained(context.folder, context.world, str(path)):
        if context.world.is_main:
            result = results[exported]
            print_damaged(context.valid, result)
            write_jsonl(path, predictions_with_confidences(context.valid, result.details()))
            by_data_set = rows_by_data_set(context.valid, result)
    return FinalModel(exported, results, by_data_set)


def _export_and_evaluate(
    context: RunContext, candidate: Candidate, candidates: Iterable[Candidate], folder: Path
) -> Evaluation:
    """Writes a model folder of one of the `candidates`, and evaluates that folder on all validation data."""
    world = context.world
    with disk_errors_explained(context.folder, world, str(folder)):
        if world.is_main:
            _export(context, candidate, candidates, folder)

    exported = load_recognizer(str(folder), _language(context))
    return evaluate(
        exported.model.to(world.device),
        exported,
        context.valid,
        world,
        memory_cap_seconds=context.cap.seconds,
        threads=context.config.data.decode_threads,
        title="transcribing all validation data",
        cache=context.cache,
        should_stop=reports_evaluating(context.watch),
        read_texts=text_reader(exported),
    )


def _language(context: RunContext) -> str:
    """Returns the code of the language that a model of many is set to; "" where it names none."""
    languages = context.recognizer.languages
    return languages.code if languages else ""


def _export(context: RunContext, candidate: Candidate, candidates: Iterable[Candidate], folder: Path) -> None:
    """Writes a model folder of one of the `candidates`. For the main rank."""
    recognizer = new_recognizer(context.config, context.plan.catalog)
    load_candidate(recognizer, candidate, context)
    dtype = EXPORT_DTYPES[context.config.evaluation.export_dtype]
    export_model(recognizer, folder, dtype, adapter_only=context.config.evaluation.export_adapter)
    write_provenance(
        folder,
        step=candidate.step,
        checkpoint_sha256=candidate.sources[str(candidate.step)],
        dtype=dtype,
        weights=candidate.kind,
        compared={one.kind: one.sources for one in candidates},
    )


def _replace_model(context: RunContext, folder: Path) -> None:
    """Makes a model folder RUN/model, instead of the one that is there. A collective."""
    model_folder = context.folder / "model"
    with disk_errors_explained(context.folder, context.world, str(model_folder)):
        if context.world.is_main:
            shutil.rmtree(model_folder)
            folder.rename(model_folder)


def write_results(context: RunContext, state: RunState, final: FinalModel) -> None:
    """Draws the curves, writes the model's card, and prints the results. For the main rank."""
    folder = context.folder
    result = final.result
    curves = plot_metrics(folder, context.metric)
    found = milestones(state, context.metric)
    write_report(context, state, final_metrics(final, context.metric))
    write_json(folder / "results.json", _results(context, final, found))
    card = model_card(card_settings(context.config), card_facts(context, result, str(final.exported), found))
    write_text(folder / "model" / "README.md", card)  # last: it marks the run as complete
    sizes = dict(utterances=len(context.valid_subset), all_utterances=len(context.valid))
    print(f"{describe_milestones(found, context.metric, **sizes)}\n")
    if len(final.results) > 1:
        print(f"{_comparison(final, context.metric)}\n")
    name = TOGETHER if final.by_data_set else ",".join(context.config.data.valid)
    print(table({**final.by_data_set, name: row_of(context.valid, result)}, context.metric))
    print(f"memory: {context.memory_summary()}")
    print(f"model: {folder / 'model'}   report: {folder / REPORT_FILE}   curves: {curves}")


def _results(context: RunContext, final: FinalModel, found: Iterable[Milestone]) -> dict[str, Any]:
    """Returns what results.json holds: the rates of the run while training, and those of its model on all data."""
    by_data_set = {
        name: {"utterances": row.errors.utterances, **_rates(row.errors, context.metric)}
        for name, row in final.by_data_set.items()
    }
    return {
        "metric": context.metric,
        "while_training": {
            "utterances": len(context.valid_subset),
            **{one.name: {"step": one.step, **one.rates, "loss": one.loss} for one in found},
        },
        "final": {
            "weights": str(final.exported),
            "utterances": len(context.valid),
            **_rates(final.result.errors, context.metric),
            "loss": final.result.loss,
            "by_data_set": by_data_set,
        },
    }


def _rates(errors: ErrorCounts, metric: Metric) -> dict[str, float]:
    """Returns both error rates by their names, the deciding one first."""
    return {name: errors.rate(name) for name in both_metrics(metric)}


def _comparison(final: FinalModel, metric: Metric) -> str:
    """Returns the rates of all weights that were compared as text, a line each."""
    width = max(len(str(candidate)) for candidate in final.results)
    first, second = both_metrics(metric)
    lines = [f"{'weights':{width}}     {first.upper()}     {second.upper()}    loss"]
    for candidate, result in final.results.items():
        loss = "" if result.loss is None else f"{result.loss:.4f}"
        mark = "  exported" if candidate == final.exported else ""
        errors = result.errors
        lines.append(f"{candidate!s:{width}}  {errors.rate(first):>6.2%}  {errors.rate(second):>6.2%}  {loss:>6}{mark}")
    return "\n".join(lines)


def final_metrics(final: FinalModel, metric: Metric) -> dict[str, float | None]:
    """Returns what is logged at the end: rates and loss of the exported model, and of all that it was compared with."""
    values = _metrics_of(final.result, "final", metric) | rates_by_data_set(final.by_data_set, "final")
    if len(final.results) > 1:
        for candidate, result in final.results.items():
            values |= _metrics_of(result, f"final/{candidate.kind}", metric)
    return values


def _metrics_of(result: Evaluation, prefix: str, metric: Metric) -> dict[str, float | None]:
    """Returns rates and loss of an evaluation under the names that they are logged by."""
    rates = {f"{prefix}/{name}": rate for name, rate in _rates(result.errors, metric).items()}
    return {**rates, f"{prefix}/loss": result.loss}


def end_together(context: RunContext, *, push: bool) -> None:
    """Writes and uploads the model where --export and --push_to_hub say so, and waits for all ranks.

    A launcher ends the other ranks with the first that exits.

    Args:
        context: Of the run.
        push: Whether RUN/model is finished.
    """
    context.watch.beat("saving")
    context.watch.hang_seconds = math.inf  # an upload may take hours, and ranks that are done do not answer
    if push and context.world.is_main:
        write_other_formats(context.folder / "model", context.config.evaluation, _language(context))
    repository = context.config.evaluation.push_to_hub
    if push and repository and context.world.is_main:
        push_model(context.folder / "model", repository, public=context.config.evaluation.public)
    context.watch.beat("ending")
    distributed.barrier()
