"""The public contract of the core, written down: what callers may rely on by name, order and default.

Ours may have more: further members, and further parameters that have a default.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Iterator
from enum import Enum
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

from ingestion import errors

CONTRACT: dict[str, str] = {
    "db_connection": """
@dataclass
class ConnectionConfig:
    host: str
    port: int
    database: str
    user: str
    password: str
    ssl: bool = True
    pool_size: int = 5
    @classmethod
    def from_url(cls, url): ...

class DatabaseConnection:
    def __init__(self, config, logger): ...
    async def connect(self): ...
    async def close(self): ...
    async def execute(self, query, *args): ...
    async def execute_many(self, query, args_list): ...
    async def stream(self, query, *args, batch_size=1000) -> AsyncIterator: ...
    def transaction(self): ...
    @property
    def is_connected(self): ...
""",
    "schema_discovery": """
class FileReferenceType(Enum):
    S3_KEY = "s3_key"
    URL = "url"
    JSONB_S3_MAP = "jsonb_s3_map"

@dataclass
class Column:
    name: str
    data_type: str
    is_nullable: bool
    default_value: str = None
    max_length: int = None

@dataclass
class FileReferenceColumn:
    column_name: str
    reference_type: FileReferenceType
    pattern: str

@dataclass
class Table:
    name: str
    row_count: int
    columns: list = list()
    timestamp_columns: list = list()
    file_reference_columns: list = list()

@dataclass
class ImplicitRelationship:
    source_table: str
    source_column: str
    target_table: str
    target_column: str = "id"

@dataclass
class SchemaMap:
    discovery_timestamp: str
    database_name: str
    tables: list = list()
    relationships: list = list()

class SchemaDiscovery:
    def __init__(self, db, logger): ...
    async def discover(self, include_samples=False): ...
    async def get_tables(self, schema="public"): ...
    async def get_columns(self, table): ...
    async def get_row_count(self, table): ...
    async def detect_file_columns(self, table, columns): ...
    async def infer_relationships(self, tables): ...
    def to_json(self, schema_map): ...
    def to_markdown(self, schema_map): ...
""",
    "record_ingester": """
@dataclass
class IngestedRecord:
    doc_id: str
    source_table: str
    source_id: str
    project_id: int
    metadata: dict
    relationships: list
    file_references: list
    content_text: str
    created_at: int
    updated_at: int
    ingested_at: int

@dataclass
class IngestionResult:
    success: bool
    doc_id: str
    error: str = None

class RecordIngester:
    def __init__(self, db, vespa, schema_map, logger): ...
    async def ingest_table(self, table, batch_size=10000, since=None) -> AsyncIterator: ...
    def transform_record(self, table, row): ...
    def extract_relationships(self, table, row): ...
    def extract_file_references(self, table, row): ...
    def generate_content_text(self, table, row): ...
    async def index_record(self, record): ...
    async def index_batch(self, records): ...
""",
    "file_detector": """
@dataclass
class DetectedFile:
    s3_key: str
    source_table: str
    source_record_id: str
    source_column: str
    filename: str
    file_size: int
    url: str

class FileDetector:
    def __init__(self, schema_map, logger): ...
    def detect_in_record(self, table, row): ...
    def parse_s3_key(self, column, value): ...
    def parse_jsonb_attachments(self, column, value): ...
    def parse_url(self, column, value): ...
    def extract_filename(self, s3_key): ...
    def infer_file_type(self, filename): ...
""",
    "file_downloader": """
@dataclass
class DownloadResult:
    s3_key: str
    success: bool
    local_path: str = None
    file_size: int = None
    error: str = None
    status: str = "pending"

class DownloadStrategy(Enum):
    PROCORE_URL = "procore_url"
    DIRECT_S3 = "direct_s3"

class FileDownloader:
    def __init__(self, download_dir, strategy=DownloadStrategy.PROCORE_URL, logger=None, aws_config=None): ...
    async def download(self, file): ...
    async def download_batch(self, files, workers=2) -> AsyncIterator: ...
    async def download_from_url(self, url, dest): ...
    async def download_from_s3(self, s3_key, dest): ...
    def should_skip(self, file): ...
    @property
    def supported_types(self): ...
    @property
    def max_file_size(self): ...
""",
    "change_detector": """
@dataclass
class Change:
    table: str
    record_id: str
    change_type: str
    updated_at: datetime
    row: dict = None

@dataclass
class ChangeSet:
    table: str
    since: datetime
    until: datetime
    inserts: list
    updates: list
    deletes: list
    @property
    def total_changes(self): ...

class ChangeDetector:
    def __init__(self, db, checkpoint_store, logger): ...
    async def detect_changes(self, table, since=None): ...
    async def get_updated_records(self, table, since, batch_size=1000) -> AsyncIterator: ...
    async def detect_deletes(self, table, known_ids, sample_size=1000): ...
    def get_timestamp_column(self, table): ...
""",
    "checkpoint": """
@dataclass
class Checkpoint:
    table_name: str
    last_sync_timestamp: datetime
    last_record_id: str
    records_processed: int
    records_failed: int
    sync_status: str
    error_message: str
    updated_at: datetime

class CheckpointStore:
    def __init__(self, db_path): ...
    async def initialize(self): ...
    async def get(self, table_name): ...
    async def set(self, checkpoint): ...
    async def get_all(self): ...
    async def clear(self, table_name=None): ...
    async def get_last_sync_time(self, table_name): ...
""",
    "sync_manager": """
@dataclass
class SyncConfig:
    tables: list = None
    exclude_tables: list = list()
    batch_size: int = 1000
    download_files: bool = False
    file_workers: int = 2

