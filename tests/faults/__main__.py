"""`python -m tests.faults`."""

import sys

from tests.faults.long import main

if __name__ == "__main__":
    sys.exit(main())
