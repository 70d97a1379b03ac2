#!/usr/bin/env bash
# From a bundle to the running services of compose.yaml. What is missing is created: API keys, a certificate,
# passwords. What exists is kept, so the same command also deploys a new model or a new version of Assay.
set -euo pipefail
umask 077

usage() {
    cat <<'TEXT'
Usage: deploy/deploy.sh [OPTIONS] BUNDLE

Start the servers, HAProxy, Redis, MongoDB, Prometheus and Grafana of deploy/compose.yaml with a classifier.

  BUNDLE         .assay file to serve
  --host NAME    host name in the certificate that is created if there is none (default: localhost)
  --cert FILE    certificate and its chain (PEM), to use instead
  --key FILE     private key of --cert (PEM)
  --client NAME  name of the client whose API key is created if there is none (default: client)
  --tier TIER    rate limit tier of that client: bronze, silver or gold (default: gold)
  --dry-run      print the commands without running them
  --help         show this message
TEXT
}

fail() { printf 'deploy.sh: %s\n' "$1" >&2; exit "${2:-1}"; }

host=localhost client=client tier=gold cert='' key='' bundle='' dry=''
while [ $# -gt 0 ]; do
    case $1 in
        --host | --cert | --key | --client | --tier)
            [ $# -ge 2 ] || fail "$1 needs a value" 2
            declare "${1#--}=$2"
            shift ;;
        --dry-run) dry=yes ;;
        --help | -h) usage; exit 0 ;;
        -*) fail "$1 is not an option; see deploy/deploy.sh --help" 2 ;;
        *)  [ -z "$bundle" ] || fail "give one bundle, not $bundle and $1" 2
            bundle=$1 ;;
    esac
    shift
done
[ -n "$bundle" ] || fail "give the bundle to serve, as in deploy/deploy.sh model.assay" 2
[ -f "$bundle" ] || fail "$bundle: there is no such file; give an .assay file" 2
[ -z "$cert$key" ] || { [ -f "$cert" ] && [ -f "$key" ]; } || fail "--cert and --key must name two existing files" 2
[[ $host =~ ^[A-Za-z0-9.-]+$ ]] || fail "--host $host: a host name has letters, digits, dots and hyphens" 2
[[ $client =~ ^[A-Za-z0-9._-]+$ ]] || fail "--client $client: use letters, digits, dots, hyphens and underscores" 2
if [ -z "$dry" ]; then
    command -v openssl >/dev/null || fail "openssl is not installed"
    command -v docker >/dev/null || fail "docker is not installed; see https://docs.docker.com/engine/install/"
    docker compose version >/dev/null || fail "docker compose is not installed; see https://docs.docker.com/compose/install/"
fi

folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bundle=$(cd "$(dirname "$bundle")" && pwd)/$(basename "$bundle")
image=assay:latest
compose=(docker compose --file "$folder/compose.yaml")
container=(docker run --rm --network none)

step() { printf '%s\n' "$1"; }

run() {  # COMMAND...
    if [ -n "$dry" ]; then printf '  %s\n' "${*@Q}"; else "$@"; fi
}

write() {  # FILE COMMAND...: the output of a command, complete or not at all
    local file=$1
    shift
    if [ -n "$dry" ]; then printf '  %s > %s\n' "${*@Q}" "$file"; return; fi
    "$@" >"$file.new" || { rm -f "$file.new"; fail "$file could not be created"; }
    mv "$file.new" "$file"
}

step "Building the image $image"
run "${compose[@]}" build assay

step "Checking $bundle"
run "${container[@]}" --user 0 --volume "$bundle:/new.assay:ro" "$image" info /new.assay

run mkdir -p "$folder/models" "$folder/keys" "$folder/certs"
run chmod 755 "$folder/models" "$folder/certs"
new_model='' new_certificate=''
if ! cmp -s "$bundle" "$folder/models/model.assay"; then
    step "Installing the classifier"
    new_model=yes
    write "$folder/models/model.assay" cat "$bundle"
    run chmod 644 "$folder/models/model.assay"
fi

create_key() {  # FILE OPTIONS...
    local file=$1
    shift
    write "$file" "${container[@]}" --user 0 --volume "$folder/keys:/keys" "$image" keys create --keys /keys "$@"
}
if [ ! -e "$folder/client.key" ]; then
    step "Creating an API key for $client"
    create_key "$folder/client.key" --client "$client" --tier "$tier"
fi
if [ ! -e "$folder/metrics.key" ]; then
    step "Creating an API key for Prometheus"
    create_key "$folder/metrics.key" --client prometheus --scope metrics
fi

# HAProxy reads every file in certs/, so the copy for clients is elsewhere.
if [ -n "$cert" ] && ! cmp -s "$cert" "$folder/certificate.pem"; then
    step "Installing the certificate"
    new_certificate=yes
    write "$folder/certs/assay.pem" cat "$cert" "$key"
    write "$folder/certificate.pem" cat "$cert"
elif [ ! -e "$folder/certs/assay.pem" ]; then
    step "Creating a self-signed certificate for $host"
    write "$folder/certs/assay.pem" openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 \
        -subj "/CN=$host" -addext "subjectAltName=DNS:$host" -keyout /dev/stdout -out /dev/stdout
    write "$folder/certificate.pem" openssl x509 -in "$folder/certs/assay.pem"
fi
if [ ! -e "$folder/grafana-password" ]; then
    step "Creating the password of Grafana's user admin"
    write "$folder/grafana-password" openssl rand -hex 16
fi

step "Giving each service its files"  # by a container, since this user may not be root
run "${container[@]}" --user 0 --volume "$folder:/deploy" --entrypoint sh "$image" -ec '
    chown -R 10001:10001 /deploy/keys
    chown 99:99 /deploy/certs/assay.pem
    chown 65534:65534 /deploy/metrics.key
    chown 472:0 /deploy/grafana-password'

step "Starting the services"
run "${compose[@]}" up --detach
if [ -n "$new_model" ]; then
    step "Loading the new classifier"  # servers that were just started have it already
    run "${compose[@]}" kill --signal SIGHUP assay
fi
if [ -n "$new_certificate" ]; then
    step "Loading the new certificate"
    run "${compose[@]}" restart haproxy
fi

step "Requesting /health through HAProxy"
run "${compose[@]}" exec -T assay python -c '
import ssl, time, urllib.request
trusting = ssl._create_unverified_context()  # the certificate names another host
for left in reversed(range(30)):
    try:
        urllib.request.urlopen("https://haproxy:8443/health", timeout=5, context=trusting)
    except OSError as error:
        if not left:
            raise SystemExit(f"HAProxy does not answer: {error}")
        time.sleep(1)
    else:
        break' || fail "the services started but do not answer; see: ${compose[*]} logs"

[ -z "$dry" ] || exit 0
cat <<TEXT
Ready: https://$host/classify
  API key of a client      $folder/client.key
  certificate for clients  $folder/certificate.pem
  Grafana                  http://127.0.0.1:3000, user admin, password in $folder/grafana-password
  Prometheus               http://127.0.0.1:9090
Stop: ${compose[*]} down
TEXT
