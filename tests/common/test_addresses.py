"""Addresses without users, passwords, queries and fragments."""

import time
from urllib.parse import urlsplit, urlunsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrscale.common.addresses import can_be_cleaned, clean_json, clean_text, clean_value


@pytest.mark.parametrize(
    ("address", "clean"),
    [
        ("https://ann:s3cret@host.org/a.csv", "https://host.org/a.csv"),
        ("https://s3cret@host.org:8443/a.csv", "https://host.org:8443/a.csv"),
        ("HTTPS://ann:s3cret@[::1]:80/a.csv", "HTTPS://[::1]:80/a.csv"),
        ("https://ann@x.org:s3cret@host.org/a.csv", "https://host.org/a.csv"),
        ("https://host.org/a.csv?X-Amz-Signature=s3cret&x=1#s3cret", "https://host.org/a.csv"),
        ("https://host.org?s3cret", "https://host.org"),
        ("http://localhost:8000/a#s3cret=1", "http://localhost:8000/a"),
        ("s3://s3cret:s3cret@bucket/a.csv?versionId=s3cret", "s3://bucket/a.csv"),
        ("train=https://ann:s3cret@host/a.csv", "train=https://host/a.csv"),
        ("simplecache::https://s3cret@host/a.csv?s3cret", "simplecache::https://host/a.csv"),
        ("zip://a.csv::https://ann:s3cret@host/a.zip?sig=s3cret", "zip://a.csv::https://host/a.zip"),
        ("https://host/a?next=https://ann:s3cret@other/?s3cret", "https://host/ahttps://other/"),
        # What only says which page is meant stays, unless something with it may be secret.
        ("https://host.org/watch?v=dQw4w9WgXcQ&t=1m30s#s3cret", "https://host.org/watch?v=dQw4w9WgXcQ&t=1m30s"),
        ("https://ann:s3cret@host/a?id=12&utm=s3cret", "https://host/a?id=12"),
        ("https://host/a?id=12&sig=s3cret", "https://host/a"),
        ("https://host/a?id=12&X-Amz-Credential=s3cret", "https://host/a"),
        ("https://host/a?v=2024&se=1&sp=r&sr=s3cret", "https://host/a"),
        ("https://host/a?id=s3cret1234567890", "https://host/a"),
        ("https://host/a?p=s3cret", "https://host/a"),
        ("https://host/a?v=1&next=http%3A%2F%2Fann%3As3cret%40h", "https://host/a?v=1"),
        # Other forms of addresses.
        ('{"a": "http:\\/\\/ann:s3cret@h\\/x?s3cret=1"}', '{"a": "http://h/x"}'),
        ("//ann:s3cret@host/x", "//host/x"),
        ("<a href=//host.org/x?s3cret=1>", "<a href=//host.org/x>"),
        ("http%3A%2F%2Fann%3As3cret%40host%2Fx", "http://…"),
        ("http%253a%252f%252Fann%253As3cret%2540host", "http://…"),
        ("https://proxy/http%3A%2F%2Fann%3As3cret%40host", "https://proxy/http://…"),
        ("http:&#x2F;&#47;ann:s3cret@host", "http://…"),
    ],
)
def test_an_address_has_no_user_no_query_and_no_fragment(address: str, clean: str) -> None:
    assert clean_value(address) == clean
    assert can_be_cleaned(address)


@pytest.mark.parametrize(
    "address",
    [
        "https://ann:s3/cret@host/a.csv",
        "https://ann:12/s3cret@host/a.csv",
        "https://ann:s3?cret@host/a.csv",
        "https://ann:s3#cret@host/a.csv",
        "https://ann:s@3/cret@host/a.csv",
        "https://ann:s3 cret@host/a.csv",
        'https://ann:s3"cret@host/a.csv',
        "https://ann:s3cret",
        "https://host/a?sig=s3 cret",
    ],
)
def test_of_an_address_that_cannot_be_told_from_its_secrets_only_the_protocol_is_left(address: str) -> None:
    assert clean_value(address) == "https://…"
    assert not can_be_cleaned(address)


