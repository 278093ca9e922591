"""`procore-ingest` and `python -m app`."""

from __future__ import annotations

import os
import signal
import sys


def main() -> int:
    """Run the command line; the console script's entry."""
    try:
        _keep_standard_streams()
        from app.cli import run

        code = run(sys.argv[1:])
        # What is left is Python's own end, which a late Ctrl-C would only make noisy.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return code
    except KeyboardInterrupt:
        return 5  # before the command line had begun, or after it had ended


def _keep_standard_streams() -> None:
    """Open what was closed before we came: else the state's file could become standard output."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(handle)


if __name__ == "__main__":
    sys.exit(main())
