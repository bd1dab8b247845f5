"""A rank's place in its world, by the variables of each launcher."""

import re

import pytest

from asrscale.common.errors import CliError
from asrscale.common.rank_environment import rank_environment

NAMES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
STEP = {
    "SLURM_PROCID": "6",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "3",
    "SLURM_STEP_NUM_TASKS": "7",
    "SLURM_JOB_ID": "12",
    "SLURM_STEP_TASKS_PER_NODE": "2(x3),1",
    "SLURM_STEP_NODELIST": "gpu[07-09],fat3",
    "SLURM_STEP_ID": "0",
}


@pytest.fixture(autouse=True)
def _outside_of_any_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*NAMES, *STEP):
        monkeypatch.delenv(name, raising=False)


def given(monkeypatch: pytest.MonkeyPatch, **environment: str) -> dict[str, str]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return rank_environment()


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "0"}, "sets RANK but not LOCAL_RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT"),
        (dict(zip(NAMES, ("x", "0", "2", "a", "1"), strict=True)), "RANK=x is no whole"),
    ],
)
def test_a_half_set_environment_is_refused(
    environment: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CliError, match=re.escape(message)):
        given(monkeypatch, **environment)


def test_srun_needs_no_other_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    found = given(monkeypatch, **STEP)
    port = found.pop("MASTER_PORT")
    assert found == {"RANK": "6", "LOCAL_RANK": "0", "WORLD_SIZE": "7", "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "gpu07"}
    assert given(monkeypatch, SLURM_RESTART_COUNT="1")["MASTER_PORT"] != port
    assert given(monkeypatch, MASTER_ADDR="10.0.0.1", MASTER_PORT="99")["MASTER_ADDR"] == "10.0.0.1"
    monkeypatch.delenv("MASTER_ADDR")
    assert given(monkeypatch, SLURM_STEP_NODELIST="fat3,gpu[07-09]")["MASTER_ADDR"] == "fat3"


def test_the_shell_of_a_batch_job_is_a_world_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "7", "SLURM_JOB_ID": "12", "SLURM_NODEID": "0"}
    assert given(monkeypatch, **shell)["WORLD_SIZE"] == "1"
    assert given(monkeypatch, **STEP | {"SLURM_STEP_NUM_TASKS": "1"})["WORLD_SIZE"] == "1"  # srun --pty bash


@pytest.mark.parametrize(("node", "tasks"), [(0, "2"), (1, "2"), (2, "2"), (3, "1")])
def test_a_node_of_srun_has_its_own_number_of_ranks(node: int, tasks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert given(monkeypatch, **STEP | {"SLURM_NODEID": str(node)})["LOCAL_WORLD_SIZE"] == tasks


def test_jobs_and_their_attempts_meet_at_ports_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    ports = set()
    for job in range(50):
        for attempt in range(50):
            place = STEP | {"SLURM_JOB_ID": str(job), "SLURM_RESTART_COUNT": str(attempt)}
            ports.add(int(given(monkeypatch, **place)["MASTER_PORT"]))
    assert len(ports) == 50 * 50
    assert min(ports) >= 20_000
    assert max(ports) < 30_000
