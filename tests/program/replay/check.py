"""Reads the inputs of a replay by itself, and compares what an intake took with what they hold.

    check.py LOG SPEC

SPEC is JSON: inputs ([{name, files, format, time}]), key and id (columns; no id: the hash), numbers, bools and nulls (of CSV),
until (the first time that is too late), repeats (events that may have come twice, at most), speedup (with it, the times at which
requests came are compared with the times of their rows). Prints what it counted as JSON; any difference is an error. Parquet and
Arrow files are read by pyarrow.
"""
import csv
import datetime
import gzip
import hashlib
import json
import os
import sys


def opened(path):
    return gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb")


def text(value):
    return json.dumps(value, ensure_ascii=False)


def cell(spec, name, value):
    if value in spec.get("nulls", [""]):
        return "null"
    if name in spec.get("numbers", []):
        return value
    return text(value)


def table(format, raw):
    """The rows of a file of columns, batch by batch."""
    if format == "parquet":
        import pyarrow.parquet
        batches = pyarrow.parquet.ParquetFile(raw).iter_batches()
    else:
        import pyarrow.ipc
        batches = pyarrow.ipc.open_stream(raw)
    for batch in batches:
        yield from batch.to_pylist()


def value_text(value):
    """A value as JSON: times in UTC with six digits of a second, numbers with all of theirs."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{text(name)}:{value_text(of)}" for name, of in value.items()) + "}"
    if isinstance(value, datetime.datetime):
        return text(utc(value).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    if isinstance(value, datetime.date):
        return text(value.isoformat())
    return text(value)


def utc(value):
    """A time, from a text, a date or a time; without a zone it is in UTC."""
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
    elif not isinstance(value, datetime.datetime):
        value = datetime.datetime.combine(value, datetime.time())
    utc = datetime.timezone.utc
    return value.replace(tzinfo=utc) if value.tzinfo is None else value.astimezone(utc)


def rows(spec, source):
    """Row by row: file within the input, number, values by column, body."""
    common = os.path.commonpath([os.path.dirname(file) for file in source["files"]])
    for at, file in enumerate(source["files"]):
        within = os.path.relpath(file, common) if common else file
        with opened(file) as raw:
            if source["format"] in ("parquet", "arrow"):
                for row, values in enumerate(table(source["format"], raw)):
                    yield at, within, row, values, value_text(values)
            elif source["format"] == "jsonl":
                for row, line in enumerate(raw.read().split(b"\n")):
                    if line.strip():
                        yield at, within, row, json.loads(line), line.strip().decode()
            else:
                lines = csv.DictReader((line.decode() for line in raw), strict=True)
                for row, values in enumerate(lines):
                    body = ",".join(f"{text(name)}:{cell(spec, name, value)}" for name, value in values.items())
                    yield at, within, row, values, "{" + body + "}"


def plain(value):
    return value if isinstance(value, str) else text(value)


def expected(spec):
    events = []
    until = utc(spec["until"]) if "until" in spec else None
    for rank, source in enumerate(spec["inputs"]):
        for at, within, row, values, body in rows(spec, source):
            time = utc(values[source["time"]])
            if until and time >= until:
                # Rows are in order of time.
                break
            if spec.get("id"):
                id = ":".join(plain(values[name]) for name in spec["id"])
            else:
                place = b"\0".join([source["name"].encode(), within.encode(), row.to_bytes(8, "big")])
                id = hashlib.sha256(place + body.encode()).hexdigest()
            key = tuple(plain(values[name]) for name in spec["key"])
            events.append(((time, rank, at, row), id, key, body))
    events.sort(key=lambda event: event[0])
    return events


def main():
    spec = json.loads(sys.argv[2])
    events = expected(spec)
    due = {id: (nth, key, body, order[0]) for nth, (order, id, key, body) in enumerate(events)}
    assert len(due) == len(events), "ids are not unique"
    taken, repeated, last, lags = set(), 0, {}, []
    with open(sys.argv[1], encoding="utf-8") as log:
        for line in log:
            request = json.loads(line)
            id = request["headers"]["idempotency-key"]
            assert id in due, f"an id that no row has: {id}"
            nth, key, body, time = due[id]
            assert request["body"] == body, f"another body under {id}: {request['body']} instead of {body}"
            if id in taken:
                repeated += 1
                continue
            taken.add(id)
            assert last.get(key, -1) < nth, f"out of order within key {key}: {id}"
            last[key] = nth
            lags.append(request["at"] - (time - events[0][0][0]).total_seconds() / spec.get("speedup", 1))
    lost = len(due) - len(taken)
    assert lost == 0, f"{lost} events are lost"
    assert repeated <= spec["repeats"], f"{repeated} events came twice, more than {spec['repeats']}"
    found = {"events": len(due), "keys": len(last), "repeated": repeated}
    if "speedup" in spec:
        # None comes before its time; the first one's own way is not known, so it may have taken longer than another's.
        early, late = min(lags) - lags[0], sorted(lags)[len(lags) * 9 // 10] - lags[0]
        assert early > -0.1, f"an event came {-early} s before its time"
        # The machine may be busy with other tests.
        assert late < 5, f"a tenth of the events came {late} s late"
        found |= {"early": early, "late": late}
    print(json.dumps(found))


main()
