# %%
import os
import subprocess
import sys

if "google.colab" in sys.modules:  # in Colab Hasama is installed first; elsewhere it is there
    subprocess.check_call([sys.executable, "-m", "pip", "install", "--quiet", "hasama @ git+ADDRESS"])
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def steps(count):
    """So many steps; next to none with HASAMA_QUICK=1, by which the notebooks are tested."""
    return 2 if os.environ.get("HASAMA_QUICK") == "1" else count
