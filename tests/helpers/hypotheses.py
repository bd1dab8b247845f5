"""Hypotheses with errors, for the tests of what is made of them."""

from asrscale.data.index import Index


def spoilt(index: Index) -> list[tuple[int, str]]:
    """Hypotheses that are right but for a lost first word in every third, and one that is all wrong."""
    texts = {i: text.upper() for i, text in enumerate(index.texts.to_pylist()) if i != 1}  # 1: as if damaged
    texts |= {i: " ".join(texts[i].split()[1:]) for i in texts if i % 3 == 0} | {5: "x y z x y z x y z"}
    return list(texts.items())
