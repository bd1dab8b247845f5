"""Inputs as an attacker would make them, drawn from a generator: recordings, tars, archives, tables and more."""

import functools
import gzip
import io
import json
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from fuzz_shard import damaged
from fuzz_shard import intact_recordings as make_intact_recordings

from helpers.parquet import with_other_promise

Rng: TypeAlias = np.random.Generator

MEBIBYTE = 1 << 20


@functools.cache
def intact_recordings() -> dict[str, bytes]:
    return make_intact_recordings()


def lying_wav(rng: Rng) -> bytes:
    """A wav whose header says anything."""
    sound = (10_000 * rng.standard_normal(8_000)).astype("<i2").tobytes()
    pick = [0, 1, 2, 3, 16, 1_024, 65_535]
    channels, rate_hz, bits = (
        int(rng.choice(pick)),
        int(rng.choice([0, 1, 8_000, 16_000, 2**32 - 1])),
        int(rng.choice(pick)),
    )
    form = struct.pack(
        "<HHIIHH", int(rng.choice([0, 1, 3, 6, 7, 17, 85, 0xFFFE])), channels, rate_hz, 2**31, 2, bits & 0xFFFF
    )
    size = int(rng.choice([0, 1, len(sound), 2**31, 2**32 - 1]))
    chunks = [
        b"fmt " + struct.pack("<I", int(rng.choice([16, 18, 40, 2**32 - 1]))) + form,
        b"data" + struct.pack("<I", size) + sound,
    ]
    junk = b"LIST" + struct.pack("<I", int(rng.choice([0, 4, 2**32 - 2]))) + b"INFO"
    return b"RIFF" + struct.pack("<I", size) + b"WAVE" + b"".join([junk, *chunks] if rng.random() < 0.3 else chunks)


def lying_flac(rng: Rng) -> bytes:
    """A FLAC whose first block says another length, rate, width or block size than its frames have."""
    content = bytearray(intact_flac())
    total = int(rng.choice([0, 1, 2**20, 2**36 - 1]))
    fields = int.from_bytes(content[18:26], "big")
    rate_hz, channels, bits = (
        int(rng.choice([16_000, 0, 1, 655_350])),
        int(rng.integers(0, 8)),
        int(rng.integers(3, 32)),
    )
    if rng.random() < 0.6:
        fields = (fields >> 36 << 36) | total
    else:
        fields = (rate_hz << 44) | (channels << 41) | (bits << 36) | total
    content[18:26] = fields.to_bytes(8, "big")
    if rng.random() < 0.3:
        content[8:12] = rng.bytes(4)
    return bytes(content)


