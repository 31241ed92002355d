#!/usr/bin/env bash
# Checks the manifests by their own schemas: Kubernetes, ECS and systemd. Fetches the validators into target/deploy.
# What the manifests say of the program is checked by `cargo test --test deploy`.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=target/deploy
if [ ! -x "$tools/bin/kubernetes-validate" ] || [ ! -x "$tools/bin/cfn-lint" ]; then
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet 'kubernetes-validate==1.34.1' 'cfn-lint==1.40.4'
fi

echo "== Kubernetes"
"$tools/bin/kubernetes-validate" --strict deploy/kubernetes/*.yaml

echo "== ECS"
# The task definition as the resource that cfn-lint knows the schema of: the same keys, capitalised.
"$tools/bin/python" - deploy/ecs/task-definition.json > "$tools/ecs.json" <<'PYTHON'
import json, sys

PLAIN = {"options"}  # a map of the log driver's own keys

def capitalised(value, plain=False):
    if isinstance(value, dict):
        return {k if plain else k[0].upper() + k[1:]: capitalised(v, k in PLAIN) for k, v in value.items()}
    return [capitalised(item) for item in value] if isinstance(value, list) else value

task = json.load(open(sys.argv[1]))
print(json.dumps({"Resources": {"Wsp": {"Type": "AWS::ECS::TaskDefinition", "Properties": capitalised(task)}}}))
PYTHON
"$tools/bin/cfn-lint" --regions eu-west-2 -- "$tools/ecs.json"

echo "== systemd"
if command -v systemd-analyze >/dev/null; then
    # The program and its environment file are not installed here; everything else has to be right.
    found=$(systemd-analyze verify deploy/systemd/wsp.service 2>&1 | grep -v -e '/usr/bin/wsp' -e 'wsp.env' || true)
    if grep -q 'wsp.service' <<<"$found"; then
        echo "$found" >&2
        exit 1
    fi
else
    echo "skipped: systemd-analyze is not installed"
fi

if [ -d deploy/prometheus ]; then
    echo "== Prometheus"
    promtool check rules deploy/prometheus/*.yaml
fi
