# shellcheck shell=bash
# What deb-check does inside the clean root, where /wsp.deb is the package.
set -euo pipefail

fail() {
    echo "deb-check: $*" >&2
    exit 1
}
# same WHAT EXPECTED FOUND
same() {
    [ "$2" = "$3" ] || fail "$1:"$'\n'"$(differences "$2" "$3")"
}
differences() {
    echo "$1" >/tmp/one
    echo "$2" >/tmp/other
    diff /tmp/one /tmp/other || true
}

# All that is on the disk, but for what dpkg and systemd write about packages.
everything() {
    find / -xdev \( -path /proc -o -path /dev -o -path /tmp -o -path /run -o -path /var/lib/dpkg -o -path /var/log -o -path /var/cache \) \
        -prune -o -printf '%y %m %U:%G %p\n' | sort -k 4
}
install() { DEBIAN_FRONTEND=noninteractive dpkg --force-confdef --install /wsp.deb >/tmp/dpkg 2>&1 || fail "$(cat /tmp/dpkg)"; }

before=$(everything)
install
brought=$(differences "$before" "$(everything)" | sed -n 's/^> //p')

same "files, modes and owners" "$(sort -k 4 <<'FILES'
d 755 0:0 /etc/wsp
d 755 0:0 /etc/wsp/oracle
f 644 0:0 /etc/wsp/oracle/engine_gates.map.yaml
f 644 0:0 /etc/wsp/oracle/engine_outputs.catalogue.yaml
f 644 0:0 /etc/wsp/producers.txt
d 755 0:0 /etc/wsp/profiles
f 644 0:0 /etc/wsp/profiles/dev_min.yaml
f 640 0:0 /etc/wsp/wsp.env
f 755 0:0 /usr/bin/wsp
f 644 0:0 /usr/lib/systemd/system/wsp.service
f 644 0:0 /usr/share/bash-completion/completions/wsp
f 644 0:0 /usr/share/fish/vendor_completions.d/wsp.fish
f 644 0:0 /usr/share/zsh/vendor-completions/_wsp
FILES
)" "$(grep -v -e ' /usr/share/doc/' -e ' /var/lib/systemd/deb-systemd-helper' -e ' /usr/share/zsh$' -e ' /usr/share/zsh/vendor-completions$' \
    -e ' /usr/share/man/man1/' -e ' /usr/share/fish$' -e ' /usr/share/fish/vendor_completions.d$' <<<"$brought")"
for file in README.md changelog.gz changelog.Debian.gz copyright docs/profile.md docs/runbook.md docs/deploy.md examples/local.yaml; do
    grep -q " 0:0 /usr/share/doc/wsp/$file$" <<<"$brought" || fail "/usr/share/doc/wsp/$file is missing"
done
same "configuration files" "/etc/wsp/oracle/engine_gates.map.yaml
/etc/wsp/oracle/engine_outputs.catalogue.yaml
/etc/wsp/producers.txt
/etc/wsp/profiles/dev_min.yaml
/etc/wsp/wsp.env" "$(dpkg-query -W -f '${Conffiles}\n' wsp | awk 'NF {print $1}' | sort)"
depends=$(dpkg-query -W -f '${Depends}' wsp)
same "dependencies" "ca-certificates libc6 libgcc-s1" "$(tr ',' '\n' <<<"$depends" | awk '{print $1}' | sort | paste -sd ' ')"
echo "depends: $depends"

# The program, as the user nobody: its profile is in order with all that it names, and a whole run succeeds.
as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups env -C /tmp "$@"; }
as_nobody ENGINE_CATALOGUE_PATH=/etc/wsp/oracle/engine_outputs.catalogue.yaml WSP_PRODUCER_ALLOWLIST_REF=/etc/wsp/producers.txt \
    PLATFORM_RUN_ID=platform_20260101T000000Z PLATFORM_STORE_ROOT=s3://bucket AWS_REGION=eu-west-2 IG_INGEST_URL=https://ig.internal \
    IG_API_KEY=key KAFKA_BOOTSTRAP_SERVERS=kafka:9092 KAFKA_SASL_USERNAME=user KAFKA_SASL_PASSWORD=password \
    "WSP_CHECKPOINT_DSN=postgres://db/wsp?sslmode=verify-full" WSP_READY_REQUIRED_PACKS= \
    wsp validate --profile /etc/wsp/profiles/dev_min.yaml
