"""What the tests of corpus sources share: small sources, and what is read from them."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from asrscale.common.errors import CliError
from asrscale.sources.opening import open_source
from asrscale.sources.rows import Row
from helpers.audio import encoded, sine

SHARED = Path(__file__).parents[3] / "shared/data"


needs_shared_data = pytest.mark.skipif(not SHARED.exists(), reason="../shared/data is not here")


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def tone(seconds: float) -> bytes:
    """The bytes of a wav file of 16 kHz."""
    return encoded(sine(500, 16_000, seconds), 16_000, "WAV")


def row_of(audio: str) -> Row:
    """A row of which only the recording matters."""
    return Row(line=2, source="a.csv", audio=audio, text="", extra={})


def rows_of(path: object) -> list[Row]:
    return list(open_source(str(path)).read_rows())


def root_of(path: object) -> str:
    return open_source(str(path)).audio_root


def refusal_of(path: object) -> str:
    """The one line with which a source is refused; it starts with the path."""
    with pytest.raises(CliError) as caught:
        rows_of(path)
    line = str(caught.value)
    assert line.startswith(str(path))
    assert "\n" not in line
    return line
