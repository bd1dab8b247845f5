"""The page of a run, from what is on the disk."""

import json
import re
import resource
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.contexts import fit_quietly, make_context
from helpers.outline import Outline

from asrscale.common.distributed import World
from asrscale.training.checkpoint import RunState
from asrscale.training.run_context import RunContext
from asrscale.training.run_report import report, write_report

EVIL = "<script>alert('x')</script>"


def recorded(shards: Path, folder: Path, steps: int, every: int) -> tuple[RunContext, RunState]:
    """A run of so many steps with an evaluation every so many, as its files have it."""
    (folder / "eval").mkdir(parents=True)
    rows = []
    for step in range(0, steps + 1, every):
        texts = [
            {"key": f"clip-{number}", "reference": "red lamp", "hypothesis": f"{EVIL} lamp"} for number in range(20)
        ]
        lines = "".join(json.dumps(row) + "\n" for row in texts)
        (folder / "eval" / f"step-{step:08d}.jsonl").write_text(lines)
        rates = {"valid/wer": 0.5, "valid/cer": 0.25, "valid/loss": 1.5, "valid/wer_before": 0.7}
        rows.append({"step": step, "time": 1.0} | rates)
    for step in range(1, steps + 1):
        rows.append({"step": step, "time": 1.0, "train/loss": 10 / step, "train/gradient_norm": None})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    context = replace(make_context(shards), folder=folder, total_steps=steps)
    score = (0.5, 0.25, 1.5)
    return context, RunState(
        step=steps, evaluated_step=steps, best=score, best_step=0, last=score, before=(0.7, 0.3, 2.0)
    )


def test_a_run_writes_its_page_at_each_evaluation(tone_shards: Path, tmp_path: Path, world: World) -> None:
    settings = dict(max_steps=2, warmup_steps=0, eval_steps=1, log_steps=1)
    context = replace(make_context(tone_shards, **settings), world=world, folder=tmp_path)
    state = fit_quietly(context, RunState())
    page = (tmp_path / "report.html").read_text()
    text = Outline(page).text
    assert f"step 2 of 2 · WER {state.best[0]:.2%} at best, step {state.best_step}" in text
    for caption in ("Error rates", "Loss", "Learning rate", "Gradient norm", "Speed", "Memory"):
        assert caption in text
    assert "optimizer step" in text and "seconds of audio per second" in text and "GiB" in text
    assert "reference" in text and "step 1" in text and "warmup_steps" in text
    assert not re.search("https?:|src=", page)  # nothing is loaded from elsewhere


def test_all_that_people_have_written_is_escaped_and_what_is_wrong_is_marked(tone_shards: Path, tmp_path: Path) -> None:
    context, state = recorded(tone_shards, tmp_path / EVIL.replace("/", "-"), steps=40, every=10)
    page = report(context, state)
    outline = Outline(page)
    assert "script" not in outline.tags and EVIL in outline.text
    assert "<ins>&lt;script&gt;" in page
    assert "70.00% before the first step" in outline.text and 'class="line2 level"' in page


def test_a_long_run_has_a_page_of_bounded_size(tone_shards: Path, tmp_path: Path) -> None:
    sizes = []
    for steps in (4_000, 40_000):
        context, state = recorded(tone_shards, tmp_path / str(steps), steps=steps, every=steps // 200)
        sizes.append(len(report(context, state)))
    assert sizes[1] < 1.1 * sizes[0] < 200_000


def test_the_samples_are_of_the_evaluations_that_count(tone_shards: Path, tmp_path: Path) -> None:
    context, state = recorded(tone_shards, tmp_path / "run", steps=100, every=5)
    text = Outline(report(context, replace(state, step=40, evaluated_step=40))).text
    assert "step 0" in text and "step 40" in text and "step 45" not in text
    assert text.count("reference") == 6 and text.count("clip-0") == 1
    assert len({word for word in text.split("\n") if word.strip().startswith("step ")}) <= 9


def test_the_exported_model_has_a_table_at_the_end(tone_shards: Path, tmp_path: Path) -> None:
    context, state = recorded(tone_shards, tmp_path / "run", steps=10, every=5)
    final = {"final/wer": 0.125, "final/cer": 0.0625, "final/best/wer": 0.5, "final/best/cer": 0.4}
    text = Outline(report(context, state, final)).text
    assert "exported" in text and "12.50%" in text and "40.00%" in text
    assert "exported" not in Outline(report(context, state)).text


def test_each_of_several_data_sets_has_a_curve_and_a_line_of_the_table(tone_shards: Path, tmp_path: Path) -> None:
    context, state = recorded(tone_shards, tmp_path / "run", steps=10, every=5)
    assert "of each data set" not in Outline(report(context, state)).text
    row = {"step": 10, "time": 1.0, "valid/wer/cv/dev": 0.4, "valid/wer/orders/dev": 0.6, "valid/cer/cv/dev": 0.2}
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    final = {"final/wer": 0.125, "final/cer": 0.0625, "final/wer/cv/dev": 0.0321, "final/cer/cv/dev": 0.0123}
    text = Outline(report(context, state, final)).text
    assert "WER of each data set" in text and "cv/dev" in text and "orders/dev" in text
    assert "exported, on cv/dev" in text and "3.21%" in text and "1.23%" in text


def test_a_full_disk_or_a_strange_file_is_a_warning(
    tone_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context, state = recorded(tone_shards, tmp_path / "run", steps=10, every=5)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, unlimited[1]))
    try:
        write_report(context, state)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert capsys.readouterr().err.splitlines() == [
        f"warning: {context.folder}/report.html cannot be written (File too large); the run goes on"
    ]
    (context.folder / "metrics.jsonl").write_text('{"step": "three"}\n')
    write_report(context, state)
    assert "report.html cannot be written" in capsys.readouterr().err
    write_report(replace(context, world=replace(context.world, rank=1)), state)
    assert capsys.readouterr().err == ""
