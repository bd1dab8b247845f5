"""A training run: from settings to a fine-tuned model folder. The functions stand in the order in which they run."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asrscale import __version__
from asrscale.augmentation.augment import Augmentation, describe_augmentation, notes_of
from asrscale.common import distributed
from asrscale.common.distributed import World, print_on_main
from asrscale.common.errors import EXIT_COMPLETE, EXIT_STOPPED, EXIT_USAGE, CliError, Stopped
from asrscale.common.out_of_memory import is_out_of_memory
from asrscale.common.shard_cache import Cache
from asrscale.data.catalog import read_catalog
from asrscale.data.content import hash_content
from asrscale.data.index import Index
from asrscale.data.plan_summary import describe_plan
from asrscale.data.run_plan import RunPlan
from asrscale.model.cpu_kernels import suitable_kernels
from asrscale.model.hub import check_login
from asrscale.model.onnx_export import check_packages
from asrscale.model.recognizer import Recognizer, describe
from asrscale.results.deciding_metric import choose_metric, describe_choice
from asrscale.results.evaluation import choose_subset
from asrscale.training import engine as ds
from asrscale.training.checkpoint import RunState
from asrscale.training.config import PLACES_OF_DATA, TrainConfig, replace_settings, to_dict
from asrscale.training.data_checks import check_data
from asrscale.training.disk_errors import disk_errors_explained
from asrscale.training.ds_config import (
    keep_model_whole,
    read_ds_config,
    resolve_ds_config,
    resolve_precision,
)
from asrscale.training.final_model import (
    FinalModel,
    end_together,
    export_and_evaluate,
    final_metrics,
    is_complete,
    new_recognizer,
    withdraw_model,
    write_results,
)
from asrscale.training.loop import fit
from asrscale.training.memory_plan import advise, plan_memory
from asrscale.training.memory_rescue import RESCUES_FILE, MemoryExhausted, PassCap, open_pass_cap
from asrscale.training.prepared_model import check_compiling, prepare_model
from asrscale.training.published import tracked_config
from asrscale.training.recipe_choice import choose_settings
from asrscale.training.recipe_settings import Chosen, count_steps, describe_recipe
from asrscale.training.resume import choose_start
from asrscale.training.run_context import RunContext
from asrscale.training.run_data import RunData, read_run_data
from asrscale.training.run_folder import describe_environment, locked_run_folder, write_settings
from asrscale.training.settings import DEMO_DATA
from asrscale.training.stopping import PREEMPTED_FILE, mark_preempted, unmark_preempted
from asrscale.training.time_limit import deadline
from asrscale.training.tracking import Tracker, check_trackers, open_tracker
from asrscale.training.watch import Watch


def train(config: TrainConfig, watch: Watch, data: RunData | None = None) -> int:
    """Runs a training to its end, or goes on with one that was interrupted.

    Args:
        config: The settings of the run.
        watch: Requests to stop, and where progress is reported.
        data: From `read_run_data`; read now if None.

    Returns:
        The exit code: EXIT_COMPLETE, or EXIT_STOPPED after a request to stop.

    Raises:
        CliError: Bad settings or data, before any work; or memory that does not suffice for any pass.
        TransientError: Ranks that do not find each other, or a run folder that is in use.
    """
    watch.hang_seconds = config.general.hang_seconds
    watch.restarts = config.memory.restarts
    _check_extras(config)
    data = data or read_run_data(config)
    ds_config = read_ds_config(config.memory.config)
    with ds.joined_ranks() as world:
        watch.beat()
        _announce_data(config, data, world)
        prepared = _prepare(config, ds_config, data, world)
        config = prepared.config

        # Locked before a checkpoint is chosen: another training may be writing, and deleting, some.
        with locked_run_folder(Path(config.general.run), world):
            watch.rank, watch.world_size = world.rank, world.world_size
            content = _hash_data(config, data, world)
            resumed, state, plan = choose_start(config, prepared.plan, content, prepared.recognizer, world)
            prepared = replace(prepared, plan=plan)
            watch.deadline = deadline(
                config.batching.max_minutes,
                reserved_seconds=prepared.chosen.reserved_seconds,
                seconds_before=state.seconds,
            )
            with (
                _memory_errors_explained(config, prepared.plan, watch, world),
                suitable_kernels(prepared.recognizer.model),
            ):
                context = _make_context(prepared, data, content, world, watch)
                return _train_in_folder(context, state, resumed)


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A run before it has its folder."""

    config: TrainConfig  # resolved settings
    ds_config: dict[str, Any]
    recognizer: Recognizer
    plan: RunPlan
    chosen: Chosen
    predicted_bytes: float | None


