"""What fits on a GPU and how fast it is, known without one.

Read pass_cost (what a pass costs), deepspeed_states (what is there besides), choices (what to do with it).
"""
