"""Rows of sources to data set folders: the command `asrscale.shard` and the demo's corpus.

In the order of a build:

- The package `sources` makes rows of a corpus; `splits`, `row_filter` and `limit_hours` decide where each row goes.
- `build_plan` does this for all sources; rows wait in a `split_spool` until `build` deals them to worker processes.
- `shard_file` builds one shard: a `payload` of each row, or one of the `rejects`, and a `shard_record` beside the tar.
- `assemble` makes whole folders of shards, and `array_job` of the parts of an array job.

Folders that exist are the matter of `verify`, `index_tars` and `statistics`.
"""