def long_silence(rng: Rng) -> bytes:
    """A FLAC of an hour of silence in some kilobytes."""
    buffer = io.BytesIO()
    hours = float(rng.choice([0.3, 1.0]))
    soundfile.write(buffer, np.zeros(int(hours * 3600 * 8_000), np.int16), 8_000, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def sparse_wav(path: Path, rng: Rng) -> None:
    """A wav of a gigabyte of silence that takes nothing of the disk, of up to 1,024 channels."""
    channels = int(rng.choice([1, 2, 64, 1_024]))
    size = 1 << 30
    form = struct.pack("<HHIIHH", 1, channels, 16_000, 32_000 * channels, 2 * channels, 16)
    with path.open("wb") as file:
        file.write(b"RIFF" + struct.pack("<I", size + 36) + b"WAVEfmt " + struct.pack("<I", 16) + form)
        file.write(b"data" + struct.pack("<I", size))
        file.truncate(size + 44)


def lying_ogg(rng: Rng) -> bytes:
    """An Ogg of Vorbis or Opus with other granule positions and segment tables, whose checksums are wrong by that."""
    content = bytearray(intact_recordings()[str(rng.choice(["ogg", "opus"]))])
    places = [at for at in range(len(content) - 4) if content[at : at + 4] == b"OggS"]
    for at in places:
        if rng.random() < 0.4:
            content[at + 6 : at + 14] = int(rng.choice([0, 1, 2**40, 2**63 - 1])).to_bytes(8, "little")
        if rng.random() < 0.1:
            content[at + 26] = int(rng.integers(0, 256))
    return bytes(content)


def lying_mp3(rng: Rng) -> bytes:
    """An mp3 whose Xing header says other numbers of frames and bytes, or with a tag that is larger than the file."""
    content = bytearray(intact_recordings()["mp3"])
    at = max(content.find(b"Xing"), content.find(b"Info"))
    if at > 0:
        content[at + 8 : at + 12] = int(rng.choice([0, 1, 2**31, 2**32 - 1])).to_bytes(4, "big")
    if rng.random() < 0.4:
        return b"ID3\x03\x00\x00" + bytes([0x7F] * 4) + bytes(content)
    return bytes(content)


def recording(path: Path, rng: Rng) -> Path:
    """Writes a hostile recording; returns it under a name that may be wrong."""
    kinds: list[tuple[str, Callable[[Rng], bytes]]] = [
        ("wav", lying_wav),
        ("flac", lying_flac),
        ("ogg", lying_ogg),
        ("mp3", lying_mp3),
    ]
    share = rng.random()
    if share < 0.01:
        sparse_wav(path.with_suffix(".wav"), rng)
        return path.with_suffix(".wav")
    if share < 0.02:
        path.with_suffix(".flac").write_bytes(long_silence(rng))
        return path.with_suffix(".flac")
    if share < 0.5:
        extension, make = kinds[rng.integers(len(kinds))]
        content = make(rng)
    else:
        intact = intact_recordings()
        extension = str(rng.choice(list(intact)))
        content = damaged(intact[extension], rng)
    path = path.with_suffix(f".{extension.rpartition('.')[2] if rng.random() < 0.9 else 'wav'}")
    path.write_bytes(content)
    return path


def intact_flac() -> bytes:
    return intact_recordings()["flac"]


def tar_header(rng: Rng, name: str, kind: bytes, size: int) -> bytes:
    """A header of a tar that may announce anything."""
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    if rng.random() < 0.1:
        member.mode, member.mtime = int(rng.integers(0, 2**21)), int(rng.integers(0, 2**33))
    return member.tobuf(tarfile.GNU_FORMAT)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % tarfile.BLOCKSIZE)


def pax_records(rng: Rng) -> bytes:
    """What a pax header holds: records, or what takes long to be none."""
    values: list[bytes] = [
        b"1" * 8_000,
        b"8000 path=" + b"1" * 7_900 + b"\n",
        b"11 path=abc\n" * int(rng.integers(1, 600)),
        b"30 size=99999999999999999999\n",
        b"20 size=-1000000000\n",
        b"17 GNU.sparse.map=x\n",
        b"24 GNU.sparse.map=0,9,3,\n22 GNU.sparse.size=99\n",
        b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n",
        b"25 hdrcharset=BINARY\xff\xff\n\n",
        b"18 path=\x00\x01\x02\x03\x04\x05\n",
        rng.bytes(int(rng.integers(0, 600))),
    ]
    return values[rng.integers(len(values))]


def hostile_tar(rng: Rng) -> bytes:
    """A tar with good members among hostile ones."""
    wav = intact_recordings()["wav"]
    parts = []
    for number in range(int(rng.integers(2, 8))):
        name = f"k{number}"
        match rng.integers(0, 9):
            case 0:
                records = pax_records(rng)
                parts.append(tar_header(rng, name, tarfile.XHDTYPE, len(records)) + padded(records))
            case 1:
                size = int(rng.choice([2**13 + 1, 2**40, 2**62]))
                parts.append(
                    tar_header(rng, name, rng.choice([tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, b"g"]), size)
                )
            case 2:
                parts.append(tar_header(rng, name, tarfile.GNUTYPE_SPARSE, int(rng.choice([0, 512]))) + bytes(512))
            case 3:
                parts.append(tar_header(rng, name, rng.choice([b"1", b"2", b"3", b"4", b"6", b"7", b"Z"]), 0))
            case 4:
                text = (
                    b"[" * 200_000
                    if rng.random() < 0.5
                    else b'{"text": "a", "start": 1e999, "end": ' + b"9" * 5_000 + b"}"
                )
                parts.append(tar_header(rng, f"{name}.wav", b"0", len(wav)) + padded(wav))
                parts.append(tar_header(rng, f"{name}.json", b"0", len(text)) + padded(text))
            case _:
                parts.append(tar_header(rng, f"{name}.wav", b"0", len(wav)) + padded(wav))
                parts.append(tar_header(rng, f"{name}.txt", b"0", 7) + padded(b"bad dog"))
    content = b"".join(parts) + bytes(1024)
    return damaged(content, rng) if rng.random() < 0.3 else content


