"""pyvespa's own `feed_async_iterable` over a file of operations.

python -m tests.benchmarks.pyvespa_feed URL FILE OPERATIONS
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import orjson
from vespa.application import Vespa
from vespa.io import VespaResponse


def main() -> None:
    url, path, most = sys.argv[1:]
    accepted = 0

    def operations() -> Iterator[dict[str, Any]]:
        with open(path, "rb") as lines:
            for line in itertools.islice(lines, int(most)):
                operation = orjson.loads(line)
                yield {"id": operation["put"].split("::", 1)[1], "fields": operation["fields"]}

    def done(response: VespaResponse, doc_id: str) -> None:
        nonlocal accepted
        accepted += response.is_successful()

    started, cpu = time.perf_counter(), time.process_time()
    Vespa(url).feed_async_iterable(operations(), schema="procore_record", namespace="procore", callback=done)
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - started,
                "cpu_s": time.process_time() - cpu,
                "accepted": accepted,
            }
        )
    )


if __name__ == "__main__":
    main()
