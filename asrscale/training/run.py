"""The training run: from settings to a fine-tuned model folder. Functions, in the order in which they run."""

import math
import sys
from pathlib import Path
from typing import Any

from asrscale.common import distributed
from asrscale.common.atomic_files import write_json, write_text
from asrscale.common.distributed import print_on_main
from asrscale.common.errors import EXIT_COMPLETE, EXIT_STOPPED, EXIT_USAGE, CliError, Stopped
from asrscale.common.shard_cache import Cache
from asrscale.data.catalog import read_catalog
from asrscale.data.index import Index, read_index
from asrscale.data.plan_summary import describe_plan
from asrscale.data.run_plan import plan_run
from asrscale.model import export, freezing
from asrscale.model.hub import check_login, push_model
from asrscale.model.model_card import model_card
from asrscale.model.recognizer import describe
from asrscale.model.regularisation import attach_regulariser
from asrscale.results.evaluation import choose_subset
from asrscale.results.predictions import table
from asrscale.training import engine as ds
from asrscale.training.checkpoint import RunState
from asrscale.training.config import TrainConfig, replace_settings, to_dict, with_regularisation
from asrscale.training.data_checks import check_data
from asrscale.training.ds_config import read_ds_config, resolve_ds_config, resolve_precision
from asrscale.training.final_model import EXPORT_DTYPES, export_and_evaluate, new_recognizer
from asrscale.training.loop import fit
from asrscale.training.memory_plan import advise, plan_memory
from asrscale.training.memory_rescue import MemoryExhausted, open_pass_cap
from asrscale.training.metrics_plot import plot_metrics
from asrscale.training.resume import choose_start
from asrscale.training.run_context import RunContext
from asrscale.training.run_folder import describe_environment, locked_run_folder
from asrscale.training.settings import DEMO_DATA
from asrscale.training.tracking import open_tracker
from asrscale.training.watch import PREEMPTED_FILE, Watch


def train(config: TrainConfig, watch: Watch) -> int:
    """Runs a training job to its end, or goes on with one that was interrupted; `watch` tells when to stop.

    Returns:
        The exit code.

    Raises:
        CliError: Bad settings or data, before any work.
    """
    watch.hang_seconds, watch.restarts = config.general.hang_seconds, config.memory.restarts
    if config.evaluation.push_to_hub:
        check_login(config.evaluation.push_to_hub)
    ds_config = read_ds_config(config.memory.config)
    catalog, valid_index = read_catalog(config.data.train), read_index(config.data.valid)
    with ds.joined_ranks() as world:
        watch.beat()
        if config.data.train[0].startswith(DEMO_DATA):
            print_on_main(
                world, f"training on the demo's data, {config.data.train[0]}; --train and --valid choose yours"
            )
        config = with_regularisation(config, catalog.hours)
        config = replace_settings(config, precision=resolve_precision(config.memory.precision, world))
        ds_config = resolve_ds_config(
            ds_config,
            precision=config.memory.precision,
            max_gradient_norm=config.optimisation.max_gradient_norm,
            device=world.device,
        )
        recognizer = new_recognizer(config, catalog)
        plan = plan_run(
            catalog,
            recognizer.vocabulary,
            recognizer.stem,
            seed=config.general.seed,
            batch_seconds=config.batching.batch_seconds,
            units_per_step=config.batching.units_per_step,
            perturb_speed=config.data.perturb_speed,
        )
        config, predicted_bytes = plan_memory(config, plan, world)
        check_data(config, recognizer, plan, world)
        total_steps = config.batching.max_steps or max(1, round(config.batching.epochs * plan.steps_per_epoch))
        if config.optimisation.warmup_steps >= total_steps:
            raise CliError(
                f"--warmup_steps {config.optimisation.warmup_steps}, but the run has {total_steps} steps "
                f"({plan.steps_per_epoch} an epoch of {catalog.hours:.2f} h): give fewer, or more --epochs, or smaller "
                "steps with --units_per_step"
            )
        folder = Path(config.general.run)
        with locked_run_folder(
            folder, world
        ):  # before a checkpoint is chosen: another training may be writing, and dropping, some
            watch.rank, watch.world_size = world.rank, world.world_size
            resumed, state = choose_start(config, plan, recognizer, world)
            if config.model.freeze_feature_encoder:
                freezing.freeze_feature_encoder(recognizer.model)
            freezing.checkpoint_activations(recognizer.model, config.memory.activation_checkpointing)
            regulariser = attach_regulariser(
                recognizer.model,
                mask_time_prob=config.model.mask_time_prob or 0.0,
                mask_feature_prob=config.model.mask_feature_prob or 0.0,
                layerdrop=config.model.layerdrop or 0.0,
            )
            subset = choose_subset(valid_index, config.evaluation.eval_utterances)
            cache = Cache(config.data.cache_dir, config.data.cache_bytes) if config.data.cache_dir else None
            settings = to_dict(config) | {"world_size": world.world_size}
            try:
                watch.cap = open_pass_cap(folder, settings, config.memory.memory_cap_seconds, plan.longest_samples)
                how = total_steps, watch, watch.cap, predicted_bytes, cache
                job = RunContext(config, world, folder, recognizer, regulariser, plan, subset, *how)
                return _go_on(job, state, resumed, ds_config, valid_index)
            except MemoryExhausted as error:
                cure = advise(config, plan, world)
                distributed.barrier()  # the launcher ends all ranks with the first
                raise CliError(f"{error}: {cure}") from None
            except RuntimeError as error:
                if not ds.is_out_of_memory(error) or (watch.cap and watch.cap.is_outdated()):
                    raise  # all ranks were told to leave, and the watch ends this one
                why = ". ".join(str(error).split(". ")[:2])
                print(f"error: rank {world.rank}, {watch.doing}: {why}: {advise(config, plan, world)}", file=sys.stderr)
                sys.exit(EXIT_USAGE)  # not as a CliError, of which the first rank alone would tell


