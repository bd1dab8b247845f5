"""The end of a run: exports the best model and evaluates it."""

import torch

from asrscale.common import distributed
from asrscale.common.atomic_files import write_jsonl
from asrscale.common.distributed import print_on_main
from asrscale.data.catalog import Catalog
from asrscale.data.index import Index
from asrscale.model import building, export, pretrained
from asrscale.model.lora import add_lora
from asrscale.model.recognizer import Recognizer
from asrscale.results.evaluation import Evaluation, evaluate
from asrscale.results.predictions import predictions
from asrscale.training import checkpoint
from asrscale.training.config import TrainConfig
from asrscale.training.run_context import RunContext

EXPORT_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def new_recognizer(config: TrainConfig, catalog: Catalog) -> Recognizer:
    """The model before training; the same whenever it is built."""
    recognizer = building.build_recognizer(
        config.model.model,
        catalog.characters,
        seed=config.general.seed,
        vocab=config.model.vocab,
        attention=config.model.attention,
        mask_time_prob=config.model.mask_time_prob or 0.0,
        mask_feature_prob=config.model.mask_feature_prob or 0.0,
        dropout=config.model.dropout,
    )
    if config.model.lora_rank:
        add_lora(recognizer.model, config.model.lora_rank)
    return recognizer


def export_and_evaluate(job: RunContext, best_step: int | None, valid_index: Index) -> Evaluation:
    """Writes RUN/model from the best checkpoint and evaluates that folder on all validation data."""
    config, world, folder, catalog = job.config, job.world, job.folder, job.plan.catalog
    if world.is_main:
        best, refused = checkpoint.whole_checkpoint(folder, best_step)
        if refused:
            print_on_main(world, "\n".join([*refused, f"exporting {best} instead"]))
        assert best is not None, "the newest one was just written"
        fresh, dtype = new_recognizer(config, catalog), EXPORT_DTYPES[config.evaluation.export_dtype]
        checkpoint.load_weights(fresh, best)
        export.export_model(fresh, folder / "model", dtype)
    distributed.barrier()
    exported = pretrained.load_recognizer(str(folder / "model"))
    title = "transcribing all validation data"
    result = evaluate(exported.model.to(world.device), exported, valid_index, world, title=title, **job.evaluating)
    if world.is_main:
        write_jsonl(folder / "eval" / "valid.jsonl", predictions(valid_index, result.hypotheses()))
    return result
