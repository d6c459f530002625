"""`python -m deploy.cli`: the `meterline` command by another name."""

from deploy.cli.main import main

main()
