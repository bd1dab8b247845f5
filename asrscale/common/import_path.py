"""What may be imported: nothing of the folder that one stands in, which holds data, perhaps those of others.

Python puts that folder first on its path for `python -m`, and for an empty entry of PYTHONPATH: a `soundfile.py` that
came with a data set would run in the place of the library. `keep_current_folder_out` is called before anything else is
imported. So this module itself imports only what Python has loaded by then.
"""

import importlib.machinery
import os
import sys

PACKAGE = "asrscale"

_EXIT_USAGE = 2  # as asrscale.common.errors has it

_SUFFIXES = importlib.machinery.all_suffixes()

# What is meant, and a name that people like to give, which only Python's own tests import.
_HARMLESS = {PACKAGE, "test"}


def keep_current_folder_out() -> None:
    """Takes the folder that one stands in off the path of this process, and of the Python processes that it starts.

    Where it must stay, because this package lies in it or PYTHONPATH names it, a module in it that would take the place
    of another ends the process: one line, exit code 2.
    """
    os.environ["PYTHONSAFEPATH"] = "1"  # workers are started as `python -c`, which has that folder first, too
    try:
        here = os.getcwd()
    except OSError:  # it was removed
        return
    added = is_command() and not sys.flags.safe_path and sys.path[:1] == [here]
    if added and (_folder_of_package() != here or here in sys.path[1:]):
        del sys.path[0]
    paths = [os.path.abspath(entry) for entry in sys.path]
    if here in paths:
        names = _hidden_by(here, sys.path[paths.index(here) + 1 :])
        _say("error", names, "would be imported in the place of the module of that name: rename it, or stand elsewhere")
        if names:
            sys.exit(_EXIT_USAGE)
    elif added:
        _say("warning", _hidden_by(here, sys.path), "has the name of a module that is used, and is left alone")


def is_command() -> bool:
    """Whether this process is `python -m asrscale.COMMAND`, while Python looks for the module."""
    words = [word.removeprefix("-m") for word in sys.orig_argv[1:]]
    return sys.argv[:1] == ["-m"] and any(word.split(".")[0] == PACKAGE for word in words)


def _folder_of_package() -> str:
    """Returns the folder that this package lies in."""
    return os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))


def _hidden_by(folder: str, path: list[str]) -> list[str]:
    """Returns the files and packages of a folder that would be imported instead of a module of that name on a path."""
    try:
        names = os.listdir(folder)
    except OSError:  # nor can Python import what it cannot list
        return []
    return sorted(name for name in names if _hides(folder, name, path))


def _hides(folder: str, name: str, path: list[str]) -> bool:
    """Whether a file or a package of a folder would be imported instead of a module on a path.

    A folder without an `__init__` would not, such as `wandb/` with what W&B has written. There may be millions of
    names: recordings are known by what their names end in.
    """
    module = name.partition(".")[0]
    suffix = name[len(module) :]
    if suffix and suffix not in _SUFFIXES:
        return False
    if not module.isidentifier() or module in _HARMLESS or not _is_module(module, path):
        return False
    inits = [os.path.join(folder, name, f"__init__{ending}") for ending in _SUFFIXES]
    return bool(suffix) or any(os.path.isfile(init) for init in inits)


def _is_module(module: str, path: list[str]) -> bool:
    """Whether a path, or Python itself, has a module of a name."""
    if module in sys.stdlib_module_names:
        return True
    spec = importlib.machinery.PathFinder.find_spec(module, path)
    return spec is not None and spec.origin is not None


def _say(kind: str, names: list[str], what: str) -> None:
    """Says something of files, once a node."""
    local_rank = os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or "0"
    if names and local_rank == "0":
        print(f"{kind}: {', '.join(names)} in this folder {what}", file=sys.stderr, flush=True)
