#!/usr/bin/env bash
# What scripts/release refuses, tried in a clone of this checkout. Usage: scripts/release.d/test.sh
set -euo pipefail
unset DEBEMAIL DEBFULLNAME
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git clone --quiet . "$work/clone"
cd "$work/clone"
git config user.name test
git config user.email test@localhost
git tag --list | xargs --no-run-if-empty git tag --delete >/dev/null
eval "$(cargo metadata --locked --no-deps --format-version 1 | python3 scripts/release.d/described.py)"
# The changelog as it is before a release, whatever it is now.
sed -i "s/^## \[$version\] - .*/## [$version] - Unreleased/" CHANGELOG.md
git commit --quiet --all --allow-empty --message 'Before a release'

# refused EXIT WORDS ARGUMENTS
refused() {
    local expected=$1 words=$2 status=0 said
    shift 2
    said=$(scripts/release "$@" 2>&1) || status=$?
    if [ "$status" != "$expected" ] || [[ $said != *"$words"* ]]; then
        echo "scripts/release $*: exit $status, not $expected with '$words':"$'\n'"$said" >&2
        exit 1
    fi
}

refused 2 'has no tag' pack
refused 2 'is no tag, option or step' frob
refused 2 'exclude each other' --dev "v$version"
refused 2 'is no program' --dev --program none pack
git tag "v$version"
refused 2 'is not annotated' "v$version" pack
git tag --force --annotate --message x "v$version" >/dev/null
refused 2 "the date 'Unreleased'" "v$version" pack
refused 2 "the date 'Unreleased'" pack
refused 2 'is not the commit that is checked out' v99.0.0 pack
git tag --annotate --message x v99.0.0
refused 2 'does not fit version' v99.0.0 pack
git tag --delete v99.0.0 >/dev/null
touch new
refused 2 'is not clean' "v$version" pack
rm new

dated="s/^## \[$version\] - .*/## [$version] - 2026-11-30/"
sed -i "$dated" CHANGELOG.md
git commit --quiet --all --message 'Date the section'
refused 2 'is not the commit that is checked out' "v$version" pack
git tag --force --annotate --message x "v$version" >/dev/null
refused 2 'who signs for the package' "v$version" pack
export DEBEMAIL=somebody@example.com
refused 2 'takes --dev' "v$version" deb
# Now nothing but the program is missing.
refused 1 'run the step build' "v$version" --out "$work/dist" pack
sed -i "/^## \[$version\]/,/^## \[/{/^- /d}" CHANGELOG.md
git commit --quiet --all --message 'Empty the section'
git tag --force --annotate --message x "v$version" >/dev/null
refused 2 'names no change' "v$version" pack
sed -i "/^## \[$version\]/d" CHANGELOG.md
git commit --quiet --all --message 'Remove the section'
git tag --force --annotate --message x "v$version" >/dev/null
refused 2 'there are 0 sections' "v$version" pack
echo "scripts/release refuses what it should"
