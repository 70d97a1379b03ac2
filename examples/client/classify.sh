#!/usr/bin/env bash
# Asks a server of Assay to classify a photo, with a signed request. Needs curl and openssl.
#
#     export ASSAY_KEY=ak_....SECRET        # as `assay keys create` printed it
#     ./classify.sh https://host:8000 photo.jpg
#
# openssl takes the secret as an argument, which other users of this machine can see while it runs; classify.py does not.
set -euo pipefail

if [ $# -ne 2 ] || [ -z "${ASSAY_KEY:-}" ]; then
    echo "usage: ASSAY_KEY=ak_....SECRET ./classify.sh SERVER PHOTO" >&2
    exit 2
fi
server=${1%/} photo=$2 target=/classify
now=$(date +%s) nonce=$(openssl rand -hex 16)
digest=$(openssl dgst -sha256 -r "$photo" | cut -d' ' -f1)
signature=$(printf 'POST\n%s\n%s\n%s\n%s' "$target" "$now" "$nonce" "$digest" |
    openssl dgst -sha256 -hmac "${ASSAY_KEY#*.}" -r | cut -d' ' -f1)

curl --silent --show-error --fail-with-body "$server$target" --form "image=@$photo" \
    --header "X-Assay-Key: ${ASSAY_KEY%%.*}" \
    --header "X-Assay-Timestamp: $now" \
    --header "X-Assay-Nonce: $nonce" \
    --header "X-Assay-Content-SHA256: $digest" \
    --header "X-Assay-Signature: $signature"
