"""The training run: from settings to a fine-tuned model folder. Functions, in the order in which they run."""

import fcntl
import math
import os
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from asrscale import __version__
from asrscale import checkpoint as checkpoints
from asrscale import engine as ds
from asrscale import model as models
from asrscale.audio import SAMPLE_RATE_HZ
from asrscale.batching import find_step
from asrscale.checkpoint import RunState
from asrscale.config import DEMO_DATA, ORDERING, TrainConfig, check_resumable, chosen, regularised, to_dict
from asrscale.engine import World
from asrscale.errors import EXIT_COMPLETE, EXIT_STOPPED, EXIT_USAGE, AsrscaleError, CliError, Stopped, TransientError
from asrscale.evaluate import Evaluation, choose_subset, evaluate, predictions, table
from asrscale.files import write_json, write_rows, write_whole
from asrscale.fit import fit
from asrscale.hub import check_login, push_model
from asrscale.index import Catalog, Index, read_catalog, read_index, read_shards
from asrscale.job import Job
from asrscale.lora import add_lora
from asrscale.modelcard import model_card
from asrscale.plan import advise, plan_memory
from asrscale.regularise import attach_regulariser
from asrscale.rescue import MemoryExhausted, open_cap
from asrscale.steps import RunPlan, describe_plan, plan_run, read_window
from asrscale.storage import Cache
from asrscale.tracking import open_tracker, plot_metrics
from asrscale.watch import PREEMPTED_FILE, Watch

EXPORT_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def train(config: TrainConfig, watch: Watch) -> int:
    """Runs a training job to its end, or goes on with one that was interrupted; `watch` tells when to stop.

    Returns:
        The exit code.

    Raises:
        CliError: Bad settings or data, before any work.
    """
    watch.hang_seconds, watch.restarts = config.hang_seconds, config.restarts
    if config.push_to_hub:
        check_login(config.push_to_hub)
    ds_config = ds.read_ds_config(config.config)
    catalog, valid_index = read_catalog(config.train), read_index(config.valid)
    with ds.joined_ranks(watched=True) as world:
        watch.beat()
        if config.train[0].startswith(DEMO_DATA):
            _say(world, f"training on the demo's data, {config.train[0]}; --train and --valid choose yours")
        config = replace(regularised(config, catalog.hours), precision=ds.resolve_precision(config.precision, world))
        kept = chosen(config, "precision", "max_gradient_norm")
        ds_config = ds.resolve_ds_config(ds_config, **kept, device=world.device)
        recognizer = _new_recognizer(config, catalog)
        plan = plan_run(catalog, **chosen(config, *ORDERING))
        config, predicted_bytes = plan_memory(config, plan, world)
        _check_data(config, recognizer, plan, world)
        total_steps = config.max_steps or max(1, round(config.epochs * plan.steps_per_epoch))
        if config.warmup_steps >= total_steps:
            raise CliError(
                f"--warmup_steps {config.warmup_steps}, but the run has {total_steps} steps ({plan.steps_per_epoch} an "
                f"epoch of {catalog.hours:.2f} h): give fewer, or more --epochs, or smaller steps with --units_per_step"
            )
        folder = Path(config.run)
        with held(folder, world):  # before a checkpoint is chosen: another training may be writing, and dropping, some
            watch.rank, watch.world_size = world.rank, world.world_size
            resumed, state = _choose_start(config, plan, recognizer, world)
            if config.freeze_feature_encoder:
                models.freeze_feature_encoder(recognizer.model)
            models.checkpoint_activations(recognizer.model, config.activation_checkpointing)
            rates = chosen(config, "mask_time_prob", "mask_feature_prob", "layerdrop")
            regulariser = attach_regulariser(recognizer.model, **rates)
            subset = choose_subset(valid_index, config.eval_utterances)
            cache = Cache(config.cache_dir, config.cache_bytes) if config.cache_dir else None
            settings = to_dict(config) | {"world_size": world.world_size}
            try:
                watch.cap = open_cap(folder, settings, config.memory_cap_seconds, plan.longest_samples)
                how = total_steps, watch, watch.cap, predicted_bytes, cache
                job = Job(config, world, folder, recognizer, regulariser, plan, subset, *how)
                return _go_on(job, state, resumed, ds_config, valid_index)
            except MemoryExhausted as error:
                cure = advise(config, plan, world)
                ds.barrier()  # the launcher ends all ranks with the first
                raise CliError(f"{error}: {cure}") from None
            except RuntimeError as error:
                if not ds.is_out_of_memory(error) or (watch.cap and watch.cap.is_outdated()):
                    raise  # all ranks were told to leave, and the watch ends this one
                why = ". ".join(str(error).split(". ")[:2])
                print(f"error: rank {world.rank}, {watch.doing}: {why}: {advise(config, plan, world)}", file=sys.stderr)
                sys.exit(EXIT_USAGE)  # not as a CliError, of which the first rank alone would tell


