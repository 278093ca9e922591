"""Parts of the conformance tests: the Vespa under test, a namespace of our own in it, and the pages."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest

# Read while pytest collects: the tests themselves see no setting of the machine.
REAL_VESPA = os.environ.get("VESPA_URL", "").rstrip("/")
CLUSTER = "procore_content"
RECORD = "procore_record"

V1 = "reference/api/document-v1.html"
GUIDE = "writing/document-v1-api-guide.html"
FORMAT = "reference/schemas/document-json-format.html"
SELECTOR = "reference/writing/document-selector-language.html"
SCHEMAS = "reference/schemas/schemas.html"
YQL = "reference/querying/yql.html"
QUERY = "reference/api/query.html"
GROUPING = "reference/querying/grouping-language.html"
SIMPLE = "reference/querying/simple-query-language.html"
RESULT = "reference/querying/default-result-format.html"
# Tests in the repository vespa-engine/vespa.
V1_TEST = "DocumentV1ApiTest.testResponses"
READER_TEST = "JsonReaderTestCase"

Body = dict[str, Any]


@dataclass(slots=True)
class Vespa:
    """One connection to the Vespa under test, and a namespace of our own in it."""

    url: str
    namespace: str
    _http: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self._http = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)

    def send(self, method: str, path: str, body: Any = None, **parameters: Any) -> tuple[int, Body]:
        """Status and JSON body of one request; the path is sent as it stands."""
        content = None if body is None else json.dumps(body).encode()
        target = f"{path}?{urlencode(parameters)}" if parameters else path
        self._http.request(method, target, content, {"Content-Type": "application/json"})
        response = self._http.getresponse()
        return response.status, json.loads(response.read() or b"{}")

    def read(self, path: str, accept: str, **parameters: Any) -> tuple[str, str]:
        """Content type and text of a GET that accepts these types."""
        self._http.request("GET", f"{path}?{urlencode(parameters)}", headers={"Accept": accept})
        response = self._http.getresponse()
        return response.headers["Content-Type"], response.read().decode(errors="replace")

    def path(self, user: str, type_name: str = RECORD) -> str:
        """The path of a document; the user part is sent as it stands."""
        return f"/document/v1/{self.namespace}/{type_name}/docid/{user}"

    def put(self, user: str, fields: Body, type_name: str = RECORD) -> None:
        status, answer = self.send("POST", self.path(quote(user, safe=""), type_name), {"fields": fields})
        assert status == 200, answer

    def visit(self, **parameters: Any) -> list[Body]:
        """Every document of a visit of ours, following continuations to their end."""
        found: list[Body] = []
        while True:
            status, answer = self.send("GET", self.path(""), None, cluster=CLUSTER, **parameters)
            assert status == 200, answer
            assert answer["documentCount"] == len(answer["documents"])
            found += answer["documents"]
            if "continuation" not in answer:
                return found
            parameters["continuation"] = answer["continuation"]

    def users(self, **parameters: Any) -> list[str]:
        """The user parts that a visit finds, sorted."""
        return sorted(document["id"].rpartition("::")[2] for document in self.visit(**parameters))

    def search(self, yql: str, **parameters: Any) -> tuple[int, Body]:
        """Status and `root` of a query."""
        asked = {"yql": yql, "timeout": "10s", **parameters}
        status, answer = self.send("POST", "/search/", asked)
        return status, answer.get("root", {})


def removed_after(vespa: Vespa) -> Iterator[Vespa]:
    """Gives `vespa` to a test; what it fed is gone afterwards."""
    yield vespa
    for type_name in (RECORD, "procore_file"):
        answer: Body = {"continuation": ""}
        while "continuation" in answer:
            more = {"continuation": answer["continuation"]} if answer["continuation"] else {}
            _, answer = vespa.send(
                "DELETE", vespa.path("", type_name), cluster=CLUSTER, selection="true", **more
            )


def page(name: str) -> pytest.MarkDecorator:
    """Names the page that a test comes from, in the test's own name."""
    return pytest.mark.parametrize("page", [pytest.param(name, id=name)])
