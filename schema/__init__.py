"""The contract: JSON Schema 2020-12, one file a record kind. Read through `unsafe_video_dataset.records`.

Two annotation keywords are ours: `x-arrow` names the Arrow type of a value, `x-class-label` says that a name is stored as
its index in the taxonomy. `x-media` marks the column that only data files hold, `x-table-only` one that only tables hold.
"""
