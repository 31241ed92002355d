#!/bin/sh
# Installs the servers that the live tests start. It needs the rights to do so.
set -eu
[ -n "${WSP_LIVE_POSTGRES_DSN:-}" ] || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || {
    apt-get update
    # Only the programs are wanted, not a cluster that starts with the machine.
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends postgresql openssl util-linux
}
