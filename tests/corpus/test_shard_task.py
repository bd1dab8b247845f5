import pickle
from dataclasses import fields, replace

from asrscale.corpus.checks import Rules
from asrscale.corpus.shard_task import Task
from asrscale.sources.rows import Row


def test_a_task_reaches_a_worker_as_it_is_and_its_fields_stay() -> None:
    """Names and order of the fields are hashed: where they change, builds of older versions begin anew."""
    rows = tuple(Row(line, "a.csv", "a.wav", "text", {"speaker": "ann"}) for line in (5, 3))
    task = Task("train-000000.tar", "train", rows, "clips", Rules(0.1, 20.0), deaths=(1, 1), refused=rows[:1])
    assert pickle.loads(pickle.dumps(task)) == task
    assert len(task) == 2 and len(replace(task, rows=())) == 0  # what is refused is in no shard
    assert [field.name for field in fields(Task)] == [
        "path", "split", "rows", "audio_root", "rules", "codec", "stop", "deaths", "refused",
    ]  # fmt: skip
