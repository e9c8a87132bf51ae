"""`python -m intcodec`."""

import sys

from intcodec.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
