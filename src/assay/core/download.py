"""Download a file over HTTP: resumable, verified by SHA-256, written atomically."""

import http.client
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from assay.core.errors import AssayError, UsageError
from assay.core.files import file_sha256
from assay.core.locks import wait_for_lock
from assay.core.progress import Progress, no_progress

_BLOCK = 1 << 18


def download(
    url: str, to: Path, sha256: str | None = None, *, timeout: float = 10.0, progress: Progress = no_progress
) -> Path:
    """Download `url` to the file `to`.

    Partial content is stored in `to` + ".part". Broken connections are resumed (HTTP Range with If-Range), within one
    call as long as new bytes arrive, and otherwise in the next call. If the file has changed on the server, or the
    server cannot resume, the download restarts. A second process that downloads the same file waits.

    Args:
        url: http or https URL. Proxies are taken from the environment, except for localhost.
        to: the output file. If it exists and has the hash (or none is given), nothing is downloaded.
        sha256: 64 hexadecimal digits, or the first 8 or more of them.
        timeout: seconds to wait for the connection and for each block.
        progress: called with the bytes done and the total (done + 1 while the total is unknown).

    Returns:
        `to`.

    Raises:
        UsageError: the URL or the hash is invalid.
        AssayError: no network, no such file, a wrong hash, or too little disk space.
    """
    if sha256 is not None and (len(sha256) < 8 or set(sha256.lower()) - set("0123456789abcdef")):
        raise UsageError(f"{sha256!r} is not a SHA-256: give 64 hexadecimal digits, or the first 8 or more")
    if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
        raise UsageError(f"{url!r} is not a URL that can be downloaded: it must begin with http:// or https://")
    part = to.with_name(to.name + ".part")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with _exclusive(part):
            if not (to.is_file() and _has_digest(to, sha256)):
                _receive_all(url, part, timeout, progress)
                _verify(url, part, sha256)
                part.replace(to)
            part.unlink(missing_ok=True)
            _validator_file(part).unlink(missing_ok=True)
    except (OSError, http.client.HTTPException) as error:
        raise AssayError(_error_message(url, to, part, error)) from None
    return to


def _receive_all(url: str, part: Path, timeout: float, progress: Progress) -> None:
    """Reconnect as long as each connection brings new bytes."""
    furthest = part.stat().st_size
    while True:
        try:
            with _connect(url, part, timeout) as answer:
                whole = _receive(answer, part, progress, Path(urlsplit(url).path).name)
            if whole:
                return
            cause: OSError | http.client.HTTPException = ConnectionResetError("the connection broke off")
        except (ConnectionError, TimeoutError, http.client.IncompleteRead) as error:
            cause = error
        size = part.stat().st_size
        if size <= furthest:
            raise cause
        furthest = size


