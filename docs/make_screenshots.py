"""Writes the pictures of pages in docs/images, from the demo's data and model.

make screenshots    after make demo; needs a Chromium
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from browser import INSTALL, find_browser, open_page
from PIL import Image

IMAGES = Path(__file__).with_name("images")

WIDTH_PIXELS = 1_200
HEIGHT_PIXELS = 1_500
COLOURS = 96  # of a picture: its letters are as sharp as with all, and it has a third of the bytes
MAX_BYTES = 200_000

# What the planner plans for: the sizes of wav2vec2-base, without its weights.
ARCHITECTURE = "wav2vec2-base"


def main(root: Path) -> str:
    """Makes the pages and their pictures; returns what is missing, or an empty text.

    Args:
        root: The folder with `data/demo/shards` and `runs/demo/model`.
    """
    if find_browser() is None:
        return INSTALL
    for made in ("data/demo/shards/test", "runs/demo/model"):
        if not (root / made).is_dir():
            return f"{made} is missing: run make demo"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for data in ("data", "runs"):
            (folder / data).symlink_to((root / data).absolute())
        pages = _make_pages(folder)
        with open_page() as page:
            for file in pages:
                page.show(file, width=WIDTH_PIXELS)
                picture = IMAGES / f"{file.stem}.png"
                page.screenshot(picture, height=HEIGHT_PIXELS)
                _shrink(picture)
                print(f"{picture}: {picture.stat().st_size / 1000:.0f} kB")
    return ""


def _make_pages(folder: Path) -> list[Path]:
    """Returns the pages, which the commands write in a folder."""
    from transformers import Wav2Vec2Config

    Wav2Vec2Config(vocab_size=32).save_pretrained(folder / ARCHITECTURE)
    shards = "data/demo/shards"
    commands = {
        "evaluate": ["evaluate", "--model", "runs/demo/model", "--data", f"{shards}/test", "--out", "eval"],
        "stats": ["shard", "stats", "--data", f"{shards}/train,{shards}/valid"],
        "plan": [
            *("plan", "--model", f"{ARCHITECTURE}/config.json", "--gpu", "rtx3060-12"),
            *("--train", f"{shards}/train", "--valid", f"{shards}/valid"),
        ],
    }
    for name, words in commands.items():
        command = [sys.executable, "-m", "asrscale", *words, "--html", f"{name}.html"]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return [folder / f"{name}.html" for name in commands]


def _shrink(picture: Path) -> None:
    """Writes a picture again with few colours.

    Raises:
        RuntimeError: It is too large for a page of documentation.
    """
    with Image.open(picture) as image:
        few = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(picture, optimize=True)
    if picture.stat().st_size > MAX_BYTES:
        raise RuntimeError(f"{picture} has {picture.stat().st_size:,} bytes, more than {MAX_BYTES:,}")


if __name__ == "__main__":
    sys.exit(main(Path(__file__).parents[1]) or None)
