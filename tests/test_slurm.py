"""The scripts of slurm/ on a real SLURM cluster of two nodes, as a user would submit them."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from helpers import slurm_cluster
from helpers.processes import ranks_of, wait_for
from helpers.slurm_cluster import Cluster, cluster
from helpers.training import HELD, STEPS, assert_same_run, hold, is_held, metric, release, short, weight_difference

from asrscale.common.errors import EXIT_STOPPED

pytestmark = pytest.mark.skipif(bool(slurm_cluster.missing()), reason=f"no SLURM here: {slurm_cluster.missing()}")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster") / "slurm") as running:
        yield running


SITE = ("--nodes=2", "--ntasks-per-node=1", "--gpus-per-node=1", "--cpus-per-task=1", "--time=30")


def submit(
    slurm: Cluster, shards: Path, run_folder: Path, *flags: object, sbatch: tuple[str, ...] = (), wandb: str = "off",
    repository: Path = REPOSITORY, **environment: str,
) -> str:  # fmt: skip
    """Submits slurm/train.sbatch for two nodes with a rank each; returns the job's number."""
    out = f"--output={run_folder}-%j.out"
    data = ("--train", shards / "train", "--valid", shards / "valid", "--model", "tiny", "--wandb", wandb)
    words = ("sbatch", "--parsable", *SITE, *sbatch, out, "slurm/train.sbatch", *data, *flags)
    return slurm.run(*words, cwd=repository, RUN=str(run_folder), **environment).strip()


def output(run_folder: Path, job: str) -> str:
    """What the batch script has printed in all attempts, and the ranks' logs."""
    files = [Path(f"{run_folder}-{job}.out"), *sorted((run_folder / "logs").glob("*"))]
    return "\n".join(f"== {path.name}\n{path.read_text()}" for path in files if path.exists())


def repository_with(train: str, folder: Path) -> Path:
    """Makes a repository whose launch/train.py is another script of this one."""
    repository = folder / "repository"
    (repository / "launch").mkdir(parents=True)
    (repository / "launch" / "train.py").symlink_to(REPOSITORY / train)
    for name in ("slurm", "ds_configs"):
        (repository / name).symlink_to(REPOSITORY / name)
    return repository


def submit_held(slurm: Cluster, shards: Path, run_folder: Path, *flags: object, **named: Any) -> str:
    """Submits a run that waits in its fifth step until it is asked to stop, or `release` is called."""
    repository = repository_with(HELD, run_folder.parent)
    return submit(slurm, shards, run_folder, *flags, repository=repository, **hold(run_folder, step=5), **named)


