"""What the entry point does before any command: torch is imported without a look for garbage."""

import subprocess
import sys


def test_nothing_is_collected_while_torch_is_imported_and_all_is_as_before_then():
    code = """
import gc, sys
from hasama.__main__ import main
looks = []
sys.argv = ["hasama", "--help"]
try:
    main()
except SystemExit:
    pass
assert "torch" not in sys.modules and gc.isenabled()
gc.callbacks.append(lambda phase, told: looks.append(phase))
import torch
assert len(looks) < 4, len(looks)
assert gc.isenabled() and gc.get_freeze_count() > 50_000
assert torch.__spec__.name == "torch" and torch.ones(2).sum() == 2
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
