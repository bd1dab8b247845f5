"""Rows with columns, and the lines of those that each filter takes."""

from asrscale.sources.rows import Row


def row(line: int, text: str = "hello", **extra: object) -> Row:
    columns = {name: str(value) for name, value in extra.items() if value != ""}
    return Row(line=line, source="a.csv", audio=f"{line}.mp3", text=text, extra=columns)


ROWS = [
    row(2, "to be", up_votes=2, down_votes=0, accent="us"),
    row(3, "or not", up_votes=10, down_votes=1, accent="england"),
    row(4, "to", up_votes=1, down_votes=0),
    row(5, "be", down_votes=0, accent="scotland"),
]


LINES_OF_FILTERS = [
    ("up_votes>=2 and down_votes==0", [2]),
    ("up_votes > 9", [3]),  # as numbers: "10" < "9" as text
    ("up_votes > down_votes", [2, 3, 4]),
    ("not up_votes >= 2", [4, 5]),
    ("up_votes != 2", [3, 4, 5]),
    ("accent in ('us', 'england')", [2, 3]),
    ("accent not in ['us']", [3, 4, 5]),
    ("accent == ''", [4]),
    ("'land' in accent or up_votes == 1", [3, 4, 5]),
    ("'to' in text", [2, 4]),
    ("1 <= up_votes <= 2", [2, 4]),
    ("up_votes == 1.0", [4]),
    ("up_votes in (1, 2)", [2, 4]),
    ("down_votes > -1 and down_votes != -1.5", [2, 3, 4, 5]),
    ("up_votes > -1", [2, 3, 4]),
]
