"""`python -m cli` is the command `upgradepath`."""

from cli.main import main

main()
