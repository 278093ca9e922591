"""Files by S3 key through boto3, in threads of their own.

`S3Settings` takes boto3's client names plus `bucket` and `addressing_style`; what is left out comes from
AWS's usual places (environment, profile, instance role), as boto3's documentation on credentials lists.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ingestion import errors
from ingestion.files.transfer import (
    READ_BYTES,
    Fetched,
    Inflater,
    PartialFile,
    Timeouts,
    TransientError,
)
from ingestion.version import __version__

_SESSION_NAMES: Final = (
    "aws_access_key_id", "aws_secret_access_key", "aws_session_token", "region_name", "profile_name",
)  # fmt: skip
_CLIENT_NAMES: Final = ("endpoint_url", "use_ssl", "verify", "api_version")
_ENVIRONMENT: Final = (
    "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)  # fmt: skip
_MISSING: Final = frozenset({"NoSuchKey", "404", "NotFound", "NoSuchVersion"})
_REFUSED: Final = frozenset(
    {
        "AccessDenied",
        "403",
        "401",
        "Forbidden",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "AllAccessDisabled",
    }
)
_CHANGED: Final = frozenset({"PreconditionFailed", "412", "InvalidRange", "416"})


@dataclass(frozen=True, slots=True)
class S3Settings:
    """Where keys are looked up; `options` may hold credentials and never shows."""

    bucket: str = ""
    addressing_style: str = "auto"
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, aws_config: Mapping[str, Any] | None) -> S3Settings:
        """Raises SettingsError for a name that is none of boto3's."""
        config = {name: value for name, value in (aws_config or {}).items() if value not in (None, "")}
        bucket, style = config.pop("bucket", ""), config.pop("addressing_style", "auto")
        unknown = sorted(set(config) - {*_SESSION_NAMES, *_CLIENT_NAMES})
        if unknown:
            raise errors.SettingsError(
                f"aws_config has an unknown name {unknown[0]!r}",
                hint=f"It takes bucket, addressing_style, {', '.join((*_SESSION_NAMES, *_CLIENT_NAMES))}.",
            )
        return cls(str(bucket), str(style), config)

    @property
    def endpoint_url(self) -> str:
        return str(self.options.get("endpoint_url", ""))


def has_credentials() -> bool:
    """Whether the environment or a profile gives AWS credentials, as boto3's documentation lists these places."""
    if any(os.environ.get(name) for name in _ENVIRONMENT):
        return True
    file = os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials"
    return Path(file).expanduser().is_file()


