"""Shards: pictures in tar files of about equal size (WebDataset's form), read when needed, here or from a server.

For data that is past one machine: each process of a training reads only its own shards, one after another, and what
it sees at a position is the same for every number of processes.

Its face: `places.shard_place`, `index.Shards`, `streaming.Streamed`, `order.Lanes`, `writing.write_shards`.
"""
