"""Keeps transformers and huggingface_hub quiet while they load or write a model."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars
from transformers.utils import logging as transformers_logging

LOGGERS = ("transformers", "huggingface_hub")


@contextmanager
def quiet_huggingface() -> Iterator[None]:
    """Hides the warnings and progress bars of transformers and huggingface_hub; what was set before returns after.

    Errors are still logged. The settings are those of the whole process: other threads are quiet meanwhile, too.
    Also works as a decorator.
    """
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    had_loading_bars = transformers_logging.is_progress_bar_enabled()
    had_transfer_bars = not are_progress_bars_disabled()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()  # huggingface_hub's, too
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if had_loading_bars:
            transformers_logging.enable_progress_bar()  # huggingface_hub's, too
        if not had_transfer_bars:
            disable_progress_bars()
