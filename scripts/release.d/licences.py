"""The licences of what is linked into the program.

    licences.py config deny.toml      cargo-about's settings: it accepts what deny.toml accepts
    licences.py native < METADATA     the licences of the C code that crates bring along
    licences.py complete FILE < CRATES    whether a file names each crate, one `NAME VERSION` a line
"""

import json
import pathlib
import sys
import tomllib

# The crates with C code of others, and the files that say under what it may be used. cargo-about reads the crates' own.
NATIVE = {
    "libz-sys": ["src/zlib/LICENSE"],
    "openssl-src": ["openssl/LICENSE.txt"],
    "rdkafka-sys": ["librdkafka/LICENSES.txt"],
    "ring": ["LICENSE", "LICENSE-BoringSSL", "LICENSE-other-bits"],
    "tikv-jemalloc-sys": ["jemalloc/COPYING"],
    "zstd-sys": ["zstd/LICENSE"],
}
# Crates that link a library which another crate brings.
ELSEWHERE = {"openssl-sys": "openssl-src"}


def config(path):
    with open(path, "rb") as file:
        accepted = tomllib.load(file)["licenses"]["allow"]
    print(f"accepted = {json.dumps(accepted)}")
    print('targets = ["x86_64-unknown-linux-gnu"]')
    print("ignore-build-dependencies = true\nignore-dev-dependencies = true")
    print("private = { ignore = true }")
    # Licences stand at the root of a crate; without this it reads all of OpenSSL.
    print("max-depth = 1")


def native(metadata):
    """Every crate that links C has to be in the table above, so that a new one is not forgotten."""
    packages = {package["id"]: package for package in metadata["packages"]}
    used = [packages[node["id"]] for node in metadata["resolve"]["nodes"]]
    unknown = [p["name"] for p in used if p["links"] and p["name"] not in NATIVE and p["name"] not in ELSEWHERE]
    unknown = [name for name in unknown if has_c(packages, name)]
    if unknown:
        sys.exit(f"licences.py: add the licences of the C code in {', '.join(unknown)} to NATIVE")
    for package in sorted(used, key=lambda package: package["name"]):
        for name in NATIVE.get(package["name"], []):
            text = (pathlib.Path(package["manifest_path"]).parent / name).read_text(encoding="utf-8")
            print(f"\n{'=' * 80}\nC code in {package['name']} {package['version']}: {name}\n{'-' * 80}\n{text.rstrip()}")


def has_c(packages, name):
    folders = [pathlib.Path(p["manifest_path"]).parent for p in packages.values() if p["name"] == name]
    return any(next(folder.rglob(pattern), None) for folder in folders for pattern in ("*.c", "*.cc", "*.S"))


def complete(path, crates):
    with open(path, encoding="utf-8") as file:
        named = {tuple(line.split()[:2]) for line in file if line.startswith("  ")}
    own = ("world-streamer-producer", "wsp")
    missing = [line.strip() for line in crates if tuple(line.split()) not in named and not line.startswith(own)]
    if missing:
        sys.exit(f"{path}: no licence of {', '.join(missing)}")


match sys.argv[1:]:
    case ["config", deny]:
        config(deny)
    case ["native"]:
        native(json.load(sys.stdin))
    case ["complete", file]:
        complete(file, sys.stdin)
    case _:
        sys.exit(__doc__)
