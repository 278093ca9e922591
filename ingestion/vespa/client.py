"""One place that builds the pyvespa `Vespa`, and one session that speaks Vespa's HTTP for it.

The session sends over aiohttp: pyvespa's own client opens a thread per request in flight, retries 429 for
ever and swallows cancellation, which an ingest cannot live with. Endpoint, certificate and token always come
from the `Vespa` object, so that callers configure Vespa in one way only.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace, TracebackType
from typing import TYPE_CHECKING, Any, Self, cast
from urllib.parse import quote, urlsplit

import orjson

from ingestion import errors
from ingestion.redaction import redact_text
from ingestion.vespa.multiplexing import Multiplexer
from ingestion.vespa.reaching import connection_faults, proxy_for, ssl_context, unreachable
from ingestion.vespa.schemas import PACKAGE_VERSION, version_marker
from ingestion.vespa.transport import Transport

if TYPE_CHECKING:
    import aiohttp
    from vespa.application import Vespa

CLUSTER = "procore_content"
RECORD, FILE, SCHEMA = "procore_record", "procore_file", "procore_schema"
DOCUMENT_TYPES = (RECORD, FILE, SCHEMA)
CLIENT_TIMEOUT_S = 30.0
SERVER_TIMEOUT_S = 20
"""Shorter than the client's, so that Vespa answers 504 before we stop listening."""

_CREDENTIALS = ("cert", "key", "cert_content", "ca_cert")
_OUR_IDS = re.compile(r"[A-Za-z0-9_.~:-]*")
"""Ids of which nothing but the colon needs encoding: nearly all that we make."""
_OF_SCHEMA = re.compile(r"\b(field|attribute|schema|source|profile|summary|document type)\b", re.IGNORECASE)
"""What Vespa's messages speak of when the deployed application lacks what a query names."""
_DEPLOY_HINT = "Run `procore-ingest vespa deploy`, then try again."


def build(
    url: str,
    *,
    cert: str | None = None,
    key: str | None = None,
    token: str | None = None,
    ca_cert: str | None = None,
) -> Vespa:
    """The pyvespa application at `url`; `cert`, `key` and `ca_cert` are PEM paths, `token` a data plane token.

    Raises errors.SettingsError for a URL that is not http or https, or a certificate that cannot be read.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise errors.SettingsError(
            f"Vespa's URL {redact_text(url)!r} is not an http or https address",
            hint="Give one such as http://localhost:8080 with --vespa-url or VESPA_URL.",
        )
    from vespa.application import Vespa  # heavy: half a second that `--help` must not pay

    vespa = Vespa(url=url.rstrip("/"), cert=cert, key=key, vespa_cloud_secret_token=token)
    # pyvespa has no word for an authority of one's own; whoever gets the object gets all of the set-up with it.
    vespa.ca_cert = ca_cert  # type: ignore[attr-defined]
    return vespa


@dataclass(frozen=True, slots=True)
class Answer:
    """Vespa's answer to one request: HTTP status and its JSON object, `{}` where it sent none."""

    status: int
    body: dict[str, Any]

    @property
    def is_of_document_api(self) -> bool:
        """Whether Vespa's document/v1 said this: a proxy's or portal's page with a friendly status has no path."""
        return "pathId" in self.body

    @property
    def message(self) -> str:
        """What Vespa says is wrong, in one line; the status where it says nothing."""
        text = self.body.get("message")
        root = self.body.get("root")
        if not text and isinstance(root, dict) and root.get("errors"):
            first = root["errors"][0]
            text = first.get("message") or first.get("summary")
        return " ".join(str(text).split()) if text else f"HTTP {self.status}"


