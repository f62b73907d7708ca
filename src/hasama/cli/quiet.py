"""What is kept from the terminal: what libraries tell their programmers, and what several processes would repeat."""

import os
import sys
import warnings

SILENT = {
    "TORCH_CPP_LOG_LEVEL": "FATAL",
    "OPENCV_LOG_LEVEL": "SILENT",
    "VIPS_WARNING": "0",  # libvips is silent where this is set, to whatever value
}
"""Environment variables by which libraries in C++ are told to be silent. They are read when a library is loaded."""


def several_processes() -> bool:
    """Whether torchrun started this process as one of several (see `hasama.distributed`)."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


def started_by_torchrun() -> bool:
    """Whether signals may come twice: from whoever sends them, and from torchrun, which passes them on."""
    return several_processes() or "TORCHELASTIC_RUN_ID" in os.environ


def is_loud() -> bool:
    """Whether this process talks: of several, the first one."""
    return not several_processes() or os.environ.get("RANK") == "0"


def hush_libraries() -> None:
    """No log lines and no warnings of libraries, unless the user asked for them (`python -W`, PYTHONWARNINGS)."""
    if sys.warnoptions:
        return
    for name, value in SILENT.items():
        os.environ.setdefault(name, value)
    warnings.simplefilter("ignore")
    import logging  # start-up time: `--help` needs none of this

    root = logging.getLogger()
    if not root.handlers:  # or Python would print what nobody handles
        root.addHandler(logging.NullHandler())
