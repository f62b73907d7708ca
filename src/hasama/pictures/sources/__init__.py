"""Where pictures come from: a folder, a zip, a tar, arrays, tables, shards, one picture, a built-in name.

Nothing is decoded here.

Its face: `sources.open_source`, `entries.Source`, `entries.Entry`, `chosen.only_classes`, `download.fetch`.
"""
