"""What the tests of the demo's corpus share."""

import importlib.util

import pytest

needs_espeak = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None, reason="espeakng-loader is not installed"
)
