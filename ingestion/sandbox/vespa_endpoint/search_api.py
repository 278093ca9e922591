"""/search/: request parameters read, the query run, the answer in Vespa's default JSON.

Parameters of https://docs.vespa.ai/en/reference/api/query.html; those that would change the answer and
are not supported here are refused by name, all others are free for `@name` in YQL, as in Vespa.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Any

import orjson

from ingestion.sandbox.vespa_endpoint import cbor, searching
from ingestion.sandbox.vespa_endpoint.grouping import DEFAULT_MAX_GROUPS, DEFAULT_MAX_HITS
from ingestion.sandbox.vespa_endpoint.groups import Limits
from ingestion.sandbox.vespa_endpoint.parameters import parse_query, parse_seconds
from ingestion.sandbox.vespa_endpoint.problems import QueryRefused, Refused, unsupported
from ingestion.sandbox.vespa_endpoint.query_tree import OrderBy, Select, UserText
from ingestion.sandbox.vespa_endpoint.responses import SEARCH_JSON, Request, Response, json_response
from ingestion.sandbox.vespa_endpoint.searching import Answer, Hit, Query
from ingestion.sandbox.vespa_endpoint.simple_query import parse_simple
from ingestion.sandbox.vespa_endpoint.store import Store
from ingestion.sandbox.vespa_endpoint.teasers import asked_words, teaser
from ingestion.sandbox.vespa_endpoint.yql import parse_yql
from ingestion.vespa.schemas import CLUSTER, SCHEMAS, Schema

MAX_HITS = 400
MAX_OFFSET = 1000
DEFAULT_HITS = 10
# Vespa's default is 0.5 s; a sandbox on a busy laptop gets more, a `timeout` that is sent holds.
DEFAULT_TIMEOUT_S = 10.0

_ALIASES = {
    "count": "hits",
    "start": "offset",
    "ranking": "ranking.profile",
    "restrict": "model.restrict",
    "sources": "model.sources",
    "type": "model.type",
    "default-index": "model.defaultIndex",
    "summary": "presentation.summary",
    "presentation.format": "format",
    "model.queryString": "query",
    "sorting": "ranking.sorting",
    "search-path": "model.searchPath",
}
_SORT_KEY = re.compile(r"([+-]?)(?:(raw|lowercase)\(([A-Za-z_]\w*)\)|([A-Za-z_]\w*|\[(?:rank|relevance)\]))")
_UNSUPPORTED = (
    "select",
    "recall",
    "filter",
    "model.filter",
    "collapsefield",
    "queryProfile",
    "searchChain",
    "model.searchPath",
    "presentation.bolding",
    "pos",
    "streaming",
    "rules",
    "weakAnd",
    "wand",
    "ranking.listFeatures",
    "ranking.location",
    "ranking.matchPhase",
    "ranking.rankScoreDropLimit",
    "ranking.secondPhase",
    "ranking.globalPhase",
)


class SearchApi:
    """The query resource, over one store. Queries run on `executor`."""

    def __init__(self, store: Store, executor: Executor) -> None:
        self._store, self._executor = store, executor

    async def handle(self, request: Request) -> Response:
        """Answer a query: 200 with hits, or the errors in `root.errors`."""
        started = time.perf_counter()
        # As JSON, unless the client likes CBOR better or asks for it by `format`.
        binary = request.prefers("application/cbor") and not request.prefers("application/json")
        try:
            parameters = await _parameters(request)
            binary = _is_binary(parameters, binary)
            query, select = _query(parameters)
            render = _Rendering(parameters, select, query)
            loop = asyncio.get_running_loop()
            answer = await loop.run_in_executor(self._executor, searching.run, self._store, query)
            result: dict[str, Any] = {}
            if str(parameters.get("presentation.timing", "")).lower() == "true":
                elapsed = round(time.perf_counter() - started, 6)
                result["timing"] = {"querytime": elapsed, "summaryfetchtime": 0.0, "searchtime": elapsed}
            result["root"] = render.root(answer)
            return _response(200, result, binary)
        except Refused as problem:
            return _failure(QueryRefused(str(problem), status=problem.status), binary)
        except QueryRefused as problem:
            return _failure(problem, binary)


def _is_binary(parameters: Mapping[str, Any], preferred: bool) -> bool:
    """Whether the answer is CBOR. Raises QueryRefused for a format that is neither that nor JSON."""
    asked = parameters.get("format")
    if asked is None or asked == "default":
        return preferred
    if asked not in ("json", "cbor"):
        raise unsupported(f"format '{asked}'")
    return bool(asked == "cbor")


def _failure(problem: QueryRefused, binary: bool) -> Response:
    error = {"code": problem.code, "summary": problem.summary, "message": str(problem)}
    root = {"id": "toplevel", "relevance": 1.0, "fields": {"totalCount": 0}, "errors": [error]}
    return _response(problem.status, {"root": root}, binary)


def _response(status: int, answer: dict[str, Any], binary: bool) -> Response:
    if binary:
        return Response(status, cbor.encode(answer), b"application/cbor")
    return json_response(status, answer, SEARCH_JSON)


# ------------------------------------------------------------------- request


async def _parameters(request: Request) -> dict[str, Any]:
    """All parameters of the request under their full names."""
    if request.method == "GET":
        found: Mapping[str, Any] = request.parameters
    elif request.method == "POST":
        body = await request.body()
        kind = request.content_type.partition(";")[0].strip()
        found = request.parameters
        # A body of another type is not looked at, as in Vespa.
        if kind == "application/x-www-form-urlencoded":
            found = {**found, **parse_query(body)}
        elif kind == "application/json":
            found = {**found, **_json_parameters(body)}
    else:
        raise QueryRefused(f"'{request.method}' is not allowed at '{request.raw_path}'", status=405)
    return {_ALIASES.get(name, name): value for name, value in found.items()}


def _json_parameters(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise QueryRefused(f"Illegal query: the body is not JSON: {error}", code=3) from None
    if not isinstance(parsed, dict):
        raise QueryRefused("Illegal query: the body must be a JSON object", code=3)
    out: dict[str, Any] = {}

    def flatten(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, member in value.items():
                flatten(f"{prefix}.{name}" if prefix else name, member)
        else:
            out[prefix] = value

    flatten("", parsed)
    # `{"ranking": {"profile": …}}` and `{"ranking": "…"}` are both usual; so are these pairs.
    return {_ALIASES.get(name, name): value for name, value in out.items()}


def _query(parameters: Mapping[str, Any]) -> tuple[Query, Select | None]:
    for name in _UNSUPPORTED:
        if any(found == name or found.startswith(f"{name}.") for found in parameters):
            raise unsupported(f"the parameter '{name}'")
    if str(parameters.get("timezone", "UTC")).upper() not in ("UTC", "GMT", "Z"):
        raise unsupported(f"the time zone '{parameters['timezone']}'")
    if "grouping.globalMaxGroups" in parameters:
        raise QueryRefused("'grouping.globalMaxGroups' must be specified in a query profile.", code=4)
    user = UserText(
        text=str(parameters.get("query", "")),
        type=str(parameters.get("model.type", "weakAnd")),
        default_index=str(parameters.get("model.defaultIndex", "default")),
        restrict=tuple(_names(parameters.get("model.restrict"))),
    )
    yql = parameters.get("yql")
    select: Select | None = None
    if yql is not None and str(yql).strip():
        select = parse_yql(str(yql), parameters, user)
        where = select.where
    elif user.text.strip():
        where = parse_simple(user.text, user.type, user.default_index)
    else:
        raise QueryRefused("Null query", code=1, summary="Null query")
    schemas = _schemas(parameters, select)
    profile = str(parameters.get("ranking.profile", "default"))
    for schema in schemas:
        if schema.profile(profile) is None:
            raise QueryRefused(
                f"schema[{schema.name}] does not contain requested rank profile '{profile}'",
                code=4,
                summary="Invalid query parameter",
            )
    hits, offset = _window(parameters, select)
    return (
        Query(
            schemas=schemas,
            where=where,
            order=(select.order if select else ()) or _sorting(parameters.get("ranking.sorting")),
            profile=profile,
            hits=hits,
            offset=offset,
            groupings=select.groupings if select else (),
            group_limits=Limits(
                _integer(parameters, "grouping.defaultMaxGroups", DEFAULT_MAX_GROUPS),
                _integer(parameters, "grouping.defaultMaxHits", DEFAULT_MAX_HITS),
            ),
            timeout_s=_timeout(parameters, select),
        ),
        select,
    )


def _schemas(parameters: Mapping[str, Any], select: Select | None) -> tuple[Schema, ...]:
    """The document types to search: those of `from`, narrowed by `model.restrict`."""
    wanted = list(SCHEMAS)
    sources = list(select.sources if select else ()) + _names(parameters.get("model.sources"))
    named: list[str] = []
    for source in sources:
        if source in SCHEMAS:
            named.append(source)
        elif source == CLUSTER:
            named += list(SCHEMAS)
        elif source != "*":
            raise QueryRefused(
                f"Could not resolve source ref '{source}'. Valid source refs are {CLUSTER}, {', '.join(SCHEMAS)}.",
                code=4,
                summary="Invalid query parameter",
            )
    if named:
        wanted = [name for name in wanted if name in named]
    restrict = _names(parameters.get("model.restrict"))
    for name in restrict:
        if name not in SCHEMAS:
            raise QueryRefused(f"Could not resolve schema '{name}' of 'restrict'", code=4)
    if restrict:
        wanted = [name for name in wanted if name in restrict]
    return tuple(SCHEMAS[name] for name in wanted)


def _window(parameters: Mapping[str, Any], select: Select | None) -> tuple[int, int]:
    """Hits and offset; YQL's `limit` counts from the first hit, so `limit 7 offset 3` is 4 hits."""
    hits = _integer(parameters, "hits", DEFAULT_HITS)
    offset = _integer(parameters, "offset", 0)
    if select is not None and select.offset is not None:
        offset = select.offset
    if select is not None and select.limit is not None:
        hits = max(0, select.limit - (select.offset or 0))
    if hits < 0 or offset < 0:
        raise QueryRefused("hits and offset must not be negative", code=4, summary="Invalid query parameter")
    for name, value, most in (("hits", hits, MAX_HITS), ("offset", offset, MAX_OFFSET)):
        if value > most:
            raise QueryRefused(
                f"{value} {name} requested, configured limit: {most}.",
                code=4,
                summary="Invalid query parameter",
            )
    return hits, offset


