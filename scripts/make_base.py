"""Write a run as a base that ships with the package: `python scripts/make_base.py RUN portraits ...`."""

import argparse

from hasama.runs.bases import BASES
from hasama.runs.folder import Run
from hasama.runs.transfer import make_base

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="its folder")
    parser.add_argument("name", help="of the base, such as portraits")
    parser.add_argument("--pictures", required=True, help="what it was trained on, for people")
    parser.add_argument("--authors", required=True, help="of the pictures")
    parser.add_argument("--licence", required=True, help="of the pictures")
    asked = parser.parse_args()
    about = {"pictures": asked.pictures, "authors": asked.authors, "licence": asked.licence}
    make_base(Run(asked.run), BASES / asked.name, about)
    print(f"{BASES / asked.name}: {sum(file.stat().st_size for file in (BASES / asked.name).iterdir()):,} bytes")
