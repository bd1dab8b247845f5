"""An array job: parts of one build that run by themselves, on any machines, and are merged at the end."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from asrscale.common.atomic_files import write_json
from asrscale.common.errors import CliError
from asrscale.common.output_folder import only_writer
from asrscale.common.system_files import is_plain_name
from asrscale.corpus.assemble import assemble
from asrscale.corpus.dataset_card import write_card
from asrscale.corpus.split_plan import SplitPlan, plans_from_json, plans_to_json

NAMED_PARTS = 9  # of those that are missing: an array job may have thousands


def part_file(out: str, part: int, parts: int) -> Path:
    """Where part `part` of `parts` writes its plans once all its shards are finished."""
    return Path(out, f"part-{part:05d}-of-{parts:05d}.json")


def finish_part(path: Path, plans: Sequence[SplitPlan]) -> None:
    """Records that all shards of a part are finished."""
    write_json(path, plans_to_json(plans))


def merge(out: str) -> list[str]:
    """Completes the folders whose shards the parts of an array job have built, like a single build, byte for byte.

    Returns:
        The folders.

    Raises:
        CliError: A part is missing, or was built with other options than part 0.
    """
    found = sorted(Path(out).glob("part-*-of-*.json"))
    parts = _parts_of_job(out, found)
    with only_writer(out):
        plans = _read_common_plans(parts)
        assemble(out, plans)
        write_card(out)
        for path in found:
            path.unlink()
    return [os.path.join(out, plan.name) for plan in plans]


def _parts_of_job(out: str, found: Sequence[Path]) -> list[Path]:
    """Returns the files of all parts, of which those in `found` exist; raises CliError where one does not."""
    parts = int(found[-1].stem[-5:]) if found else 1
    wanted = [part_file(out, part, parts) for part in range(parts)]
    missing = [path.stem for path in wanted if path not in found]
    if missing:
        named = ", ".join(missing[:NAMED_PARTS])
        raise CliError(f"{out}: no {named}: build every part with --out {out} --part I --parts N")
    return wanted


def _read_common_plans(parts: Sequence[Path]) -> list[SplitPlan]:
    """Returns the plans that all parts have in common; raises CliError where one has others."""
    first, *others = parts
    plans = _read_plans(first)
    for path in others:
        if _read_plans(path) != plans:
            raise CliError(f"{path}: built with other options or input than part 0: build this part again")
    return plans


def _read_plans(path: Path) -> list[SplitPlan]:
    """Returns the plans that a part left; raises CliError where they are damaged, or a name leads out of --out."""
    try:
        plans = plans_from_json(json.loads(path.read_bytes()))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CliError(f"{path} is damaged ({error}): build this part again") from error
    for name in (name for plan in plans for name in (plan.name, *plan.shards)):
        if not is_plain_name(name):
            raise CliError(f"{path} is damaged ({name!r} is not the name of a file or folder): build this part again")
    return plans
