"""Every encoding that ffmpeg and sox write here, decoded by asrscale and by ffmpeg: `python tests/encoding_zoo.py`.

Prints a line for each: the container, codec, rate and channels; how far the length, the place (by correlation) and the
sound (signal to noise) are from ffmpeg's, of the whole recording and of a segment. Needs ffmpeg and sox, and public
speech in ../shared/data. tests/speech/test_encoding_zoo.py holds what it must print.
"""

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

sys.path.insert(0, str(Path(__file__).parents[1]))

from asrscale.common.errors import AudioError
from asrscale.speech.decoding import decode, decode_long
from asrscale.speech.parts import probe_seconds

SPEECH = sorted((Path(__file__).parents[2] / "shared/data/ljspeech").rglob("*.wav"))
START_SECONDS, SEGMENT_SECONDS = 1.2345, 1.5
TOOLS = ("ffmpeg", "sox")

# name: what ffmpeg is told, after -i SPEECH
FFMPEG = {
    **{f"{codec}.wav": f"-c:a {codec}" for codec in ("pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le")},
    **{f"{codec}.wav": f"-c:a {codec}" for codec in ("pcm_f64le", "pcm_alaw", "pcm_mulaw", "adpcm_ima_wav")},
    **{f"{codec}.wav": f"-c:a {codec}" for codec in ("adpcm_ms", "adpcm_yamaha")},
    "g726.wav": "-ar 8000 -c:a g726",
    "stereo.wav": "-ac 2 -ar 44100",
    "six_channels.wav": "-ac 6 -ar 48000",
    "rf64.wav": "-rf64 always",
    "wave64.w64": "",
    "mp3.wav": "-c:a libmp3lame",
    "s16.aiff": "",
    "s16.caf": "",
    "alac.caf": "-c:a alac",
    "s16.au": "",
    "mulaw.au": "-c:a pcm_mulaw -ar 8000",
    "8k.flac": "-ar 8000",
    "16k.flac": "-ar 16000",
    "24_bit.flac": "-ar 48000 -sample_fmt s32",
    "192k_stereo.flac": "-ar 192000 -ac 2",
    "streamed.flac": "-f flac pipe:1",
    "vbr.mp3": "-q:a 4",
    "cbr_48k.mp3": "-ar 48000 -b:a 64k",
    "8k.mp3": "-ar 8000 -b:a 16k",
    "16k.mp3": "-ar 16000 -b:a 24k",
    "stereo_44k.mp3": "-ac 2 -ar 44100 -b:a 192k",
    "abr.mp3": "-b:a 48k -abr 1",
    "cbr_no_xing.mp3": "-b:a 64k -write_xing 0",
    "vbr_no_xing.mp3": "-q:a 2 -write_xing 0",
    "abr_no_xing.mp3": "-b:a 48k -abr 1 -write_xing 0",
    "no_tags_no_xing.mp3": "-q:a 4 -write_xing 0 -id3v2_version 0",
    "streamed.mp3": "-q:a 4 -f mp3 pipe:1",
    "tagged.mp3": "-q:a 4 -id3v2_version 3 -write_id3v1 1 -metadata title=" + 3000 * "x",
    "layer2.mp2": "-c:a mp2 -ar 44100",
    "q4.ogg": "-c:a libvorbis -q:a 4",
    "stereo_48k.ogg": "-c:a libvorbis -ac 2 -ar 48000",
    "8k.ogg": "-c:a libvorbis -ar 8000",
    "16k.opus": "-c:a libopus -ar 16000",
    "48k_stereo.opus": "-c:a libopus -ac 2 -ar 48000",
    "8k_voip.opus": "-c:a libopus -ar 8000 -application voip -b:a 12k",
    "opus.ogg": "-c:a libopus -b:a 24k",
    "flac.ogg": "-c:a flac",
    "speex_16k.spx": "-c:a libspeex -ar 16000",
    "speex_8k.ogg": "-c:a libspeex -ar 8000",
    "aac.m4a": "-c:a aac",
    "aac_48k_stereo.m4a": "-c:a aac -ac 2 -ar 48000",
    "fragmented.m4a": "-c:a aac -movflags frag_keyframe+empty_moov",
    "faststart.m4a": "-c:a aac -movflags faststart",
    "alac.m4a": "-c:a alac",
    "adts.aac": "-c:a aac",
    "adts_8k.aac": "-c:a aac -ar 8000",
    "latm.latm": "-c:a aac -f latm",
    "aac.mp4": "-c:a aac",
    "mp3.mp4": "-c:a libmp3lame -ar 44100",
    "aac.3gp": "-c:a aac -ar 16000",
    "aac.mov": "-c:a aac",
    "s16.mov": "-c:a pcm_s16le",
    "opus.webm": "-c:a libopus",
    "opus_48k.webm": "-c:a libopus -ar 48000",
    "vorbis.webm": "-c:a libvorbis",
    "streamed.webm": "-c:a libopus -ar 48000 -f webm pipe:1",
    "aac.mkv": "-c:a aac",
    "flac.mkv": "-c:a flac",
    "mp3.mkv": "-c:a libmp3lame",
    "s16.mkv": "-c:a pcm_s16le",
    "video.mp4": "-f lavfi -i testsrc=d=3:r=5 -map 0:a -map 1:v -c:a aac -c:v mpeg4",
    "mp3.avi": "-c:a libmp3lame -ar 44100",
    "aac.ts": "-c:a aac -f mpegts",
    "mp3.flv": "-c:a libmp3lame -ar 44100",
    "wmav1.wma": "-c:a wmav1",
    "wmav2.wma": "-c:a wmav2 -ac 2 -ar 44100",
    "ac3.ac3": "-c:a ac3 -ar 48000",
    "eac3.eac3": "-c:a eac3 -ar 48000",
    "dts.dts": "-c:a dca -strict -2 -ar 48000",
    "wavpack.wv": "-c:a wavpack",
    "tta.tta": "-c:a tta",
    "g722.g722": "-c:a g722 -ar 16000",
    "g723.g723_1": "-c:a g723_1 -ar 8000 -b:a 6300",
    "truehd.thd": "-c:a truehd -strict -2 -ar 48000",
    "amrnb.amr": "-c:a libopencore_amrnb -ar 8000 -b:a 12200",
}
# name: what sox is told, between the speech and the file
SOX = {
    "gsm.wav": "-r 8000 -e gsm-full-rate",
    "gsm.gsm": "-r 8000",
    "vox.vox": "-r 8000",
    "sphere.sph": "",
    "sphere_mulaw.sph": "-e mu-law -r 8000",
    "sphere_24_bit.nist": "-b 24",
    "float.au": "-e floating-point -b 32",
    "s8.aiff": "-b 8",
    "float.aifc": "-e floating-point -b 32",
    "creative.voc": "-b 16",
    "ircam.sf": "-e signed -b 16",
    "paf.paf": "-b 16",
    "pvf.pvf": "-b 16",
    "mat4.mat4": "",
    "mat5.mat5": "",
    "htk.htk": "-b 16",
    "avr.avr": "-b 16",
    "amiga.8svx": "-b 8",
    "sox_q0.ogg": "-C 0",
    "sox_q10.ogg": "-C 10",
    "sox_128.mp3": "-C 128",
    "sox_vbr.mp3": "-C -4.2",
    "extensible.wav": "-t wavpcm -b 24",
    "wavpack.sox.wv": "-b 24",
}


