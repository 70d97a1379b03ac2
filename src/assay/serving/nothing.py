"""Parts of a server that do nothing, where none is configured: everybody is let in, nobody watches."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType

from assay.bundle import BundleInfo
from assay.serving.auth.base import ANONYMOUS, Admission, Asked, Client
from assay.serving.record import Record

_ANYBODY = Client(ANONYMOUS, None, "anonymous", frozenset({"classify", "admin", "metrics"}))
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class OpenAdmission:
    """Lets anybody in.

    Args:
        address: the client's.
    """

    def __init__(self, address: str) -> None:
        self.client = _ANYBODY
        self.address = address
        self.headers = _NO_HEADERS
        self.signed = False

    def check_body(self, sha256: str) -> None:
        """Accept any body."""

    async def release(self) -> None:
        """Give back nothing."""


class OpenGate:
    """A gate without a lock."""

    async def admit(self, asked: Asked) -> Admission:
        """Let anybody in."""
        return OpenAdmission(asked.peer)

    async def close(self) -> None:
        """Hold nothing."""


class SilentWatcher:
    """Looks away."""

    def request(self, request_id: str, headers: Mapping[str, str]) -> AbstractContextManager[None]:
        """Tie nothing together."""
        del request_id, headers
        return nullcontext()

    def answered(self, record: Record, tier: str) -> None:
        """Look away."""

    def phase(self, name: str, seconds: float, ended: float | None = None) -> None:
        """Look away."""

    def batch(self, size: int) -> None:
        """Look away."""

    def queue_length(self, length: int) -> None:
        """Look away."""

    def rejected(self, reason: str) -> None:
        """Look away."""

    def cache(self, event: str) -> None:
        """Look away."""

    def damaged(self, part: str) -> None:
        """Look away."""

    def journal(self, backlog: int, dropped: int) -> None:
        """Look away."""

    def degraded(self, part: str, *, down: bool) -> None:
        """Look away."""

    def model(self, name: str, info: BundleInfo) -> None:
        """Look away."""
