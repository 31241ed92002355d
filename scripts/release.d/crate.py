"""Whether the crate has what its users need and nothing else. Reads `cargo package --list` on stdin."""

import re
import sys

ALLOWED = re.compile(
    r"(src|examples)/[\w./-]+\.rs"
    r"|README\.md|CHANGELOG\.md|LICENSE-(MIT|APACHE)|Cargo\.(toml|toml\.orig|lock)|\.cargo_vcs_info\.json"
)
TESTS = re.compile(r"(^|_|/)tests(\.rs|/)")
NEEDED = {"src/lib.rs", "README.md", "LICENSE-MIT", "LICENSE-APACHE", "Cargo.toml"}

files = sys.stdin.read().split()
other = [file for file in files if not ALLOWED.fullmatch(file) or TESTS.search(file)]
missing = sorted(NEEDED - set(files))
if other or missing:
    sys.exit(f"the crate has {', '.join(other) or 'nothing'} that it should not have, and lacks {', '.join(missing) or 'nothing'}")
print(f"crate: {len(files)} files")