class S3Fetcher:
    """Fetches keys into partial files; the client is made at the first use, anew after a `close`."""

    def __init__(self, settings: S3Settings, *, timeouts: Timeouts, threads: int) -> None:
        self._settings = settings
        self._timeouts = timeouts
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._session: Any = None
        """Kept when all else is closed: from it a second client is made in no time."""
        self._client: Any = None
        self._making = threading.Lock()

    def close(self) -> None:
        pool, self._pool = self._pool, None
        client, self._client = self._client, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
        if client is not None:
            client.close()

    async def fetch(
        self,
        key: str,
        part: PartialFile,
        *,
        bucket: str = "",
        etag: str = "",
    ) -> Fetched:
        """One attempt; as `HttpFetcher.fetch`. Cancelling it waits for the piece under way."""
        stop = threading.Event()
        bucket = bucket or self._settings.bucket
        if not bucket:
            raise errors.DownloadError(
                "the file has only a key, and no bucket is set",
                hint="Set PROCORE_S3_BUCKET.",
                cause="no_bucket",
            )
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="s3")
        work = asyncio.get_running_loop().run_in_executor(
            self._pool, self._fetch, bucket, key, part, etag, stop
        )
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            # The thread writes to the file that the caller is about to close.
            stop.set()
            await asyncio.wait([work])
            raise

    def _fetch(
        self,
        bucket: str,
        key: str,
        part: PartialFile,
        etag: str,
        stop: threading.Event,
    ) -> Fetched:
        from botocore import exceptions

        request: dict[str, Any] = {"Bucket": bucket, "Key": key, "ChecksumMode": "ENABLED"}
        if part.size and not part.validator:
            part.restart()  # a piece of who knows which version of the file
        if part.size:
            request |= {"Range": f"bytes={part.size}-", "IfMatch": part.validator}
        elif etag:
            request["IfNoneMatch"] = etag
        try:
            answer = self._s3().get_object(**request)
            body = answer["Body"]
            try:
                self._receive(answer, body, part, stop)
            finally:
                body.close()
        except exceptions.ClientError as error:
            if str(error.response.get("Error", {}).get("Code")) in ("304", "NotModified"):
                if "IfNoneMatch" in request:
                    return Fetched(etag=etag, unchanged=True)
                raise errors.DownloadError(
                    "S3 says that the file has not changed (304), though nobody asked", cause="wrong_content"
                ) from error
            raise _judged(error, part) from error
        except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
            raise errors.DownloadError(
                "no AWS credentials were found",
                hint="Give them in the usual places.",
                cause="no_credentials",
            ) from error
        except (exceptions.ConnectTimeoutError, exceptions.ReadTimeoutError) as error:
            raise TransientError("S3 did not answer in time", cause="timeout") from error
        except (
            exceptions.HTTPClientError,
            exceptions.IncompleteReadError,
            exceptions.ResponseStreamingError,
        ) as error:
            raise TransientError(
                f"the connection to S3 broke ({type(error).__name__})", cause="connection"
            ) from error
        except exceptions.FlexibleChecksumError as error:
            # botocore compares what arrives with whichever checksum the store states of it.
            raise errors.DownloadError(
                "the content has another checksum than S3 states", cause="wrong_content"
            ) from error
        except (exceptions.ParamValidationError, ValueError) as error:
            raise errors.DownloadError("no store can hold a file of this key", cause="bad_url") from error
        except exceptions.BotoCoreError as error:
            raise errors.DownloadError(f"S3: {type(error).__name__}: {error}", cause="s3_error") from error
        return Fetched(
            content_type=str(answer.get("ContentType", "")).partition(";")[0].strip().lower(),
            etag=answer.get("ETag", ""),
        )

    def _receive(
        self,
        answer: Mapping[str, Any],
        body: Any,
        part: PartialFile,
        stop: threading.Event,
    ) -> None:
        # boto3 hands the stored bytes out as they are: what was uploaded compressed is still so.
        inflater = Inflater(str(answer.get("ContentEncoding", "")).replace("aws-chunked", "").strip(", "))
        start = str(answer.get("ContentRange", "")).removeprefix("bytes ").partition("-")[0]
        etag = str(answer.get("ETag", ""))
        if not part.size or start != str(part.size) or etag != part.validator:
            if "ContentRange" in answer and start != "0":
                part.restart()
                raise TransientError("S3 sent another range than was asked for", cause="wrong_range")
            part.restart("" if inflater.active else etag)
        if not inflater.active:
            part.expect(int(answer.get("ContentLength", 0)))
        while data := body.read(READ_BYTES):
            if stop.is_set():
                raise TransientError("stopped", cause="cancelled")
            inflater.feed(data, part.write)
        inflater.finish(part.write)

    def _s3(self) -> Any:
        with self._making:
            if self._client is None:
                self._client = self._make_client()
            return self._client

    def _make_client(self) -> Any:
        import boto3
        from botocore import UNSIGNED
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        options = self._settings.options
        try:
            if self._session is None:
                self._session = boto3.session.Session(
                    **{n: options[n] for n in _SESSION_NAMES if n in options}
                )
            session = self._session
            config = Config(
                connect_timeout=self._timeouts.connect_s,
                read_timeout=self._timeouts.idle_s,
                max_pool_connections=self._threads,
                # boto3's own names the platform, and takes a tenth of a request's time to put together.
                user_agent=f"procore-ingest/{__version__}",
                # Retries are ours: they count towards the file's total time.
                retries={"total_max_attempts": 1},
                s3={"addressing_style": self._settings.addressing_style},
            )
            if self._settings.endpoint_url and session.get_credentials() is None:
                # A store of the operator's own that asks for no credentials.
                config = config.merge(Config(signature_version=UNSIGNED))
            region = session.region_name or ("us-east-1" if self._settings.endpoint_url else None)
            return session.client(
                "s3",
                config=config,
                region_name=region,
                **{n: options[n] for n in _CLIENT_NAMES if n in options},
            )
        except (BotoCoreError, ValueError) as error:
            raise errors.DownloadError(
                f"S3 cannot be used: {error}", hint="Correct the AWS settings.", cause="no_credentials"
            ) from error


def _judged(error: Any, part: PartialFile) -> errors.DownloadError:
    """What a ClientError means for the file."""
    details = error.response.get("Error", {})
    code = str(details.get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    said = f"S3 answered {status or code}: {details.get('Message') or code}"
    if code in _CHANGED:
        part.restart()
        return TransientError("the file changed in the store meanwhile", cause="wrong_range")
    if code == "NoSuchBucket":
        return errors.DownloadError(said, hint="Correct PROCORE_S3_BUCKET.", cause="no_bucket")
    if code in _MISSING or status == 404:
        return errors.DownloadError(said, cause="http_404")
    if code in ("ExpiredToken", "RequestExpired"):
        return errors.DownloadError("the AWS credentials have expired", cause="no_credentials")
    if code in _REFUSED or status in (401, 403):
        return errors.DownloadError(said, cause="http_403")
    if status == 429 or code in ("SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded"):
        return TransientError(said, cause="http_429")
    if status >= 500:
        return TransientError(said, cause="http_5xx")
    return errors.DownloadError(said, cause=f"http_{status}" if status else "s3_error")
