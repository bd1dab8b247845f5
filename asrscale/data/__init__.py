"""Data set folders to batches: the index, the epoch plan, the loader. Independent of the model.

Read catalog and index (what a data set is), epoch_plan and passes (the order of the data), loader and batches (reading
it), run_plan and step_reader (all of it together).
"""