@functools.cache
def gzip_bomb() -> bytes:
    """Two gigabytes of zeros as one member of a tar: a part of the compressed stream, again and again."""
    member = tarfile.TarInfo("a.wav")
    member.size = 1 << 31
    compressor = zlib.compressobj(wbits=31)
    start = compressor.compress(member.tobuf(tarfile.GNU_FORMAT)) + compressor.flush(zlib.Z_FULL_FLUSH)
    zeros = compressor.compress(bytes(16 * MEBIBYTE)) + compressor.flush(zlib.Z_FULL_FLUSH)
    return start + zeros * 128


def hostile_archive(path: Path, rng: Rng) -> Path:
    """Writes an archive that unpacks to more than there is room for, or is damaged, or holds hostile tars' members."""
    match rng.integers(0, 6):
        case 0:
            content = gzip.compress(hostile_tar(rng))
        case 1:
            content = gzip_bomb()
        case 2:
            member = tarfile.TarInfo("a.wav")
            size = int(rng.choice([2**33, 2**50, 2**62]))
            member.pax_headers = {"GNU.sparse.size": str(size), "GNU.sparse.map": "0,0", "GNU.sparse.name": "a.wav"}
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
                tar.addfile(member)
            content = buffer.getvalue()
        case _:
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(
                    str(rng.choice(["a.csv", "../a.csv", "/a.csv", "a/../../b", "x" * 300, "a\\b", "con:"])),
                    "filename,text\n",
                )
                archive.writestr("a.wav", bytes(int(rng.choice([10, MEBIBYTE]))))
            content = buffer.getvalue()
            if rng.random() < 0.3:  # a size of four gigabytes in the list of files
                at = content.rfind(b"PK\x01\x02")
                content = content[: at + 24] + (2**32 - 2).to_bytes(4, "little") + content[at + 28 :]
    path = path.with_suffix(".zip" if content[:2] == b"PK" else ".tar.gz")
    path.write_bytes(damaged(content, rng) if rng.random() < 0.3 else content)
    return path


@functools.cache
def tables() -> tuple[tuple[str, bytes], ...]:
    """The names and contents of tables and manifests that no program would write, and of two good ones."""
    return tuple(
        table
        for deep, number in ((b"[" * 500, b"9" * 19), (b"[" * 5_000, b"9" * 400), (b"[" * 1_000_000, b"9" * 5_000))
        for table in _tables(deep, number)
    )


