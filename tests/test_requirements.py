"""What `make` installs: everything with a hash, nothing built by what has none, nothing with a hole that was known."""

import re
import subprocess
import tomllib
from collections.abc import Callable
from itertools import chain

import pytest
from conftest import REPOSITORY
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

Run = Callable[..., subprocess.CompletedProcess[str]]

FOLDER = REPOSITORY / "requirements"
FILES = sorted(path.name for path in FOLDER.glob("*.txt"))
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))

# The last version of a library that has the hole, for which docs/decisions/requirements.md has the number.
HOLES = {
    "aiohttp": "3.13.3",
    "av": "17.0.0",
    "deepspeed": "0.15.0",
    "idna": "3.14",
    "jinja2": "3.1.5",
    "num2words": "0.5.16",
    "onnx": "1.20.1",
    "pyarrow": "23.0.0",
    "torch": "2.9.1",
    "tqdm": "4.66.2",
    "transformers": "5.2.0",
}


def locked(name: str) -> dict[str, Requirement]:
    """The requirements of a file by their names, each with one version and a hash."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
    found = {}
    for line in lines:
        words, *hashes = re.split(r"\s+--hash=", line.strip())
        assert hashes and all(re.fullmatch("sha256:[0-9a-f]{64}", value) for value in hashes), line
        requirement = Requirement(words)
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)) and not requirement.url, line
        found[canonicalize_name(requirement.name)] = requirement
    assert len(found) == len(lines)
    return found


def version_of(requirement: Requirement) -> str:
    """The version of a locked requirement."""
    return str(requirement.specifier).removeprefix("==")


def direct_requirements() -> list[Requirement]:
    """What pyproject.toml asks for: to run, in every extra, and to build."""
    extras = PROJECT["project"]["optional-dependencies"]
    texts = [*PROJECT["project"]["dependencies"], *chain(*extras.values()), *PROJECT["build-system"]["requires"]]
    requirements = [Requirement(text) for text in texts]
    return [requirement for requirement in requirements if requirement.name != "asrscale"]


@pytest.mark.parametrize("name", FILES)
def test_each_file_has_one_version_and_hashes_for_everything_and_names_no_place(name: str) -> None:
    assert locked(name)
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    options = [line for line in lines if line.startswith("-") or "://" in line.partition("#")[0]]
    assert options == []


@pytest.mark.parametrize("torch", ["torch-cuda.txt", "torch-cpu.txt"])
def test_the_files_have_what_pyproject_asks_for(torch: str) -> None:
    everything = locked("libraries.txt") | locked("build.txt") | locked(torch)
    missing = {"torchaudio"} if torch == "torch-cpu.txt" else set()  # for asrscale.align only
    for requirement in direct_requirements():
        if requirement.name not in missing:
            assert requirement.specifier.contains(version_of(everything[canonicalize_name(requirement.name)]))


def test_the_files_agree_with_each_other() -> None:
    versions: dict[str, set[str]] = {}
    for name in set(FILES) - {"torch-cpu.txt", "tools.txt"}:
        for library, requirement in locked(name).items():
            versions.setdefault(library, set()).add(version_of(requirement))
    assert {library for library, found in versions.items() if len(found) > 1} == set()
    assert not locked("torch-cuda.txt").keys() & locked("libraries.txt").keys()
    assert not any(library.startswith(("nvidia", "cuda", "torch")) for library in locked("libraries.txt"))


@pytest.mark.parametrize("torch", ["cuda", "cpu", "own"])
def test_make_installs_and_builds_nothing_without_a_hash(torch: str, run_command: Run) -> None:
    done = run_command("make", "--always-make", "--dry-run", ".venv/installed", f"TORCH={torch}")
    installs = [line for line in done.stdout.splitlines() if "pip install" in line]
    build, libraries, *of_torch, own = installs
    assert "requirements/build.txt" in build and "requirements/libraries.txt" in libraries
    assert [f"requirements/torch-{torch}.txt" in line for line in of_torch] == [True] * (torch != "own")
    for line in (build, libraries, *of_torch):
        assert "--require-hashes" in line and "--no-build-isolation" in line and "--no-deps" in line
    assert own.endswith("--no-deps --no-build-isolation -e .")
    assert "pip check" in done.stdout


def test_another_torch_is_refused_in_one_line(run_command: Run) -> None:
    for torch in ("torch torchaudio --index-url URL", "gpu", "cpu cuda"):  # the first as it once was
        done = run_command("make", "--no-print-directory", "--dry-run", "help", f"TORCH={torch}")
        assert (done.returncode, done.stdout) == (2, "")
        assert f"TORCH is cuda, cpu or own, and not '{torch}': see CONTRIBUTING.md" in done.stderr


def test_the_build_backend_is_the_one_with_a_hash() -> None:
    (backend,) = PROJECT["build-system"]["requires"]
    assert Requirement(backend).specifier == locked("build.txt")["hatchling"].specifier
    assert {"setuptools", "wheel", "editables"} <= locked("build.txt").keys()


@pytest.mark.parametrize("library", HOLES)
def test_no_version_with_a_known_hole_is_admitted(library: str) -> None:
    (requirement,) = [found for found in direct_requirements() if canonicalize_name(found.name) == library]
    assert not requirement.specifier.contains(HOLES[library])
    installed = locked("libraries.txt") | locked("torch-cuda.txt")
    assert (
        Version(version_of(installed[library])) > Version(HOLES[library]) or library == "num2words"
    )  # which is 0.5.14


def test_audit_licences_and_lock_have_their_tools(run_command: Run) -> None:
    assert {"pip-audit", "pip-licenses", "uv"} <= locked("tools.txt").keys()
    for target, tool in {"audit": "pip-audit --strict", "licences": "pip-licenses", "lock": "uv pip compile"}.items():
        assert tool in run_command("make", "--always-make", "--dry-run", target).stdout
