"""`python -m ingestion.sandbox.vespa_endpoint`: serve until told to stop."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ingestion import errors, priority


def main() -> int:
    """Run the endpoint; 0 when stopped, 7 when it could not start."""
    parser = argparse.ArgumentParser(
        prog="vespa_endpoint", description="A local Vespa endpoint for trying out."
    )
    parser.add_argument("--host", default="127.0.0.1", help="loopback address (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free port (default 8080)")
    parser.add_argument("--data", type=Path, required=True, help="folder for the documents")
    parser.add_argument("--port-file", type=Path, help="file that gets the port once the endpoint is ready")
    arguments = parser.parse_args()
    # It stands on the machine of whoever tries things out, and is never what they look at.
    priority.give_way()
    from ingestion.sandbox.vespa_endpoint.server import serve  # slow to import, not needed for --help

    try:
        serve(arguments.data, arguments.host, arguments.port, arguments.port_file)
    except errors.IngestionError as error:
        sys.stderr.write(f"{error} {error.hint}".strip() + "\n")
        return 7
    except OSError as error:
        sys.stderr.write(f"cannot serve on {arguments.host}:{arguments.port}: {error}\n")
        return 7
    return 0


if __name__ == "__main__":
    sys.exit(main())