def _tables(deep: bytes, number: bytes) -> list[tuple[str, bytes]]:
    """Returns tables with so many brackets, and a number of so many digits."""
    row = json.dumps({"audio_filepath": "c.wav", "text": "bad dog"}).encode()
    good = b"filename,text\nc.wav,bad dog\nc.wav,good dog\n"
    return [
        ("a.csv", b"filename,text\n" + b"x" * 20_000_000),
        (
            "a.csv",
            b"filename,text,"
            + b",".join(b"c%d" % column for column in range(200_000))
            + b"\nc.wav,bad dog"
            + b",x" * 200_000
            + b"\n",
        ),
        ("a.csv", b"filename,text\nc.wav," + b"a" * 200_000 + b"\n"),
        ("a.csv", b'filename,text\nc.wav,"' + b"a\n" * 300_000 + b"\n"),
        ("a.csv", b"filename,text,page\nc.wav,bad dog,https://" + b")" * 120_000 + b"x\n" + b"c.wav,dog,a\n"),
        (
            "a.csv",
            b"filename,text,start,end\nc.wav,bad dog,nan,inf\nc.wav,bad,-1e308,1e308\nc.wav,dog,0," + number + b"\n",
        ),
        ("a.csv", b"filename,text\nc.wav\0x,bad dog\n\x1b]0;x\x07,dog\n"),
        ("a.csv", b"filename,text,channel\nc.wav,bad dog," + number + b"\n"),
        ("a.csv", gzip.compress(bytes(64 * MEBIBYTE))),
        (
            "a.csv",
            b"filename,text\n/dev/zero,bad dog\n../../../../dev/stdin,dog\n/proc/self/mem,dog\nfile:///etc/passwd,dog\n",
        ),
        ("a.json", row + b"\n" + deep + b"\n"),
        ("a.json", b'{"audio_filepath": "c.wav", "text": "a", "x": ' + deep + b"}\n"),
        ("a.json", b'{"audio_filepath": "c.wav", "text": "a", "duration": ' + number + b', "offset": -1e400}\n'),
        ("a.json", b'{"audio_filepath": {"path": ["c.wav"]}, "text": {"a": 1}}\n' + row),
        (
            "a.json",
            b"{"
            + b",".join(b'"k%d": 1' % key for key in range(100_000))
            + b', "audio_filepath": "c.wav", "text": "a"}\n',
        ),
        (
            "a.json",
            b'{"id": "a", "start": 0, "duration": 1e308, "channel": 0, "supervisions": [], "recording": '
            + deep
            + b"}\n",
        ),
        (
            "a.json",
            b'{"id": "a", "sampling_rate": 0, "num_samples": -5, "duration": 1, "sources": [{"type": "command", '
            b'"source": "touch x"}]}\n',
        ),
        ("a.jsonl", b"[" + b",".join([row] * 100_000) + b"]"),
        ("metadata.csv", b"c|" + b"a" * 100_000 + b"|" + b"b" * 100_000 + b"\n"),
        ("a.tsv", b"path\tsentence\nc.wav\tbad dog\t" + b"\t" * 100_000 + b"\n"),
        ("a.csv", good),
        ("a.json", row * 3),
    ]


def hostile_table(rng: Rng) -> tuple[str, bytes]:
    """The name and the content of a table or manifest that no program would write."""
    name, content = tables()[rng.integers(len(tables()))]
    return name, damaged(content, rng) if rng.random() < 0.5 else content


@functools.cache
def parquet_files() -> tuple[bytes, ...]:
    """Parquet files with recordings: good ones, and those that expand, lie or nest."""
    wav = intact_recordings()["wav"]
    rows = 40
    columns: list[tuple[dict[str, list[Any]], dict[str, Any]]] = [
        ({"audio": [{"bytes": wav}] * rows, "text": ["bad dog"] * rows}, {}),
        (
            {"audio": [wav] * rows, "text": ["bad"] * rows, **{f"c{number}": ["x"] * rows for number in range(2_000)}},
            {},
        ),
        ({"audio": ["c.wav"], "text": ["x" * (100 * MEBIBYTE)]}, {"use_dictionary": False, "compression": "zstd"}),
        ({"audio": [{"bytes": bytes(100 * MEBIBYTE)}], "text": ["a"]}, {"compression": "zstd"}),
        ({"audio": ["c.wav"] * 3, "text": [[["a"]], [["b"] * 10_000], None]}, {}),
    ]
    for length in (10, 900_000, 1_100_000):
        columns.append(({"audio": [{"bytes": wav}] * rows, "text": ["bad"] * rows, "page": ["x" * length] * rows}, {}))
        columns.append(({"audio": ["c.wav"] * 1_000, "text": ["x" * length] * 1_000}, {"use_dictionary": True}))
    files = [_parquet(pa.table(table), **options) for table, options in columns]
    whole = _parquet(pa.table({"text": ["x" * 4_000_000]}), compression="zstd", use_dictionary=False)
    return (*files, with_other_promise(whole, 0), with_other_promise(whole, 999))


