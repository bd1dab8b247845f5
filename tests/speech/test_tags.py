"""Tags around the sound of a file."""

import pytest
from helpers.audio import apev2_tag, id3v2_tag

from asrscale.speech.tags import end_of_tags, start_of_last_tags

ID3V1 = b"TAG" + bytes(124) + b"\x01"
LYRICS = b"LYRICSBEGININD0000200LYR00003la 000035LYRICS200"


@pytest.mark.parametrize("tags", [b"", bytes(1_000), id3v2_tag(60_000), apev2_tag(9_000), ID3V1, LYRICS])
def test_tags_end_where_the_sound_begins(tags: bytes) -> None:
    for before in (tags, tags + tags, id3v2_tag(10) + tags):
        assert end_of_tags(before + b"\xff\xfb", 0) == len(before)
        assert end_of_tags(b"\xff\xfb" + before, 2) == 2 + len(before)


def test_a_tag_longer_than_the_file_ends_with_it() -> None:
    assert end_of_tags(id3v2_tag(60_000)[:5_000], 0) == 5_000


@pytest.mark.parametrize("tag", [apev2_tag(9_000, has_header=False), apev2_tag(9_000, has_header=False) + ID3V1, ID3V1])
def test_a_tag_that_only_its_end_names_is_found(tag: bytes) -> None:
    sound = b"\xff\xfb\x90\x00" * 5_000
    assert start_of_last_tags(sound + tag) == len(sound)
    assert start_of_last_tags(sound) == len(sound)
