import subprocess
import sys

import pytest

IN_A_BLOCK = """
import gc
from asrscale.common.quick_imports import quick_imports
with quick_imports():
    assert not gc.isenabled()
    import torch
assert gc.isenabled() and gc.get_freeze_count() > 100_000
gc.unfreeze()
with quick_imports():
    assert gc.isenabled()
assert not gc.get_freeze_count()
"""

# An engine begins without torch's compiler, and functions that are compiled later are compiled.
MUON = """
import sys, torch
from asrscale.training import engine
compile_function = torch.compile
engine._import_muon()
assert "deepspeed.runtime.zero.muon.muon_optimizer" in sys.modules and torch.compile is compile_function
assert "torch._inductor.compile_fx" not in sys.modules
"""

# All but the planner, whose options are compared with the GPUs that it knows.
COMMANDS = ("shard", "train", "evaluate", "transcribe", "align", "export", "lm", "demo")


def run(code: str, *words: str) -> None:
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_imports_look_for_no_garbage_but_later_code_does() -> None:
    run(IN_A_BLOCK)


def test_an_engine_does_not_import_a_compiler() -> None:
    run(MUON)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_does_not_wait_for_torch(command: str) -> None:
    words = [sys.executable, "-X", "importtime", "-m", f"asrscale.{command}", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "asrscale.common.cli" in imported and not imported & {"torch", "transformers", "deepspeed"}
