"""Forged, replayed, skewed, revoked, expired and wrong-scope credentials, a hundred of each, are all rejected."""

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


async def _refusal(authorizer: Any, request: AuthRequest) -> AccessDeniedError:
    with pytest.raises(AccessDeniedError) as refused:
        await authorizer.authorize(request)
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


async def test_forged_bearer_keys(auth_setup: Any):
    rng, key = random.Random(1), auth_setup.key()
    authorizer = auth_setup.authorizer(**_PATIENT)
    token = auth_setup.manager.token(key)
    other = auth_setup.manager.token(auth_setup.key()).partition(".")[2]
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
        refused = await _refusal(authorizer, auth_setup.request({"authorization": authorization}))
        assert (refused.status, refused.text) == (401, "A valid key is needed"), authorization
    assert await authorizer.authorize(auth_setup.bearer(key))


async def test_forged_signatures(auth_setup: Any):
    rng, key = random.Random(2), auth_setup.key()
    authorizer = auth_setup.authorizer(**_PATIENT)
    for case in range(CASES):
        request = auth_setup.signed(key)
        headers, name = dict(request.headers), SIGNATURE_HEADERS[case % len(SIGNATURE_HEADERS)]
        headers[name] = _altered(headers[name], rng)
        refused = await _refusal(authorizer, auth_setup.request(headers))
        assert (refused.status, refused.text) == (401, "A valid key is needed"), name
    for changed in ({"method": "GET"}, {"target": "/classify?detail=1"}, {"target": "/classify/"}):
        headers = dict(auth_setup.signed(key).headers)
        assert (await _refusal(authorizer, auth_setup.request(headers, **changed))).status == 401
    for name in SIGNATURE_HEADERS:
        headers = {given: value for given, value in auth_setup.signed(key).headers.items() if given != name}
        assert (await _refusal(authorizer, auth_setup.request(headers))).status == 401
    both = {**auth_setup.signed(key).headers, "authorization": f"Bearer {auth_setup.manager.token(key)}"}
    assert (await _refusal(authorizer, auth_setup.request(both))).status == 401
    assert await authorizer.authorize(auth_setup.signed(key))


async def test_replayed_requests(auth_setup: Any):
    key = auth_setup.key()
    authorizer = auth_setup.authorizer(**_PATIENT)
    for case in range(CASES):
        request = auth_setup.signed(key, at=-300 + 6 * case)
        assert await authorizer.authorize(request)
        # Later, but while its timestamp is still good.
        auth_setup.monotonic.now += case
        assert (await _refusal(authorizer, request)).status == 401
        # The nonce alone is what counts: a new time and a new signature do not help.
        again = auth_setup.signed(key, nonce=request.headers[NONCE_HEADER])
        assert (await _refusal(authorizer, again)).status == 401
        auth_setup.monotonic.now -= case


async def test_nonce_is_kept_as_long_as_its_request_is_valid(auth_setup: Any):
    key = auth_setup.key()
    authorizer = auth_setup.authorizer(**_PATIENT)
    request = auth_setup.signed(key, at=300)
    assert await authorizer.authorize(request)
    auth_setup.wall.now += 600
    auth_setup.monotonic.now += 600
    assert (await _refusal(authorizer, request)).status == 401


async def test_skewed_clocks(auth_setup: Any):
    rng, key = random.Random(3), auth_setup.key()
    authorizer = auth_setup.authorizer(**_PATIENT)
    skews = [
        301,
        -301,
        10**10,
        -1_800_000_000,
        *(rng.choice((-1, 1)) * rng.randint(301, 10**6) for _ in range(CASES)),
    ]
    for skew in skews:
        assert (await _refusal(authorizer, auth_setup.signed(key, at=skew))).status == 401, skew
    for skew in (300, -300, 0):
        assert await authorizer.authorize(auth_setup.signed(key, at=skew))


