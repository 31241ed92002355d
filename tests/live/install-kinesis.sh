#!/usr/bin/env bash
# Fetches a Kinesis server into the cache, once, and prints what starts it, one argument a line.
#   install-kinesis.sh moto         from PyPI; needs Python with pip and venv
#   install-kinesis.sh kinesalite   from npm; needs Node.js
set -euo pipefail
cd "$(dirname "$0")/../.."

server=$1
cache=${WSP_LIVE_CACHE:-$(cd "$(dirname "$0")/../.." && pwd)/target/live}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

# Two tests may ask at once.
exec 9>"$cache/$server.lock"
flock 9

case $server in
moto)
  folder=$cache/moto-${WSP_LIVE_MOTO_VERSION:=5.2.5}
  [ -e "$folder/complete" ] || {
    rm -rf "$folder"
    python3 -m venv "$folder"
    # Of the extra `server` only what the Kinesis backend needs.
    "$folder/bin/pip" install --quiet --disable-pip-version-check --no-compile \
      "moto==$WSP_LIVE_MOTO_VERSION" flask==3.1.3 flask-cors==6.0.5 >&2
    touch "$folder/complete"
  }
  printf '%s\n' "$folder/bin/python" -m moto.server
  ;;
kinesalite)
  folder=$cache/kinesalite-${WSP_LIVE_KINESALITE_VERSION:=3.3.3}
  [ -e "$folder/complete" ] || {
    rm -rf "$folder"
    mkdir -p "$folder"
    npm install --prefix "$folder" --silent --no-audit --no-fund --ignore-scripts --omit=optional \
      "kinesalite@$WSP_LIVE_KINESALITE_VERSION" >&2
    touch "$folder/complete"
  }
  printf '%s\n' node "$folder/node_modules/kinesalite/cli.js"
  ;;
*)
  echo "no such server: $server" >&2
  exit 2
  ;;
esac
