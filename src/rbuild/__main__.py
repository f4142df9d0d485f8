"""`python -m rbuild`."""

from rbuild.cli import main

main()