class VespaSession:
    """Requests to one Vespa application in one document namespace; an async context manager.

    `feed_url` names the container cluster that takes documents over HTTP/2, where it is another one.

    Every method raises errors.VespaUnavailable when Vespa cannot be reached or refuses the login.
    """

    def __init__(
        self,
        vespa: Vespa,
        *,
        namespace: str = "procore",
        max_connections: int = 128,
        feed_url: str | None = None,
    ) -> None:
        self.url = str(vespa.end_point).rstrip("/")
        self.feed_url = feed_url or self.url
        self.namespace = namespace
        self._vespa = vespa
        self._headers = dict(vespa.base_headers)
        self._ssl = ssl_context(vespa)
        self._proxy = proxy_for(self.url)
        self._max_connections = max_connections
        self._http: aiohttp.ClientSession | None = None
        self._lean: Transport | None = None
        self._shared: list[Multiplexer] = []
        self._paths: dict[str, str] = {}

    def recipe(self) -> dict[str, Any]:
        """What `from_recipe` needs in another process; holds the token, so it is for memory and pipes only."""
        credentials = {name: getattr(self._vespa, name, None) for name in _CREDENTIALS}
        return {"url": self.url, "feed_url": self.feed_url, "namespace": self.namespace,
                "headers": self._headers, **credentials}  # fmt: skip

    @classmethod
    def from_recipe(cls, recipe: Mapping[str, Any]) -> Self:
        """A session like the one whose recipe this is, without loading pyvespa."""
        credentials = {name: recipe[name] for name in _CREDENTIALS}
        vespa = SimpleNamespace(end_point=recipe["url"], base_headers=recipe["headers"], **credentials)
        return cls(cast("Vespa", vespa), namespace=recipe["namespace"], feed_url=recipe["feed_url"])

    @property
    def is_local(self) -> bool:
        """Whether Vespa runs on this machine, where compressing costs more than it saves."""
        return urlsplit(self.url).hostname in ("localhost", "127.0.0.1", "::1")

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Open the connection pool; opening an open session changes nothing.

        Plain http without a proxy goes over our own transport, which costs a fraction of aiohttp's.
        """
        if self._http is not None or self._lean is not None:
            return
        parts = urlsplit(self.url)
        if parts.scheme == "http" and self._proxy is None and not parts.path and parts.username is None:
            try:
                self._lean = Transport(
                    parts.hostname or "",
                    parts.port or 80,
                    headers=self._headers,
                    max_connections=self._max_connections,
                    timeout_s=CLIENT_TIMEOUT_S,
                )
            except ValueError as error:
                raise errors.SettingsError(
                    f"a header for Vespa cannot be sent: {error}", hint="Check the token."
                ) from error
        else:
            import aiohttp  # half of a worker process's start, which needs it for TLS and proxies alone

            connector = aiohttp.TCPConnector(
                limit=self._max_connections,
                keepalive_timeout=20,
                ssl=self._ssl if self._ssl is not None else True,
            )
            self._http = aiohttp.ClientSession(
                connector=connector,
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=CLIENT_TIMEOUT_S, connect=10),
            )

    def multiplexer(self, connections: int) -> Multiplexer | None:
        """Connections of their own for feeding many documents at a time; None where only aiohttp may speak."""
        parts = urlsplit(self.feed_url)
        if self._proxy is not None or parts.path or parts.username is not None:
            return None
        tls = None
        if parts.scheme == "https":
            # One of its own: what is agreed on here by ALPN is not what aiohttp speaks.
            tls = ssl_context(self._vespa) or ssl.create_default_context()
        shared = Multiplexer(
            parts.hostname or "",
            parts.port or (80 if tls is None else 443),
            headers=self._headers,
            connections=connections,
            timeout_s=CLIENT_TIMEOUT_S,
            tls=tls,
        )
        self._shared.append(shared)
        return shared

    async def close(self) -> None:
        """Close the connection pool; the session can be opened again."""
        http, self._http = self._http, None
        lean, self._lean = self._lean, None
        shared, self._shared = self._shared, []
        for one in shared:
            one.close()
        if http is not None:
            await http.close()
        if lean is not None:
            await lean.close()

    def document_path(self, doc_type: str, user_id: str) -> str:
        """The document/v1 path of one document, each byte outside the unreserved set percent-encoded."""
        folder = self._paths.get(doc_type)
        if folder is None:
            folder = f"/document/v1/{quote(self.namespace, safe='')}/{doc_type}/docid/"
            self._paths[doc_type] = folder
        if _OUR_IDS.fullmatch(user_id):
            return folder + user_id.replace(":", "%3A")
        return folder + quote(user_id, safe="")

    async def exchange(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        *,
        gzipped: bool = False,
    ) -> Answer:
        """One request as it stands, without retry: for callers that decide on retries themselves.

        Raises aiohttp.ClientError, OSError or TimeoutError as they come.
        """
        return await self.send(method, target_of(path, params or {}), body, gzipped=gzipped)

    async def send(
        self, method: str, target: str, body: bytes | None = None, *, gzipped: bool = False
    ) -> Answer:
        """`exchange` for callers that keep path and query ready, percent-encoded; raises the same."""
        if self._lean is None and self._http is None:
            await self.open()
        if self._lean is not None:
            status, raw = await self._lean.request(method, target, body, gzipped=gzipped)
            return answer_of(status, raw)
        assert self._http is not None
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if gzipped:
            headers["Content-Encoding"] = "gzip"
        from yarl import URL

        url = URL(f"{self.url}{target}", encoded=True)
        async with self._http.request(method, url, data=body, headers=headers, proxy=self._proxy) as response:
            raw = await response.read()
            return answer_of(response.status, raw)

    async def request(
        self, method: str, path: str, params: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """One request with connection faults and refused logins turned into errors.VespaUnavailable."""
        try:
            answer = await self.exchange(method, path, params, body)
        except connection_faults() as error:
            raise unreachable(self.url, error) from error
        if answer.status in (401, 403):
            raise errors.VespaUnavailable(
                f"Vespa at {redact_text(self.url)} refuses the login ({answer.status}: {answer.message})",
                hint="Check the certificate and key, or the token.",
            )
        return answer

    async def query(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The `root` of a search answer.

        Raises errors.IndexError naming Vespa's message when the query itself is refused, and
        errors.VespaUnavailable when Vespa is overloaded or timed out.
        """
        answer = await self.request("POST", "/search/", body=orjson.dumps(dict(params)))
        root = answer.body.get("root")
        if answer.status == 200 and not isinstance(root, dict):
            raise not_vespa(self.url, answer)
        root = root or {}
        if answer.status == 200 and not root.get("errors"):
            return dict(root)
        if answer.status == 400 or answer.status == 200:
            about_schema = _OF_SCHEMA.search(answer.message) is not None
            raise errors.IndexError(
                f"Vespa refused the query: {answer.message}",
                hint=_DEPLOY_HINT if about_schema else "Ask for something else.",
            )
        raise errors.VespaUnavailable(
            f"Vespa at {redact_text(self.url)} could not answer a query ({answer.status}: {answer.message})",
            hint="Wait until it is up (`procore-ingest doctor` checks it), then try again.",
        )

    async def document(self, doc_type: str, user_id: str) -> dict[str, Any] | None:
        """The stored document's fields, None where there is none."""
        answer = await self.request("GET", self.document_path(doc_type, user_id))
        if answer.status in (200, 404) and not answer.is_of_document_api:
            raise not_vespa(self.url, answer)
        if answer.status == 404 and "fields" not in answer.body:
            return None
        if answer.status == 429 or answer.status >= 500:
            raise errors.VespaUnavailable(
                f"Vespa at {redact_text(self.url)} could not give {doc_type} {user_id} "
                f"({answer.status}: {answer.message})",
                hint="Wait until it is up (`procore-ingest doctor` checks it), then try again.",
            )
        if answer.status != 200:
            raise errors.IndexError(f"Vespa did not give {doc_type} {user_id}: {answer.message}")
        return dict(answer.body.get("fields", {}))

    async def is_up(self) -> bool:
        """Whether the container says it is up; raises errors.VespaUnavailable when nothing answers."""
        answer = await self.request("GET", "/state/v1/health")
        return answer.status == 200 and answer.body.get("status", {}).get("code", "up") == "up"

    async def version(self) -> str:
        """Vespa's own version, "" where it does not say; raises errors.VespaUnavailable when nothing answers."""
        answer = await self.request("GET", "/ApplicationStatus")
        application = answer.body.get("application")
        vespa = application.get("vespa") if isinstance(application, dict) else None
        return str(vespa.get("version", "")) if isinstance(vespa, dict) else ""

    async def missing_fields(self, needed: Mapping[str, list[str]]) -> list[str]:
        """What the deployed application lacks of `needed` (document type → fields), as `type.field` names.

        A document type that is not there at all is named alone. Asked with one visit of each type whose
        field set names the fields, which Vespa checks against its schema.
        """
        missing: list[str] = []
        for doc_type, names in needed.items():
            if await self._visit_status(doc_type, "[id]") != 200:
                missing.append(doc_type)
            elif await self._visit_status(doc_type, f"{doc_type}:{','.join(names)}") != 200:
                statuses = await asyncio.gather(
                    *(self._visit_status(doc_type, f"{doc_type}:{name}") for name in names)
                )
                missing += [
                    f"{doc_type}.{name}"
                    for name, status in zip(names, statuses, strict=True)
                    if status != 200
                ]
        return missing

    async def package_version(self) -> int:
        """The version of the application package that is deployed, as far as we know versions; 0 for none of ours.

        Each package holds a rank profile for every version it includes, and Vespa refuses the others.
        Raises errors.VespaUnavailable when it cannot say.
        """
        for version in range(PACKAGE_VERSION, 0, -1):
            params = {
                "yql": f"select * from {SCHEMA} where false limit 0",
                "ranking": version_marker(version),
                "timeout": "10s",
            }
            answer = await self.request("POST", "/search/", body=orjson.dumps(params))
            root = answer.body.get("root")
            if answer.status == 429 or answer.status >= 500:
                raise not_ready(self.url, answer)
            if not isinstance(root, dict):
                raise not_vespa(self.url, answer)
            if answer.status == 200 and not root.get("errors"):
                return version
        return 0

    async def _visit_status(self, doc_type: str, field_set: str) -> int:
        answer = await self.request(
            "GET",
            f"/document/v1/{quote(self.namespace, safe='')}/{doc_type}/docid/",
            {"cluster": CLUSTER, "wantedDocumentCount": "1", "fieldSet": field_set, "timeout": "10s"},
        )
        if answer.status == 429 or answer.status >= 500:
            raise not_ready(self.url, answer)
        if not answer.is_of_document_api:
            raise not_vespa(self.url, answer)
        return answer.status


