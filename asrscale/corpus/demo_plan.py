"""What is spoken in the demo's corpus, by which voice and how: a small grammar of commands, dealt to splits.

All of it is a pure function of (seed, split, number), so a small corpus is the beginning of a large one.
"""

import hashlib
import random
from dataclasses import dataclass
from itertools import product

CORPUS_VERSION = 1  # of the grammar, the voices and the choices below: raise it when they change


MIN_UTTERANCES = 20  # of training


MIN_SPLIT_UTTERANCES = 4  # of each other split


# A sentence takes one alternative (a|b) of every word of a template, where a capitalised word stands for its slot.
TEMPLATES = (
    "|please|don't turn on|off the DEVICE in the ROOM WHEN",
    "turn on|off the ROOM DEVICE at DIGIT WHEN",
    "set the ROOM timer|alarm for twenty|thirty|forty|fifty DIGIT seconds|minutes|hours",
    "|please|don't call anna|peter|maria|david before|after|at DIGIT on DAY",
    "what's the weather|news in london|paris|berlin before|after|at DIGIT on DAY",
    "take the train from london|paris|berlin to madrid|vienna|boston at DIGIT on DAY",
    "play jazz|rock|piano in the ROOM at DIGIT on DAY",
)


SLOTS = {
    "DEVICE": "light|fan|heater|radio|camera",
    "ROOM": "kitchen|bedroom|bathroom|garage|office|garden",
    "WHEN": "|now|today|tomorrow|tonight",
    "DIGIT": "one|two|three|four|five|six|seven|eight|nine",
    "DAY": "monday|tuesday|wednesday|thursday|friday|saturday|sunday",
}


# espeak-ng's language+variant. en-us+m8 was left out: it is strongly filtered, with a word error rate of 62 %.
TRAIN_VOICES = (
    "en+m1",
    "en+m3",
    "en+f1",
    "en+f2",
    "en-us+m1",
    "en-us+m2",
    "en-us+f2",
    "en-us+f4",
    "en-gb-scotland+m3",
    "en-gb-scotland+m6",
    "en-gb-scotland+f1",
    "en-gb-scotland+f4",
    "en-gb-x-rp+m2",
    "en-gb-x-rp+m6",
    "en-gb-x-rp+f2",
    "en-gb-x-rp+f5",
)


# Their variants (after the +) do not occur in training.
NEW_VOICES = ("en+m4", "en-us+m7", "en-gb-x-rp+f3", "en-us+f3")


@dataclass(frozen=True)
class DemoSplit:
    """One split of the corpus.

    Attributes:
        folder: Name of its folder and CSV, as in Common Voice v1.
        shards: Name of the split in the data set that the corpus is made for.
        share: Number of its clips, as a share of the number of training clips.
        first_percent: Where its part of the shuffled sentences starts; no two parts overlap.
        end_percent: Where its part of the shuffled sentences ends.
        voices: The voices that take turns.
    """

    folder: str
    shards: str
    share: float
    first_percent: int
    end_percent: int
    voices: tuple[str, ...]


SPLITS = (
    DemoSplit("cv-valid-train", "train", share=1.0, first_percent=15, end_percent=100, voices=TRAIN_VOICES),
    DemoSplit("cv-valid-dev", "valid", share=0.05, first_percent=0, end_percent=5, voices=TRAIN_VOICES),
    DemoSplit("cv-valid-test", "test", share=0.075, first_percent=5, end_percent=10, voices=TRAIN_VOICES),
    DemoSplit("cv-valid-voices", "voices", share=0.0375, first_percent=10, end_percent=15, voices=NEW_VOICES),
)


@dataclass(frozen=True)
class Utterance:
    """What is spoken in one clip, and how.

    Attributes:
        split: The folder of its split.
        filename: Path of the clip below the corpus, as in the CSV.
        text: The sentence.
        voice: espeak-ng's language+variant.
        pitch: On espeak-ng's scale of 0 to 100, where 50 is the voice's own.
        words_per_minute: espeak-ng's default is 175.
        level_dbfs: RMS of the whole clip, lower where its peak would be too high; usual is about -20.
        snr_db: Level of the speech over the noise of a quiet room.
        noise_seed: Decides the noise.
    """

    split: str
    filename: str
    text: str
    voice: str
    pitch: int
    words_per_minute: int
    level_dbfs: float
    snr_db: float
    noise_seed: int


def sentences() -> list[str]:
    """Returns every sentence of the grammar, once, in a fixed order; of a-z, apostrophe and space only."""
    found = []
    for template in TEMPLATES:
        alternatives = [SLOTS.get(word, word).split("|") for word in template.split()]
        for words in product(*alternatives):
            found.append(" ".join(word for word in words if word))
    return found


def plan_corpus(seed: int, utterances: int) -> list[Utterance]:
    """Plans `utterances` training clips and the other splits' shares.

    No split repeats a sentence before it has used all of its own.
    """
    shuffled = sorted(sentences(), key=lambda text: hashlib.sha256(f"{seed} {text}".encode()).digest())
    planned: list[Utterance] = []
    for split in SPLITS:
        first = len(shuffled) * split.first_percent // 100
        end = len(shuffled) * split.end_percent // 100
        texts = shuffled[first:end]
        num_clips = max(MIN_SPLIT_UTTERANCES, round(utterances * split.share))
        planned.extend(_plan_clip(seed, split, number, texts) for number in range(num_clips))
    return planned


def _plan_clip(seed: int, split: DemoSplit, number: int, texts: list[str]) -> Utterance:
    """Plans clip `number` of a split, whose sentences and voices take turns."""
    chosen = random.Random(f"{seed} {split.folder} {number}")  # a seed that is text is hashed: the same on any machine
    return Utterance(
        split=split.folder,
        filename=f"{split.folder}/sample-{number:06d}.mp3",
        text=texts[number % len(texts)],
        voice=split.voices[number % len(split.voices)],
        # The order of what is drawn is part of CORPUS_VERSION.
        pitch=chosen.randint(35, 65),
        words_per_minute=chosen.randint(155, 205),
        level_dbfs=chosen.uniform(-23, -17),
        snr_db=chosen.uniform(25, 40),
        noise_seed=chosen.getrandbits(32),
    )
