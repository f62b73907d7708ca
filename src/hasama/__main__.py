"""`python -m hasama` is the command `hasama`."""

from hasama.cli.app import main

main()
