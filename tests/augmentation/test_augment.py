"""Effects that are drawn by a key."""

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from conftest import speak

from asrscale.augmentation.augment import Augmentation, augment, describe_augmentation, open_augmentation
from asrscale.augmentation.sound import reverberate
from asrscale.common.errors import CliError
from asrscale.data.hashing import hash_keys
from asrscale.speech.pcm import Pcm, to_pcm16, to_waveform

PCM = to_pcm16(speak("bad dog", seed=1) / 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three noises and two impulse responses."""
    root = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    for name in ("noise", "rir"):
        (root / name).mkdir()
    for number in range(3):
        soundfile.write(root / "noise" / f"{number}.wav", rng.normal(0, 0.1, 50_000), 16_000)
    for number in range(2):
        response = rng.normal(0, 0.02, 4_000) * np.exp(-np.arange(4_000) / 900)
        response[20] = 0.8
        soundfile.write(root / "rir" / f"{number}.wav", response, 16_000)
    return root


def opened(text: str) -> Augmentation:
    augmentation = open_augmentation(text)
    assert augmentation
    return augmentation


def keys(count: int) -> list[int]:
    return hash_keys(count, 1).tolist()


def snr_db(pcm: Pcm) -> float:
    speech, noise = PCM.astype(float), pcm.astype(float) - PCM
    return float(10 * np.log10(np.mean(speech**2) / np.mean(noise**2)))


def test_without_the_flag_there_is_nothing() -> None:
    assert open_augmentation(None) is None


def test_an_utterance_for_which_nothing_is_drawn_is_the_very_same(folder: Path) -> None:
    nothing = opened(f"noise={folder}/noise@0,rir={folder}/rir@0,gain@0,clip@0,telephone@0,codec@0")
    assert all(augment(nothing, PCM, key)[0] is PCM for key in keys(20))


def test_as_many_are_changed_as_was_asked_for_and_each_effect_draws_for_itself(folder: Path) -> None:
    text = f"noise={folder}/noise:0..0dB@0.3,noise={folder}/rir:40..40dB@0.3,gain=-1..-1dB@0.3"
    found = [augment(opened(text), PCM, key)[0] for key in keys(400)]
    shares = {}
    for part in text.split(","):
        alone = opened(part)
        shares[part] = np.mean([augment(alone, PCM, key)[0] is not PCM for key in keys(400)])
    assert all(share == pytest.approx(0.3, abs=0.07) for share in shares.values()), shares
    assert np.mean([pcm is PCM for pcm in found]) == pytest.approx(0.7**3, abs=0.08)


def test_the_ratios_are_spread_evenly_over_the_range(folder: Path) -> None:
    augmentation = opened(f"noise={folder}/noise:5..25dB@1")
    ratios = np.array([snr_db(augment(augmentation, PCM, key)[0]) for key in keys(300)])
    assert ratios.min() > 4.9 and ratios.max() < 25.1
    assert np.histogram(ratios, 4, (5, 25))[0] == pytest.approx([75] * 4, abs=25)


def test_the_same_key_draws_the_same_samples_and_another_key_others(folder: Path) -> None:
    text = f"noise={folder}/noise@1,rir={folder}/rir@1,gain@1,clip@1,telephone@1,codec@1"
    first, second = keys(2)
    one = augment(opened(text), PCM, first)[0]
    assert np.array_equal(one, augment(opened(text), PCM, first)[0])
    assert not np.array_equal(one, augment(opened(text), PCM, second)[0])
    assert one.dtype == np.int16 and len(one) == len(PCM)


def test_effects_follow_each_other_in_the_order_of_a_recording_however_they_are_written(folder: Path) -> None:
    parts = [f"noise={folder}/noise:10..10dB@1", f"rir={folder}/rir@1", "telephone@1", "gain=-6..-6dB@1"]
    one, other = opened(",".join(parts)), opened(",".join(reversed(parts)))
    assert [effect.kind for effect in one.effects] == ["rir", "noise", "gain", "telephone"]
    assert one.description == other.description and one.fingerprint == other.fingerprint
    [key] = keys(1)
    assert np.array_equal(augment(one, PCM, key)[0], augment(other, PCM, key)[0])
    # Noise comes after the room: it has none of it.
    room_only = augment(opened(parts[1]), PCM, key)[0]
    both = augment(opened(",".join(parts[:2])), PCM, key)[0]
    noise = to_waveform(both) - to_waveform(room_only)
    assert 10 * np.log10(np.mean(to_waveform(room_only) ** 2) / np.mean(noise**2)) == pytest.approx(10, abs=0.1)
    responses = [soundfile.read(folder / "rir" / f"{number}.wav", dtype="float32")[0] for number in range(2)]
    expected = [to_pcm16(reverberate(to_waveform(PCM), response)) for response in responses]
    assert any(np.array_equal(room_only, pcm) for pcm in expected)


def test_full_scale_speech_never_wraps(folder: Path) -> None:
    loud = np.where(PCM >= 0, 32_767, -32_768).astype(np.int16)
    for text in (f"noise={folder}/noise:0..0dB@1", f"rir={folder}/rir@1", "gain=20..20dB@1", "clip@1", "codec=mp3@1"):
        changed = augment(opened(text), loud, keys(1)[0])[0]
        assert np.corrcoef(changed.astype(float), loud.astype(float))[0, 1] > 0.3, text


def test_what_cannot_be_applied_is_told_and_the_rest_is_done(folder: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(32_000), 16_000)
    augmentation = opened(f"noise={tmp_path}@1,gain=-6..-6dB@1")
    pcm, left_out = augment(augmentation, PCM, 5)
    assert left_out == (f"noise: {tmp_path}/silence.wav: silent: all its samples are zero",)
    assert np.abs(pcm - PCM * 10 ** (-6 / 20)).max() <= 1
    (tmp_path / "silence.wav").unlink()
    assert augment(augmentation, PCM, 5)[1] == (
        f"noise: {tmp_path}/silence.wav: unreadable: No such file or directory",
    )
    silence = np.zeros(100, np.int16)
    pcm, left_out = augment(opened(f"noise={folder}/noise@1"), silence, 5)
    assert not pcm.any() and left_out[0].startswith("noise: silent: the utterance has no level")


def test_the_fingerprint_covers_what_is_done_and_what_is_in_the_folders(folder: Path) -> None:
    texts = ["gain", "gain@0.4", f"noise={folder}/noise", f"noise={folder}/rir", f"noise={folder}/noise:1..2dB"]
    assert len({opened(text).fingerprint for text in texts}) == len(texts)


def test_an_ffmpeg_without_a_codec_is_refused_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libmp3lame"})
    assert opened("codec=opus+mulaw")
    with pytest.raises(CliError, match="built without libmp3lame, which mp3 needs: leave mp3 out, or install PyAV"):
        opened("codec")


def test_a_line_says_what_will_be_done(folder: Path) -> None:
    text = f"telephone@0.1,noise={folder}/noise:5..10dB@0.3"
    expected = f"noise=5..10dB@0.3 of 3 recordings in {folder}/noise, telephone@0.1"
    assert describe_augmentation(opened(text)) == f"augmentation: {expected}"
