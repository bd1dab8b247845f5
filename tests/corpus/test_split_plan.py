"""The plan of a split, as parts of an array job leave it."""

import json
from pathlib import Path

from asrscale.corpus.split_plan import SplitPlan, plans_from_json, plans_to_json

PLAN = SplitPlan(
    name="train",
    source="a.csv",
    options={"seed": 42, "filter": None},
    shards=("train-000000.tar", "train-000001.tar"),
)
# As earlier versions wrote it, but for the indentation: an array job of such a version is merged.
AS_JSON = (
    '[{"name": "train", "source": "a.csv", "options": {"seed": 42, "filter": null}, '
    '"shards": ["train-000000.tar", "train-000001.tar"]}]'
)


def test_plans_are_the_same_json_as_in_earlier_versions() -> None:
    assert json.dumps(plans_to_json([PLAN])) == AS_JSON
    assert plans_from_json(json.loads(AS_JSON)) == [PLAN]


def test_where_the_shards_of_a_plan_lie() -> None:
    assert PLAN.folder("out") == Path("out/train")
    assert PLAN.shard_paths("out") == [Path("out/train/train-000000.tar"), Path("out/train/train-000001.tar")]
