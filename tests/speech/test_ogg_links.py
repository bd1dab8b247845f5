"""Chained Ogg files, taken apart."""

import pytest
from helpers.audio import encoded, encoded_by_ffmpeg, sine

from asrscale.speech.ogg_links import find_links

VORBIS = encoded(sine(300, 16_000, 2), 16_000, "OGG")
OPUS = encoded_by_ffmpeg(sine(300, 16_000, 2), 16_000, "ogg", "libopus")


@pytest.mark.parametrize("parts", [[VORBIS], [VORBIS, OPUS], [OPUS, OPUS, VORBIS]])
def test_links_are_the_files_that_were_joined(parts: list[bytes]) -> None:
    data = b"".join(parts)
    links = find_links(data, 0)
    assert [data[link.start : link.end] for link in links] == parts
    assert all(link.num_streams == 1 for link in links)
    assert [link.codec == b"OpusHead" for link in links] == [part is OPUS for part in parts]


def test_what_is_not_whole_ends_with_the_data() -> None:
    [link] = find_links(VORBIS[:-100] + b"", 0)
    assert (link.start, link.end) == (0, len(VORBIS) - 100)
    assert not find_links(b"OggS", 0)
