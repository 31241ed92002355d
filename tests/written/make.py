"""Writes the Parquet files beside it, each by another writer, all with the same rows: see README.md.

    pip install pyarrow==26.0.1 polars==2.1.0 duckdb==2.0.1 fastparquet==2026.9.0 && python make.py
"""
import datetime as dt
import decimal
import pathlib

import duckdb
import fastparquet
import pandas
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe

HERE = pathlib.Path(__file__).parent
ROWS = 100
EPOCH = dt.datetime(1970, 1, 1)
START = dt.datetime(2026, 1, 1)
KINDS = ["alpha", "beta", "gamma"]


def row(i):
    return {
        "ts_utc": START + dt.timedelta(seconds=i // 2),
        "id": i,
        "u64": 2**64 - 1 - i,
        "i8": i % 200 - 100,
        "price": None if i % 5 == 4 else i * 0.1,
        "f32": i * 0.5,
        "flag": i % 3 == 0,
        "kind": KINDS[i % 3],
        "text": None if i % 7 == 6 else "é" + "t" * (i % 40) + str(i),
        "bin": bytes([i % 256, 255]),
        "day": (EPOCH + dt.timedelta(days=i * 100 - 15_000)).date(),
        "at": (i - 50) * 10**15 + i,
        "dec": decimal.Decimal(i * 1234 - 5).scaleb(-3),
        "nothing": None,
        "nums": [i * j for j in range(40 if i % 20 == 19 else i % 9)],
        "tags": None if i % 5 == 3 else [None if (i + j) % 6 == 5 else f"tag{j}" for j in range(i % 4)],
        "st": None if i % 11 == 10 else {"a": None if i % 4 == 1 else i, "b": f"b{i}"},
        "m": None if i % 13 == 12 else [(f"k{j}", i + j) for j in range(i % 3)],
        "deep": [{"x": i + j, "ys": [f"y{l}" for l in range(j)]} for j in range(i % 3)],
    }


def column(name):
    return [row(i)[name] for i in range(ROWS)]


def arrow(**changed):
    """The table; columns may have another type (or be left out: None)."""
    types = {
        "ts_utc": pa.timestamp("us", "UTC"), "id": pa.int64(), "u64": pa.uint64(), "i8": pa.int8(),
        "price": pa.float64(), "f32": pa.float32(), "flag": pa.bool_(), "kind": pa.string(), "text": pa.string(),
        "bin": pa.binary(), "day": pa.date32(), "at": pa.timestamp("us"), "dec": pa.decimal128(18, 3),
        "nothing": pa.null(), "nums": pa.list_(pa.int64()), "tags": pa.list_(pa.string()),
        "st": pa.struct({"a": pa.int32(), "b": pa.string()}), "m": pa.map_(pa.string(), pa.int64()),
        "deep": pa.list_(pa.struct({"x": pa.int64(), "ys": pa.list_(pa.string())})),
    }
    types.update(changed)
    return pa.table({name: pa.array(column(name), kind) for name, kind in types.items() if kind is not None})


def pyarrow_files():
    # Pages of version 1, checksums, dictionaries that overflow, no page index.
    pq.write_table(arrow(), HERE / "pyarrow_v1.parquet", row_group_size=45, data_page_size=200, write_batch_size=7,
                   dictionary_pagesize_limit=100, compression="snappy", write_page_checksum=True,
                   write_statistics=False)
    # Pages of version 2 with a page index, encodings that share beginnings, and a schema full of dictionaries.
    words = pa.dictionary(pa.int8(), pa.string())
    pq.write_table(arrow(kind=words, tags=pa.list_(words)), HERE / "pyarrow_v2.parquet", row_group_size=60,
                   data_page_size=300, write_batch_size=16, data_page_version="2.0", write_page_index=True,
                   use_dictionary=["kind", "tags.list.element", "st.b", "m.key_value.key"], compression="zstd",
                   column_encoding={"text": "DELTA_BYTE_ARRAY", "bin": "DELTA_LENGTH_BYTE_ARRAY",
                                    "deep.list.element.ys.list.element": "DELTA_BYTE_ARRAY",
                                    "id": "DELTA_BINARY_PACKED", "u64": "DELTA_BINARY_PACKED",
                                    "at": "DELTA_BINARY_PACKED", "f32": "BYTE_STREAM_SPLIT",
                                    "price": "BYTE_STREAM_SPLIT"},
                   write_page_checksum=True)
    # Times as Spark and Impala write them.
    times = pa.list_(pa.timestamp("us"))
    table = arrow(m=None, deep=None, st=None)
    table = table.append_column("ats", pa.array([[at] * (i % 3) for i, at in enumerate(column("at"))], times))
    pq.write_table(table, HERE / "pyarrow_int96.parquet", use_deprecated_int96_timestamps=True, data_page_size=256,
                   write_batch_size=16, row_group_size=70, write_statistics=False)


def checked_file():
    table = arrow().slice(0, 24).select(["ts_utc", "id", "kind", "price", "nums"])
    pq.write_table(table, HERE / "pyarrow_checked.parquet", compression="none", use_dictionary=["kind"],
                   data_page_size=64, write_batch_size=8, write_page_checksum=True, write_statistics=False,
                   store_schema=False)


class Kms(pe.KmsClient):
    """Keys that anybody may know."""

    def __init__(self, _config):
        super().__init__()

    def wrap_key(self, key_bytes, _id):
        return key_bytes.hex()

    def unwrap_key(self, wrapped_key, _id):
        return bytes.fromhex(wrapped_key)


def encrypted_files():
    table = pa.table({"ts_utc": [START], "id": [1], "secret": ["s"]})
    factory, connection = pe.CryptoFactory(Kms), pe.KmsConnectionConfig()
    for name, plaintext_footer in [("encrypted_column", True), ("encrypted_footer", False)]:
        config = pe.EncryptionConfiguration("footer", column_keys={"key": ["secret"]},
                                            plaintext_footer=plaintext_footer)
        properties = factory.file_encryption_properties(connection, config)
        with pq.ParquetWriter(HERE / f"{name}.parquet", table.schema, encryption_properties=properties) as writer:
            writer.write_table(table)


def polars_file():
    def times(name, values):
        return polars.Series(name, [EPOCH + dt.timedelta(microseconds=value) for value in values],
                             polars.Datetime("us"))

    frame = polars.DataFrame({
        "ts_utc": polars.Series(column("ts_utc"), dtype=polars.Datetime("us", "UTC")),
        "id": polars.Series(column("id"), dtype=polars.Int64),
        "u64": polars.Series(column("u64"), dtype=polars.UInt64),
        "i8": polars.Series(column("i8"), dtype=polars.Int8),
        "price": polars.Series(column("price"), dtype=polars.Float64),
        "f32": polars.Series(column("f32"), dtype=polars.Float32),
        "flag": polars.Series(column("flag"), dtype=polars.Boolean),
        "kind": polars.Series(column("kind"), dtype=polars.Enum(KINDS)),
        "text": polars.Series(column("text"), dtype=polars.String),
        "bin": polars.Series(column("bin"), dtype=polars.Binary),
        "day": polars.Series(column("day"), dtype=polars.Date),
        "at": times("at", column("at")),
        "dec": polars.Series(column("dec"), dtype=polars.Decimal(18, 3)),
        "nothing": polars.Series(column("nothing"), dtype=polars.Null),
        "nums": polars.Series(column("nums"), dtype=polars.List(polars.Int64)),
        "tags": polars.Series(column("tags"), dtype=polars.List(polars.Categorical)),
        "st": polars.Series(column("st"), dtype=polars.Struct({"a": polars.Int32, "b": polars.String})),
        "deep": polars.Series(column("deep"), dtype=polars.List(
            polars.Struct({"x": polars.Int64, "ys": polars.List(polars.String)}))),
    })
    frame.write_parquet(HERE / "polars.parquet", row_group_size=40, data_page_size=600, compression="zstd",
                        statistics=False)


def duckdb_files():
    connection = duckdb.connect()
    connection.execute("set timezone = 'UTC'")
    connection.register("arrow_rows", arrow())
    connection.execute("create type kinds as enum ('alpha', 'beta', 'gamma')")
    select = "select * replace (kind::kinds as kind, null::integer as nothing) from arrow_rows"
    connection.execute(f"create table rows as {select}")
    for version, codec in [("V1", "snappy"), ("V2", "zstd")]:
        connection.execute(f"copy rows to '{HERE}/duckdb_{version.lower()}.parquet' (format parquet, "
                           f"parquet_version {version}, compression {codec}, row_group_size 2048)")


def fastparquet_file():
    names = ["id", "u64", "i8", "price", "f32", "flag", "kind", "text", "bin"]
    frame = pandas.DataFrame({name: column(name) for name in names})
    frame["u64"] = frame["u64"].astype("uint64")
    frame["i8"] = frame["i8"].astype("int8")
    frame["f32"] = frame["f32"].astype("float32")
    frame["kind"] = frame["kind"].astype("category")
    frame.insert(0, "ts_utc", pandas.to_datetime(pandas.Series(column("ts_utc"))).astype("datetime64[ns]"))
    frame["text"] = frame["text"].astype(object).where(frame["text"].notna(), None)
    encodings = {"kind": "utf8", "text": "utf8", "bin": "bytes"}
    for name, times in [("fastparquet", "int64"), ("fastparquet_int96", "int96")]:
        fastparquet.write(str(HERE / f"{name}.parquet"), frame, row_group_offsets=[0, 40, 80], compression="GZIP",
                          object_encoding=encodings, times=times, has_nulls=["price", "text"])


pyarrow_files()
checked_file()
encrypted_files()
polars_file()
duckdb_files()
fastparquet_file()
for file in sorted(HERE.glob("*.parquet")):
    print(file.name, file.stat().st_size)
