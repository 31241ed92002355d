#!/bin/sh
# Installs the server that the live tests start, from Debian; it needs the rights to do so.
set -eu
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && command -v openssl >/dev/null && exit 0
apt-get update
DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends postgresql openssl
