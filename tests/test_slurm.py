"""The scripts of slurm/ on a real SLURM cluster of two nodes, as a user would submit them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import slurm_cluster
from conftest import REPOSITORY
from slurm_cluster import Cluster, cluster
from test_watch import same_as, wait_for
from training import short

pytestmark = pytest.mark.skipif(bool(slurm_cluster.missing()), reason=f"no SLURM here: {slurm_cluster.missing()}")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster") / "slurm") as running:
        yield running


def submit(slurm: Cluster, shards: Path, run_folder: Path, *flags: object, sbatch: tuple[str, ...] = ()) -> str:
    """Submits slurm/train.sbatch for two nodes with a rank each; returns the job's number."""
    site = ("--nodes=2", "--ntasks-per-node=1", "--gpus-per-node=1", "--cpus-per-task=1", "--time=30", *sbatch)
    out = f"--output={run_folder}-%j.out"
    data = ("--train", shards / "train", "--valid", shards / "valid", "--model", "tiny", "--wandb", "off")
    words = ("sbatch", "--parsable", *site, out, "slurm/train.sbatch", *data, *flags)
    return slurm.run(*words, cwd=REPOSITORY, RUN=str(run_folder)).strip()


def output(run_folder: Path, job: str) -> str:
    """What the batch script has printed in all attempts, and the ranks' logs."""
    files = [Path(f"{run_folder}-{job}.out"), *sorted((run_folder / "logs").glob("*"))]
    return "\n".join(f"== {path.name}\n{path.read_text()}" for path in files if path.exists())


def is_training(run_folder: Path) -> Callable[[], bool]:
    return lambda: (run_folder / "ledger").is_dir()


def test_a_requeued_run_goes_on_by_itself_to_the_same_weights(
    slurm: Cluster, undisturbed: Path, tone_shards: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    job = submit(slurm, tone_shards, folder, *short(saves=100))
    wait_for(is_training(folder))
    slurm.run("scancel", "--batch", "--signal=USR1", job)  # what SLURM does ahead of a preemption and of the time limit
    state = slurm.wait(job)
    said = output(folder, job)
    assert state == "COMPLETED", said
    assert slurm.show(job)["Restarts"] == "1"
    assert "asked to stop" in said and "going on from step" in said, said
    assert {path.name for path in (folder / "logs").iterdir()} == {"rank-0.log", "rank-1.log"}
    same_as(undisturbed, folder)
