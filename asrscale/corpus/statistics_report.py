"""The statistics of data set folders for people: the verb `stats`, and the summary of a build."""

from collections.abc import Iterator, Mapping, Sequence

from asrscale.corpus.rejects import format_counts
from asrscale.corpus.statistics import FolderStatistics, SharedContent, Statistics, read_statistics
from asrscale.corpus.statistics_page import write_statistics_page
from asrscale.speech.normalisation import describe_rules

SHOWN_MARKUP = 10  # different annotations and tags of a folder
SHOWN_SYMBOLS = 20  # different ones


def print_statistics(folders: Sequence[str], html: str | None = None) -> None:
    """Prints what data set folders hold and share.

    Args:
        folders: The folders.
        html: File for a page of the same with plots and sound, for which the whole index is read.

    Raises:
        CliError: A folder is not complete, or the page cannot be written.
    """
    statistics = read_statistics(folders)
    print("\n".join(format_statistics(statistics)))
    if html:
        write_statistics_page(statistics, html)


def format_statistics(statistics: Statistics) -> list[str]:
    """Returns statistics as lines of text."""
    lines: list[str] = []
    for folder in statistics.folders:
        lines += _folder_lines(folder)
    lines.append(f"of all utterances: {_shares_of_utterances(statistics.folders)}")
    for shared in statistics.shared:
        lines += _shared_lines(shared)
    leak = statistics.random_split_leak
    lines.append(f"of clips split at random, 70 to 30, {leak:.1%} of the 30 would have their text in the 70")
    return lines


def _folder_lines(folder: FolderStatistics) -> Iterator[str]:
    """Yields what a folder holds."""
    megabytes = folder.shard_bytes / 1e6
    num_rejected = sum(folder.rejected.values())
    characters = "".join(folder.characters)
    yield (
        f"{folder.path}: {folder.utterances:,} utterances, {folder.hours:.2f} h, "
        f"{folder.shards} shards, {megabytes:,.1f} MB"
    )
    yield f"  length: {folder.mean_seconds:.1f} s on average, {folder.longest_seconds:.1f} s at most"
    yield f"  rejected: {num_rejected:,} of {folder.rows:,} rows  {format_counts(folder.rejected)}".rstrip()
    yield f"  characters: {len(folder.characters)}  {characters!r}; digits, kept and not spelled: {folder.digits:,}"
    if folder.markup:
        yield f"  {_markup_line(folder)}"
    if folder.symbols:
        yield f"  symbols, left out though they may be spoken: {_counts_line(folder.symbols, SHOWN_SYMBOLS)}"
    yield f"  {describe_rules(folder.text)}"
    if folder.note:
        yield f"  {folder.note}"
    yield f"  repeated audio: {folder.repeated_clips:,} clips are the same as another"


def _markup_line(folder: FolderStatistics) -> str:
    """Returns the most frequent annotations, tags and entities, and what became of them."""
    became = "taken out, entities decoded" if folder.text.markup == "drop" else "kept"
    return f"markup, {became}: {_counts_line(folder.markup, SHOWN_MARKUP)}"


def _counts_line(counts: Mapping[str, int], shown: int) -> str:
    """Returns how many there are in all, and the most frequent with their counts."""
    listed = ", ".join(f"{name} ×{count:,}" for name, count in list(counts.items())[:shown])
    return f"{sum(counts.values()):,}  {listed}"


def _shares_of_utterances(folders: Sequence[FolderStatistics]) -> str:
    total = sum(folder.utterances for folder in folders)
    return ", ".join(f"{folder.name} {folder.utterances / total:.1%}" for folder in folders)


def _shared_lines(shared: SharedContent) -> Iterator[str]:
    """Yields what two folders share, and a warning where sentences are among it."""
    one = shared.one.path
    other = shared.other.path
    yield (
        f"{one} and {other} share {shared.sentences:,} sentences and {shared.speakers:,} speakers, "
        f"and {shared.recordings:,} recordings"
    )
    if shared.sentences:
        yield (
            f"warning: {shared.sentences:,} sentences of {other} are in {one} too: errors on {other} will look too few"
        )