def _prepare(config: TrainConfig, ds_config: dict[str, Any], data: RunData, world: World) -> _Prepared:
    """Resolves all settings, and makes the model and the plan of its data. A collective."""
    config = _complete(config, data.valid, world)
    gradient_norm = config.optimisation.max_gradient_norm
    resolved = resolve_ds_config(
        ds_config, precision=config.memory.precision, max_gradient_norm=gradient_norm, device=world.device
    )
    recognizer = new_recognizer(config, data.catalog)
    ds_config = _keep_model_whole(resolved, ds_config, recognizer, world)
    check_compiling(config, ds_config, world)
    fingerprint = data.augmentation.fingerprint if data.augmentation else ""
    with suitable_kernels(recognizer.model):  # --max_minutes measures how fast they are
        config, plan, chosen = choose_settings(
            config, data.catalog, data.valid, recognizer, world, augmentation=fingerprint
        )
    config, predicted_bytes = plan_memory(config, plan, world)
    check_data(config, recognizer, plan, world)
    return _Prepared(config, ds_config, recognizer, plan, chosen, predicted_bytes)


def _make_context(
    prepared: _Prepared, data: RunData, content: dict[str, str], world: World, watch: Watch
) -> RunContext:
    """Puts together what stays the same from the first step to the last."""
    config, plan = prepared.config, prepared.plan
    return RunContext(
        config=config,
        ds_config=prepared.ds_config,
        world=world,
        folder=Path(config.general.run),
        recognizer=prepared.recognizer,
        regulariser=prepare_model(config, prepared.recognizer),
        plan=plan,
        content=content,
        valid=data.valid,
        valid_subset=choose_subset(data.valid, config.evaluation.eval_utterances),
        chosen=prepared.chosen,
        total_steps=count_steps(config, plan.steps_per_epoch),
        watch=watch,
        cap=_open_cap(config, plan, watch, world),
        predicted_bytes=prepared.predicted_bytes,
        cache=_cache(config),
        augmentation=data.augmentation,
    )


def _announce_data(config: TrainConfig, data: RunData, world: World) -> None:
    """Prints what there is to say about the data: each note once, and whether nobody has chosen them."""
    notes = [*data.catalog.notes, *data.valid.notes, *notes_of(data.augmentation)]
    for note in dict.fromkeys(notes):
        print_on_main(world, note)
    folder = config.data.train[0]
    if folder.startswith(DEMO_DATA):
        print_on_main(world, f"training on the demo's data, {folder}; --train and --valid choose yours")


def _complete(config: TrainConfig, valid: Index, world: World) -> TrainConfig:
    """Resolves what depends on the validation data and on the device; prints which error rate decides."""
    print_on_main(world, describe_choice(config.evaluation.metric, valid))
    return replace_settings(
        config,
        precision=resolve_precision(config.memory.precision, world),
        metric=choose_metric(config.evaluation.metric, valid),
    )


