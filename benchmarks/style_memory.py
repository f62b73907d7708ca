"""Peak memory of `hasama style` at several sizes under one --memory: flat, because larger pictures go tile by tile.

    python benchmarks/style_memory.py [--sizes 1024 2048 4096] [--memory 1.9GB] [--steps 2]

Each line is the real command in its own process, painting scikit-learn's photograph of a temple (enlarged) in the
style of its photograph of a flower, for a few steps: memory does not depend on their number.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 2048, 4096])
    parser.add_argument("--memory", default="1.9GB")
    parser.add_argument("--steps", type=int, default=2)
    given = parser.parse_args()

    from PIL import Image
    from sklearn.datasets import load_sample_image

    print(f"--memory {given.memory}\n{'picture':>14}{'window':>8}{'peak RSS':>12}{'s a step':>10}")
    with tempfile.TemporaryDirectory() as folder:
        content, style = Path(folder, "content.png"), Path(folder, "style.png")
        photograph = Image.fromarray(load_sample_image("china.jpg"))
        photograph.resize((4096, 3072), Image.Resampling.LANCZOS).save(content)
        Image.fromarray(load_sample_image("flower.jpg")).save(style)
        for size in given.sizes:
            out = Path(folder, f"{size}.png")
            command = [
                sys.executable, "-m", "hasama", "style", content, style, "--out", out, "--size", size,
                "--smallest", size, "--first-iterations", given.steps, "--memory", given.memory,
            ]  # fmt: skip
            subprocess.run(list(map(str, command)), check=True, capture_output=True)
            told = json.loads(out.with_name(f"{out.name}.json").read_text())
            width, height = told["size"]
            seconds = told["seconds"] / given.steps
            print(f"{width:>8}x{height:<5}{told['window']:>8}{told['peak_memory_mib']:>8.0f} MiB{seconds:>10.1f}")
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"the largest of these processes, as the system counted it: {largest:.0f} MiB")


if __name__ == "__main__":
    main()
