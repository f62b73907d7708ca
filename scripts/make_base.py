"""Write a run as a base that ships with the package: `python scripts/make_base.py RUN portraits ...`."""

import argparse

from hasama.generators.choosing import EXTRACTOR, look_of, save_look
from hasama.perception.extractors import extractor_named
from hasama.pictures.cache import open_cached
from hasama.runs.bases import BASES
from hasama.runs.folder import Run
from hasama.sharing.making_bases import make_base

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="its folder")
    parser.add_argument("name", help="of the base, such as portraits")
    parser.add_argument("--pictures", required=True, help="what it was trained on, for people")
    parser.add_argument("--authors", required=True, help="of the pictures")
    parser.add_argument("--licence", required=True, help="of the pictures")
    asked = parser.parse_args()
    about = {"pictures": asked.pictures, "authors": asked.authors, "licence": asked.licence}
    run = Run(asked.run)
    make_base(run, BASES / asked.name, about)
    pictures = open_cached(run.images()["key"])
    assert pictures is not None, "the cache no longer has the run's pictures"
    save_look(look_of(pictures, extractor_named(EXTRACTOR)), BASES / asked.name)
    print(f"{BASES / asked.name}: {sum(file.stat().st_size for file in (BASES / asked.name).iterdir()):,} bytes")