def _sorting(text: Any) -> tuple[OrderBy, ...]:
    """The keys of `sorting=+field -field`, which holds where YQL has no `order by`."""
    keys = []
    for part in str(text or "").split():
        match = _SORT_KEY.fullmatch(part)
        if match is None:
            raise unsupported(f"'{part}' in 'sorting' (it takes ±field, ±raw(field), ±lowercase(field))")
        keys.append(OrderBy(match[3] or match[4], match[1] == "-", match[2] == "raw"))
    return tuple(keys)


def _timeout(parameters: Mapping[str, Any], select: Select | None) -> float:
    if select is not None and select.timeout_ms is not None:
        return select.timeout_ms / 1000
    value = parameters.get("timeout")
    if value is None:
        return DEFAULT_TIMEOUT_S
    seconds = parse_seconds(str(value))
    if seconds is None:
        raise QueryRefused(f"'{value}' is no time for 'timeout'", code=4, summary="Invalid query parameter")
    return seconds


def _integer(parameters: Mapping[str, Any], name: str, default: int) -> int:
    value = parameters.get(name, default)
    try:
        return int(value)
    except (TypeError, ValueError):
        raise QueryRefused(
            f"Could not set '{name}' to '{value}': not a whole number",
            code=4,
            summary="Invalid query parameter",
        ) from None


