# shellcheck shell=bash
# What is published, from a program that is built.

third_party=$stage/THIRD-PARTY-LICENSES.txt
bill=$out/wsp-$release.cdx.json
symbols=$out/$name.debug
tarball=$out/$name.tar.gz
deb_file=$out/wsp_${debian}_amd64.deb
triple=x86_64-unknown-linux-gnu

# The licences of all that is linked: of crates by cargo-about, of the C code in them from its own files.
step_licences() {
    about
    mkdir -p "$stage"
    # One list of what is accepted: deny.toml's.
    python3 scripts/release.d/licences.py config deny.toml >"$stage/about.toml"
    # Its log names what it guesses; what it can't settle fails.
    cargo about generate --locked --offline --fail --manifest-path "$manifest" --config "$stage/about.toml" \
        --output-file "$third_party.new" scripts/release.d/licences.hbs
    cargo metadata --locked --offline --format-version 1 --filter-platform "$triple" |
        python3 scripts/release.d/licences.py native >>"$third_party.new"
    linked | python3 scripts/release.d/licences.py complete "$third_party.new"
    mv "$third_party.new" "$third_party"
}

# The crates that are linked into the program, one `NAME VERSION` a line.
linked() {
    cargo tree --locked --offline --package "$package" --target "$triple" --edges normal,no-proc-macro --prefix none --no-dedupe |
        sed -n 's/^\([^ ]*\) v\([^ ]*\).*/\1 \2/p' | sort -u
}

# CycloneDX. cargo-cyclonedx writes beside each manifest of a workspace, so it works on a copy.
step_bom() {
    cyclonedx
    local copy=$stage/source commit
    rm -rf "$copy"
    mkdir -p "$copy"
    commit=$(git stash create)
    git archive "${commit:-HEAD}" | tar -x -C "$copy"
    (cd "$copy" && cargo cyclonedx --quiet --format json --spec-version 1.5 --target "$triple" \
        --manifest-path "${manifest#"$OLDPWD"/}" --override-filename wsp.cdx)
    python3 scripts/release.d/bom.py tidy "$(dirname "$copy/${manifest#"$PWD"/}")/wsp.cdx.json" "$copy" "$release" >"$bill.new"
    rm -rf "$copy"
    mv "$bill.new" "$bill"
}

# The files of the package as they are installed, in $stage/release/root, where cargo-deb finds them.
layout() {
    [ -x "$program" ] || fail "$program is missing: run the step build, or give --program"
    local root=$stage/release/root said
    rm -rf "$stage/release"
    local doc=$root/usr/share/doc/wsp bin=$root/usr/bin/wsp
    mkdir -p "$root/usr/bin" "$root/usr/share/man/man1" "$root/usr/lib/systemd/system" "$doc/docs" "$doc/examples" \
        "$root/usr/share/bash-completion/completions" "$root/usr/share/zsh/vendor-completions" \
        "$root/usr/share/fish/vendor_completions.d" "$root/etc/wsp/profiles" "$root/etc/wsp/oracle"

    # Debuggers find the symbols beside the program by this name; the sections are compressed.
    objcopy --only-keep-debug --compress-debug-sections=zlib "$program" "$symbols"
    chmod 644 "$symbols"
    objcopy --strip-all "$program" "$bin"
    objcopy --add-gnu-debuglink="$symbols" "$bin"
    chmod 755 "$bin"
    said=$("$bin" --version)
    [ "$said" = "wsp $version" ] || fail "$program says '$said'; $manifest has $version"

    "$bin" man --out "$root/usr/share/man/man1"
    gzip -9n "$root"/usr/share/man/man1/*.1
    "$bin" completions bash >"$root/usr/share/bash-completion/completions/wsp"
    "$bin" completions zsh >"$root/usr/share/zsh/vendor-completions/_wsp"
    "$bin" completions fish >"$root/usr/share/fish/vendor_completions.d/wsp.fish"

    cp deploy/systemd/wsp.service "$root/usr/lib/systemd/system/"
    cp config/profiles/dev_min.yaml "$root/etc/wsp/profiles/"
    cp config/oracle/*.yaml "$root/etc/wsp/oracle/"
    cp config/producers.txt "$root/etc/wsp/"
    cp deploy/systemd/wsp.env "$root/etc/wsp/"

    cp README.md "$doc/"
    cp deploy/debian/copyright "$doc/"
    cp docs/{deploy,evidence,glossary,matrix,profile,reasons,release,replay,runbook,telemetry}.md "$doc/docs/"
    cp config/profiles/local.yaml "$doc/examples/"
    gzip -9n <CHANGELOG.md >"$doc/changelog.gz"
    printf 'wsp (%s) stable; urgency=medium\n\n  * Changes: changelog.gz.\n\n -- %s  %s\n' "$debian" \
        "$(maintainer)" "$(date --rfc-email --date="@$SOURCE_DATE_EPOCH")" | gzip -9n >"$doc/changelog.Debian.gz"
    if [ -e "$third_party" ]; then
        gzip -9n <"$third_party" >"$doc/THIRD-PARTY-LICENSES.txt.gz"
    elif [ -z "$dev" ]; then
        fail "$third_party is missing: run the step licences"
    fi
    chmod -R u=rwX,go=rX "$root"
}

# Who signs for the package, as Debian's tools have it in the environment; without one, a package that is not to be published.
maintainer() {
    if [ -n "${DEBEMAIL:-}" ]; then
        echo "${DEBFULLNAME:-The World Streamer Producer maintainers} <$DEBEMAIL>"
    else
        sed -n 's/^maintainer = "\(.*\)"$/\1/p' "$manifest"
    fi
}

# Where the files of a layout go in the tarball: for a prefix such as /usr/local, and readable before they are installed.
make_tarball() {
    local root=$stage/release/root work=$stage/tarball/$name
    rm -rf "$stage/tarball"
    mkdir -p "$work"
    cp -R "$root/usr/." "$root/etc" "$work/"
    cp README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE "$work/"
    if [ -e "$third_party" ]; then cp "$third_party" "$work/"; fi
    # Names of Debian alone.
    rm -f "$work"/share/doc/wsp/{copyright,changelog.gz,changelog.Debian.gz,THIRD-PARTY-LICENSES.txt.gz,README.md}
    mv "$work/share/zsh/vendor-completions" "$work/share/zsh/site-functions"
    tar --create --directory "$stage/tarball" --sort=name --format=ustar --mtime="@$SOURCE_DATE_EPOCH" \
        --owner=0 --group=0 --numeric-owner "$name" | gzip -9n >"$1"
}

# make_deb FILE [OPTION]: the metadata is in the manifest of the program's package.
make_deb() {
    CARGO_TARGET_DIR=$stage cargo deb --quiet --locked --offline --manifest-path "$manifest" --no-build --no-strip \
        --compress-system "${@:2}" --maintainer "$(maintainer)" --deb-version "$debian" --output "$1" >/dev/null
}

step_deb() {
    deb
    layout
    make_deb "$deb_file" --fast
    echo "$deb_file"
}

step_pack() {
    deb
    layout
    make_tarball "$tarball"
    make_deb "$deb_file"
    sums
}

# Of everything that is published in this version.
sums() {
    local files
    files=$(cd "$out" && ls -d "$(basename "$tarball")" "$(basename "$symbols")" "$(basename "$deb_file")" "$(basename "$bill")" 2>/dev/null || true)
    (cd "$out" && for file in $files; do sha256sum "$file"; done >SHA256SUMS)
}
