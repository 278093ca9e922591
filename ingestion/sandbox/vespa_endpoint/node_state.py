"""What a Vespa node tells of itself: /state/v1 and the metrics API, as monitoring asks for them.

https://docs.vespa.ai/en/reference/api/state-v1.html, …/metrics-v1.html, …/metrics-v2.html. The endpoint keeps
no metrics: their lists are there, and empty.
"""

from __future__ import annotations

import time
from typing import Any

_RESOURCES = ("config", "health", "metrics", "version")
_SERVICE = "vespa.container"


class NodeState:
    """The answers, of a node that is up since it was made."""

    def __init__(self, version: str) -> None:
        self._version, self._started = version, time.time()

    def answer(self, path: str) -> dict[str, Any] | None:
        """The body for a path, or None for one that is not about the node's state."""
        path = path.rstrip("/")
        if path == "/state/v1":
            return {"resources": [{"url": f"/state/v1/{name}"} for name in _RESOURCES]}
        if path == "/state/v1/health":
            return self._sampled({})
        if path == "/state/v1/metrics":
            return self._sampled({"values": []})
        if path == "/state/v1/version":
            return {"version": self._version}
        if path == "/state/v1/config":
            return {"config": {"generation": 1, "container": {"generation": 1}}}
        if path == "/metrics/v1/values":
            return {"services": [self._service()]}
        if path == "/metrics/v2/values":
            return {"nodes": [{"hostname": "localhost", "role": "local", "services": [self._service()]}]}
        return None

    def _sampled(self, metrics: dict[str, Any]) -> dict[str, Any]:
        now = time.time()
        snapshot = {"from": self._started, "to": now}
        return {
            "time": int(now * 1000),
            "status": {"code": "up"},
            "metrics": {"snapshot": snapshot, **metrics},
        }

    def _service(self) -> dict[str, Any]:
        status = {"code": "up", "description": "Data collected successfully"}
        return {"name": _SERVICE, "timestamp": int(time.time()), "status": status, "metrics": []}
