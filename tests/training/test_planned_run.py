"""A planned run in words."""

import re
import shlex
from dataclasses import replace

from helpers.planned import choice

from asrscale.common import html
from asrscale.memory.choices import Duration
from asrscale.training.config import train_config
from asrscale.training.planned_run import PlannedRun, _on_lines, data_blocks, opening_blocks
from asrscale.training.recipe_settings import Chosen

CHOSEN = Chosen(hours=100, start="a new head", names=("max_steps", "learning_rate"))


def planned(hours: float = 12.34) -> PlannedRun:
    config = train_config(train=(), valid=(), model="facebook/<b>", max_steps=2_500, learning_rate=1e-4)
    return PlannedRun(
        command="deepspeed launch/train.py --model 'facebook/<b>'",
        config=config,
        chosen=CHOSEN,
        steps=2_500,
        steps_per_epoch=500.0,
        duration=Duration(hours * 1_800, hours * 3_600, hours * 7_200),
        duration_source="by a dream",
        summary=None,
    )


def text_of(run: PlannedRun, problem: str = "", others: int = 0) -> str:
    sections = {"a": opening_blocks(run, choice(), problem, others), "b": data_blocks(run)}
    page = html.page("t", "s", sections)
    assert "<b>" not in re.sub("<b>[0-9]", "", page)
    shown = re.sub("<style>.*?</style>", "", page, flags=re.DOTALL)
    return " ".join(re.sub("<[^>]+>", " ", shown).split())


def test_the_opening_is_in_sentences() -> None:
    text = text_of(planned())
    best = choice()
    assert "Time of training about 12.3 h from 6.2 h to 24.7 h" in text
    assert "The time of training is known by a dream." in text
    assert "about 12.3 h of training, from 6.2 h to 24.7 h: by a dream" in planned().text
    assert "Steps 2,500 of" in text and "5.0 epochs" in text
    assert "&lt;b&gt; is trained on 2 × t4-16 with DeepSpeed" in text
    assert f"A GPU holds {best.cap_seconds:,} s of padded audio at once" in text
    assert "The hours of training data, 100, are assumed" in text
    assert "--learning_rate --schedule (given)" in text and "Settings for 100 h and a new head" in text
    assert "about 45 min" in text_of(planned(0.75))
    assert "other GPU" not in text and "On t4-16; 2 other GPUs below" in text_of(planned(), others=2)


def test_what_does_not_fit_is_said_first() -> None:
    text = text_of(replace(planned(), duration=None), "an utterance of 20 s fits in no way")
    assert "It does not fit An utterance of 20 s fits in no way." in text and "Time of training" not in text


def test_a_command_on_lines_is_the_same_command() -> None:
    command = "deepspeed -q --num_gpus 1 launch/train.py --model 'a b --c' --train x,y --lr=1e-4 --name '--odd'"
    lines = _on_lines(command)
    assert lines.splitlines()[0] == "deepspeed -q --num_gpus 1 launch/train.py \\" and len(lines.splitlines()) == 6
    assert shlex.split(lines.replace("\\\n", "")) == shlex.split(command)
