"""The bill of materials and the list of dependencies in the program.

    bom.py tidy FILE FOLDER VERSION      the bill without the folder it was made in, in one order
    bom.py compare FILE PROGRAM          whether the program says that it is made of what the bill says
    bom.py complete FILE < CRATES        whether the bill names each crate, one `NAME VERSION` a line
    bom.py valid FILE                    whether the bill is CycloneDX (needs cyclonedx-python-lib)
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import zlib


def tidy(path, folder, version):
    text = pathlib.Path(path).read_text(encoding="utf-8").replace(f"file://{folder}", "file://.").replace(folder, ".")
    bill = json.loads(text)
    bill.pop("serialNumber", None)  # at random, or of the folder
    bill["components"].sort(key=lambda component: component["bom-ref"])
    bill["dependencies"].sort(key=lambda dependency: dependency["ref"])
    for dependency in bill["dependencies"]:
        dependency.get("dependsOn", []).sort()
    bill["metadata"]["component"]["version"] = version
    print(json.dumps(bill, indent=1))


def in_program(path):
    """The packages that `cargo auditable` wrote into the program, or None where it was built without."""
    with tempfile.TemporaryDirectory() as folder:
        section, copy = f"{folder}/section", f"{folder}/copy"
        subprocess.run(["objcopy", "--dump-section", f".dep-v0={section}", path, copy], capture_output=True, check=True)
        # Without the section objcopy only warns.
        written = pathlib.Path(section)
        return json.loads(zlib.decompress(written.read_bytes()))["packages"] if written.exists() else None


def components(path):
    bill = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    return {(component["name"], component["version"]) for component in bill["components"]}


def complete(path, crates):
    linked = [tuple(line.split()) for line in crates]
    bill, own = components(path), json.loads(pathlib.Path(path).read_text(encoding="utf-8"))["metadata"]["component"]["name"]
    missing = sorted(" ".join(one) for one in linked if one not in bill and one[0] != own)
    if missing or not linked:
        sys.exit(f"{path}: {len(linked)} crates are linked; the bill lacks {', '.join(missing)}")
    print(f"{len(linked)} crates are linked, all in the bill of {len(bill)} components")


def compare(path, program):
    packages = in_program(program)
    if packages is None:
        sys.exit(f"{program} has no list of its dependencies: it was not built by `cargo auditable`")
    told = {(p["name"], p["version"]) for p in packages if p.get("kind", "runtime") == "runtime" and not p.get("root")}
    named = components(path)
    missing = sorted(" ".join(one) for one in told - named)
    if missing or not told:
        sys.exit(f"{path}: the program has {len(told)} dependencies; the bill lacks {', '.join(missing)}")
    print(f"{len(told)} dependencies in the program, all in the bill of {len(named)} components")


def valid(path):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    fault = JsonStrictValidator(SchemaVersion.V1_5).validate_str(pathlib.Path(path).read_text(encoding="utf-8"))
    if fault:
        sys.exit(f"{path}: {fault}")


match sys.argv[1:]:
    case ["tidy", file, folder, version]:
        tidy(file, folder, version)
    case ["compare", file, program]:
        compare(file, program)
    case ["complete", file]:
        complete(file, sys.stdin)
    case ["valid", file]:
        valid(file)
    case _:
        sys.exit(__doc__)
