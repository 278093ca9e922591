"""`procore-ingest` and `python -m app`."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; the console script's entry."""
    from app.cli import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
