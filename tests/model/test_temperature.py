import json
from pathlib import Path

import pytest

from asrscale.common.errors import CliError
from asrscale.model.temperature import TEMPERATURE_FILE, Temperatures, read_temperatures, write_temperatures


def test_each_temperature_is_kept_until_it_is_fitted_again(tmp_path: Path) -> None:
    folder = str(tmp_path)
    assert read_temperatures(folder) == read_temperatures("org/model-of-the-hub") == Temperatures(1.0, 1.0)
    write_temperatures(tmp_path, None, 3.0, {"data": "a"})
    assert read_temperatures(folder) == Temperatures(1.0, 3.0)
    write_temperatures(tmp_path, 2.0, None, {"data": "b"})
    assert read_temperatures(folder) == Temperatures(2.0, 3.0)
    write_temperatures(tmp_path, 1.5, 4.0, {"data": "c"})
    assert read_temperatures(folder) == Temperatures(1.5, 4.0)
    write_temperatures(tmp_path, None, 5.0, {"data": "d"})
    file = json.loads((tmp_path / TEMPERATURE_FILE).read_text())
    assert file == {"temperature": 1.5, "data": "c", "search": {"temperature": 5.0, "data": "d"}}


def test_a_file_of_an_older_version_has_the_temperature_of_best_paths(tmp_path: Path) -> None:
    (tmp_path / TEMPERATURE_FILE).write_text('{"temperature": 2.5, "data": "data/cv/dev", "utterances": 100}')
    assert read_temperatures(str(tmp_path)) == Temperatures(2.5, 1.0)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"temperature": 0}',
        '{"temperature": NaN}',
        '{"temperature": "two"}',
        '{"search": 2}',
        '{"search": {"temperature": -1}}',
    ],
)
def test_a_damaged_file_is_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / TEMPERATURE_FILE).write_text(content)
    with pytest.raises(CliError, match=r"asrscale_confidence\.json is damaged .*: delete it, or evaluate with --tune"):
        read_temperatures(str(tmp_path))
