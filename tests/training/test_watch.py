from pathlib import Path

from asrscale.training.watch import Watch


def test_a_beat_records_progress_and_returns_whether_to_stop(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    assert not watch.beat("training", 3)
    assert (watch.doing, watch.step, watch.beats) == ("training", 3, 1)
    watch.stopping = True
    assert watch.beat()
    assert (watch.doing, watch.step, watch.beats) == ("training", 3, 2)
    watch.beat("saving", 0)
    assert (watch.doing, watch.step) == ("saving", 0)