as_nobody wsp demo --dir /tmp/demo --events 2000 >/tmp/demo.txt 2>&1 || fail "the demo failed: $(cat /tmp/demo.txt)"

# The service: correct, confined, and neither enabled nor started by the installation.
verified=$(systemd-analyze verify /usr/lib/systemd/system/wsp.service 2>&1 | grep 'wsp' || true)
[ -z "$verified" ] || fail "the unit: $verified"
[ -z "$(find /etc/systemd/system -name 'wsp.service')" ] || fail "the installation enabled the service"
exposure=$(systemd-analyze security --offline=true --no-pager --threshold=20 /usr/lib/systemd/system/wsp.service 2>&1 | tail -1) ||
    fail "the unit is exposed: $exposure"
echo "$exposure"

# The manual has a page for each command, which renders without a warning on 80 columns.
grep -v -q -E ' 644 0:0 /usr/share/man/man1/wsp[a-z-]*\.1\.gz$' <<<"$(grep ' /usr/share/man/man1/' <<<"$brought")" && fail "a page of the manual has another mode, owner or name"
for page in wsp wsp-run wsp-replay wsp-checkpoint-show; do
    [ -e "/usr/share/man/man1/$page.1.gz" ] || fail "the manual has no page $page"
done
for page in /usr/share/man/man1/wsp*.1.gz; do
    warnings=$(MANWIDTH=80 man --warnings=w --encoding=UTF-8 --local-file --troff-device=utf8 --ditroff "$page" 2>&1 >/dev/null)
    [ -z "$warnings" ] || fail "$page: $warnings"
    [ "$(man --local-file "$page" | grep -c -E '^(NAME|SYNOPSIS|DESCRIPTION)$')" = 3 ] || fail "$page lacks sections"
done

# Completions load in bash and complete a command.
bash --norc -c '
    . /usr/share/bash-completion/bash_completion
    _completion_loader wsp || [ $? = 124 ]
    COMP_WORDS=(wsp val) COMP_CWORD=1
    $(complete -p wsp | sed "s/.*-F \([^ ]*\) .*/\1/") wsp val wsp
    [ "${COMPREPLY[*]}" = validate ]' || fail "bash does not complete wsp"
head -1 /usr/share/zsh/vendor-completions/_wsp | grep -q '^#compdef wsp' || fail "zsh would not take the completions"
grep -q 'complete -c wsp' /usr/share/fish/vendor_completions.d/wsp.fish || fail "fish would not take the completions"

# What an operator changed stays over an upgrade and a removal, and goes by purge alone; what a run left stays over all of them.
mkdir -p /var/lib/wsp/runs
echo '# ours' >>/etc/wsp/profiles/dev_min.yaml
install
[ "$(tail -1 /etc/wsp/profiles/dev_min.yaml)" = '# ours' ] || fail "an upgrade undid the operator's change"
dpkg --remove wsp >/tmp/dpkg 2>&1 || fail "$(cat /tmp/dpkg)"
[ ! -e /usr/bin/wsp ] && [ "$(tail -1 /etc/wsp/profiles/dev_min.yaml)" = '# ours' ] || fail "a removal takes the program alone"
dpkg --purge wsp >/tmp/dpkg 2>&1 || fail "$(cat /tmp/dpkg)"
[ -d /var/lib/wsp/runs ] || fail "a purge took what runs had left"
rm -r /var/lib/wsp
same "after a purge" "$before" "$(everything)"
echo "installed, upgraded, removed and purged"
