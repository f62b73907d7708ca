"""One self-contained file for each architecture: a frozen config whose `build` gives a `Pair`.

`hasama.networks.registry` lists them.
"""
