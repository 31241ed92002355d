# shellcheck shell=bash
# Whether the library could be published. Nothing here publishes it: docs/release.md.

step_library() {
    python3 scripts/release.d/crate.py <<<"$(cargo package --list --locked --allow-dirty --package "$library")"
    RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --lib --package "$library"
    # Packs the crate, and compiles it from the pack.
    local dirty=()
    [ -z "$dev" ] || dirty=(--allow-dirty)
    cargo publish --dry-run --locked "${dirty[@]}" --package "$library"
    local before
    before=$(git describe --abbrev=0 --tags --match 'v[0-9]*' HEAD^ 2>/dev/null || true)
    if [ -z "$before" ]; then
        echo "semver: there is no earlier release to compare the library with"
        return
    fi
    semver_checks
    cargo semver-checks --package "$library" --baseline-rev "$before"
}
