"""Classify a photo on an Assay server, with a signed request. Needs only Python.

    export ASSAY_KEY=ak_....SECRET        # as `assay keys create` printed it
    python classify.py https://host:8000 photo.jpg

The secret is not sent: the request contains a signature of its method, path, time and photo, so that it can be neither
changed nor replayed.
"""

import hashlib
import hmac
import json
import os
import secrets
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path


def signed_headers(token: str, method: str, target: str, photo: bytes) -> dict[str, str]:
    """Return the headers that sign a request.

    Args:
        token: id and secret of the key, joined by a dot.
        method: of HTTP, in capitals.
        target: path and query, as `/classify?detail=1`.
        photo: the bytes of the image.
    """
    key_id, _, secret = token.partition(".")
    now, nonce, digest = str(int(time.time())), secrets.token_urlsafe(24), hashlib.sha256(photo).hexdigest()
    message = f"{method}\n{target}\n{now}\n{nonce}\n{digest}"
    return {
        "X-Assay-Key": key_id,
        "X-Assay-Timestamp": now,
        "X-Assay-Nonce": nonce,
        "X-Assay-Content-SHA256": digest,
        "X-Assay-Signature": hmac.digest(secret.encode(), message.encode(), "sha256").hex(),
    }


def classify(server: str, token: str, photo: Path, target: str = "/classify") -> dict[str, object]:
    """Return the response of the server for a photo.

    Raises:
        urllib.error.HTTPError: the server returns an error; the body contains the reason.
    """
    content, boundary = photo.read_bytes(), secrets.token_hex(16)
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="photo"\r\n\r\n'
    headers = signed_headers(token, "POST", target, content)
    headers["Content-Type"] = f"multipart/form-data; boundary={boundary}"
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    request = urllib.request.Request(server.rstrip("/") + target, body, headers, method="POST")  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - the caller's own server
        found: dict[str, object] = json.load(answer)
    return found


if __name__ == "__main__":
    if len(sys.argv) != 3 or "ASSAY_KEY" not in os.environ:
        print("usage: ASSAY_KEY=ak_....SECRET python classify.py SERVER PHOTO", file=sys.stderr)
        sys.exit(2)
    try:
        print(json.dumps(classify(sys.argv[1], os.environ["ASSAY_KEY"], Path(sys.argv[2]))))
    except urllib.error.HTTPError as error:
        sys.exit(f"{error.code}: {error.read().decode()}")
    except urllib.error.URLError as error:
        sys.exit(f"{sys.argv[1]} does not answer: {error.reason}")
    except OSError as error:
        sys.exit(f"{sys.argv[2]}: {error.strerror}")
