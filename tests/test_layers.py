"""Imports point strictly downwards, each heavy library has its owner, and nothing grows without being noticed."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILES = {path.stem: path for path in (ROOT / "asrscale").glob("*.py")}
# A file in one sitting, as it stands; the package in an afternoon, in lines of code (docs/decisions/size.md).
MAX_FILE_LINES, MAX_CODE_LINES = 400, 5333

LAYERS = [
    {"errors"},
    {"cli", "progress", "audio", "text", "storage", "launcher", "files"},
    {"config", "devices", "lint", "sources", "index", "batching", "schedule", "metrics", "tracking", "rescue"},
    {"pack", "splits", "loader", "model", "modelcard", "workers", "watch"},
    {"assemble", "engine", "hub", "lora", "regularise", "steps"},
    {"report"},
    {"build"},
    {"shard"},
    {"checkpoint", "demo", "memory"},
    {"breakdown"},
    {"evaluate", "transcribe", "job"},
    {"fit", "plan"},
    {"train"},
]
OWNERS = {
    "ctypes": {"demo"},
    "deepspeed": {"engine"},
    "espeakng_loader": {"demo"},
    "fire": {"cli"},
    "fsspec": {"storage"},
    "huggingface_hub": {"hub"},
    "jinja2": {"report"},
    "jiwer": {"metrics"},
    "matplotlib": {"tracking"},
    "peft": {"lora"},
    "pyarrow": {"index"},
    "safetensors": {"checkpoint"},
    "soundfile": {"audio", "demo"},  # the demo writes mp3, which nothing else does
    "soxr": {"audio", "demo"},
    "tqdm": {"progress"},
    "transformers": {"lora", "model", "regularise"},
    "wandb": {"tracking"},
}


def imported(path: Path) -> set[str]:
    """What a file imports, inside functions too: `asrscale.module` for our own, else the library's name."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {".".join(name.split(".")[: 2 if name.startswith("asrscale.") else 1]) for name in names}


def test_every_module_is_in_one_layer() -> None:
    assert sorted(module for layer in LAYERS for module in layer) == sorted(FILES.keys() - {"__init__"})


def test_imports_point_downwards() -> None:
    below = {"asrscale.__version__"}
    for layer in LAYERS:
        for module in layer:
            own = {name for name in imported(FILES[module]) if name.startswith("asrscale")}
            assert own <= below, f"{module} may not import {sorted(own - below)}"
        below |= {f"asrscale.{module}" for module in layer}


def test_each_heavy_library_is_imported_by_its_owner_only() -> None:
    used = {module: imported(path) for module, path in FILES.items()}
    for library, owners in OWNERS.items():
        assert {module for module in used if library in used[module]} == owners, library


def test_the_package_itself_imports_nothing() -> None:
    assert imported(FILES["__init__"]) == set()


def test_launch_imports_the_package_and_no_heavy_library() -> None:
    for path in (ROOT / "launch").glob("*.py"):
        assert not imported(path) & OWNERS.keys(), path


def code_lines(source: str) -> int:
    """Lines that are neither blank, nor comment, nor docstring."""
    described = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    documented = [node for node in ast.walk(ast.parse(source)) if isinstance(node, described)]
    docstrings = [node.body[0] for node in documented if node.body and ast.get_docstring(node, clean=False) is not None]
    skipped = {line for node in docstrings for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    lines = enumerate(source.splitlines(), start=1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") and n not in skipped for n, line in lines)


def test_code_lines_leave_out_what_explains() -> None:
    assert (
        code_lines('"""Module."""\n\n# why\ndef f() -> int:\n    """Two\n\n    lines."""\n    return 1  # one\n') == 2
    )


def test_files_and_package_stay_small() -> None:
    sources = {module: path.read_text(encoding="utf-8") for module, path in FILES.items()}
    lines = {module: len(source.splitlines()) for module, source in sources.items()}
    assert {module: count for module, count in lines.items() if count > MAX_FILE_LINES} == {}
    assert sum(map(code_lines, sources.values())) <= MAX_CODE_LINES
    assert sum(lines.values()) <= 7773
