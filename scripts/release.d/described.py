"""From `cargo metadata --no-deps` on stdin: the packages that a release is made of, as assignments for the shell."""

import json
import shlex
import sys

metadata = json.load(sys.stdin)


def with_target(kind, name):
    found = [
        package
        for package in metadata["packages"]
        for target in package["targets"]
        if kind in target["kind"] and target["name"] == name
    ]
    if len(found) != 1:
        sys.exit(f"{len(found)} packages of this workspace have a {kind} named {name}")
    return found[0]


program, library = with_target("bin", "wsp"), with_target("lib", "wsp")
for name, value in {
    "package": program["name"],
    "manifest": program["manifest_path"],
    "version": program["version"],
    "library": library["name"],
    "target": metadata["target_directory"],
}.items():
    print(f"{name}={shlex.quote(value)}")
