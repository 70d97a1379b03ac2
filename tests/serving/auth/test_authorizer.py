"""The gate as a whole: its order, what it tells clients and the watcher, and what changes while it works."""

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


async def _refused(gate: Any, asked: Any) -> AccessDeniedError:
    with pytest.raises(AccessDeniedError) as refused:
        await gate.authorize(asked)
    return refused.value


async def test_who_is_let_in_is_told_who_and_how_much(entrance: Any):
    key = entrance.key()
    gate = entrance.gate(GOLD)
    for asked, remaining in ((entrance.bearer(key), 2), (entrance.signed(key), 1)):
        admission = await gate.authorize(asked)
        assert admission.client.id == "line 3"
        assert (admission.client.key_id, admission.client.tier) == (key.id, "gold")
        assert admission.client.scopes == {"classify"}
        assert admission.address == "192.0.2.1"
        assert admission.headers == {
            "RateLimit-Policy": '"gold";q=600;w=60;assay-burst=3',
            "RateLimit": f'"gold";r={remaining};t=1',
        }
        await admission.release()
    await gate.close()


async def test_one_too_many_is_told_when_to_come_again(entrance: Any):
    key = entrance.key("bronze")
    gate = entrance.gate(GOLD)
    for _ in range(2):
        await (await gate.authorize(entrance.bearer(key))).release()
    refused = await _refused(gate, entrance.bearer(key))
    assert refused.status == 429
    assert refused.headers == {
        "RateLimit-Policy": '"bronze";q=60;w=60;assay-burst=2',
        "RateLimit": '"bronze";r=0;t=2',
        "Retry-After": "1",
    }
    entrance.steady.now += 1
    assert await gate.authorize(entrance.bearer(key))


async def test_so_many_at_a_time_and_a_release_frees_one_place_once(entrance: Any):
    key = entrance.key()
    gate = entrance.gate(GOLD)
    first, _ = [await gate.authorize(entrance.bearer(key)) for _ in range(2)]
    assert (await _refused(gate, entrance.bearer(key))).status == 429
    await first.release()
    await first.release()
    assert await gate.authorize(entrance.bearer(key))
    entrance.steady.now += 10
    assert (await _refused(gate, entrance.bearer(key))).status == 429


async def test_the_body_must_be_the_signed_one(entrance: Any):
    key = entrance.key()
    gate = entrance.gate()
    admission = await gate.authorize(entrance.signed(key))
    admission.check_body(PHOTO)
    with pytest.raises(AccessDeniedError) as refused:
        admission.check_body(hashlib.sha256(b"other").hexdigest())
    assert (refused.value.status, refused.value.text) == (401, "A valid key is needed")
    assert entrance.watcher.rejections == ["auth"]
    (await gate.authorize(entrance.bearer(key))).check_body(hashlib.sha256(b"anything").hexdigest())


async def test_the_telemetry_hears_why(entrance: Any):
    key = entrance.key("bronze")
    gate = entrance.gate(GOLD)
    await _refused(gate, entrance.asked({}))
    await _refused(gate, entrance.bearer(key, scope="admin"))
    for _ in range(2):
        await (await gate.authorize(entrance.bearer(key))).release()
    await _refused(gate, entrance.bearer(key))
    assert entrance.watcher.rejections == ["auth", "auth", "limit"]


async def test_the_country_comes_first(entrance: Any):
    key = entrance.key()
    gate = entrance.gate(countries={"allow": ["DE"]})
    refused = await _refused(gate, entrance.bearer(key, peer="8.8.8.8"))
    assert (refused.status, entrance.watcher.rejections) == (403, ["country"])
    assert await gate.authorize(entrance.bearer(key, peer="2.160.0.1"))


