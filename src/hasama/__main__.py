"""`python -m hasama` is the command `hasama`."""

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any


def main() -> None:
    """The entry point: `hasama.cli.app.main`, with a quiet end if Ctrl-C comes while that is still being imported."""
    sys.meta_path.insert(0, _Torch())
    atexit.register(gc.freeze)  # at its end Python would look through all that was imported once more: 0.2 s
    try:
        with _uncollected():
            from hasama.cli.app import main as run  # start-up: what takes long stands inside the try
    except KeyboardInterrupt:
        sys.stderr.write("hasama: stopped at once.\n")
        sys.exit(130)
    run()


@contextmanager
def _uncollected() -> Iterator[None]:
    """While something is imported, nothing is garbage; yet Python would look for it again and again."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # nor is it looked through later
        if collects:
            gc.enable()


class _Torch(MetaPathFinder):
    """Finds torch, for whichever command imports it: looking for garbage takes a third of that time."""

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != "torch":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        with _uncollected():
            super().exec_module(module)


if __name__ == "__main__":
    main()