@pytest.mark.parametrize(
    "harmless",
    [
        "",
        "a.csv",
        "/data/ann@home/a?b#c.wav",
        "C:\\ann\\a.wav",
        "s3://bucket/take#1.wav",
        "gs://bucket/what?.wav",
        "hf://datasets/owner/name@main/a.parquet",
        "https://host.org/a@2x.wav",
        "http://localhost:8000/a b.wav",
        "file:///home/ann@work/a.wav",
        "noise=https://localhost:8000/noise:10..30dB@0.3,rir=s3://bucket/rooms@0.5,telephone@1",
        "ratio 1:2 // see a://b",
        "see https://host/watch?v=dQw4w9WgXcQ, or https://host/?id=12).",
        "https://host/watch?v=dQw4w9WgXcQ at 1:30",
        "//server/share/a?b#c.wav",
        "//cdn.org/a.js",
        "http%3A%2F%2Fhost%2Fx",
        '{"a": "http:\\/\\/host\\/x"}',
    ],
)
def test_what_has_none_stays_as_it_is(harmless: str) -> None:
    assert clean_text(harmless) == clean_value(harmless) == harmless
    assert can_be_cleaned(harmless)


def test_a_text_keeps_what_is_around_its_addresses() -> None:
    text = (
        "error: 'https://ann:s3cret@host/a?s3cret' (see https://host/b?s3cret). s3://u:s3cret@b/x: no; http://h:80: no"
    )
    clean = "error: 'https://host/a' (see https://host/b). s3://b/x: no; http://h:80: no"
    assert clean_text(text) == clean
    assert (
        clean_text("https://ann:s3/cret@host: gone, as https://host/x?s3cret is")
        == "https://… gone, as https://host/x is"
    )


def test_json_is_clean_at_any_depth() -> None:
    address = "https://ann:s3cret@host/a?s3cret"
    value = {"a": [address, 1, None, {"b": (address, True)}], address: 0.5}
    assert clean_json(value) == {
        "a": ["https://host/a", 1, None, {"b": ["https://host/a", True]}],
        "https://host/a": 0.5,
    }


@given(
    scheme=st.sampled_from(["http", "https"]),
    user=st.text("abcXYZ019.-_~%!$&'()*+,;=", max_size=8),
    password=st.text("abcXYZ019.-_~%!$&'()*+,;=:", max_size=8),
    host=st.from_regex(r"[a-z][a-z0-9]{0,5}(\.[a-z]{2,3})?", fullmatch=True),
    port=st.sampled_from(["", ":80", ":8443"]),
    path=st.text("abcXYZ019.-_~%/", max_size=12),
    query=st.text("abcXYZ019.-_~%&=/?", max_size=12),
)
def test_it_removes_what_urllib_calls_user_query_and_fragment(
    scheme: str, user: str, password: str, host: str, port: str, path: str, query: str
) -> None:
    address = f"{scheme}://{user}:{password}@{host}{port}/{path}?{query}#{query}"
    parts = urlsplit(address)
    wanted = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    assert clean_value(address).rstrip("])'`,;:.") == wanted.rstrip("])'`,;:.")


@pytest.mark.parametrize(
    "text",
    [
        "https://" + ")" * 300_000 + "x",
        "a://" * 100_000,
        "http%3A%2F%2F" + "%25" * 100_000,
        "a:\\/\\/" + "\\" * 300_000,
        "(//a." * 60_000,
        "a%3A%2F%2F" * 30_000,
        "https://h/?" + "a=b&" * 75_000,
    ],
)
def test_a_long_text_takes_no_square_of_its_length_in_time(text: str) -> None:
    start_seconds = time.process_time()
    clean_value(text)
    assert time.process_time() - start_seconds < 10  # a second; the square would be minutes
