# shellcheck shell=bash
# Whether what was packed is what docs/release.md promises.

# The newest version of glibc that the program may ask for, and the libraries that stay dynamic.
floor=2.34
dynamic='ld-linux-x86-64.so.2 libc.so.6 libgcc_s.so.1 libm.so.6'

step_check() {
    local bin=$stage/release/root/usr/bin/wsp
    (cd "$out" && sha256sum --check --quiet --strict SHA256SUMS) || fail "SHA256SUMS and files differ"
    check_program "$bin"
    check_symbols "$bin"
    check_tarball
    check_bill "$bin"
    deb
    make_deb "$stage/again.deb"
    cmp "$deb_file" "$stage/again.deb" || fail "packed twice, the package differs"
    rm "$stage/again.deb"
    scripts/deb-check "$deb_file"
}

check_program() {
    local asks libraries
    asks=$(objdump -T "$1" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1)
    asks=${asks#GLIBC_}
    [ "$(printf '%s\n' "$asks" "$floor" | sort -V | tail -1)" = "$floor" ] ||
        fail "$1 needs glibc $asks, docs/release.md promises $floor: build on an older system, or change the promise"
    libraries=$(readelf -dW "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort | tr '\n' ' ')
    [ "$libraries" = "$dynamic " ] || fail "$1 is linked to $libraries; only $dynamic may stay dynamic"
    [ -z "$(readelf -dW "$1" | grep -E 'RPATH|RUNPATH')" ] || fail "$1 looks for libraries in a folder of its own"
    [ -z "$(readelf -SW "$1" | grep -F ' .symtab ')" ] || fail "$1 is not stripped"
    echo "program: $(stat -c %s "$1") bytes, glibc $asks, dynamic: $libraries"
}

# The same build, the name that debuggers look for, and lines in it.
check_symbols() {
    local link
    id() { readelf -nW "$1" 2>/dev/null | sed -n 's/.*Build ID: //p'; }
    [ -n "$(id "$1")" ] && [ "$(id "$1")" = "$(id "$symbols")" ] || fail "$symbols is not of $1"
    link=$(readelf --string-dump=.gnu_debuglink "$1" | grep -c -F "$(basename "$symbols")")
    [ "$link" = 1 ] || fail "$1 does not name $(basename "$symbols")"
    [ -n "$(readelf -SW "$symbols" 2>/dev/null | grep -F ' .debug_line ')" ] || fail "$symbols has no lines"
    echo "symbols: $(stat -c %s "$symbols") bytes"
}

check_tarball() {
    local work owners
    make_tarball "$stage/again.tar.gz"
    cmp "$tarball" "$stage/again.tar.gz" || fail "packed twice, the tarball differs"
    rm "$stage/again.tar.gz"
    tar --list --file "$tarball" | sort --check || fail "the tarball is not sorted"
    owners=$(tar --list --verbose --numeric-owner --full-time --file "$tarball" | awk '{print $2, $4, $5}' | sort -u)
    [ "$owners" = "0/0 $(date --date="@$SOURCE_DATE_EPOCH" '+%Y-%m-%d %H:%M:%S')" ] || fail "owners and times in the tarball: $owners"
    work=$(mktemp -d)
    tar --extract --directory "$work" --file "$tarball"
    "$work/$name/bin/wsp" --version >/dev/null || fail "the program in the tarball does not run"
    for file in README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE etc/wsp/profiles/dev_min.yaml share/man/man1/wsp.1.gz; do
        [ -s "$work/$name/$file" ] || fail "the tarball has no $file"
    done
    rm -rf "$work"
    echo "tarball: $(stat -c %s "$tarball") bytes"
}

check_bill() {
    [ -e "$bill" ] || { [ -n "$dev" ] || fail "$bill is missing: run the step bom"; echo "no bill of materials"; return; }
    validator
    "$python" scripts/release.d/bom.py valid "$bill"
    linked | python3 scripts/release.d/bom.py complete "$bill"
    if readelf -SW "$1" | grep -q -F ' .dep-v0 '; then
        python3 scripts/release.d/bom.py compare "$bill" "$1"
    else
        # A program that was given may be of a plain `cargo build`.
        [ -n "$dev" ] || fail "$1 has no list of its dependencies: build it by the step build"
        echo "the program has no list of its dependencies"
    fi
}