def _go_on(
    job: RunContext, state: RunState, resumed: Path | None, ds_config: dict[str, Any], valid_index: Index
) -> int:
    """Trains from `state`, exports and evaluates; or says that all is done."""
    config, world, folder, watch = job.config, job.world, job.folder, job.watch
    if job.is_over(state) and export.is_exported(folder / "model", EXPORT_DTYPES[config.evaluation.export_dtype]):
        print_on_main(
            world, f"{folder} is complete: the model is in {folder / 'model'}; choose another --run for a new one"
        )
        _leave_together(job, push=True)
        return EXIT_COMPLETE
    environment, resume_step = describe_environment(job), state.step if resumed else None
    with open_tracker(
        folder, project=config.tracking.wandb_project, wandb_mode=config.tracking.wandb, resume_step=resume_step,
        enabled=world.is_main,
        config=to_dict(config) | {"deepspeed": ds_config, "environment": environment},
    ) as tracker:  # fmt: skip
        if world.is_main:
            (folder / PREEMPTED_FILE).unlink(missing_ok=True)
            write_json(folder / "config.json", to_dict(config) | {"data_fingerprint": job.plan.fingerprint})
            write_json(folder / "ds_config.json", ds_config)
            write_json(folder / "environment.json", environment)
        print_on_main(world, _opening(job, state))
        try:
            if not job.is_over(state):
                state = fit(job, state, resumed, ds_config, tracker)
            watch.beat("saving")
            result = export_and_evaluate(job, state.best_step, valid_index)
            errors = {"final/wer": result.errors.wer, "final/cer": result.errors.cer}
            tracker.log(state.step, errors | {"final/loss": result.loss})
        except Stopped:
            if world.is_main:
                watch.mark_preempted()
            result = None
    if result is not None and world.is_main:
        plot_metrics(folder)
        catalog = job.plan.catalog
        card = model_card(
            to_dict(config),
            train_hours=catalog.hours,
            train_utterances=int(catalog.utterances.sum()),
            valid_utterances=result.errors.utterances,
            wer=result.errors.wer,
            cer=result.errors.cer,
        )
        write_text(folder / "model" / "README.md", card)  # last: it tells that the run is complete
        print(table({",".join(config.data.valid): (valid_index, result)}))
        print(f"memory: {job.told_memory()}")
        print(f"model: {folder / 'model'}   curves: {folder / 'metrics.png'}   settings: {folder / 'config.json'}")
    _leave_together(job, push=result is not None)
    return EXIT_STOPPED if result is None else EXIT_COMPLETE


def _leave_together(job: RunContext, *, push: bool) -> None:
    """Uploads the model where that is wanted, and waits for all ranks: a launcher ends the others with the first."""
    job.watch.beat("saving")
    job.watch.hang_seconds = math.inf  # an upload may take hours, and ranks that are done do not answer
    if push and job.config.evaluation.push_to_hub and job.world.is_main:
        push_model(job.folder / "model", job.config.evaluation.push_to_hub)
    job.watch.beat("ending")
    distributed.barrier()


def _opening(job: RunContext, state: RunState) -> str:
    """What a person wants to know before the bar starts."""
    config, catalog, model, ranks = (
        job.config,
        job.plan.catalog,
        describe(job.recognizer),
        job.world.world_size,
    )
    resuming = f"going on from step {state.step:,}; " if state.step else ""
    return (
        f"{resuming}{config.model.model}: {model['trainable_parameters']:,} of {model['parameters']:,} parameters "
        f"trained in {config.memory.precision} on {ranks} × {job.world.device.type}\n"
        f"{catalog.utterances.sum():,} utterances, {catalog.hours:.2f} h; {job.total_steps:,} steps of "
        f"{config.batching.step_seconds:g} s; run folder {job.folder}\n{job.told_memory()}\n"
        + describe_plan(job.plan, world_size=ranks, cap_samples=job.cap.samples)
    )
