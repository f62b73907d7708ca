"""The checker behind jaxtyping's hook: beartype, with a whole number passing for a float as everywhere in Python."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
