"""`python -m veriward` and the `veriward` command."""

from veriward.cli.app import main

if __name__ == "__main__":
    main()
