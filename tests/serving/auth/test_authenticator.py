"""A hundred each of forged, replayed, skewed, revoked, expired and wrong-scope keys; none comes in."""

import random
import string
from typing import Any

import pytest

from assay.serving.auth import AccessDeniedError, AuthRequest, authenticator
from assay.serving.auth.authenticator import (
    KEY_HEADER,
    NONCE_HEADER,
    SIGNATURE_HEADER,
    SIGNATURE_HEADERS,
    TIMESTAMP_HEADER,
)
from assay.serving.auth.keys import SCOPES

pytestmark = pytest.mark.anyio
CASES = 100
_PATIENT = {"max_failures_burst": 10_000}
_NAMES = string.ascii_letters + string.digits + "-_"


async def _refusal(gate: Any, asked: AuthRequest) -> AccessDeniedError:
    with pytest.raises(AccessDeniedError) as refused:
        await gate.authorize(asked)
    return refused.value


def _altered(text: str, rng: random.Random) -> str:
    """Change, drop, double or add one character, or exchange two."""
    place = rng.randrange(len(text))
    other = rng.choice([letter for letter in _NAMES if letter != text[place]])
    ways = [
        text[:place] + other + text[place + 1 :],
        text[:place] + text[place + 1 :],
        text + other,
        other + text,
    ]
    return rng.choice(ways)


async def test_forged_bearer_keys(entrance: Any):
    rng, key = random.Random(1), entrance.key()
    gate = entrance.gate(**_PATIENT)
    token = entrance.desk.token(key)
    other = entrance.desk.token(entrance.key()).partition(".")[2]
    forged = [f"Bearer {_altered(token, rng)}" for _ in range(CASES)] + [
        f"Bearer {key.id}.{other}",
        f"Bearer {key.id}.",
        f"Bearer {key.id}",
        f"Bearer .{token}",
        f"Bearer {token}.{token}",
        f"Bearer {token} ",
        f"Bearer {token}\n",
        f"Bearer {token}, Bearer {token}",
        f"Basic {token}",
        f"Bearer {key.id}.{'é' * 43}",
        f"Bearer {key.id}.{'٣' * 43}",
        "Bearer " + "a" * 100_000,
        token,
        "Bearer",
        "",
    ]
    for authorization in forged:
        refused = await _refusal(gate, entrance.asked({"authorization": authorization}))
        assert (refused.status, refused.text) == (401, "A valid key is needed"), authorization
    assert await gate.authorize(entrance.bearer(key))


async def test_forged_signatures(entrance: Any):
    rng, key = random.Random(2), entrance.key()
    gate = entrance.gate(**_PATIENT)
    for case in range(CASES):
        asked = entrance.signed(key)
        headers, name = dict(asked.headers), SIGNATURE_HEADERS[case % len(SIGNATURE_HEADERS)]
        headers[name] = _altered(headers[name], rng)
        refused = await _refusal(gate, entrance.asked(headers))
        assert (refused.status, refused.text) == (401, "A valid key is needed"), name
    for changed in ({"method": "GET"}, {"target": "/classify?detail=1"}, {"target": "/classify/"}):
        headers = dict(entrance.signed(key).headers)
        assert (await _refusal(gate, entrance.asked(headers, **changed))).status == 401
    for name in SIGNATURE_HEADERS:
        headers = {given: value for given, value in entrance.signed(key).headers.items() if given != name}
        assert (await _refusal(gate, entrance.asked(headers))).status == 401
    both = {**entrance.signed(key).headers, "authorization": f"Bearer {entrance.desk.token(key)}"}
    assert (await _refusal(gate, entrance.asked(both))).status == 401
    assert await gate.authorize(entrance.signed(key))


async def test_replayed_requests(entrance: Any):
    key = entrance.key()
    gate = entrance.gate(**_PATIENT)
    for case in range(CASES):
        asked = entrance.signed(key, at=-300 + 6 * case)
        assert await gate.authorize(asked)
        # Later, but while its timestamp is still good.
        entrance.steady.now += case
        assert (await _refusal(gate, asked)).status == 401
        # The nonce alone is what counts: a new time and a new signature do not help.
        again = entrance.signed(key, nonce=asked.headers[NONCE_HEADER])
        assert (await _refusal(gate, again)).status == 401
        entrance.steady.now -= case


async def test_a_nonce_is_kept_for_as_long_as_its_request_could_be_used(entrance: Any):
    key = entrance.key()
    gate = entrance.gate(**_PATIENT)
    asked = entrance.signed(key, at=300)
    assert await gate.authorize(asked)
    entrance.wall.now += 600
    entrance.steady.now += 600
    assert (await _refusal(gate, asked)).status == 401


