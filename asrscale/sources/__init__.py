"""What a corpus says of its recordings: tables, manifests, folders, archives and tars of many toolkits to rows.

In the order of reading:

- `opening` opens a source of any format; `formats` recognises a file, `folders` a folder, `unpack` archives; `refusals`
  says what a file is that is not read.
- Readers: `tables` (by `table_dialect` and `bar_layout`), `manifests`, `tar_samples`, `parquet`, `common_voice`,
  `kaldi`, `lhotse`, `known_corpora`. What they share: `lines`, `line_errors`, `split_names`.
- A row (`rows`) has a recording, which `recordings` finds below the audio roots (`moved_paths`, where the paths are
  those of another machine), maybe a part of it (`segments`, `cut_recordings`), maybe one `channel`.

Nothing is decided here of what becomes of a row: that is the matter of `corpus`.
"""