async def test_who_fails_too_often_waits_even_with_a_good_key_and_others_do_not(entrance: Any):
    key = entrance.key()
    gate = entrance.gate(max_failures_burst=3, max_failures_per_minute=60)
    for _ in range(3):
        assert (await _refused(gate, entrance.asked({}))).status == 401
    for asked in (entrance.asked({}), entrance.bearer(key)):
        refused = await _refused(gate, asked)
        assert (refused.status, refused.headers) == (429, {"Retry-After": "1"})
    assert await gate.authorize(entrance.bearer(key, peer="192.0.2.2"))
    entrance.steady.now += 1
    assert await gate.authorize(entrance.bearer(key))


async def test_a_made_up_address_does_not_escape_the_wait(entrance: Any):
    gate = entrance.gate(max_failures_burst=3, max_failures_per_minute=60, proxies=["10.0.0.0/8"])

    def asked(number: int) -> Any:
        forwarded = join_headers([(b"x-forwarded-for", b"203.0.113.%d" % number), (b"x-forwarded-for", b"192.0.2.9")])
        return entrance.asked(forwarded, peer="10.0.0.1")

    found = [(await _refused(gate, asked(number))).status for number in range(5)]
    assert found == [401, 401, 401, 429, 429]


async def test_keys_made_and_revoked_are_noticed_by_a_running_gate(entrance: Any):
    gate = entrance.gate()
    key = entrance.key()
    entrance.desk.add_master_key()
    newer = entrance.key()
    entrance.steady.now += 1
    for item in (key, newer):
        assert await gate.authorize(entrance.bearer(item))
    new = entrance.desk.rotate(key.id, grace=100)
    entrance.desk.revoke(newer.id)
    entrance.steady.now += 1
    assert await gate.authorize(entrance.bearer(key))
    assert await gate.authorize(entrance.bearer(new))
    assert (await _refused(gate, entrance.bearer(newer))).status == 401
    entrance.wall.now += 100
    assert (await _refused(gate, entrance.bearer(key))).status == 401
    assert await gate.authorize(entrance.bearer(new))


async def test_a_master_that_was_taken_out_closes_its_keys(entrance: Any):
    key = entrance.key()
    entrance.desk.add_master_key()
    newer = entrance.key()
    asked = [entrance.bearer(item) for item in (key, newer)]
    ring = entrance.folder / "master.keys"
    ring.write_text(ring.read_text(encoding="ascii").splitlines()[1], encoding="ascii")
    gate = entrance.gate()
    assert (await _refused(gate, asked[0])).status == 401
    assert await gate.authorize(asked[1])


async def test_a_tier_that_the_server_does_not_know_is_the_strictest(entrance: Any):
    key = entrance.key("platinum")
    assert (await entrance.gate(GOLD).authorize(entrance.bearer(key))).client.tier == "bronze"


async def test_the_files_must_be_right_at_the_start(entrance: Any):
    (entrance.folder / "master.keys").chmod(0o644)
    with pytest.raises(AssayError, match="chmod 600"):
        entrance.gate()


async def test_without_keys_everybody_is_anonymous_and_unlimited(entrance: Any):
    gate = entrance.gate(required=False)
    for _ in range(100):
        admission = await gate.authorize(entrance.asked({}))
        assert (admission.client.id, admission.client.key_id, dict(admission.headers)) == (
            "anonymous",
            None,
            {},
        )
        admission.check_body(PHOTO)
        await admission.release()


async def test_without_keys_a_tier_may_hold_for_each_address(entrance: Any):
    limits = GOLD.model_copy(update={"anonymous": "bronze"})
    gate = entrance.gate(limits, required=False)
    for _ in range(2):
        await (await gate.authorize(entrance.asked({}))).release()
    assert (await _refused(gate, entrance.asked({}))).status == 429
    assert await gate.authorize(entrance.asked({}, peer="192.0.2.2"))


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
async def test_without_keys_admin_is_for_programs_on_this_machine(
    entrance: Any, headers: dict[str, str], peer: str, let_in: bool
):
    gate = entrance.gate(required=False)
    asked = entrance.asked(headers, peer=peer, scope="admin")
    if let_in:
        assert await gate.authorize(asked)
    else:
        assert (await _refused(gate, asked)).status == 403
