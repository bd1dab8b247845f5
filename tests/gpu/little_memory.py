"""A training command on a GPU of which it may use little: torch itself raises its error for that."""

import os
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

GIB_ALLOWED = float(os.environ.get("GPU_CHECK_GIB", "6.5"))


if __name__ == "__main__":
    from asrscale.train import main

    total_gib = torch.cuda.mem_get_info()[1] / 2**30
    torch.cuda.set_per_process_memory_fraction(GIB_ALLOWED / total_gib)
    main()