async def test_revoked_keys(auth_setup: Any):
    authorizer = auth_setup.authorizer(**_PATIENT)
    keys = [auth_setup.key() for _ in range(CASES)]
    auth_setup.monotonic.now += 1
    for key in keys:
        assert await authorizer.authorize(auth_setup.bearer(key))
    for key in keys:
        auth_setup.manager.revoke(key.id)
    auth_setup.monotonic.now += 1
    for key in keys:
        for request in (auth_setup.bearer(key), auth_setup.signed(key)):
            refused = await _refusal(authorizer, request)
            assert (refused.status, refused.text) == (401, "A valid key is needed")


async def test_expired_keys(auth_setup: Any):
    keys = [auth_setup.key(seconds=60 + case) for case in range(CASES)]
    authorizer = auth_setup.authorizer(**_PATIENT)
    for case, key in enumerate(keys):
        auth_setup.wall.now = key.created + 59 + case
        assert await authorizer.authorize(auth_setup.bearer(key))
        auth_setup.wall.now += 1
        for request in (auth_setup.bearer(key), auth_setup.signed(key)):
            refused = await _refusal(authorizer, request)
            assert (refused.status, refused.text) == (401, "A valid key is needed")


async def test_wrong_scopes(auth_setup: Any):
    rng = random.Random(4)
    chosen = [tuple(rng.sample(SCOPES, rng.randint(1, 2))) for _ in range(CASES)]
    keys = [auth_setup.key(scopes=scopes) for scopes in chosen]
    authorizer = auth_setup.authorizer(**_PATIENT)
    for key in keys:
        for scope in SCOPES:
            request = rng.choice((auth_setup.bearer, auth_setup.signed))(key, scope=scope)
            if scope in key.scopes:
                assert await authorizer.authorize(request)
            else:
                assert (await _refusal(authorizer, request)).status == 403


async def test_responses_do_not_reveal_the_reason(auth_setup: Any):
    revoked, expired, good = auth_setup.key(), auth_setup.key(seconds=1), auth_setup.key()
    auth_setup.manager.revoke(revoked.id)
    auth_setup.wall.now += 2
    authorizer = auth_setup.authorizer(**_PATIENT)
    await authorizer.authorize(auth_setup.signed(good, nonce="used-used-used-used"))
    wrong = dict(auth_setup.signed(good).headers)
    unknown = {**wrong, KEY_HEADER: "ak_" + "a" * 16}
    request = [
        auth_setup.request({}),
        auth_setup.request({"authorization": f"Bearer ak_{'a' * 16}.{'A' * 43}"}),
        auth_setup.bearer(revoked),
        auth_setup.bearer(expired),
        auth_setup.signed(good, at=900),
        auth_setup.signed(good, nonce="used-used-used-used"),
        auth_setup.request(unknown),
        auth_setup.request({**wrong, SIGNATURE_HEADER: "0" * 64}),
        auth_setup.request({**wrong, TIMESTAMP_HEADER: "now"}),
    ]
    refusals = [await _refusal(authorizer, item) for item in request]
    result = {(item.status, item.text, tuple(item.headers.items())) for item in refusals}
    assert result == {(401, "A valid key is needed", (("WWW-Authenticate", 'Bearer realm="assay"'),))}


async def test_unknown_key_id_takes_the_same_work(auth_setup: Any, monkeypatch: pytest.MonkeyPatch):
    key = auth_setup.key()
    authorizer = auth_setup.authorizer(**_PATIENT)
    auth_setup.monotonic.now += 1
    compared: list[tuple[int, int]] = []
    real = authenticator.hmac.compare_digest
    monkeypatch.setattr(
        authenticator.hmac,
        "compare_digest",
        lambda given, right: bool(compared.append((len(given), len(right))) or real(given, right)),
    )
    wrong = "A" * 43
    for key_id in (key.id, "ak_" + "a" * 16):
        await _refusal(authorizer, auth_setup.request({"authorization": f"Bearer {key_id}.{wrong}"}))
    for changed in ({}, {KEY_HEADER: "ak_" + "a" * 16}):
        headers = {**auth_setup.signed(key).headers, SIGNATURE_HEADER: "0" * 64, **changed}
        await _refusal(authorizer, auth_setup.request(headers))
    assert compared == [(43, 43), (43, 43), (64, 64), (64, 64)]
