"""The one exception whose message is written for the person at the keyboard."""


class HasamaError(Exception):
    """Something the user can put right. The message says what was wrong, where, and what to do.

    The command prints it without a traceback and ends with exit code 2.

    Attributes:
        told_here: of several processes, whether this one tells people; None: that of rank 0.
    """

    told_here: bool | None = None


class LostProcessError(HasamaError):
    """Another process of this training is gone. The command ends with exit code 1."""


def missing_extra(package: str, extra: str, purpose: str) -> HasamaError:
    """The one line that a missing optional dependency gets."""
    return HasamaError(f"{purpose} needs the package {package}: install it with  pip install 'hasama[{extra}]'")