def _connect(url: str, part: Path, timeout: float) -> http.client.HTTPResponse:
    """Request the missing bytes; truncate `part` if the response starts over."""
    size, validator = part.stat().st_size, _validator(url, part)
    headers = {"User-Agent": "assay", "Accept-Encoding": "identity"}
    if size and validator:
        headers |= {"Range": f"bytes={size}-", "If-Range": validator}
    try:
        answer = _open_url(url, headers, timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or "Range" not in headers:
            raise
        _validator_file(part).unlink(missing_ok=True)  # `part` is longer than the file, so its content is invalid
        return _connect(url, part, timeout)
    if not _is_continuation(answer, size, validator):
        if answer.status == HTTPStatus.PARTIAL_CONTENT:
            answer.close()
            _validator_file(part).unlink(missing_ok=True)
            return _connect(url, part, timeout)
        with part.open("r+b") as stream:
            stream.truncate(0)
        _validator_file(part).write_text(f"{url}\n{_strong_validator(answer.headers)}\n", encoding="utf-8")
    return answer


def _is_continuation(answer: http.client.HTTPResponse, size: int, validator: str) -> bool:
    """Return whether the response continues at byte `size` of the same version of the file.

    Some servers ignore If-Range, therefore the validator is compared too.
    """
    return (
        answer.status == HTTPStatus.PARTIAL_CONTENT
        and answer.headers.get("Content-Range", "").startswith(f"bytes {size}-")
        and _strong_validator(answer.headers) in {validator, ""}
    )


def _open_url(url: str, headers: dict[str, str], timeout: float) -> http.client.HTTPResponse:
    local = urlsplit(url).hostname in {"localhost", "127.0.0.1", "::1"}
    proxies = urllib.request.ProxyHandler({} if local else None)
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the caller checked the scheme
    answer = urllib.request.build_opener(proxies, _Redirects()).open(request, timeout=timeout)
    if not isinstance(answer, http.client.HTTPResponse):
        raise TypeError(f"the response of {url} is {type(answer).__name__}, not HTTP")
    return answer


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only, and never from https to http."""

    def redirect_request(  # noqa: PLR0917 - the signature is the library's
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        scheme = urlsplit(newurl).scheme
        if scheme != "https" and (scheme != "http" or req.type == "https"):
            raise AssayError(f"{req.full_url} redirects to {newurl}, which is not secure: nothing was downloaded")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _receive(answer: http.client.HTTPResponse, part: Path, progress: Progress, name: str) -> bool:
    """Append the response to `part`; return whether it is complete."""
    done = part.stat().st_size
    announced = answer.headers.get("Content-Length")
    total = done + int(announced) if announced and announced.isdecimal() else 0
    free = shutil.disk_usage(part.parent).free
    if total - done > free:
        raise AssayError(f"{part.parent} has {free:,} bytes free but {name} needs {total - done:,} more")
    with part.open("ab") as stream:
        while block := answer.read(_BLOCK):
            stream.write(block)
            done += len(block)
            progress(name, done, total or done + 1)
    progress(name, done, total or done)
    return total in {0, done}


def _validator(url: str, part: Path) -> str:
    """Return the ETag or date with which `part` was started, or "" if it cannot be resumed."""
    if not _validator_file(part).is_file():
        return ""
    lines = _validator_file(part).read_text(encoding="utf-8").splitlines()
    return lines[1] if len(lines) == 2 and lines[0] == url else ""


def _strong_validator(headers: Message) -> str:
    """Return a value for If-Range (RFC 9110, 13.1.5): a strong ETag, else the modification date."""
    etag = str(headers.get("ETag", ""))
    return etag if etag.startswith('"') else str(headers.get("Last-Modified", ""))


def _validator_file(part: Path) -> Path:
    return part.with_name(part.name + ".from")


def _has_digest(path: Path, sha256: str | None) -> bool:
    return sha256 is None or file_sha256(path).startswith(sha256.lower())


def _verify(url: str, part: Path, sha256: str | None) -> None:
    if _has_digest(part, sha256):
        return
    found = file_sha256(part)
    part.unlink()
    _validator_file(part).unlink(missing_ok=True)
    raise AssayError(
        f"{url}: the SHA-256 of the downloaded file is {found}, not {sha256}: it was damaged or has changed on the "
        "server, and was deleted; try again, and do not use the file if this happens again"
    )


def _error_message(url: str, to: Path, part: Path, error: Exception) -> str:
    kept = part.stat().st_size if part.is_file() and _validator(url, part) else 0
    again = f"; {kept:,} bytes are kept: repeat the command to resume" if kept else ""
    if isinstance(error, urllib.error.HTTPError):
        return f"{url}: HTTP status {error.code} {error.reason}: check the URL{again}"
    if isinstance(error, OSError) and error.filename is not None:
        return f"cannot write {error.filename} ({error.strerror}): choose another folder"
    reason: Any = error.reason if isinstance(error, urllib.error.URLError) else error
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return (
        f"cannot download {url} ({text}): check the network{again}, "
        f"or download it on another machine and copy it to {to}"
    )


@contextmanager
def _exclusive(part: Path) -> Iterator[None]:
    while True:
        with part.open("ab") as stream:
            wait_for_lock(stream)
            # The previous holder may have renamed or deleted the file that is open here.
            if part.exists() and part.stat().st_ino == os.fstat(stream.fileno()).st_ino:
                try:
                    yield
                finally:
                    if part.exists() and not part.stat().st_size:
                        part.unlink()
                        _validator_file(part).unlink(missing_ok=True)
                return