def _names(value: Any) -> list[str]:
    if value is None:
        return []
    parts = value if isinstance(value, list) else str(value).split(",")
    return [str(part).strip() for part in parts if str(part).strip()]


# -------------------------------------------------------------------- answer


class _Rendering:
    """How hits look: which summary, which fields."""

    def __init__(self, parameters: Mapping[str, Any], select: Select | None, query: Query) -> None:
        self.summary = str(parameters.get("presentation.summary", "default"))
        self.fields = select.fields if select else None
        self.query = query
        if not any(schema.summary(self.summary) for schema in query.schemas):
            raise QueryRefused(f"invalid presentation.summary: no document summary '{self.summary}'", code=4)
        if self.fields is not None:
            known = {item.name for schema in SCHEMAS.values() for item in schema.fields}
            known |= {
                item.name
                for schema in query.schemas
                for summary in schema.summaries
                if summary.name == self.summary
                for item in summary.teasers
            }
            for name in self.fields:
                if name not in known and name not in ("documentid", "sddocname", "matchfeatures", "*"):
                    raise QueryRefused(f"Field '{name}' does not exist.", code=4)

    def root(self, answer: Answer) -> dict[str, Any]:
        root: dict[str, Any] = {
            "id": "toplevel",
            "relevance": 1.0,
            "fields": {"totalCount": answer.total},
            "coverage": {
                "coverage": 100,
                "documents": answer.documents,
                "full": True,
                "nodes": 1,
                "results": 1,
                "resultsFull": 1,
            },
        }
        children: list[dict[str, Any]] = [
            {
                "id": f"group:root:{number}",
                "relevance": 1.0,
                "continuation": {"this": ""},
                **self.group(group),
            }
            for number, group in enumerate(answer.groups)
        ]
        children += [self.hit(hit) for hit in answer.hits]
        if children:
            root["children"] = children
        return root

    def group(self, found: dict[str, Any]) -> dict[str, Any]:
        """A group or list of them, with the hits in it rendered."""
        inside = [
            self.hit(child) if isinstance(child, Hit) else self.group(child)
            for child in found.get("children", ())
        ]
        return {**found, "children": inside} if inside else found

    def hit(self, hit: Hit) -> dict[str, Any]:
        wanted = hit.summary or self.summary
        summary = hit.schema.summary(wanted)
        names = summary.fields if summary else ()
        fields: dict[str, Any] = {}
        id = hit.id
        if wanted == "default":
            fields = {"sddocname": hit.schema.name, "documentid": hit.id}
        else:
            # Only the default summary holds the document id; Vespa then shows the global id.
            gid = hashlib.md5(hit.id.encode(), usedforsecurity=False).hexdigest()[:24]
            id = f"index:{CLUSTER}/0/{gid}"
            fields = {"sddocname": hit.schema.name}
        if hit.features is not None:
            fields["matchfeatures"] = hit.features
        fields.update({name: hit.fields[name] for name in names if name in hit.fields})
        for item in summary.teasers if summary else ():
            if text := hit.fields.get(item.source):
                fields[item.name] = teaser(text, self.asked(hit.schema, item.source))
        if self.fields is not None and "*" not in self.fields:
            fields = {name: fields[name] for name in self.fields if name in fields}
        return {"id": id, "relevance": hit.relevance, "source": CLUSTER, "fields": fields}

    def asked(self, schema: Schema, source: str) -> frozenset[str]:
        fields = {source, *(("default",) if source in schema.default_fieldset else ())}
        return asked_words(self.query.where, frozenset(fields))
