"""The authorizer as a whole: order of the checks, responses, telemetry, and changes while it runs."""

import hashlib
from typing import Any

import pytest

from assay.core.errors import AssayError
from assay.serving.auth import AccessDeniedError
from assay.serving.auth.settings import RateLimitSettings, Tier
from assay.serving.middleware import join_headers

pytestmark = pytest.mark.anyio
GOLD = RateLimitSettings(
    tiers={
        "bronze": Tier(per_minute=60, burst=2, max_concurrent=1),
        "gold": Tier(per_minute=600, burst=3, max_concurrent=2),
    }
)
PHOTO = hashlib.sha256(b"photo").hexdigest()


async def _refused(authorizer: Any, request: Any) -> AccessDeniedError:
    with pytest.raises(AccessDeniedError) as refused:
        await authorizer.authorize(request)
    return refused.value


async def test_admitted_request_has_client_and_rate_limit_headers(auth_setup: Any):
    key = auth_setup.key()
    authorizer = auth_setup.authorizer(GOLD)
    for request, remaining in ((auth_setup.bearer(key), 2), (auth_setup.signed(key), 1)):
        admission = await authorizer.authorize(request)
        assert admission.client.id == "line 3"
        assert (admission.client.key_id, admission.client.tier) == (key.id, "gold")
        assert admission.client.scopes == {"classify"}
        assert admission.address == "192.0.2.1"
        assert admission.headers == {
            "RateLimit-Policy": '"gold";q=600;w=60;assay-burst=3',
            "RateLimit": f'"gold";r={remaining};t=1',
        }
        await admission.release()
    await authorizer.close()


async def test_exceeded_burst_gets_429_with_retry_after(auth_setup: Any):
    key = auth_setup.key("bronze")
    authorizer = auth_setup.authorizer(GOLD)
    for _ in range(2):
        await (await authorizer.authorize(auth_setup.bearer(key))).release()
    refused = await _refused(authorizer, auth_setup.bearer(key))
    assert refused.status == 429
    assert refused.headers == {
        "RateLimit-Policy": '"bronze";q=60;w=60;assay-burst=2',
        "RateLimit": '"bronze";r=0;t=2',
        "Retry-After": "1",
    }
    auth_setup.monotonic.now += 1
    assert await authorizer.authorize(auth_setup.bearer(key))


async def test_concurrency_limit_and_idempotent_release(auth_setup: Any):
    key = auth_setup.key()
    authorizer = auth_setup.authorizer(GOLD)
    first, _ = [await authorizer.authorize(auth_setup.bearer(key)) for _ in range(2)]
    assert (await _refused(authorizer, auth_setup.bearer(key))).status == 429
    await first.release()
    await first.release()
    assert await authorizer.authorize(auth_setup.bearer(key))
    auth_setup.monotonic.now += 10
    assert (await _refused(authorizer, auth_setup.bearer(key))).status == 429


async def test_body_must_match_the_signed_digest(auth_setup: Any):
    key = auth_setup.key()
    authorizer = auth_setup.authorizer()
    admission = await authorizer.authorize(auth_setup.signed(key))
    admission.check_body(PHOTO)
    with pytest.raises(AccessDeniedError) as refused:
        admission.check_body(hashlib.sha256(b"other").hexdigest())
    assert (refused.value.status, refused.value.text) == (401, "A valid key is needed")
    assert auth_setup.telemetry.rejections == ["auth"]
    (await authorizer.authorize(auth_setup.bearer(key))).check_body(hashlib.sha256(b"anything").hexdigest())


async def test_telemetry_records_the_reason_of_rejections(auth_setup: Any):
    key = auth_setup.key("bronze")
    authorizer = auth_setup.authorizer(GOLD)
    await _refused(authorizer, auth_setup.request({}))
    await _refused(authorizer, auth_setup.bearer(key, scope="admin"))
    for _ in range(2):
        await (await authorizer.authorize(auth_setup.bearer(key))).release()
    await _refused(authorizer, auth_setup.bearer(key))
    assert auth_setup.telemetry.rejections == ["auth", "auth", "limit"]


async def test_country_is_checked_first(auth_setup: Any):
    key = auth_setup.key()
    authorizer = auth_setup.authorizer(countries={"allow": ["DE"]})
    refused = await _refused(authorizer, auth_setup.bearer(key, peer="8.8.8.8"))
    assert (refused.status, auth_setup.telemetry.rejections) == (403, ["country"])
    assert await authorizer.authorize(auth_setup.bearer(key, peer="2.160.0.1"))


async def test_too_many_failures_throttle_the_address_even_with_a_valid_key(auth_setup: Any):
    key = auth_setup.key()
    authorizer = auth_setup.authorizer(max_failures_burst=3, max_failures_per_minute=60)
    for _ in range(3):
        assert (await _refused(authorizer, auth_setup.request({}))).status == 401
    for request in (auth_setup.request({}), auth_setup.bearer(key)):
        refused = await _refused(authorizer, request)
        assert (refused.status, refused.headers) == (429, {"Retry-After": "1"})
    assert await authorizer.authorize(auth_setup.bearer(key, peer="192.0.2.2"))
    auth_setup.monotonic.now += 1
    assert await authorizer.authorize(auth_setup.bearer(key))


