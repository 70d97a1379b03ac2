"""TLS 1.3 for uvicorn.

The certificate is read once; renewing it requires a restart, or a proxy in front.
"""

import ssl
from collections.abc import Callable
from pathlib import Path

from assay.core.errors import UsageError
from assay.core.files import require_regular_file
from assay.serving.settings import TlsSettings


class TlsContextFactory:
    """Creates uvicorn's TLS context; unlike the context itself, it can be pickled."""

    def __init__(self, cert: Path, key: Path) -> None:
        """The files are read when called."""
        self._cert, self._key = cert, key

    def __call__(self, config: object = None, default: object = None) -> ssl.SSLContext:
        """Return a server's context; the arguments, passed by uvicorn, are not used.

        Raises:
            UsageError: a file cannot be read, is a pipe or a device, or the two do not match.
        """
        del config, default
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        for path in (self._cert, self._key):
            require_regular_file(path)
        try:
            context.load_cert_chain(self._cert, self._key, password=_no_password)
        except ssl.SSLError as error:
            # OpenSSL names neither of the two files.
            reason = "do not belong together" if error.reason == "KEY_VALUES_MISMATCH" else "are not PEM files"
            raise UsageError(f"{self._cert} and {self._key} {reason}; give a certificate and its key") from None
        except OSError as error:
            raise UsageError(f"{self._cert} or {self._key} cannot be read: {error.strerror}") from None
        return context


def tls_context_factory(settings: TlsSettings) -> Callable[..., ssl.SSLContext] | None:
    """Return a factory of uvicorn's TLS context, None without TLS.

    Raises:
        UsageError: certificate and key are unusable; they are read here once, before a socket is opened.
    """
    if settings.cert is None or settings.key is None:
        return None
    factory = TlsContextFactory(settings.cert, settings.key)
    factory()
    return factory


def _no_password() -> str:
    # Without this, OpenSSL would prompt on the terminal, and a service would hang.
    raise UsageError("the private key is encrypted; give one that is not (openssl pkey -in KEY -out PLAIN)")