def _choose_start(
    config: TrainConfig, plan: RunPlan, recognizer: models.Recognizer, world: World
) -> tuple[Path | None, RunState]:
    """The newest whole checkpoint, if there is one, and where it stands; `recognizer` gets its weights."""
    folder = Path(config.run)
    resumed, refused = checkpoints.whole_checkpoint(folder)
    if refused:
        _say(world, "\n".join([*refused, f"going on from {resumed}"]))
        if resumed is None:
            raise CliError(f"no checkpoint of {folder} is whole: choose another --run, or delete them to start over")
    state = RunState()
    if resumed is not None:
        for line in check_resumable(config, folder, plan.fingerprint):
            _say(world, line)
        state = checkpoints.read_state(resumed)
        state = replace(state, restarts=state.restarts + 1)
        checkpoints.load_weights(recognizer, resumed)
    seen = ds.gather_objects(to_dict(config) | {"training data": plan.fingerprint, "checkpoint": state.step}, world)
    if differing := [name for name in seen[0] if any(one[name] != seen[0][name] for one in seen)]:
        kind = TransientError if differing == ["checkpoint"] else CliError  # shared disks tell some later than others
        raise kind(
            f"the ranks do not agree on {', '.join(differing)}: start all of them with the same command, with the data "
            f"and {folder} on a disk that they share"
        )
    return resumed, state


def _go_on(job: Job, state: RunState, resumed: Path | None, ds_config: dict[str, Any], valid_index: Index) -> int:
    """Trains from `state`, exports and evaluates; or says that all is done."""
    config, world, folder, watch = job.config, job.world, job.folder, job.watch
    if job.is_over(state) and checkpoints.is_exported(folder / "model", EXPORT_DTYPES[config.export_dtype]):
        _say(world, f"{folder} is complete: the model is in {folder / 'model'}; choose another --run for a new one")
        _leave_together(job, push=True)
        return EXIT_COMPLETE
    environment, resume_step = _environment(job), state.step if resumed else None
    with open_tracker(
        folder, project=config.wandb_project, wandb_mode=config.wandb, resume_step=resume_step, enabled=world.is_main,
        config=to_dict(config) | {"deepspeed": ds_config, "environment": environment},
    ) as tracker:  # fmt: skip
        if world.is_main:
            (folder / PREEMPTED_FILE).unlink(missing_ok=True)
            write_json(folder / "config.json", to_dict(config) | {"data_fingerprint": job.plan.fingerprint})
            write_json(folder / "ds_config.json", ds_config)
            write_json(folder / "environment.json", environment)
        _say(world, _opening(job, state))
        try:
            if not job.is_over(state):
                state = fit(job, state, resumed, ds_config, tracker)
            watch.beat("saving")
            result = _export_and_evaluate(job, state.best_step, valid_index)
            errors = {"final/wer": result.errors.wer, "final/cer": result.errors.cer}
            tracker.log(state.step, errors | {"final/loss": result.loss})
        except Stopped:
            if world.is_main:
                watch.mark_preempted()
            result = None
    if result is not None and world.is_main:
        plot_metrics(folder)
        catalog = job.plan.catalog
        card = model_card(to_dict(config), catalog.hours, int(catalog.utterances.sum()), result.errors)
        write_whole(folder / "model" / "README.md", card)  # last: it tells that the run is complete
        print(table({",".join(config.valid): (valid_index, result)}))
        print(f"memory: {job.told_memory()}")
        print(f"model: {folder / 'model'}   curves: {folder / 'metrics.png'}   settings: {folder / 'config.json'}")
    _leave_together(job, push=result is not None)
    return EXIT_STOPPED if result is None else EXIT_COMPLETE


def _leave_together(job: Job, *, push: bool) -> None:
    """Uploads the model where that is wanted, and waits for all ranks: a launcher ends the others with the first."""
    job.watch.beat("saving")
    job.watch.hang_seconds = math.inf  # an upload may take hours, and ranks that are done do not answer
    if push and job.config.push_to_hub and job.world.is_main:
        push_model(job.folder / "model", job.config.push_to_hub)
    job.watch.beat("ending")
    ds.barrier()


@contextmanager
def held(folder: Path, world: World) -> Iterator[None]:
    """Makes the run folder and keeps other trainings out of it.

    Raises:
        CliError: It cannot be made or written to; on all ranks.
        TransientError: Another training is in it; on all ranks.
    """
    problem: AsrscaleError | None = None
    with ExitStack() as stack:
        if world.is_main:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                lock = stack.enter_context((folder / "lock").open("a+"))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                lock.truncate(0)
                print(f"process {os.getpid()} on {platform.node()}", file=lock, flush=True)
            except BlockingIOError:
                lock.seek(0)
                owner = lock.read().strip()
                problem = TransientError(f"{folder} is being trained in by {owner}: choose another --run, or end that")
            except OSError as error:
                problem = CliError(f"--run {folder} cannot be used: {error.strerror}: choose another place")
        if problems := list(filter(None, ds.gather_objects(problem, world))):
            raise problems[0]
        yield