def _hash_data(config: TrainConfig, data: RunData, world: World) -> dict[str, str]:
    """Hashes of what is in the data and in what is added to them, by the names of their flags. A collective.

    The main rank reads the indexes; that the other ranks have the same data follows from the plan of the run.
    """
    content: dict[str, str] = {}
    if world.is_main:
        content = {"train": hash_content(data.catalog), "valid": hash_content(read_catalog(config.data.valid))}
    content_of_main: dict[str, str] = distributed.gather_objects(content, world)[0]
    return content_of_main | _hash_augmentation(data.augmentation)


def _hash_augmentation(augmentation: Augmentation | None) -> dict[str, str]:
    """What is done to the sound, and a hash of that and of the recordings it needs."""
    if augmentation is None:
        return {}
    return {"augment": augmentation.description, "augment_content": augmentation.fingerprint}


def _keep_model_whole(
    resolved: dict[str, Any], from_file: dict[str, Any], recognizer: Recognizer, world: World
) -> dict[str, Any]:
    """The configuration that DeepSpeed gets for this model; prints where its stage is not the file's."""
    parameters = sum(parameter.numel() for parameter in recognizer.model.parameters())
    ds_config = keep_model_whole(resolved, from_file, parameters=parameters, world=world)
    if ds_config is not resolved:
        stage = resolved["zero_optimization"]["stage"]
        where = "on one rank" if world.world_size == 1 else "for so small a model"
        print_on_main(world, f"ZeRO stage 0 in place of {stage}: the same, and faster {where} in fp32 on CPUs")
    return ds_config


def _open_cap(config: TrainConfig, plan: RunPlan, watch: Watch, world: World) -> PassCap:
    """The cap on a pass to begin with; the watch compares it with those that other ranks write."""
    settings = to_dict(config) | {"world_size": world.world_size}
    settings = {name: value for name, value in settings.items() if name not in PLACES_OF_DATA}
    folder = Path(config.general.run)
    with disk_errors_explained(folder, world, RESCUES_FILE):
        cap = open_pass_cap(folder, settings, config.memory.memory_cap_seconds, plan.longest_samples)
    watch.cap = cap
    return cap


def _cache(config: TrainConfig) -> Cache | None:
    """The cache of remote shards, if --cache_dir is given."""
    if config.data.cache_dir is None:
        return None
    return Cache(config.data.cache_dir, config.data.cache_bytes)


def _check_extras(config: TrainConfig) -> None:
    """Raises CliError where the model could not be uploaded or written as ONNX at the end, or a tracker is missing."""
    check_trackers(config.tracking.tracker)
    settings = config.evaluation
    if settings.push_to_hub:
        check_login(settings.push_to_hub)
    if settings.export != "none":
        check_packages()


def _train_in_folder(context: RunContext, state: RunState, resumed: Path | None) -> int:
    """Trains from `state`, exports and evaluates, unless all is done already; returns the exit code."""
    is_done = context.is_over(state) and is_complete(context, state)
    with disk_errors_explained(context.folder, context.world, PREEMPTED_FILE):
        if context.world.is_main:
            unmark_preempted(context.folder)
    if is_done:
        model_folder = context.folder / "model"
        print_on_main(
            context.world,
            f"{context.folder} is complete: the model is in {model_folder}; choose another --run for a new one",
        )
        end_together(context, push=True)
        return EXIT_COMPLETE

    context.watch.holds_unfinished_run = True
    with disk_errors_explained(context.folder, context.world, "the model's card"):
        if context.world.is_main:
            withdraw_model(context)
    ended = _fit_and_evaluate(context, state, resumed)
    if ended is None:
        end_together(context, push=False)
        return EXIT_STOPPED
    with disk_errors_explained(context.folder, context.world, "the results"):
        if context.world.is_main:
            write_results(context, *ended)
    context.watch.holds_unfinished_run = False
    end_together(context, push=True)
    return EXIT_COMPLETE


