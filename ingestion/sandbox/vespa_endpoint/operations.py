"""What a client asks of one document, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ingestion.sandbox.vespa_endpoint.document_path import DocumentPath
from ingestion.sandbox.vespa_endpoint.selection_tree import Node

Kind = Literal["put", "update", "remove"]
Change = Callable[[dict[str, Any]], None]

CONDITION_UNMET = "ReturnCode(TEST_AND_SET_CONDITION_FAILED, Condition did not match document)"
CONDITION_NO_DOCUMENT = "ReturnCode(TEST_AND_SET_CONDITION_FAILED, Document does not exist)"


@dataclass(frozen=True, slots=True)
class Operation:
    """One put (`fields`), update (`changes`, applied in order to the stored fields) or remove."""

    kind: Kind
    path: DocumentPath
    fields: dict[str, Any] | None = None
    changes: tuple[Change, ...] = ()
    condition: Node | None = None
    create: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The status to answer with, and the message when it is not 200."""

    status: int = 200
    message: str = ""


APPLIED = Outcome()