def _new_recognizer(config: TrainConfig, catalog: Catalog) -> models.Recognizer:
    """The model before training; the same whenever it is built."""
    given = chosen(config, "seed", "vocab", "attention", "mask_time_prob", "mask_feature_prob", "dropout")
    recognizer = models.build_recognizer(config.model, catalog.characters, **given)
    if config.lora_rank:
        add_lora(recognizer.model, config.lora_rank)
    return recognizer


def _check_data(config: TrainConfig, recognizer: models.Recognizer, plan: RunPlan, world: World) -> None:
    """Refuses data that the vocabulary, the memory cap or CTC does not allow, and says what of them is left out."""
    catalog, missed = plan.catalog, recognizer.vocabulary.unknown_characters
    unknown = Counter({character: count for character, count in catalog.characters.items() if missed(character)})
    worst = ", ".join(f"'{character}' ×{count:,}" for character, count in unknown.most_common(5))
    share = unknown.total() / max(1, catalog.characters.total())
    if share > config.max_unknown_fraction:
        raise CliError(
            f"the vocabulary of --model {config.model} misses {share:.1%} of the transcripts' characters ({worst}): "
            "correct the transcripts, choose another model, or raise --max_unknown_fraction"
        )
    if unknown:
        _say(world, f"{unknown.total():,} characters become {recognizer.vocabulary.unknown}: {worst}")
    if plan.longest_samples > config.memory_cap_seconds * SAMPLE_RATE_HZ:
        index = read_shards(catalog, [int(catalog.longest_samples.argmax())])
        utterance = int(index.num_samples.argmax())
        raise CliError(
            f"--memory_cap_seconds {config.memory_cap_seconds:g} is below the longest utterance, "
            f"{index.num_samples[utterance] / SAMPLE_RATE_HZ:.1f} s in {index.name(utterance)}: raise it, or build the "
            "shards with a lower --max_seconds"
        )
    _, window, _ = find_step(plan.steps, 0, seed=plan.seed)  # the first, which for all but huge data is everything
    usable, short = read_window(plan, window, recognizer)
    if not len(usable):
        raise CliError("no utterance can be trained on: each is too short for its transcript, or has none")
    if len(short):
        _say(world, f"{len(short):,} utterances left out, too short for their transcript: first {short.name(0)}")


def _export_and_evaluate(job: Job, best_step: int | None, valid_index: Index) -> Evaluation:
    """Writes RUN/model from the best checkpoint and evaluates that folder on all validation data."""
    config, world, folder, catalog = job.config, job.world, job.folder, job.plan.catalog
    if world.is_main:
        best, refused = checkpoints.whole_checkpoint(folder, best_step)
        if refused:
            _say(world, "\n".join([*refused, f"exporting {best} instead"]))
        assert best is not None, "the newest one was just written"
        fresh, dtype = _new_recognizer(config, catalog), EXPORT_DTYPES[config.export_dtype]
        checkpoints.export_model(fresh, best, folder / "model", dtype)
    ds.barrier()
    exported = models.load_recognizer(str(folder / "model"))
    title = "transcribing all validation data"
    result = evaluate(exported.model.to(world.device), exported, valid_index, world, title=title, **job.evaluating)
    if world.is_main:
        write_rows(folder / "eval" / "valid.jsonl", predictions(valid_index, result.hypotheses()))
    return result


def _environment(job: Job) -> dict[str, Any]:
    """What ran: versions, commit, devices, model."""
    versions = {"asrscale": __version__, "python": platform.python_version()}
    packages = ("torch", "deepspeed", "transformers", "soundfile", "numpy")
    here = Path(__file__).parent
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=False)
    on_gpu = job.world.device.type == "cuda"
    return {
        "versions": versions | {name: version(name) for name in packages},
        "commit": commit.stdout.strip() or None,
        "command": sys.argv,
        "world_size": job.world.world_size,
        "device": torch.cuda.get_device_name(job.world.device) if on_gpu else platform.machine(),
        "cpu_cores": os.cpu_count(),
        "model": models.describe(job.recognizer),
    }


def _opening(job: Job, state: RunState) -> str:
    """What a person wants to know before the bar starts."""
    config, catalog, model, ranks = job.config, job.plan.catalog, models.describe(job.recognizer), job.world.world_size
    resuming = f"going on from step {state.step:,}; " if state.step else ""
    return (
        f"{resuming}{config.model}: {model['trainable_parameters']:,} of {model['parameters']:,} parameters trained "
        f"in {config.precision} on {ranks} × {job.world.device.type}\n"
        f"{catalog.utterances.sum():,} utterances, {catalog.hours:.2f} h; {job.total_steps:,} steps of "
        f"{config.batch_seconds * config.units_per_step:g} s; run folder {job.folder}\n{job.told_memory()}\n"
        + describe_plan(job.plan, job.recognizer, world_size=ranks, cap_samples=job.cap.samples)
    )


def _say(world: World, line: str) -> None:
    if world.is_main:
        print(line, file=sys.stderr, flush=True)
