"""Files on this machine and in object stores: one interface to paths and URLs, by fsspec."""

import errno
import os
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from assay.core.errors import AssayError, UsageError
from assay.core.files import atomic_write, open_file

_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}
"""Packages of the most common object stores by URL scheme."""
_CLIENT_LIBRARIES = {"botocore", "aiobotocore", "aiohttp", "gcsfs", "google", "adlfs", "azure"}
"""Modules whose exceptions are errors of a store."""
_FORBIDDEN = {401, 403, 407}
_LATER = {408, 425, 429}
"""Status of HTTP after which the same request may succeed later, as after those of the server (500 and above)."""
_NO_ANSWER = 500


def is_url(location: str) -> bool:
    """Whether a location is a URL, as `s3://bucket/photos`, and not a path."""
    return "://" in location


def join(folder: str, name: str) -> str:
    """Return the location of a file in a folder."""
    return posixpath.join(folder, name) if is_url(folder) else str(Path(folder) / name)


def absolute(location: str) -> str:
    """Return a location that is the same file in processes with another working directory."""
    return location if is_url(location) else str(Path(location).absolute())


def read(location: str) -> bytes:
    """Return the content of a file.

    Raises:
        OSError: it cannot be read.
    """
    with open_binary(location) as stream:
        content: bytes = stream.read()
    return content


@contextmanager
def open_binary(location: str) -> Iterator[Any]:
    """Open a file for reading; in an object store, only the parts that are read are fetched.

    Raises:
        OSError: it cannot be opened.
    """
    if not is_url(location):
        with open_file(Path(location)) as stream:
            yield stream
        return
    files, path = file_system(location)
    with _client_errors():
        try:
            opened = files.open(path, "rb")
        except ValueError as error:
            raise _not_an_address(error) from error
        with opened as stream:
            yield stream


def write(location: str, content: bytes) -> None:
    """Write a file as a whole: readers see the old content or the new one.

    Object stores show an object only once it is complete; a file is renamed when it is.

    Raises:
        AssayError: it cannot be written.
    """
    try:
        files, path = file_system(location)
        if isinstance(files, LocalFileSystem):
            with atomic_write(Path(path)) as temporary:
                temporary.write_bytes(content)
        else:
            with _client_errors():
                files.pipe_file(path, content)
    except OSError as error:
        reason = error.strerror or error
        raise AssayError(f"cannot write {location} ({reason}): fix this and repeat the command to resume") from None


def names(folder: str) -> set[str]:
    """Return the names of the files in a folder; none if it does not exist.

    Raises:
        UsageError: it is a file.
        AssayError: it cannot be read.
    """
    files, path = file_system(folder)
    try:
        with _client_errors():
            if files.isfile(path):
                raise UsageError(f"{folder} is a file: give a folder")
            found = files.ls(path, detail=False)
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except OSError as error:
        raise _unreadable(folder, error) from None
    except ValueError as error:
        raise _unreadable(folder, _not_an_address(error)) from None
    return {posixpath.basename(name) for name in found}


def walk(folder: str, *, without: str) -> Iterator[str]:
    """Yield the URLs of all files below a URL, folder by folder, sorted by name; names with a leading dot are left out.

    Args:
        folder: the URL.
        without: folders that contain a file of this name are left out.

    Raises:
        UsageError: the folder does not exist.
        AssayError: it cannot be read.
    """
    files, path = file_system(folder)
    try:
        with _client_errors():
            for parent, folders, found in files.walk(path, detail=False, on_error="raise"):
                if without in found:
                    folders.clear()
                    continue
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                for name in sorted(found):
                    if name and not name.startswith("."):
                        yield str(files.unstrip_protocol(posixpath.join(parent, name)))
    except FileNotFoundError:
        advice = "URLs cannot contain wildcards, give the folder" if "*" in folder else "check the spelling"
        raise UsageError(f"{folder} does not exist: {advice}") from None
    except OSError as error:
        raise _unreadable(folder, error) from None
    except ValueError as error:
        raise _unreadable(folder, _not_an_address(error)) from None


def is_file(location: str) -> bool:
    """Whether a URL is that of a file.

    Raises:
        AssayError: the store cannot be reached.
    """
    files, path = file_system(location)
    try:
        with _client_errors():
            return bool(files.isfile(path))
    except OSError as error:
        raise _unreadable(location, error) from None
    except ValueError as error:
        raise _unreadable(location, _not_an_address(error)) from None


def file_system(location: str) -> tuple[Any, str]:
    """Return the fsspec file system of a location and the path in it.

    Raises:
        UsageError: the scheme of the URL is unknown, or the package that reads it is not installed.
    """
    try:
        # Listings must not be cached: other processes write files.
        options = {"use_listings_cache": False} if is_url(location) else {}
        files, path = fsspec.core.url_to_fs(location, **options)
    except ImportError:
        scheme = location.partition("://")[0]
        package = _PACKAGES.get(scheme, f"the fsspec implementation of {scheme}://")
        raise UsageError(f"{location} needs {package}: pip install {package}") from None
    except ValueError:
        raise UsageError(f"{location} has an unknown scheme: use s3://, gs:// or another one of fsspec") from None
    return files, str(path)


@contextmanager
def _client_errors() -> Iterator[None]:
    """Raise the errors of a store's client library, as about credentials or the network, as OSError.

    For HTTP, fsspec says of every error that the file does not exist; that is so only if the server answers it.
    """
    try:
        yield
    except FileNotFoundError as error:
        cause = error.__cause__
        if cause is None or type(cause).__module__.partition(".")[0] != "aiohttp":
            raise
        status = getattr(cause, "status", _NO_ANSWER)
        if status in _FORBIDDEN:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(error)) from error
        if status in _LATER or status >= _NO_ANSWER:
            raise OSError(str(cause) or type(cause).__name__) from error
        raise
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in _CLIENT_LIBRARIES or isinstance(error, OSError):
            raise
        raise OSError(str(error) or type(error).__name__) from error


def _not_an_address(error: ValueError) -> OSError:
    return OSError(errno.EINVAL, str(error).rstrip(": "))


def _unreadable(location: str, error: OSError) -> AssayError:
    advice = "check the address and the credentials" if is_url(location) else "check the path and its permissions"
    return AssayError(f"{location} cannot be read ({_reason(error)}): {advice}")


def _reason(error: OSError) -> str:
    return str(error.strerror or error).rstrip(".") or type(error).__name__
