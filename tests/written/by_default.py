"""Writes the files `by_default*` beside it: the same rows, each file as its writer writes it when nothing is said, and
`by_default.jsonl`, the body that each row has to become.

    pip install pyarrow==26.0.1 polars==2.1.0 duckdb==2.0.1 && python by_default.py
"""
import datetime as dt
import decimal
import json
import pathlib
import zoneinfo

import duckdb
import polars
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).parent
ROWS = 40
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
# Two hours before the clocks are set back: an hour comes twice.
START = dt.datetime(2025, 10, 25, 22, 0, tzinfo=dt.timezone.utc)
KINDS = ["order", "refund", "visit"]


def row(i):
    return {
        "t": START + dt.timedelta(minutes=7 * i, microseconds=i),
        "n": 2**63 - 1 - i if i % 2 else -(2**63) + i,
        "amount": None if i % 9 == 8 else decimal.Decimal(i * 12_345_678_901_234_567 - 1).scaleb(-9),
        "kind": KINDS[i % 3],
        "note": None if i % 7 == 6 else f'{i}: "ü", a\\b, {chr(10)}end',
        "share": None if i % 5 == 4 else i / 8 + 0.1,
        "paid": i % 3 == 0,
        "day": (dt.date(1999, 12, 31) + dt.timedelta(days=i)),
        "shop": None if i % 11 == 10 else {"id": i, "name": None if i % 4 == 3 else f"s{i}"},
        "lines": [{"sku": f"k{j}", "count": i + j, "tags": [f"t{k}" for k in range(j)]} for j in range(i % 4)],
    }


def body(i):
    """The row as JSON, written by hand: numbers keep all their digits."""
    def value(what):
        if isinstance(what, dt.datetime):
            return json.dumps(what.astimezone(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
        if isinstance(what, dt.date):
            return json.dumps(what.isoformat())
        if isinstance(what, decimal.Decimal):
            return f"{what:.9f}"
        if isinstance(what, dict):
            return "{" + ",".join(f"{json.dumps(key)}:{value(of)}" for key, of in what.items()) + "}"
        if isinstance(what, list):
            return "[" + ",".join(value(of) for of in what) + "]"
        return json.dumps(what, ensure_ascii=False)
    return value(row(i))


def table():
    line = pa.struct({"sku": pa.string(), "count": pa.int64(), "tags": pa.list_(pa.string())})
    types = {
        "t": pa.timestamp("us", "Europe/Berlin"), "n": pa.int64(), "amount": pa.decimal128(38, 9),
        "kind": pa.dictionary(pa.int32(), pa.string()), "note": pa.string(), "share": pa.float64(),
        "paid": pa.bool_(), "day": pa.date32(), "shop": pa.struct({"id": pa.int64(), "name": pa.string()}),
        "lines": pa.list_(line),
    }
    rows = [row(i) for i in range(ROWS)]
    return pa.table({name: pa.array([one[name] for one in rows], kind) for name, kind in types.items()})


def frame():
    rows = [row(i) for i in range(ROWS)]
    line = polars.Struct({"sku": polars.String, "count": polars.Int64, "tags": polars.List(polars.String)})
    types = {
        "t": polars.Datetime("us", "Europe/Berlin"), "n": polars.Int64, "amount": polars.Decimal(38, 9),
        "kind": polars.Categorical, "note": polars.String, "share": polars.Float64, "paid": polars.Boolean,
        "day": polars.Date, "shop": polars.Struct({"id": polars.Int64, "name": polars.String}),
        "lines": polars.List(line),
    }
    times = [one["t"].astimezone(BERLIN) for one in rows]
    columns = {name: [one[name] for one in rows] for name in types} | {"t": times}
    return polars.DataFrame({name: polars.Series(name, columns[name], dtype=kind) for name, kind in types.items()})


def main():
    with open(HERE / "by_default.jsonl", "w", encoding="utf-8") as file:
        file.writelines(body(i) + "\n" for i in range(ROWS))
    pq.write_table(table(), HERE / "by_default.pyarrow.parquet")
    feather.write_feather(table(), HERE / "by_default.pyarrow.feather")
    frame().write_parquet(HERE / "by_default.polars.parquet")
    frame().write_ipc(HERE / "by_default.polars.arrow")
    flat = frame().drop("shop", "lines")
    flat.write_csv(HERE / "by_default.polars.csv")
    frame().write_ndjson(HERE / "by_default.polars.jsonl")
    connection = duckdb.connect()
    connection.execute("set timezone = 'Europe/Berlin'")
    connection.register("arrow_rows", table())
    connection.execute("create table events as select * from arrow_rows")
    connection.execute(f"copy events to '{HERE}/by_default.duckdb.parquet'")
    connection.execute(f"copy events to '{HERE}/by_default.duckdb.json'")
    connection.execute(f"copy (select * exclude (shop, lines) from events) to '{HERE}/by_default.duckdb.csv'")


main()
for file in sorted(HERE.glob("by_default.*")):
    print(file.name, file.stat().st_size)
