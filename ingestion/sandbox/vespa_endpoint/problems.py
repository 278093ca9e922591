"""What the endpoint answers instead of 200: a status and the sentence for `message`."""

from __future__ import annotations

from ingestion import errors


class Refused(errors.IngestionError):
    """A request that Vespa would answer with `status` and this message."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class QueryRefused(errors.IngestionError):
    """A query that cannot be run; becomes one entry of `root.errors`.

    `code` and `summary` are Vespa's (https://docs.vespa.ai/en/reference/querying/default-result-format.html):
    3 illegal query, 4 invalid query parameter, 12 timeout.
    """

    def __init__(
        self, message: str, *, code: int = 3, summary: str = "Illegal query", status: int = 400
    ) -> None:
        super().__init__(message)
        self.code, self.summary, self.status = code, summary, status


def unsupported(construct: str) -> QueryRefused:
    """The refusal of what Vespa has and this endpoint has not."""
    return QueryRefused(f"The local endpoint does not support {construct}. A real Vespa may.")
