"""The command's functions, one small one for each thing people do.

Their imports stand inside them where they need torch, for start-up time: `hasama --help` must not wait for it.
"""
