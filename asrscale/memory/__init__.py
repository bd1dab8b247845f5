"""What fits on a GPU and how fast it is, estimated without one.

Read in this order: pass_cost (what a pass costs), deepspeed_states (what DeepSpeed keeps besides), gpu_memory (what
both make of a GPU's memory), choices (every way to run, compared).
"""
