"""`python -m hasama` is the command `hasama`."""

from hasama.cli import main

main()