def test_a_requeued_run_goes_on_by_itself_to_the_same_weights(
    slurm: Cluster, undisturbed: Path, tone_shards: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    job = submit_held(slurm, tone_shards, folder, *short(saves=100), wandb="offline")
    wait_for(is_held(folder))
    slurm.run("scancel", "--batch", "--signal=USR1", job)  # what SLURM does ahead of a preemption and of the time limit
    state = slurm.wait(job)
    said = output(folder, job)
    assert state == "COMPLETED", said
    assert slurm.show(job)["Restarts"] == "1"
    assert "asked to stop" in said and "going on from step" in said, said
    assert {path.name for path in (folder / "logs").iterdir()} == {"rank-0.log", "rank-1.log"}
    assert_same_run(folder, undisturbed)
    tracked = [path.name.rsplit("-", 1) for path in (folder / "wandb").glob("offline-run-*")]
    assert len(tracked) == 2 and {number for _, number in tracked} == {
        (folder / "wandb" / "id.txt").read_text().strip()
    }


def test_refused_settings_end_the_job_with_the_reason_in_its_output(
    slurm: Cluster, tone_shards: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    job = submit(slurm, tone_shards, folder, "--memory_cap_seconds", 0.3)
    assert slurm.wait(job) == "FAILED"
    shown = slurm.show(job)
    assert (shown["ExitCode"], shown["Restarts"]) == ("2:0", "0"), output(folder, job)
    assert "error: --memory_cap_seconds 0.3" in Path(f"{folder}-{job}.out").read_text()


def test_a_killed_test_run_leaves_no_cluster_behind(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys\n"
        "from helpers import slurm_cluster\n"
        "with slurm_cluster.cluster(pathlib.Path(sys.argv[1])):\n"
        "    sys.stdin.read()\n"
    )
    folder = str(tmp_path / "slurm")
    process = subprocess.Popen([sys.executable, "-c", code, folder], cwd=Path(__file__).parent, stdin=subprocess.PIPE)

    def names() -> set[str]:
        listed = subprocess.run(["pgrep", "-l", "-f", folder], capture_output=True, text=True, check=False).stdout
        return {line.split()[1] for line in listed.splitlines()}

    try:
        wait_for(lambda: names() >= {"munged", "slurmctld", "slurmd"}, process)
    finally:
        process.kill()
        process.wait()
    wait_for(lambda: not names())


def by_partition(slurm: Cluster, job: str, folder: Path) -> None:
    slurm.run("sbatch", "--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")


def by_administrator(slurm: Cluster, job: str, folder: Path) -> None:
    slurm.run("scontrol", "requeue", job)


def by_signal_to_the_ranks(slurm: Cluster, job: str, folder: Path) -> None:
    slurm.run("scancel", "--signal=TERM", job)


def by_kill_of_a_rank(slurm: Cluster, job: str, folder: Path) -> None:
    os.kill(ranks_of(folder)[-1], signal.SIGKILL)
    release(folder)  # the other one, which waits for no signal


def by_kill_of_srun(slurm: Cluster, job: str, folder: Path) -> None:
    slurm.run("pkill", "-9", "-x", "srun")  # sees the cluster's processes only


@pytest.mark.slow
@pytest.mark.parametrize(
    "disturb", [by_partition, by_administrator, by_signal_to_the_ranks, by_kill_of_a_rank, by_kill_of_srun]
)
def test_whatever_interrupts_it_the_job_goes_on_to_the_same_weights(
    disturb: Callable[[Cluster, str, Path], None], slurm: Cluster, undisturbed: Path, tone_shards: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    job = submit_held(slurm, tone_shards, folder, *short())
    wait_for(is_held(folder))
    disturb(slurm, job, folder)
    assert slurm.wait(job) == "COMPLETED", output(folder, job)
    assert slurm.show(job)["Restarts"] == "1"
    assert_same_run(folder, undisturbed)


@pytest.mark.slow
def test_a_job_short_of_memory_goes_on_by_itself_with_shorter_passes(
    slurm: Cluster, undisturbed: Path, tone_shards: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    repository = repository_with("tests/ranks/short_of_memory.py", tmp_path)
    job = submit(slurm, tone_shards, folder, *short(), repository=repository, OOM="backward 20 1 7 1.7")
    assert slurm.wait(job) == "COMPLETED", output(folder, job)
    assert slurm.show(job)["Restarts"] == "1" and f"srun ended with {EXIT_STOPPED}" in output(folder, job)
    assert metric(folder, "run/rescues")[STEPS] == 1 and weight_difference(folder, undisturbed) < 1e-5


@pytest.mark.slow
def test_a_cancelled_job_saves_and_stays_cancelled(slurm: Cluster, tone_shards: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    job = submit_held(slurm, tone_shards, folder, *short(saves=100))
    wait_for(is_held(folder))
    slurm.run("scancel", job)
    assert slurm.wait(job) == "CANCELLED"
    wait_for(lambda: not ranks_of(folder))
    assert (folder / "checkpoints" / "latest").exists(), output(folder, job)
    assert slurm.show(job)["Restarts"] == "0" and not slurm.run("squeue", "--noheader")


@pytest.mark.slow
def test_a_fault_that_comes_back_ends_the_job(slurm: Cluster, tone_shards: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "model").write_text("in the way of the export")
    job = submit(slurm, tone_shards, folder, *short())
    assert slurm.wait(job) == "FAILED", output(folder, job)
    assert slurm.show(job)["Restarts"] == "1"
    assert "NotADirectoryError" in Path(f"{folder}-{job}.out").read_text()


@pytest.mark.slow
def test_the_time_limit_costs_nothing_but_time(
    slurm: Cluster, undisturbed: Path, tone_shards: Path, tmp_path: Path
) -> None:
    """The run waits in a step until SLURM sends the signal ahead of the limit."""
    folder = tmp_path / "run"
    job = submit_held(slurm, tone_shards, folder, *short(saves=100), sbatch=("--time=3", "--signal=B:USR1@60"))
    wait_for(is_held(folder))
    assert slurm.wait(job, 1200) == "COMPLETED", output(folder, job)
    assert slurm.show(job)["Restarts"] == "1" and "asked to stop" in output(folder, job)
    assert_same_run(folder, undisturbed)


@pytest.mark.slow
def test_a_lost_node_is_replaced(undisturbed: Path, tone_shards: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with cluster(tmp_path / "slurm", nodes=3) as slurm:
        if not slurm.namespaces:
            pytest.skip("namespaces are not allowed here: a node's network cannot be cut")
        job = submit_held(slurm, tone_shards, folder, *short())
        wait_for(is_held(folder))
        slurm.power_cut("n2")
        release(folder)  # the other rank, which waits for no signal
        assert slurm.wait(job) == "COMPLETED", output(folder, job)
        shown = slurm.show(job)
    assert (shown["Restarts"], shown["NodeList"]) == ("1", "n[1,3]")
    assert_same_run(folder, undisturbed)


@pytest.mark.slow
def test_evaluation_on_two_nodes_gives_the_result_of_the_run(
    slurm: Cluster, undisturbed: Path, tone_shards: Path, tmp_path: Path
) -> None:
    out = tmp_path / "evaluate.out"
    words = ("--model", undisturbed / "model", "--data", tone_shards / "valid", "--out", tmp_path)
    words = ("sbatch", "--parsable", *SITE, f"--output={out}", "slurm/evaluate.sbatch", *words)
    job = slurm.run(*words, cwd=REPOSITORY).strip()
    assert slurm.wait(job) == "COMPLETED", out.read_text()
    ours, theirs = tmp_path / "shards-valid.jsonl", undisturbed / "eval" / "valid.jsonl"
    assert ours.read_text() == theirs.read_text(), out.read_text()


@pytest.mark.slow
def test_an_array_builds_and_joins_what_one_machine_builds(slurm: Cluster, tone_shards: Path, tmp_path: Path) -> None:
    built = tmp_path / "data" / "tones"
    flags = ("--csv", tone_shards.parent / "corpus" / "corpus.csv", "--shard_utterances", 30)
    words = (
        "--parsable",
        "--job-name=tones",
        "--array=0-2",
        "--cpus-per-task=1",
        REPOSITORY / "slurm" / "shard.sbatch",
    )
    slurm.run("sbatch", *words, *flags, cwd=tmp_path)
    wait_for(lambda: not slurm.run("squeue", "--noheader"))
    said = "\n".join(path.read_text() for path in tmp_path.glob("*.out"))
    for split in ("train", "valid"):
        names, expected = ({path.name for path in (root / split).iterdir()} for root in (built, tone_shards))
        assert names == expected, said
        for name in expected:
            assert (built / split / name).read_bytes() == (tone_shards / split / name).read_bytes(), name
    assert (built / "rejected.jsonl").read_bytes() == (tone_shards / "rejected.jsonl").read_bytes()