@dataclass
class SyncResult:
    job_id: str
    status: str
    started_at: datetime
    completed_at: datetime
    tables_processed: int
    records_processed: int
    records_failed: int
    files_downloaded: int
    files_failed: int
    errors: list

class SyncManager:
    def __init__(self, db, vespa, schema_map, checkpoint_store, logger): ...
    async def run_full_sync(self, config): ...
    async def run_incremental_sync(self, config): ...
    async def sync_table(self, table, full=False, config=None): ...
    async def get_status(self): ...
    def get_tables_to_sync(self, config): ...
""",
}

BASES = {
    "IngestionError": Exception,
    "ConnectionError": errors.IngestionError,
    "SchemaError": errors.IngestionError,
    "TransformError": errors.IngestionError,
    "IndexError": errors.IngestionError,
    "DownloadError": errors.IngestionError,
}
OPTIONAL_LOGGER = ("DatabaseConnection", "SchemaDiscovery", "RecordIngester", "FileDetector", "ChangeDetector",
                   "SyncManager", "FileDownloader")  # fmt: skip


def promised() -> Iterator[tuple[ModuleType, ast.ClassDef]]:
    for name, text in CONTRACT.items():
        for node in ast.parse(text).body:
            assert isinstance(node, ast.ClassDef)
            yield import_module(f"ingestion.{name}"), node


CASES = [pytest.param(module, node, id=node.name) for module, node in promised()]
METHODS = [
    pytest.param(module, node.name, method, id=f"{node.name}.{method.name}")
    for module, node in promised()
    for method in node.body
    if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef)
]


def default_of(node: ast.expr | None, module: ModuleType) -> Any:
    """What is written after `=`, evaluated where it will stand; no default is `Parameter.empty`."""
    return inspect.Parameter.empty if node is None else eval(ast.unparse(node), dict(vars(module)))


def written_parameters(method: Any, module: ModuleType) -> list[tuple[str, Any]]:
    arguments = method.args
    defaults = [None] * (len(arguments.args) - len(arguments.defaults)) + arguments.defaults
    found = [(a.arg, default_of(d, module)) for a, d in zip(arguments.args, defaults, strict=True)]
    if arguments.vararg is not None:
        found.append((arguments.vararg.arg, inspect.Parameter.empty))
    pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return found + [(a.arg, default_of(d, module)) for a, d in pairs]


@pytest.mark.parametrize(("module", "node"), CASES)
def test_dataclasses_and_enums_hold_what_is_promised_first_and_in_order(
    module: ModuleType, node: ast.ClassDef
) -> None:
    cls = getattr(module, node.name)
    assert cls.__module__ == module.__name__
    values = {
        target.id: default_of(statement.value, module)
        for statement in node.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    if values:
        assert issubclass(cls, Enum)
        assert {name: cls[name].value for name in values} == values
    wanted = [(s.target, s.value) for s in node.body if isinstance(s, ast.AnnAssign)]
    if not wanted:
        return
    assert not cls.__dataclass_params__.frozen, "contract dataclasses are plain"
    fields = dataclasses.fields(cls)[: len(wanted)]
    for field, (target, value) in zip(fields, wanted, strict=True):
        assert isinstance(target, ast.Name)
        assert field.name == target.id
        written = default_of(value, module)
        if field.default_factory is not dataclasses.MISSING:
            assert field.default_factory() == written
        else:
            has = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
            assert has == written, field.name
    for field in dataclasses.fields(cls)[len(wanted) :]:
        assert (field.default, field.default_factory) != (dataclasses.MISSING,) * 2, field.name


@pytest.mark.parametrize(("module", "owner", "method"), METHODS)
def test_methods_are_called_as_promised(module: ModuleType, owner: str, method: Any) -> None:
    cls = getattr(module, owner)
    static = inspect.getattr_static(cls, method.name)
    decorators = {ast.unparse(decorator) for decorator in method.decorator_list}
    if "property" in decorators:
        assert isinstance(static, property)
        return
    assert isinstance(static, classmethod) == ("classmethod" in decorators)
    function = static.__func__ if isinstance(static, classmethod) else static
    iterates = method.returns is not None
    awaited = isinstance(method, ast.AsyncFunctionDef) and not iterates
    assert inspect.iscoroutinefunction(function) == awaited
    has = inspect.signature(function).parameters
    wanted = written_parameters(method, module)
    assert [name for name in has if name in dict(wanted)] == [name for name, _ in wanted]
    for name, default in wanted:
        if default is not inspect.Parameter.empty:
            assert has[name].default == default, name
    for name, parameter in has.items():
        variable = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        assert variable or name in dict(wanted) or parameter.default is not parameter.empty, name


def test_exceptions_have_exactly_the_promised_bases() -> None:
    for name, base in BASES.items():
        assert getattr(errors, name).__bases__ == (base,), name


def test_every_other_error_is_one_of_the_promised_ones() -> None:
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, BaseException):
            assert issubclass(value, errors.IngestionError), name


@pytest.mark.parametrize("name", OPTIONAL_LOGGER)
def test_a_logger_may_be_left_out(name: str) -> None:
    (cls,) = {getattr(module, node.name) for module, node in promised() if node.name == name}
    assert inspect.signature(cls).parameters["logger"].default is None


def test_sync_manager_takes_more_by_keyword_only() -> None:
    from ingestion.sync_manager import SyncManager

    more = list(inspect.signature(SyncManager).parameters.values())[5:]
    assert more
    assert {parameter.kind for parameter in more} == {inspect.Parameter.KEYWORD_ONLY}