def _parquet(table: pa.Table, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def hostile_parquet(rng: Rng) -> bytes:
    """A Parquet file with recordings that expands, lies, nests or is damaged."""
    files = parquet_files()
    content = files[rng.integers(len(files))]
    if rng.random() < 0.5:
        return content
    footer_bytes = int.from_bytes(content[-8:-4], "little")
    at = len(content) - 8 - footer_bytes
    if rng.random() < 0.5:
        return content[:at] + damaged(content[at:-8], rng)[:footer_bytes].ljust(footer_bytes, b"\0") + content[-8:]
    return damaged(content, rng)


def spoil_json(path: Path, rng: Rng) -> None:
    """Changes a value of a JSON file to one that it cannot have, or damages the file."""
    if rng.random() < 0.3:
        path.write_bytes(damaged(path.read_bytes(), rng))
        return
    content = json.loads(path.read_text())
    places = list(places_in(content))
    holder, key = places[rng.integers(len(places))]
    odd = [
        None,
        -1,
        0,
        2**62,
        2**100,
        1e308,
        float("nan"),
        "",
        "x" * 100_000,
        [],
        {},
        [[]],
        True,
        "../../etc/passwd",
        "\x1b[2J",
    ]
    match rng.integers(0, 4):
        case 0:
            del holder[key]
        case 1:
            holder[key] = json.loads("[" * 400 + "]" * 400)
        case _:
            holder[key] = odd[rng.integers(len(odd))]
    path.write_text(json.dumps(content))


def places_in(value: object) -> Iterator[tuple[object, object]]:
    """Yields where values are in a value of JSON: what holds them, and their name or number there."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        yield value, key
        yield from places_in(member)


def spoil_index(path: Path, rng: Rng) -> None:
    """Changes a column of index.parquet to what it cannot be, or damages the file."""
    if rng.random() < 0.3:
        path.write_bytes(damaged(path.read_bytes(), rng))
        return
    table = pq.read_table(path)
    name = str(rng.choice(table.column_names))
    column = table.column_names.index(name)
    data_type = table.schema.field(column).type
    if pa.types.is_integer(data_type):
        numbers = table[name].to_numpy().copy()
        most = 2**32 - 1 if data_type == pa.uint32() else 2**62
        numbers[rng.integers(len(numbers))] = rng.choice(
            [0, 1, 2**20, most] + ([] if data_type == pa.uint32() else [-1])
        )
        values = pa.array(numbers, data_type)
    else:
        texts = table[name].to_pylist()
        texts[rng.integers(len(texts))] = str(rng.choice(["", "x" * 2_000_000, "\x1b[2J\u202e", "../x", "a.b/c"]))
        values = pa.array(texts, data_type)
    table = table.set_column(column, table.schema.field(column), values)
    if rng.random() < 0.1:
        copies = int(rng.choice([0, 2, 500]))
        table = pa.concat_tables([table] * copies) if copies else table.slice(0, 0)
    pq.write_table(table, path)


def spoil_shard(path: Path, rng: Rng) -> None:
    """Puts other bytes into a shard, of the same size."""
    content = path.read_bytes()
    spoilt = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(0, len(spoilt)))
        hostile = [rng.bytes(200), bytes(5_000), lying_flac(rng), lying_wav(rng)[:2_000]][rng.integers(4)]
        spoilt[at : at + len(hostile)] = hostile
    path.write_bytes(bytes(spoilt[: len(content)]).ljust(len(content), b"\0"))


def spoil_checkpoint(folder: Path, rng: Rng) -> None:
    """Spoils one of the files of a checkpoint."""
    files = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors"))
    path = files[rng.integers(len(files))]
    if path.suffix == ".safetensors":
        content = path.read_bytes()
        size = int.from_bytes(content[:8], "little")
        header = [
            damaged(content[8 : 8 + size], rng),
            b"[" * 100_000,
            content[8 : 8 + size].replace(b"[", b"[9999999999,", 1),
            b'{"a": {"dtype": "F32", "shape": [4611686018427387904, 4], "data_offsets": [0, 16]}}',
        ][rng.integers(4)]
        claimed = int(rng.choice([len(header), 2**40, 2**63 - 1, 0]))
        path.write_bytes(claimed.to_bytes(8, "little") + header + content[8 + size :])
        return
    if rng.random() < 0.25:
        tokens = {f"t{number}": number for number in range(300_000)}
        hostile: list[object] = [
            tokens,
            {"a": -1, "b": 2**70, "[PAD]": 0},
            {"a": {"b": {"c": 1}}},
            {"x" * 1_000_000: 0, "[PAD]": 1},
            {"vocab_size": 2**40, "hidden_size": 2**40, "model_type": "wav2vec2"},
            [1],
            "x",
        ]
        path.write_text(json.dumps(hostile[rng.integers(len(hostile))]))
    elif rng.random() < 0.1:
        path.write_bytes(b"[" * 1_000_000)
    else:
        spoil_json(path, rng)