@dataclass(frozen=True)
class Comparison:
    """How far our samples are from ffmpeg's."""

    extra_samples: int
    lag_samples: int
    snr_db: float


def compare(ours: np.ndarray, theirs: np.ndarray) -> Comparison:
    common = min(len(ours), len(theirs))
    ours_there, theirs_there = ours[:common].astype(float), theirs[:common].astype(float)
    spectrum = np.fft.rfft(ours_there, 2 * common) * np.conj(np.fft.rfft(theirs_there, 2 * common))
    correlation = np.fft.irfft(spectrum)
    lag = int(np.argmax(correlation))
    lag = lag - len(correlation) if lag > len(correlation) // 2 else lag
    noise_power = max(float(np.square(ours_there - theirs_there).mean()), 1e-30)
    snr_db = 10 * np.log10(max(float(np.square(theirs_there).mean()), 1e-30) / noise_power)
    return Comparison(len(ours) - len(theirs), lag, min(snr_db, 150.0))


def output_of(command: list[str]) -> bytes:
    done = subprocess.run(command, capture_output=True)
    if done.returncode:
        raise OSError(done.stderr.decode(errors="replace").strip().rpartition("\n")[2])
    return done.stdout


def decoded_by_ffmpeg(path: Path) -> tuple[np.ndarray, int]:
    """The mean of the channels, as float32, and the rate; by sox of what only sox knows."""
    if path.suffix in (".vox", ".paf", ".pvf", ".mat4", ".mat5", ".htk", ".avr", ".8svx"):
        wav = output_of(["sox", str(path), "-t", "wav", "-e", "floating-point", "-b", "32", "-"])
        command = ["ffmpeg", "-v", "error", "-f", "wav", "-i", "-"]
        rate_hz = round(float(output_of(["soxi", "-r", str(path)])))
        done = subprocess.run([*command, "-f", "f32le", "-"], input=wav, capture_output=True, check=True)
        return np.frombuffer(done.stdout, np.float32), rate_hz
    fields = ("-show_entries", "stream=sample_rate,channels", "-of", "csv=p=0")
    shown = output_of(["ffprobe", "-v", "error", "-select_streams", "a:0", *fields, str(path)])
    rate_hz, channels = map(int, shown.split()[0].split(b",")[:2])
    samples = output_of(["ffmpeg", "-v", "error", "-i", str(path), "-map", "0:a:0", "-f", "f32le", "-"])
    return np.frombuffer(samples, np.float32).reshape(-1, channels).mean(axis=1), rate_hz


