#!/usr/bin/env bash
# Makes what deploy/secure.yml needs: an authority and a certificate for NATS, a key for each user and one to sign versions
# with, in the folder secrets (or $1), and public.env with the public keys. Nothing that is there is replaced. FRESHET is the
# program that makes keys.
set -euo pipefail
out=${1:-secrets}
freshet=${FRESHET:-freshet}
mkdir -p "$out"
chmod 700 "$out"
cd "$out"

if [ ! -e ca.pem ]; then
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "/CN=freshet" -keyout ca.key -out ca.pem 2>/dev/null
fi
if [ ! -e nats.pem ]; then
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=nats" -keyout nats.key -out nats.csr 2>/dev/null
	openssl x509 -req -in nats.csr -CA ca.pem -CAkey ca.key -days 365 -out nats.pem \
		-extfile <(printf 'subjectAltName=DNS:nats,DNS:localhost,IP:127.0.0.1') 2>/dev/null
	rm nats.csr
fi
for name in publisher trainer replica-1 replica-2 ingest operator; do
	[ -e "$name.nk" ] || "$freshet" key make "$name.nk" >/dev/null
done
{
	echo "FRESHET_TRUSTED_KEYS=$("$freshet" key show publisher.nk)"
	for name in trainer replica-1 replica-2 ingest operator; do
		variable=$(tr a-z- A-Z_ <<<"$name")
		echo "FRESHET_NKEY_$variable=$("$freshet" key show "$name.nk")"
	done
} >public.env
# The image runs as user 10001, and nobody else is to read keys.
if [ "$(id -u)" -eq 0 ]; then
	chown 10001 -- *.nk
else
	echo "the services run as user 10001, who must be able to read $out/*.nk: sudo chown 10001 $out/*.nk"
fi
echo "made: $out"
