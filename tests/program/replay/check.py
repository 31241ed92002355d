"""Reads the inputs of a replay by itself, and compares what an intake took with what they hold.

    check.py LOG SPEC

SPEC is JSON: inputs ([{name, files, format, time}]), key and id (columns; no id: the hash), numbers, bools and nulls (of CSV),
repeats (events that may have come twice, at most). Prints what it counted as JSON; any difference is an error.
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


def rows(spec, source):
    """Row by row: file within the input, number, values by column, body."""
    common = os.path.commonpath([os.path.dirname(file) for file in source["files"]])
    for at, file in enumerate(source["files"]):
        within = os.path.relpath(file, common) if common else file
        with opened(file) as raw:
            if source["format"] == "jsonl":
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
    for rank, source in enumerate(spec["inputs"]):
        for at, within, row, values, body in rows(spec, source):
            time = datetime.datetime.fromisoformat(values[source["time"]].replace("Z", "+00:00"))
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
    due = {id: (nth, key, body) for nth, (_, id, key, body) in enumerate(events)}
    assert len(due) == len(events), "ids are not unique"
    taken, repeated, last = set(), 0, {}
    with open(sys.argv[1], encoding="utf-8") as log:
        for line in log:
            request = json.loads(line)
            id = request["headers"]["idempotency-key"]
            assert id in due, f"an id that no row has: {id}"
            nth, key, body = due[id]
            assert request["body"] == body, f"another body under {id}: {request['body']} instead of {body}"
            if id in taken:
                repeated += 1
                continue
            taken.add(id)
            assert last.get(key, -1) < nth, f"out of order within key {key}: {id}"
            last[key] = nth
    lost = len(due) - len(taken)
    assert lost == 0, f"{lost} events are lost"
    assert repeated <= spec["repeats"], f"{repeated} events came twice, more than {spec['repeats']}"
    print(json.dumps({"events": len(due), "keys": len(last), "repeated": repeated}))


main()
