//! Rows of a `matrix.json`: which are red, and which should be.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Ids of the rows with this result.
pub(crate) fn rows<'a>(report: &'a Value, result: &str) -> BTreeSet<&'a str> {
    let rows = report["rows"].as_array().unwrap().iter();
    rows.filter(|row| row["result"] == result).map(|row| row["id"].as_str().unwrap()).collect()
}

/// The rows that need a part, through what they need too: read from the report.
pub(crate) fn dependants<'a>(report: &'a Value, part: &str) -> BTreeSet<&'a str> {
    let rows = report["rows"].as_array().unwrap();
    // What a row gives is what it is about.
    let gives = BTreeMap::from([
        ("C1.topic", "control_topic"),
        ("C1.store", "store"),
        ("C2.world", "world"),
        ("C3.gate", "gate"),
        ("C3.hold", "checkpoint"),
        ("C3.stop", "stopped"),
        ("C3.cap", "streamed"),
    ]);
    let mut down = BTreeSet::from([part.to_owned()]);
    let mut red = BTreeSet::new();
    loop {
        let before = red.len();
        for row in rows {
            let id = row["id"].as_str().unwrap();
            let needs = row["needs"].as_array().unwrap().iter().any(|need| down.contains(need.as_str().unwrap()));
            if needs || gives.get(id) == Some(&part) {
                red.insert(id);
                down.extend(gives.get(id).map(|given| (*given).to_owned()));
            }
        }
        if red.len() == before {
            return red;
        }
    }
}
