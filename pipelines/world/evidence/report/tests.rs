//! The page of a run made up for it.

use std::time::Duration;

use serde_json::json;
use wsp::deliver::PushCounts;

use super::*;
use crate::evidence::testing::start;
use crate::evidence::told::Fact;
use crate::evidence::{Deferral, End, Start, Status, Summary, Tally};
use crate::model::{Check, Decision, Delivered, Micros, Position, Reason, Refusal, Verdict};

fn told(answers: u64) -> Told {
    let mut tally = Tally::new(2).unwrap();
    for seq in 0..answers {
        let delivered = Delivered {
            position: Position { rank: (seq % 2) as u16, file: 0, row: seq / 2, seq: seq / 2 },
            ts: Micros(seq.cast_signed() * 60_000_000),
            event_id: [7; 32],
            decision: if seq % 9 == 0 { Decision::Duplicate } else { Decision::Admit },
            attempts: 1 + u32::from(seq % 10 == 0),
            ambiguous: false,
            latency: Duration::from_micros(200 + seq),
            lag: Duration::from_micros(seq),
        };
        tally.count(&delivered, Duration::from_millis(seq * 3));
    }
    let mut start = start();
    start.checks.push(Check {
        name: "<b>seal</b>".to_owned(),
        verdict: Verdict::Waived,
        detail: "none & allowed".into(),
    });
    let refusal = Refusal::new(Reason::RunStopped, "<img src=x onerror=alert(1)>");
    let ended = Micros(start.started.0 + 3000 * answers.cast_signed());
    let pushes = PushCounts::default();
    let summary = Summary::new(start.clone(), &tally, pushes, Status::Failed, End::Stopped, Some(&refusal), ended);
    let fact = |family: &str, details: serde_json::Value| Fact {
        event_id: String::new(),
        event_family: family.to_owned(),
        ts_utc: "1970-01-01T00:00:00.000000+00:00".to_owned(),
        details,
    };
    Told {
        facts: vec![
            fact("RUN_STARTED", json!({"limits": {"max_events": 70_000}})),
            fact("RUN_ENDED", json!({"status": "FAILED", "end": "stopped", "reason": "RUN_STOPPED", "emitted": 7})),
        ],
        deferral: Some(waited(&start)),
        record: Vec::new(),
        summary: Some(summary),
        start,
        under_way: None,
    }
}

fn waited(start: &Start) -> Deferral {
    let mut waited =
        Deferral::new(start.run.message_id.clone().unwrap(), start.run.run_id.clone().unwrap(), Micros(-1));
    waited.note(Micros(-1), &["CHECKPOINT_SCOPE_BUSY:held by another".to_owned()], &json!({}));
    waited
}

/// The page's tags, opening ones as `name`, closing ones as `/name`.
fn tags(page: &str) -> Vec<&str> {
    let starts = page.match_indices('<').map(|(at, _)| &page[at + 1..]);
    let name = |rest: &'_ str| rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '/' || c == '!')).unwrap_or(0);
    starts.map(|rest| &rest[..name(rest)]).filter(|name| !name.is_empty()).collect()
}

#[test]
fn the_page_stands_alone_and_is_well_formed() {
    for answers in [0, 1, 3000] {
        let page = page(&told(answers));
        for outside in ["http://", "https://", "<script", "<link", "@import", "url(", "<img", " style="] {
            assert!(!page.contains(outside), "{outside}");
        }
        // Elements that close must be open, in their order.
        let mut open = Vec::new();
        for tag in tags(&page) {
            let empty = ["!DOCTYPE", "meta"].contains(&tag);
            match tag.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name), "{answers} answers"),
                None if !empty => open.push(tag),
                None => {}
            }
        }
        assert_eq!(open, Vec::<&str>::new());
    }
}

#[test]
fn it_tells_the_story() {
    let page = page(&told(3000));
    let order = ["Put off", "Started", "Stopped"].map(|word| page.find(&format!("<b>{word}</b>")).unwrap());
    assert!(order.is_sorted());
    for words in ["cap of 70\u{202f}000 events", "RUN_STOPPED", "held by another", "none &amp; allowed"] {
        assert!(page.contains(words), "{words}");
    }
    for chart in ["rate", "latency", "lag", "retries", "event-time"] {
        assert!(page.contains(&format!("<figure class=\"chart\" id=\"{chart}\">")), "{chart}");
    }
    assert!(page.contains("&lt;img src=x"), "what others wrote is text");
    assert!(page.len() < 600_000, "{} bytes", page.len());
}

#[test]
fn a_run_without_an_end_has_a_page_too() {
    let mut told = told(0);
    told.summary = None;
    assert!(page(&told).contains("without an end"));
}
