# shellcheck shell=bash
# The program, with the list of its dependencies inside.

step_build() {
    if [ -n "$given" ]; then
        echo "not built: $given is packed"
        return
    fi
    auditable
    # The program names no folder of the machine that built it.
    local remap="--remap-path-prefix=$PWD=/usr/src/wsp --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/usr/src/cargo"
    CARGO_INCREMENTAL=0 RUSTFLAGS="${RUSTFLAGS:-} $remap" \
        cargo auditable build --locked --profile dist --package "$package" --bin wsp
}
