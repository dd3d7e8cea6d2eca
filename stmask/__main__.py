"""`python -m stmask` is the command `stmask`."""

import sys

from stmask.cli import main

if __name__ == "__main__":
    sys.exit(main())
