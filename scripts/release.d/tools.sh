# shellcheck shell=bash
# The tools of a release, each at one version, in a folder that outlives the checkout.
cache=${WSP_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/wsp-release}

# tool NAME VERSION [OPTION...]: installs it where it is missing and puts it on the PATH. Unoptimised: that takes longer than their work.
tool() {
    local home=$cache/$1-$2
    if [ ! -x "$home/bin/$1" ]; then
        echo "installing $1 $2 into $home"
        # They share what they have in common.
        CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --locked --debug --root "$home" --target-dir "$cache/target" \
            --version "=$2" "${@:3}" "$1"
    fi
    PATH=$home/bin:$PATH
}

auditable() { tool cargo-auditable 0.7.7; }
deb() { tool cargo-deb 3.8.0; }
cyclonedx() { tool cargo-cyclonedx 0.5.9; }
# It compares each text with all licences, which takes minutes unoptimised.
about() { tool cargo-about 0.9.3 --features cli --config 'profile.dev.package.spdx.opt-level=3'; }
semver_checks() { tool cargo-semver-checks 0.51.0; }

# The Python that validates the bill of materials.
validator() {
    local home=$cache/cyclonedx-11.12.0
    if [ ! -x "$home/bin/python" ]; then
        python3 -m venv "$home"
        "$home/bin/pip" install --quiet 'cyclonedx-python-lib[json-validation]==11.12.0'
    fi
    python=$home/bin/python
}
