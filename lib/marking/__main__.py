"""`python -m marking` is the `clearhead` command."""

from marking.cli import main

main()