def answer_of(status: int, raw: bytes) -> Answer:
    """Vespa's answer from what a transport brought."""
    return Answer(status, _json_object(raw))


def target_of(path: str, params: Mapping[str, str]) -> str:
    """Path and query as they stand in a request line; the path is percent-encoded already."""
    query = "&".join(f"{quote(k, safe='.')}={quote(v, safe='')}" for k, v in params.items())
    return f"{path}?{query}" if query else path


def not_ready(url: str, answer: Answer) -> errors.VespaUnavailable:
    """The error for a Vespa that answers, but cannot do what it is asked now."""
    return errors.VespaUnavailable(
        f"Vespa at {redact_text(url)} is not ready ({answer.status}: {redact_text(answer.message)})",
        hint="Wait until it is up (`procore-ingest doctor` checks it), then try again.",
    )


def not_vespa(url: str, answer: Answer) -> errors.VespaUnavailable:
    """The error for a success that Vespa did not say, such as a portal's page."""
    return errors.VespaUnavailable(
        f"what answers at {redact_text(url)} is not Vespa: {redact_text(answer.message)[:200]}",
        hint="Check --vespa-url, and any proxy or load balancer before it.",
    )


def _json_object(raw: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        text = raw[:200].decode("utf-8", "replace").strip()
        return {"message": text} if text else {}
    return body if isinstance(body, dict) else {}
