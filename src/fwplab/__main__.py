"""`python -m fwplab`."""

from fwplab.cli import main

if __name__ == "__main__":
    main()
