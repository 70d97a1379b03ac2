"""The exact form of signed messages, which other programs must be able to produce."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from assay.serving.auth.authenticator import (
    SIGNATURE_HEADERS,
    canonical_message,
    content_digest,
    is_signed,
    parse_signature_headers,
    sign,
)

DIGEST = hashlib.sha256(b"photo").hexdigest()
GOOD = dict(
    zip(SIGNATURE_HEADERS, ("ak_" + "a" * 16, "1800000000", "nonce-nonce-nonce", DIGEST, "0" * 64), strict=True)
)


def test_canonical_message_and_signature():
    text = canonical_message("POST", "/classify?detail=1", "1800000000", "nonce-nonce-nonce", DIGEST)
    assert text == f"POST\n/classify?detail=1\n1800000000\nnonce-nonce-nonce\n{DIGEST}".encode()
    # Worked out with openssl: printf '%s' "$TEXT" | openssl dgst -sha256 -hmac secret
    assert sign("secret", text) == SIGNED


SIGNED = "5d77aa9bcc726e8bb5a057b4018ada07e5bd40027d736c969a7bcce4cfbf7ff7"


def test_headers_are_parsed_strictly():
    signed = parse_signature_headers(GOOD)
    assert signed is not None
    assert (signed.key_id, signed.timestamp, signed.digest) == ("ak_" + "a" * 16, "1800000000", DIGEST)
    for name in SIGNATURE_HEADERS:
        for wrong in ("", " ", GOOD[name] + "\n", GOOD[name] + ", " + GOOD[name], "é" * len(GOOD[name])):
            assert parse_signature_headers({**GOOD, name: wrong}) is None


@given(st.dictionaries(st.sampled_from(SIGNATURE_HEADERS), st.text(max_size=80)))
def test_arbitrary_headers_do_not_crash(headers: dict[str, str]):
    assert is_signed(headers) == bool(headers)
    signed = parse_signature_headers(headers)
    assert signed is None or "\n" not in signed.nonce + signed.timestamp


def test_digest_of_images():
    other = hashlib.sha256(b"other").hexdigest()
    assert content_digest([DIGEST]) == DIGEST
    assert content_digest([]) == hashlib.sha256(b"").hexdigest()
    assert content_digest([DIGEST, other]) == hashlib.sha256((DIGEST + other).encode()).hexdigest()


IMAGES = st.lists(st.binary(min_size=1, max_size=8), max_size=4)


@given(IMAGES, IMAGES)
def test_different_images_have_different_digests(one: list[bytes], two: list[bytes]):
    digests = [content_digest([hashlib.sha256(image).hexdigest() for image in images]) for images in (one, two)]
    assert (digests[0] == digests[1]) == (one == two)
