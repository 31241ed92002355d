#!/usr/bin/env bash
# Builds the image by its Containerfile and starts the program in it. Nothing is fetched: the base is a clean Debian, and its
# toolchain stands for the real one by handing over a program that is built already. It takes root that may mount, and buildah.
# Usage: deploy/container/check.sh PROGRAM
set -euo pipefail
cd "$(dirname "$0")/../.."
program=$1

fail() {
    echo "deploy/container/check.sh: $*" >&2
    exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/base"
cp "$(scripts/clean-root)" "$work/base/root.tar"
cp "$program" "$work/base/wsp"
cat >"$work/base/cargo" <<'CARGO'
#!/bin/sh
[ "$*" = "build --profile dist --locked --bin wsp" ] || { echo "the toolchain is asked for '$*'" >&2; exit 1; }
mkdir -p target/dist && cp /opt/wsp target/dist/wsp
CARGO
chmod +x "$work/base/cargo"
cat >"$work/base/Containerfile" <<'BASE'
FROM scratch
ADD root.tar /
COPY cargo /usr/local/bin/cargo
COPY wsp /opt/wsp
BASE

# Plain copies: an overlay would leave mounts behind.
export BUILDAH_ISOLATION=chroot
engine=(buildah --storage-driver vfs --root "$work/store" --runroot "$work/run")
trap '"${engine[@]}" umount --all >/dev/null 2>&1 || true; rm -rf "$work"' EXIT
"${engine[@]}" bud --quiet --tag localhost/base --file "$work/base/Containerfile" "$work/base" >/dev/null
"${engine[@]}" bud --quiet --tag localhost/wsp --build-arg RUST_IMAGE=localhost/base --build-arg REVISION=0123abc \
    --file deploy/container/Containerfile . >/dev/null

# What it says of itself.
said=$("${engine[@]}" inspect --type image --format \
    '{{.OCIv1.Config.User}} {{.OCIv1.Config.StopSignal}} {{index .OCIv1.Config.Labels "org.opencontainers.image.revision"}} {{index .OCIv1.Config.Labels "io.wsp.build-image"}}' \
    localhost/wsp)
[ "$said" = "65532:65532 SIGTERM 0123abc localhost/base" ] || fail "user, stop signal, revision and base are $said"

container=$("${engine[@]}" from localhost/wsp)
root=$("${engine[@]}" mount "$container")
# Its user may write where it has to, and nowhere else; there is nothing to run but the program.
writable=$(find "$root" -mindepth 1 ! -type l \( -perm /o+w -o -user 65532 \) -printf '/%P\n' | sort | tr '\n' ' ')
[ "$writable" = "/tmp /var/lib/wsp " ] || fail "writable in the image: $writable"
programs=$(find "$root" -type f -perm /111 ! -name '*.so*' -printf '/%P ')
[ "$programs" = "/usr/bin/wsp " ] || fail "programs in the image: $programs"
for file in etc/ssl/certs/ca-certificates.crt usr/share/doc/wsp/LICENSE-MIT usr/share/doc/wsp/LICENSE-APACHE; do
    [ -s "$root/$file" ] || fail "the image has no /$file"
done

# With the image's own user and environment, and nothing else of this machine: is the profile in order, with all it names?
"${engine[@]}" run --env PLATFORM_RUN_ID=platform_20260101T000000Z --env PLATFORM_STORE_ROOT=s3://bucket \
    --env AWS_REGION=eu-west-2 --env IG_INGEST_URL=https://ig.internal --env IG_API_KEY=key \
    --env KAFKA_BOOTSTRAP_SERVERS=kafka:9092 --env KAFKA_SASL_USERNAME=user --env KAFKA_SASL_PASSWORD=password \
    --env "WSP_CHECKPOINT_DSN=postgres://db/wsp?sslmode=verify-full" --env WSP_READY_REQUIRED_PACKS= "$container" -- \
    /usr/bin/wsp validate --profile /etc/wsp/profiles/dev_min.yaml