def _fit_and_evaluate(context: RunContext, state: RunState, resumed: Path | None) -> tuple[RunState, FinalModel] | None:
    """Trains from `state`, exports the best model and evaluates it, all of it tracked.

    Returns:
        The state at the end and the model; None after a request to stop.
    """
    is_main = context.world.is_main
    with ExitStack() as stack:
        with disk_errors_explained(context.folder, context.world, "the records of the run"):
            tracker = stack.enter_context(_open_tracker(context, state, resumed))
        print_on_main(context.world, _opening(context, state))
        try:
            if not context.is_over(state):
                state = fit(context, state, resumed, tracker)
            context.watch.beat("saving")
            final = export_and_evaluate(context, state)
        except Stopped:
            with disk_errors_explained(context.folder, context.world, PREEMPTED_FILE):
                if is_main:
                    mark_preempted(context.folder)
            return None
        tracker.log(state.step, final_metrics(final, context.metric))
        return state, final


@contextmanager
def _open_tracker(context: RunContext, state: RunState, resumed: Path | None) -> Iterator[Tracker]:
    """Opens the tracker of a run, after its settings are written."""
    environment = describe_environment(context)
    if context.world.is_main:
        write_settings(context, environment | {"command": sys.argv})
    with open_tracker(
        context.folder,
        project=context.config.tracking.wandb_project,
        wandb_mode=context.config.tracking.wandb,
        trackers=context.config.tracking.tracker,
        lowest=("valid/wer", "valid/cer", "valid/loss"),
        resume_step=state.step if resumed else None,
        evaluated_step=state.evaluated_step if resumed else None,
        shares_texts=context.config.tracking.wandb_predictions,
        enabled=context.world.is_main,
        config=tracked_config(context.config, context.ds_config, environment),
    ) as tracker:
        yield tracker


def _opening(context: RunContext, state: RunState) -> str:
    """What a person wants to know before the bar starts."""
    config = context.config
    catalog = context.plan.catalog
    model = describe(context.recognizer)
    world = context.world
    recipe = describe_recipe(config, context.chosen, context.total_steps, context.plan.steps_per_epoch)
    augmentation = [describe_augmentation(context.augmentation)] if context.augmentation else []
    going_on = f"going on from step {state.step:,}; " if state.restarts else ""
    return "\n".join(
        [
            *context.recognizer.notes,
            f"asrscale {__version__}, run folder {context.folder}",
            f"model: {config.model.model}: {model['trainable_parameters']:,} of {model['parameters']:,} parameters "
            f"trained in {config.memory.precision} on {world.world_size} × {world.device.type}",
            f"data: {catalog.utterances.sum():,} utterances, {catalog.hours:.2f} h; validation {len(context.valid):,}, "
            f"{context.valid.hours:.2f} h, of which {len(context.valid_subset):,} while training",
            *augmentation,
            f"run: {going_on}{recipe}",
            f"memory: {context.memory_summary()}",
            describe_plan(context.plan, world_size=world.world_size, cap_samples=context.cap.samples),
        ]
    )


@contextmanager
def _memory_errors_explained(config: TrainConfig, plan: RunPlan, watch: Watch, world: World) -> Iterator[None]:
    """Says what to change where memory runs out within: in a pass, or outside of one.

    Raises:
        CliError: Memory does not suffice for the shortest passes either; on all ranks.
        RuntimeError: Another error; or memory ran out, all ranks were asked to exit, and the watch ends this one.
    """
    try:
        yield
    except MemoryExhausted as error:
        advice = advise(config, plan, world)
        distributed.barrier()  # the launcher ends all ranks with the first
        raise CliError(f"{error}: {advice}") from None
    except RuntimeError as error:
        all_exit = watch.cap is not None and watch.cap.is_outdated()
        if all_exit or not is_out_of_memory(error):
            raise
        reason = ". ".join(str(error).split(". ")[:2])
        advice = advise(config, plan, world)
        # Not as a CliError, which only the first rank of a node prints.
        print(f"error: rank {world.rank}, {watch.doing}: {reason}: {advice}", file=sys.stderr)
        sys.exit(EXIT_USAGE)
