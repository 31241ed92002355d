//! The rows of the files in `tests/written`, as `make.py` there makes them, and every way to read a file.

use bytes::Bytes;
use serde_json::{Map, Value, json};
use wsp_world::model::{Micros, Refusal};
use wsp_world::oracle::{Resume, RowFilter, Scan, View};

use crate::kit::views::{self, assert_same, framed, framer, view_of};

pub(crate) const ROWS: i64 = 100;
const DAY: i64 = 86_400_000_000;
const START: i64 = 1_767_225_600_000_000;

/// A file of `tests/written`.
pub(crate) fn written(name: &str) -> Bytes {
    let path = crate::kit::repository("tests/written").join(format!("{name}.parquet"));
    std::fs::read(path).unwrap().into()
}

/// A view whose one part is `file`.
pub(crate) async fn view(file: Bytes, rows: i64) -> Result<View, Refusal> {
    view_of(vec![file], rows as u64).1.inspect().await
}

fn list<T: Into<Value>>(count: i64, item: impl Fn(i64) -> T) -> Value {
    (0..count).map(|j| item(j).into()).collect::<Vec<Value>>().into()
}

fn unless(is_null: bool, value: impl Into<Value>) -> Value {
    if is_null { Value::Null } else { value.into() }
}

fn at(i: i64) -> Value {
    Micros((i - 50) * 1_000_000_000_000_000 + i).to_string().into()
}

/// Column `name` of row `i`.
pub(crate) fn expected(name: &str, i: i64) -> Value {
    match name {
        "ts_utc" => Micros(START + i / 2 * 1_000_000).to_string().into(),
        "id" => i.into(),
        "u64" => (u64::MAX - i as u64).into(),
        "i8" => (i % 200 - 100).into(),
        "price" => unless(i % 5 == 4, i as f64 * 0.1),
        "f32" => (i as f64 * 0.5).into(),
        "flag" => (i % 3 == 0).into(),
        "kind" => ["alpha", "beta", "gamma"][i as usize % 3].into(),
        "text" => unless(i % 7 == 6, format!("é{}{i}", "t".repeat(i as usize % 40))),
        "bin" => {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode([(i % 256) as u8, 255]).into()
        }
        "day" => Micros((i * 100 - 15_000) * DAY).to_string()[..10].into(),
        "at" => at(i),
        "ats" => list(i % 3, |_| at(i)),
        "dec" => ((i * 1_234 - 5) as f64 / 1_000.0).into(),
        "nothing" => Value::Null,
        "nums" => list(if i % 20 == 19 { 40 } else { i % 9 }, |j| i * j),
        "tags" => unless(i % 5 == 3, list(i % 4, |j| unless((i + j) % 6 == 5, format!("tag{j}")))),
        "st" => unless(i % 11 == 10, json!({"a": unless(i % 4 == 1, i), "b": format!("b{i}")})),
        "m" => unless(i % 13 == 12, list(i % 3, |j| json!([format!("k{j}"), i + j]))),
        "deep" => list(i % 3, |j| json!({"x": i + j, "ys": list(j, |l| format!("y{l}"))})),
        other => panic!("no column {other}"),
    }
}

/// The rows that a scan gives, from row `from` on and those alone that `keep` picks, as payloads with their ids.
async fn payloads(view: &View, scan: Scan, keep: Option<RowFilter>) -> (Vec<Map<String, Value>>, Option<Refusal>) {
    use futures::StreamExt as _;
    let (mut batches, mut refusal) = (Vec::new(), None);
    let mut stream = std::pin::pin!(view.batches_where(scan, keep));
    while let Some(item) = stream.next().await {
        match item {
            Ok(batch) => batches.push(batch),
            Err(error) => refusal = Some(error),
        }
    }
    let (events, unframed) = framed(framer(&["id"], None), views::merged(batches, 64)).await;
    let payload = |event: wsp_world::model::Event| {
        let body: Map<String, Value> = serde_json::from_slice(&event.body).unwrap();
        body["payload"].as_object().unwrap().clone()
    };
    (events.into_iter().map(payload).collect(), refusal.or(unframed))
}

/// Rows whose `id` leaves 1 when it is divided by 3.
fn some() -> RowFilter {
    use arrow_array::cast::AsArray as _;
    RowFilter::new(vec!["id".to_owned()], |rows, keep| {
        let ids = rows.column_by_name("id").unwrap().as_primitive::<arrow_array::types::Int64Type>();
        keep.extend(ids.values().iter().map(|id| id % 3 == 1));
        Ok(())
    })
}

/// Ways to read a part: whole and in slices, in large and small batches, from its first row and from others, all rows and
/// some.
fn ways(rows: i64) -> Vec<(Scan, i64, Option<RowFilter>)> {
    let mut ways = Vec::new();
    for memory in [0, 3_000, 64 << 20] {
        for batch_rows in [5, 4096] {
            for (from, keep) in [(0, None), (rows / 3, None), (rows - 1, None), (1, Some(some()))] {
                let scan = Scan::new().memory(memory).batch_rows(batch_rows).resume(Resume::at(0, from as u64));
                ways.push((scan, from, keep));
            }
        }
    }
    ways
}

/// Reads rows `from` to `rows`, those that `keep` picks: each is as it is expected, and all are there unless the scan ended
/// with a refusal, which is given back.
pub(crate) async fn check(view: &View, rows: i64, scan: Scan, from: i64, keep: Option<RowFilter>) -> Option<Refusal> {
    let case = format!("{scan:?}, {keep:?}");
    let wanted: Vec<i64> = (from..rows).filter(|id| keep.is_none() || id % 3 == 1).collect();
    let (payloads, refusal) = payloads(view, scan, keep).await;
    assert!(payloads.len() <= wanted.len(), "{case}");
    assert!(refusal.is_some() || payloads.len() == wanted.len(), "rows are missing: {case}");
    for (payload, i) in payloads.iter().zip(&wanted) {
        for (name, value) in payload {
            assert_same(value, &expected(name, *i));
        }
    }
    refusal
}

/// The same in every way.
pub(crate) async fn check_every_way(view: &View, rows: i64) -> Vec<Option<Refusal>> {
    let mut refusals = Vec::new();
    for (scan, from, keep) in ways(rows) {
        refusals.push(check(view, rows, scan, from, keep).await);
    }
    refusals
}