async def test_skewed_clocks(entrance: Any):
    rng, key = random.Random(3), entrance.key()
    gate = entrance.gate(**_PATIENT)
    skews = [
        301,
        -301,
        10**10,
        -1_800_000_000,
        *(rng.choice((-1, 1)) * rng.randint(301, 10**6) for _ in range(CASES)),
    ]
    for skew in skews:
        assert (await _refusal(gate, entrance.signed(key, at=skew))).status == 401, skew
    for skew in (300, -300, 0):
        assert await gate.authorize(entrance.signed(key, at=skew))


async def test_revoked_keys(entrance: Any):
    gate = entrance.gate(**_PATIENT)
    keys = [entrance.key() for _ in range(CASES)]
    entrance.steady.now += 1
    for key in keys:
        assert await gate.authorize(entrance.bearer(key))
    for key in keys:
        entrance.desk.revoke(key.id)
    entrance.steady.now += 1
    for key in keys:
        for asked in (entrance.bearer(key), entrance.signed(key)):
            refused = await _refusal(gate, asked)
            assert (refused.status, refused.text) == (401, "A valid key is needed")


async def test_expired_keys(entrance: Any):
    keys = [entrance.key(seconds=60 + case) for case in range(CASES)]
    gate = entrance.gate(**_PATIENT)
    for case, key in enumerate(keys):
        entrance.wall.now = key.created + 59 + case
        assert await gate.authorize(entrance.bearer(key))
        entrance.wall.now += 1
        for asked in (entrance.bearer(key), entrance.signed(key)):
            refused = await _refusal(gate, asked)
            assert (refused.status, refused.text) == (401, "A valid key is needed")


async def test_wrong_scopes(entrance: Any):
    rng = random.Random(4)
    chosen = [tuple(rng.sample(SCOPES, rng.randint(1, 2))) for _ in range(CASES)]
    keys = [entrance.key(scopes=scopes) for scopes in chosen]
    gate = entrance.gate(**_PATIENT)
    for key in keys:
        for scope in SCOPES:
            asked = rng.choice((entrance.bearer, entrance.signed))(key, scope=scope)
            if scope in key.scopes:
                assert await gate.authorize(asked)
            else:
                assert (await _refusal(gate, asked)).status == 403


async def test_nobody_learns_why(entrance: Any):
    revoked, expired, good = entrance.key(), entrance.key(seconds=1), entrance.key()
    entrance.desk.revoke(revoked.id)
    entrance.wall.now += 2
    gate = entrance.gate(**_PATIENT)
    await gate.authorize(entrance.signed(good, nonce="used-used-used-used"))
    wrong = dict(entrance.signed(good).headers)
    unknown = {**wrong, KEY_HEADER: "ak_" + "a" * 16}
    asked = [
        entrance.asked({}),
        entrance.asked({"authorization": f"Bearer ak_{'a' * 16}.{'A' * 43}"}),
        entrance.bearer(revoked),
        entrance.bearer(expired),
        entrance.signed(good, at=900),
        entrance.signed(good, nonce="used-used-used-used"),
        entrance.asked(unknown),
        entrance.asked({**wrong, SIGNATURE_HEADER: "0" * 64}),
        entrance.asked({**wrong, TIMESTAMP_HEADER: "now"}),
    ]
    refusals = [await _refusal(gate, item) for item in asked]
    result = {(item.status, item.text, tuple(item.headers.items())) for item in refusals}
    assert result == {(401, "A valid key is needed", (("WWW-Authenticate", 'Bearer realm="assay"'),))}


async def test_an_unknown_id_costs_the_same_work(entrance: Any, monkeypatch: pytest.MonkeyPatch):
    key = entrance.key()
    gate = entrance.gate(**_PATIENT)
    entrance.steady.now += 1
    compared: list[tuple[int, int]] = []
    real = authenticator.hmac.compare_digest
    monkeypatch.setattr(
        authenticator.hmac,
        "compare_digest",
        lambda given, right: bool(compared.append((len(given), len(right))) or real(given, right)),
    )
    wrong = "A" * 43
    for key_id in (key.id, "ak_" + "a" * 16):
        await _refusal(gate, entrance.asked({"authorization": f"Bearer {key_id}.{wrong}"}))
    for changed in ({}, {KEY_HEADER: "ak_" + "a" * 16}):
        headers = {**entrance.signed(key).headers, SIGNATURE_HEADER: "0" * 64, **changed}
        await _refusal(gate, entrance.asked(headers))
    assert compared == [(43, 43), (43, 43), (64, 64), (64, 64)]
