"""A local disk of which a part cannot be read."""

import errno
import os

import pytest

from asrscale.common import storage
from asrscale.common.storage import Range, read_local


def break_sector(monkeypatch: pytest.MonkeyPatch, place: Range) -> None:
    """Makes every read fail that touches the start of `place`; none is waited for."""

    def with_a_broken_sector(wanted: Range) -> bytes | Exception:
        is_touched = wanted.start <= place.start < wanted.start + wanted.size
        if wanted.path == place.path and is_touched:
            return OSError(errno.EIO, os.strerror(errno.EIO))
        return read_local(wanted)

    monkeypatch.setattr(storage, "read_local", with_a_broken_sector)
    monkeypatch.setattr(storage, "FIRST_WAIT_SECONDS", 0.0)
