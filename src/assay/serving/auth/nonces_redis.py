"""Nonces that all workers and machines know, through Redis; while it is away each machine knows its own.

Knows nothing of signatures. A Redis that forgets when it is restarted forgets the nonces too: what was signed
in the minutes before could then be used once more by who captured it, on another machine. The same holds for
a nonce whose value in Redis is damaged: it is replaced, and counts as new.
"""

from typing import TYPE_CHECKING, cast

from assay.serving.auth.nonces import Nonces

if TYPE_CHECKING:
    from assay.serving.auth.redis_link import RedisLink

_ADD = """
if redis.call('SET', KEYS[1], 1, 'NX', 'EX', ARGV[1]) then return 1 end
if redis.call('TYPE', KEYS[1]).ok == 'string' and redis.call('GETRANGE', KEYS[1], 0, 1) == '1' then
  return 0
end
redis.call('SET', KEYS[1], 1, 'EX', ARGV[1])
return 2
"""
_KNOWN, _DAMAGED = 0, 2


class SharedNonces:
    """Nonces in Redis and on this machine (`Nonces`)."""

    def __init__(self, link: "RedisLink", near: Nonces, seconds: float) -> None:
        """Join Redis and this machine's nonces, which are asked first; the link's owner closes it."""
        self._link, self._near, self._seconds = link, near, seconds
        self._script = link.redis.register_script(_ADD)

    async def is_new(self, key_id: str, nonce: str) -> bool:
        """Remember a nonce (`Nonces.is_new`)."""
        if not await self._near.is_new(key_id, nonce):
            return False
        stored = await self._link.ask(lambda: self._store(key_id, nonce))
        return stored is not False

    async def _store(self, key_id: str, nonce: str) -> bool:
        name, lasts = f"assay:{{{key_id}}}:nonce:{nonce}", int(self._seconds) + 1
        found = cast("int", await self._script(keys=[name], args=[lasts]))
        if found == _DAMAGED:
            self._link.damaged("nonces")
        return found != _KNOWN
