"""The model of a run: built from settings, exported from the best checkpoint, evaluated, published."""

import math
from pathlib import Path

import torch

from asrscale.common import distributed
from asrscale.common.atomic_files import write_jsonl, write_text
from asrscale.common.checkpoint_files import at_revision
from asrscale.common.distributed import print_on_main
from asrscale.data.catalog import Catalog
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
from asrscale.results.evaluation import Evaluation, evaluate
from asrscale.results.metrics import METRIC_NAMES, both_metrics
from asrscale.results.predictions import predictions, print_damaged, table
from asrscale.training import checkpoint
from asrscale.training.config import TrainConfig, to_dict
from asrscale.training.disk_errors import disk_errors_explained
from asrscale.training.metrics_plot import plot_metrics
from asrscale.training.other_formats import write_other_formats
from asrscale.training.run_context import RunContext
from asrscale.training.validation import reports_evaluating

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
        mask_time_prob=config.model.mask_time_prob or 0.0,
        mask_feature_prob=config.model.mask_feature_prob or 0.0,
        dropout=config.model.dropout,
    )
    different_rules = set(catalog.text_rules)
    if len(different_rules) == 1:
        recognizer.record_text_rules(different_rules.pop())
    if config.model.lora_rank:
        add_lora(recognizer.model, config.model.lora_rank)
    return recognizer


def is_complete(context: RunContext, best_step: int | None) -> bool:
    """Whether RUN/model is finished, in the precision of --export_dtype, and the best of the run. A collective.

    Args:
        context: Of the run.
        best_step: The step of the best evaluation, by the newest checkpoint.
    """
    is_done = context.world.is_main and _is_best_exported(context, best_step)
    is_done_on_main: bool = distributed.gather_objects(is_done, context.world)[0]
    return is_done_on_main


def _is_best_exported(context: RunContext, best_step: int | None) -> bool:
    model_folder = context.folder / "model"
    if not has_card(model_folder):
        return False
    if has_adapter_only(model_folder) != context.config.evaluation.export_adapter:
        return False
    exported = read_provenance(model_folder)
    if exported is None or exported.dtype != dtype_name(EXPORT_DTYPES[context.config.evaluation.export_dtype]):
        return False

    if exported.step == best_step:
        kept_sha256 = checkpoint.weights_sha256(checkpoint.checkpoint_at(context.folder, best_step))
        return kept_sha256 in (None, exported.checkpoint_sha256)
    # The best one was damaged when the model was exported: then it is what would be exported now.
    stand_in, _ = checkpoint.whole_checkpoint(context.folder, best_step)
    return stand_in is not None and exported.checkpoint_sha256 == checkpoint.weights_sha256(stand_in)


def withdraw_model(context: RunContext) -> None:
    """Takes back that RUN/model is the finished model of this run, before the run goes on. For the main rank."""
    withdraw_card(context.folder / "model")


def export_and_evaluate(context: RunContext, best_step: int | None) -> Evaluation:
    """Writes RUN/model from the checkpoint of `best_step` and evaluates that folder on all validation data.

    A collective.

    Raises:
        CliError: The disk does not take it.
        Stopped: A rank was asked to stop.
    """
    world = context.world
    model_folder = context.folder / "model"
    with disk_errors_explained(context.folder, world, str(model_folder)):
        if world.is_main:
            _export(context, best_step, model_folder)

    language = context.recognizer.languages.code if context.recognizer.languages else ""
    exported = load_recognizer(str(model_folder), language)
    result = evaluate(
        exported.model.to(world.device),
        exported,
        context.valid,
        world,
        memory_cap_seconds=context.cap.seconds,
        threads=context.config.data.decode_threads,
        title="transcribing all validation data",
        cache=context.cache,
        should_stop=reports_evaluating(context.watch),
    )
    path = context.folder / "eval" / "valid.jsonl"
    with disk_errors_explained(context.folder, world, str(path)):
        if world.is_main:
            print_damaged(context.valid, result)
            write_jsonl(path, predictions(context.valid, result.hypotheses()))
    return result


def _export(context: RunContext, best_step: int | None, model_folder: Path) -> None:
    """Writes RUN/model from the checkpoint of `best_step`. For the main rank."""
    best, refusals = checkpoint.whole_checkpoint(context.folder, best_step)
    assert best is not None, "the newest one was just written"
    if refusals:
        print_on_main(context.world, "\n".join([*refusals, f"exporting {best} instead"]))
    recognizer = new_recognizer(context.config, context.plan.catalog)
    checkpoint.load_weights(recognizer, best)
    dtype = EXPORT_DTYPES[context.config.evaluation.export_dtype]
    export_model(recognizer, model_folder, dtype, adapter_only=context.config.evaluation.export_adapter)
    write_provenance(
        model_folder,
        step=checkpoint.step_of(best),
        checkpoint_sha256=checkpoint.weights_sha256(best) or "",
        dtype=dtype,
    )


def write_results(context: RunContext, result: Evaluation) -> None:
    """Draws the curves, writes the model's card, and prints the results. For the main rank."""
    folder = context.folder
    catalog = context.plan.catalog
    curves = plot_metrics(folder, context.metric)
    card = model_card(
        to_dict(context.config),
        text_rules=catalog.text_rules,
        train_hours=catalog.hours,
        train_utterances=int(catalog.utterances.sum()),
        valid_utterances=result.errors.utterances,
        rates={METRIC_NAMES[name]: result.errors.rate(name) for name in both_metrics(context.metric)},
    )
    write_text(folder / "model" / "README.md", card)  # last: it marks the run as complete
    print(table({",".join(context.config.data.valid): (context.valid, result)}, context.metric))
    print(f"memory: {context.memory_summary()}")
    print(f"model: {folder / 'model'}   curves: {curves}   settings: {folder / 'config.json'}")


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
        write_other_formats(context.folder / "model", context.config.evaluation)
    repository = context.config.evaluation.push_to_hub
    if push and repository and context.world.is_main:
        push_model(context.folder / "model", repository)
    context.watch.beat("ending")
    distributed.barrier()