def write_encoding(name: str, folder: Path) -> Path:
    """Writes the speech in an encoding; raises OSError where the program here lacks it."""
    path = folder / name
    speech = str(SPEECH[0])
    if name in SOX:
        words = SOX[name].split()
        if words[:2] == ["-t", "wavpcm"]:
            output_of(["sox", speech, *words[2:], "-c", "2", str(path)])
        else:
            output_of(["sox", speech, *words, str(path)])
        return path
    words = FFMPEG[name].split()
    to_pipe = "pipe:1" in words
    streamed = output_of(["ffmpeg", "-v", "error", "-y", "-i", speech, *words, *([] if to_pipe else [str(path)])])
    if to_pipe:
        path.write_bytes(streamed)
    return path


def judge(path: Path) -> tuple[int, Comparison, Comparison, float]:
    """Our rate; the whole and a segment beside ffmpeg's; how far the length that we tell beforehand is off."""
    theirs, their_rate_hz = decoded_by_ffmpeg(path)
    ours, rate_hz = decode(path, 60)
    if rate_hz != their_rate_hz:  # libsndfile decodes Opus at the rate that was encoded, ffmpeg always at 48 kHz
        theirs = soxr.resample(theirs, their_rate_hz, rate_hz)
    start, end = round(START_SECONDS * rate_hz), round((START_SECONDS + SEGMENT_SECONDS) * rate_hz)
    segment, _ = decode(path, 60, START_SECONDS, SEGMENT_SECONDS)
    assert len(decode_long(path)) == -(-len(ours) * 16_000 // rate_hz) or rate_hz != 16_000
    told_seconds = probe_seconds(path)
    return rate_hz, compare(ours, theirs), compare(segment, theirs[start:end]), told_seconds - len(ours) / rate_hz


def main() -> None:
    columns = f"{'length':>7} {'lag':>4} {'SNR dB':>7}"
    print(f"{'encoding':26} {'Hz':>6}  {columns}  {columns.replace('length', 'segment', 1):>20}  told s")
    missing = []
    with tempfile.TemporaryDirectory() as folder:
        for name in (*FFMPEG, *SOX):
            try:
                path = write_encoding(name, Path(folder))
            except OSError as error:
                missing.append(f"{name} ({error})")
                continue
            try:
                rate_hz, *comparisons, told_seconds = judge(path)
            except AudioError as error:
                print(f"{name:26} rejected: {error}")
                continue
            figures = " ".join(f" {one.extra_samples:7} {one.lag_samples:4} {one.snr_db:7.1f}" for one in comparisons)
            print(f"{name:26} {rate_hz:6}{figures} {told_seconds:7.3f}", flush=True)
    print("not written by the programs here: " + ", ".join(missing))


if __name__ == "__main__":
    for tool in TOOLS:
        assert shutil.which(tool), f"needs {tool}"
    main()
