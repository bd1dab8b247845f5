from helpers.planned import choice

from asrscale.common.html import HEIGHT, WIDTH, Block
from asrscale.memory.gpu_memory import outside_bytes
from asrscale.memory.plan_page import frontier_blocks, memory_blocks
from asrscale.memory.timing import operation_seconds


def points(block: Block, name: str) -> list[tuple[float, float]]:
    """The points of a line in the units of its axes, rounded as a plot is."""
    [line] = [line for line in block["lines"] if line["name"] == name]
    right, top = (float(block[axis][-1][1]) for axis in ("x_ticks", "y_ticks"))
    right *= 100 / block["x_ticks"][-1][0]  # the last tick is where the axis ends, or before
    pairs = [map(float, pair.split(",")) for pair in line["path"].split()]
    return [(round(x * right / WIDTH, 3), round((1 - y / HEIGHT) * top, 2)) for x, y in pairs]


def test_the_timeline_shows_the_pass_and_the_step_after_it() -> None:
    best = choice()
    curves, _ = memory_blocks(best)
    resident_gib = (1 + 2 + 3 + 4 + outside_bytes(2)) / 2**30
    seconds = operation_seconds(best.longest, 2, best.gpu).cumsum()
    forward = points(curves, "forward and loss")
    backward = points(curves, "backward")
    assert forward[-1] == backward[0]
    assert len({*forward, *backward}) == len(seconds) == 4
    live_gib = [gib for _, gib in [*forward[:-1], *backward]]
    expected_gib = [1 + resident_gib, 2 + resident_gib, 2 + resident_gib, 0.5 + 1 + resident_gib]
    assert all(abs(shown - expected) < 0.06 for shown, expected in zip(live_gib, expected_gib, strict=True))

    step = points(curves, "optimizer step")
    assert step[0][0] == backward[-1][0] < step[1][0]
    assert all(abs(gib - 2 - resident_gib) < 0.06 for _, gib in step)
    assert {round(gib, 1) for _, gib in points(curves, "all of t4-16")} == {14.6}


def values(block: Block) -> dict[str, float]:
    return {name: bar.value for name, bar in block["rows"]}


def test_bars_show_what_the_memory_is_made_of_in_gib() -> None:
    _, peak = memory_blocks(choice())
    assert values(peak) == {"activations": 2.25, "weights": 1.5}
    _, host = frontier_blocks(choice(), [])
    assert values(host) == {"Python and its libraries": 0.75}


def test_the_frontier_has_the_fastest_that_fits_each_budget() -> None:
    small = [
        choice(every=1, memory_gib=4, step_seconds=4.0),
        choice(every=1, memory_gib=4, step_seconds=5.0),
        choice(every=0, memory_gib=4, step_seconds=1.0, cap_seconds=0),
    ]
    large = [choice(every=0, memory_gib=8, step_seconds=2.0), choice(every=1, memory_gib=8, step_seconds=3.0)]
    curves, _ = frontier_blocks(choice(), [small, large])
    assert [line["name"] for line in curves["lines"]] == ["no checkpointing", "every layer"]
    assert points(curves, "every layer") == [(4, 4), (8, 3)]
    assert points(curves, "no checkpointing") == [(8, 2)]
