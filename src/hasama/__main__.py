"""`python -m hasama` is the command `hasama`."""

import sys


def main() -> None:
    """The entry point: `hasama.cli.app.main`, with a quiet end if Ctrl-C comes while that is still being imported."""
    try:
        from hasama.cli.app import main as run  # start-up: what takes long stands inside the try
    except KeyboardInterrupt:
        sys.stderr.write("hasama: stopped at once.\n")
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
