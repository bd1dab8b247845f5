"""Imports of large libraries without looking for garbage meanwhile."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_imports() -> Iterator[None]:
    """Inside, imports take a sixth less time, as Python does not look for garbage among what they make.

    It does not afterwards either: half a million objects of torch and transformers live as long as the process, and
    looking through them takes a quarter of a second. Where torch is imported already there is little to gain.
    """
    is_late = "torch" in sys.modules or not gc.isenabled()
    if is_late:
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