async def test_forged_forwarded_address_does_not_escape_throttling(auth_setup: Any):
    authorizer = auth_setup.authorizer(max_failures_burst=3, max_failures_per_minute=60, proxies=["10.0.0.0/8"])

    def request(number: int) -> Any:
        forwarded = join_headers([(b"x-forwarded-for", b"203.0.113.%d" % number), (b"x-forwarded-for", b"192.0.2.9")])
        return auth_setup.request(forwarded, peer="10.0.0.1")

    found = [(await _refused(authorizer, request(number))).status for number in range(5)]
    assert found == [401, 401, 401, 429, 429]


async def test_running_authorizer_reloads_created_and_revoked_keys(auth_setup: Any):
    authorizer = auth_setup.authorizer()
    key = auth_setup.key()
    auth_setup.manager.add_master_key()
    newer = auth_setup.key()
    auth_setup.monotonic.now += 1
    for item in (key, newer):
        assert await authorizer.authorize(auth_setup.bearer(item))
    new = auth_setup.manager.rotate(key.id, grace=100)
    auth_setup.manager.revoke(newer.id)
    auth_setup.monotonic.now += 1
    assert await authorizer.authorize(auth_setup.bearer(key))
    assert await authorizer.authorize(auth_setup.bearer(new))
    assert (await _refused(authorizer, auth_setup.bearer(newer))).status == 401
    auth_setup.wall.now += 100
    assert (await _refused(authorizer, auth_setup.bearer(key))).status == 401
    assert await authorizer.authorize(auth_setup.bearer(new))


async def test_keys_of_a_removed_master_key_are_rejected(auth_setup: Any):
    key = auth_setup.key()
    auth_setup.manager.add_master_key()
    newer = auth_setup.key()
    request = [auth_setup.bearer(item) for item in (key, newer)]
    ring = auth_setup.folder / "master.keys"
    ring.write_text(ring.read_text(encoding="ascii").splitlines()[1], encoding="ascii")
    authorizer = auth_setup.authorizer()
    assert (await _refused(authorizer, request[0])).status == 401
    assert await authorizer.authorize(request[1])


async def test_unknown_tier_gets_the_strictest_limits(auth_setup: Any):
    key = auth_setup.key("platinum")
    assert (await auth_setup.authorizer(GOLD).authorize(auth_setup.bearer(key))).client.tier == "bronze"


async def test_invalid_key_files_raise_at_startup(auth_setup: Any):
    (auth_setup.folder / "master.keys").chmod(0o644)
    with pytest.raises(AssayError, match="chmod 600"):
        auth_setup.authorizer()


async def test_without_keys_clients_are_anonymous_and_unlimited(auth_setup: Any):
    authorizer = auth_setup.authorizer(required=False)
    for _ in range(100):
        admission = await authorizer.authorize(auth_setup.request({}))
        assert (admission.client.id, admission.client.key_id, dict(admission.headers)) == (
            "anonymous",
            None,
            {},
        )
        admission.check_body(PHOTO)
        await admission.release()


async def test_without_keys_a_tier_can_limit_each_address(auth_setup: Any):
    limits = GOLD.model_copy(update={"anonymous": "bronze"})
    authorizer = auth_setup.authorizer(limits, required=False)
    for _ in range(2):
        await (await authorizer.authorize(auth_setup.request({}))).release()
    assert (await _refused(authorizer, auth_setup.request({}))).status == 429
    assert await authorizer.authorize(auth_setup.request({}, peer="192.0.2.2"))


@pytest.mark.parametrize(
    ("headers", "peer", "let_in"),
    [
        ({"host": "127.0.0.1:8000"}, "127.0.0.1", True),
        ({"host": "localhost"}, "127.0.0.1", True),
        ({"host": "[::1]:8000"}, "::1", True),
        ({"host": "[::1]"}, "::1", True),
        ({}, "127.0.0.1", True),
        ({"host": "127.0.0.1:8000"}, "192.0.2.1", False),
        ({"host": "bent.example:8000"}, "127.0.0.1", False),
        ({"host": "127.0.0.1:8000", "origin": "https://elsewhere.example"}, "127.0.0.1", False),
        ({"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:9000"}, "127.0.0.1", False),
        ({"host": "127.0.0.1:8000", "origin": "null"}, "127.0.0.1", False),
        ({"host": "127.0.0.1:8000", "sec-fetch-site": "same-site"}, "127.0.0.1", False),
        (
            {
                "host": "127.0.0.1:8000",
                "origin": "http://127.0.0.1:8000",
                "sec-fetch-site": "same-origin",
            },
            "127.0.0.1",
            True,
        ),
        ({"host": "evil.example", "origin": "http://evil.example"}, "127.0.0.1", False),
        ({"host": "127.0.0.1:8000", "sec-fetch-site": "cross-site"}, "127.0.0.1", False),
        ({"host": "127.0.0.1:8000", "x-forwarded-for": "127.0.0.1"}, "127.0.0.1", False),
    ],
)
async def test_without_keys_admin_is_local_only(auth_setup: Any, headers: dict[str, str], peer: str, let_in: bool):
    authorizer = auth_setup.authorizer(required=False)
    request = auth_setup.request(headers, peer=peer, scope="admin")
    if let_in:
        assert await authorizer.authorize(request)
    else:
        assert (await _refused(authorizer, request)).status == 403
