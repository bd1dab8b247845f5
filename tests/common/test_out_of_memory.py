import pytest
import torch

from asrscale.common.errors import OneRankError
from asrscale.common.out_of_memory import memory_errors_explained


def test_memory_that_runs_out_is_one_line_with_a_cure() -> None:
    advice = "lower --memory_cap_seconds, which is 40, to 20"
    with pytest.raises(OneRankError, match=advice) as caught, memory_errors_explained(40.0):
        torch.empty(2**60, dtype=torch.uint8)
    assert "\n" not in str(caught.value)
    with pytest.raises(OneRankError, match=r"to 0\.5"), memory_errors_explained(1.0):
        bytearray(2**60)


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="shape") as caught, memory_errors_explained(40.0):
        torch.zeros(2).view(3)
    assert not isinstance(caught.value, OneRankError)
