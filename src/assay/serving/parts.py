"""The parts that a server is joined of, besides its models. Each can be nothing.

Knows only what the parts promise, and the factories that make them as the settings say.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from assay.serving.auth.base import Gate
from assay.serving.auth.gate import make_gate
from assay.serving.cache.base import Cache
from assay.serving.cache.make import make_cache
from assay.serving.journal import Journal, UncertainPhotos, make_store, spool_name
from assay.serving.nothing import OpenGate, SilentWatcher
from assay.serving.settings import ServeSettings, state_folder
from assay.serving.watching.base import Watcher

if TYPE_CHECKING:
    from assay.serving.watching.watching import Watching


@dataclass(frozen=True, slots=True)
class Parts:
    """What a server is joined of."""

    gate: Gate = field(default_factory=OpenGate)
    watcher: Watcher = field(default_factory=SilentWatcher)
    cache: Cache | None = None
    journal: Journal | None = None
    uncertain: UncertainPhotos | None = None
    watching: "Watching | None" = None
    """The watcher, where it shows what it has seen."""

    async def start(self) -> None:
        """Begin to record.

        Raises:
            AssayError: the journal's address cannot be right.
        """
        if self.journal is not None:
            await self.journal.start()

    async def close(self) -> None:
        """Flush, and let go of connections."""
        if self.uncertain is not None:
            await self.uncertain.close()
        if self.journal is not None:
            await self.journal.close()
        if self.cache is not None:
            await self.cache.close()
        await self.gate.close()


def make_parts(settings: ServeSettings, watching: "Watching") -> Parts:
    """Make gate, cache and journal as the settings say, for the event loop that they will work in.

    Args:
        settings: of the server.
        watching: is told what happens.

    Raises:
        AssayError: keys are asked for and there are none that can be used, or an address is none.
    """
    gate = make_gate(settings.auth, settings.limits, watching)
    cache = make_cache(settings.cache, watching)
    keep = settings.keep.uncertain
    uncertain = None if keep is None else UncertainPhotos(keep, settings.uncertain)
    return Parts(gate, watching, cache, _make_journal(settings, watching), uncertain, watching)


def _make_journal(settings: ServeSettings, watching: "Watching") -> Journal | None:
    url, bounds = settings.keep.journal_url, settings.journal
    if url is None:
        return None
    if bounds.spool is None:
        bounds = bounds.model_copy(update={"spool": state_folder() / "spool" / spool_name(url)})
    return Journal(make_store(url, keep_days=settings.keep.days), bounds, watching)
