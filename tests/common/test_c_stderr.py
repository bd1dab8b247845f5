"""Notes of C libraries on standard error."""

import ctypes
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from asrscale.common.c_stderr import silent_c_stderr

libc = ctypes.CDLL(None)


def note(text: bytes) -> None:
    stderr = ctypes.c_void_p.in_dll(libc, "stderr")
    libc.fputs(text, stderr)
    libc.fflush(stderr)


def test_only_notes_of_c_libraries_vanish_and_only_meanwhile(capfd: pytest.CaptureFixture[str]) -> None:
    note(b"before\n")
    with silent_c_stderr():
        note(b"vanishes\n")
        with silent_c_stderr():
            note(b"vanishes, too\n")
        note(b"still\n")
        os.write(2, b"python\n")
    note(b"after\n")
    assert capfd.readouterr().err == "before\npython\nafter\n"


def test_threads_leave_it_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    def work(number: int) -> None:
        with silent_c_stderr():
            note(b"vanishes\n")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(500)))
    note(b"after\n")
    assert capfd.readouterr().err == "after\n"
