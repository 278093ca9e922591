"""The core of procore-ingest: connection, discovery, ingestion, files, change detection, checkpoints, sync.

It prints nothing and imports neither Textual nor rich; every front end goes through `ingestion.service`.
"""

from ingestion.version import __version__

__all__ = ["__version__"]
