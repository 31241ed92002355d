#!/usr/bin/env bash
# Fills in what differs from one deployment to the next, and nothing else. The values come from the environment:
#   WSP_IMAGE             the image by its digest, registry/wsp@sha256:<64 hex>: the one place that says which build runs
#   AWS_ACCOUNT_ID        12 digits (ECS)
#   WSP_EFS_FILE_SYSTEM   fs-…, WSP_EFS_ACCESS_POINT fsap-…: the outputs of deploy/ecs/state.yaml (ECS)
# Usage: WSP_IMAGE=… deploy/render.sh kubernetes|ecs FOLDER; the filled files go into FOLDER. Exit 2: a value is missing or wrong.
set -euo pipefail
export LC_ALL=C

refuse() {
    echo "render.sh: $*" >&2
    exit 2
}

# value NAME PATTERN MEANING: whether the variable is set to what it has to be.
value() {
    [[ ${!1:-} =~ ^($2)$ ]] || refuse "$1 has to be $3; it is '${!1:-}'"
}

[ $# -eq 2 ] || refuse "usage: deploy/render.sh kubernetes|ecs FOLDER"
kind=$1 out=$2
here=$(cd "$(dirname "$0")" && pwd)

value WSP_IMAGE '[a-z0-9][A-Za-z0-9._:/-]*@sha256:[0-9a-f]{64}' 'an image by its digest: name@sha256:<64 lower-case hex digits>'
[[ ! $WSP_IMAGE =~ @sha256:0+$ ]] || refuse "WSP_IMAGE names no image: its digest is all zeros"
fill=(-e "s|\${WSP_IMAGE}|$WSP_IMAGE|g")
case $kind in
kubernetes) ;;
ecs)
    value AWS_ACCOUNT_ID '[0-9]{12}' 'an account of 12 digits'
    value WSP_EFS_FILE_SYSTEM 'fs-[0-9a-f]{8,40}' 'the id of a file system: fs-…'
    value WSP_EFS_ACCESS_POINT 'fsap-[0-9a-f]{8,40}' 'the id of an access point: fsap-…'
    fill+=(-e "s|\${AWS_ACCOUNT_ID}|$AWS_ACCOUNT_ID|g")
    fill+=(-e "s|\${WSP_EFS_FILE_SYSTEM}|$WSP_EFS_FILE_SYSTEM|g" -e "s|\${WSP_EFS_ACCESS_POINT}|$WSP_EFS_ACCESS_POINT|g")
    ;;
*) refuse "there is kubernetes and ecs, not '$kind'" ;;
esac

mkdir -p "$out"
for file in "$here/$kind"/*; do
    filled=$out/$(basename "$file")
    sed "${fill[@]}" "$file" > "$filled"
    if grep -n '\${[A-Z]' "$filled" >&2; then
        refuse "$file asks for a value that this script does not know"
    fi
done
