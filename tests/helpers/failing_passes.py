"""Passes of training in which memory runs out."""

from collections.abc import Iterator
from contextlib import contextmanager

from ranks.short_of_memory import Allocator

from asrscale.training import engine as ds
from asrscale.training import step as step_module


@contextmanager
def failing_once(where: str, operation: int, call: int) -> Iterator[None]:
    """Memory runs out at one operation of the first, second … forward or backward of a pass; at none with call 0."""
    name, calls = {"forward": "loss_sum", "backward": "backward"}[where], 0
    owner = step_module if where == "forward" else ds
    original = getattr(owner, name)

    def wrapped(*given: object) -> object:
        nonlocal calls
        calls += 1
        with Allocator(operation if calls == call else 0):
            return original(*given)

    setattr(owner, name, wrapped)
    try:
        yield
    finally:
        setattr(owner, name, original)
