"""Imports point one way between packages, each heavy library has its owner, and files stay readable in one sitting."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "asrscale"
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 45  # without the docstring: a screen

# What each package may import besides itself. Modules directly in asrscale/ are the commands, which may import all.
MAY_IMPORT = {
    "common": set(),
    "speech": {"common"},
    "data": {"common", "speech"},
    "sources": {"common", "speech", "data"},
    "corpus": {"common", "speech", "data", "sources"},
    "augmentation": {"common", "speech", "data"},
    "ngrams": {"common", "speech", "data"},
    "decoding": {"common", "speech", "ngrams"},
    "model": {"common", "speech", "data"},
    "results": {"common", "speech", "data", "ngrams", "decoding", "model"},
    "alignment": {"common", "speech", "data", "model", "results"},
    "memory": {"common", "speech", "data", "model"},
    "training": {"common", "speech", "data", "augmentation", "model", "results", "memory"},
}

# Libraries with an interface wide enough that only the named modules should know it.
OWNERS = {
    "aiohttp": {"common.http_client"},
    "av": {"augmentation.codecs", "speech.ffmpeg"},
    "ctypes": {"common.c_stderr", "corpus.demo_voice", "speech.ffmpeg"},
    "deepspeed": {"training.engine"},
    "espeakng_loader": {"corpus.demo_voice"},
    "fire": {"common.cli"},
    "fsspec": {"common.storage"},
    "huggingface_hub": {"common.checkpoint_files", "model.hub", "model.model_card", "model.quiet"},
    "jinja2": {"common.html"},
    "jiwer": {"results.metrics"},
    "onnx": {"model.onnx_graph"},
    "onnxruntime": {"model.onnx_forward"},
    "matplotlib": {"training.metrics_plot"},
    "peft": {"model.lora"},
    "rapidfuzz": {"alignment.anchors", "decoding.confidence"},
    "pyarrow": {
        "sources.parquet",
        "data.catalog",
        "data.index",
        "data.parquet_bounds",
        "data.parquet_pages",
        "ngrams.arpa",
    },
    "safetensors": {
        "model.export",
        "model.language_adapters",
        "model.weights",
        "ngrams.storage",
        "training.checkpoint",
    },
    "setproctitle": {"common.cli"},
    "soundfile": {"speech.libsndfile", "speech.encoding", "corpus.demo_clip"},
    "soxr": {"speech.pcm", "corpus.demo_clip"},
    "torchaudio": {"alignment.aligning"},
    "tqdm": {"common.progress"},
    "trackio": {"training.trackio_tracker"},
    "wandb": {"training.wandb_tracker"},
}


def module_name(path: Path) -> str:
    """`package.module` of a file in asrscale/; a package's __init__ is the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


FILES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported_names(path: Path) -> set[str]:
    """The full dotted names that a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own_modules(path: Path) -> set[str]:
    """The modules of asrscale that a file imports; "" is asrscale itself."""
    found = set()
    for name in imported_names(path):
        if name.partition(".")[0] != "asrscale":
            continue
        inner = name.removeprefix("asrscale").removeprefix(".")
        while inner not in FILES:
            inner = inner.rpartition(".")[0]
        found.add(inner)
    return found


def test_every_package_has_its_place() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == MAY_IMPORT.keys()


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_import_one_way(package: str) -> None:
    for module, path in FILES.items():
        if module.split(".")[0] == package:
            packages = {name.split(".")[0] for name in own_modules(path)} - {"", package}
            assert packages <= MAY_IMPORT[package], module


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {module: own_modules(path) - {module} for module, path in FILES.items()}
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def test_no_package_imports_anything_heavy_by_itself() -> None:
    for module, path in FILES.items():
        if path.name == "__init__.py":
            light = all(name.split(".")[0] in ("asrscale", "importlib", "typing") for name in imported_names(path))
            assert light, module


def test_each_heavy_library_is_imported_by_its_owners_only() -> None:
    libraries = {module: {name.split(".")[0] for name in imported_names(path)} for module, path in FILES.items()}
    for library, owners in OWNERS.items():
        assert {module for module in libraries if library in libraries[module]} == owners, library


def test_launch_imports_the_package_and_no_heavy_library() -> None:
    for path in (ROOT / "launch").glob("*.py"):
        assert not {name.split(".")[0] for name in imported_names(path)} & OWNERS.keys(), path


def test_files_can_be_read_in_one_sitting() -> None:
    lengths = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in FILES.items()}
    assert {module: lines for module, lines in lengths.items() if lines > MAX_FILE_LINES} == {}


def function_lengths(path: Path) -> dict[str, int]:
    """Lines of each function of a file, without its docstring."""
    lengths = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            has_docstring = ast.get_docstring(node) is not None
            docstring_lines = first.end_lineno - first.lineno + 1 if has_docstring else 0
            lengths[node.name] = node.end_lineno - node.lineno + 1 - docstring_lines
    return lengths


def test_functions_fit_on_a_screen() -> None:
    long = {
        f"{module}.{name}": lines
        for module, path in FILES.items()
        for name, lines in function_lengths(path).items()
        if lines > MAX_FUNCTION_LINES
    }
    assert long == {}


def test_names_of_test_files_are_unique() -> None:
    """pytest cannot collect two files of one name in folders that are no packages."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
