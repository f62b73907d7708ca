"""The one exception whose message is written for the person at the keyboard."""

import re


class HasamaError(Exception):
    """Something the user can put right. The message says what was wrong, where, and what to do.

    The command prints it without a traceback and ends with exit code 2.

    Attributes:
        told_here: of several processes, whether this one tells people; None: that of rank 0.
    """

    told_here: bool | None = None


class LostProcessError(HasamaError):
    """Another process of this training is gone. The command ends with exit code 1."""


class TakenOverError(HasamaError):
    """Another session has begun in the run's folder: nothing may be written there any more."""


NO_MEMORY = re.compile(r"DefaultCPUAllocator.*memory|out of memory|ALLOC_FAILED|OUT_OF_(\w+_)?MEMORY", re.DOTALL)
"""In torch's words: of the processor, of cards of any make, of cuBLAS and cuDNN."""


def short_of_memory(error: BaseException) -> str | None:
    """What happened, if the processor or the card had too little memory; None for any other error.

    torch has no class of its own for the processor's: its message alone is known by its words.
    """
    name, text = type(error).__name__, str(error)
    told = isinstance(error, RuntimeError) and NO_MEMORY.search(text)
    if not (isinstance(error, MemoryError) or name == "OutOfMemoryError" or told):
        return None
    asked = re.search(r"allocate (\d+) bytes", text)
    much = f" ({int(asked[1]) / 2**30:,.1f} GiB were asked for at once)" if asked else ""
    return f"This needs more memory than there is{much}."


def missing_extra(package: str, extra: str, purpose: str) -> HasamaError:
    """The one line that a missing optional dependency gets."""
    return HasamaError(f"{purpose} needs the package {package}: install it with  pip install 'hasama[{extra}]'")
