"""What libraries say to their programmers, kept from the terminal: everything there is in Hasama's own words."""

import os
import sys
import warnings

SILENT = {
    "TORCH_CPP_LOG_LEVEL": "FATAL",
    "OPENCV_LOG_LEVEL": "SILENT",
    "VIPS_WARNING": "0",  # libvips is silent where this is set, to whatever value
}
"""Environment variables by which libraries in C++ are told to be silent. They are read when a library is loaded."""


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
