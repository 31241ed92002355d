//! What becomes of a row: several bodies, URLs with columns, packed bodies, batches, rounds, times that move.

use std::io::{BufRead as _, Read as _};

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use wsp::clock::{Clock as _, SystemClock};
use wsp::time::Micros;

use super::{Folder, Intake, Taken, at, lines};
use crate::kit::process::Told;

/// Replays `a.jsonl` as fast as it goes.
fn sent(folder: &Folder, intake: &Intake, args: &[&str]) -> Told {
    let url = intake.url();
    folder.replay(&[&["a.jsonl", "--time", "at", "--to", &url, "--speedup", "0"], args].concat())
}

/// Microseconds since 1970.
fn now() -> i64 {
    SystemClock::new().utc().0
}

fn numbers(taken: &[Taken]) -> Vec<u64> {
    taken.iter().map(|taken| taken.json()["n"].as_u64().unwrap()).collect()
}

#[test]
fn columns_stand_in_url_and_method() {
    let row = |n: usize, op: &str, shop: &str| {
        format!("{{\"at\":\"{}\",\"n\":{n},\"op\":\"{op}\",\"shop\":\"{shop}\"}}\n", at(n))
    };
    let rows = row(0, "PUT", "s/1") + &row(1, "DELETE", "ü ?") + &row(2, "POST", "..");
    let folder = Folder::new(&[("a.jsonl", &rows)]);
    let intake = Intake::new(|nth, _| if nth == 1 { 422 } else { 200 });
    let to = format!("{}/v1/{{shop}}/orders?n={{n}}", intake.url());
    let args =
        ["a.jsonl", "--time", "at", "--to", &to, "--method", "{op}", "--speedup", "0", "--dead-letter", "dead.jsonl"];
    let told = folder.replay(&args);
    assert_eq!(told.code, Some(1), "{}", told.err);
    assert!(told.err.contains("a.jsonl, row 3, column shop: \".\" or \"..\" as a segment"), "{}", told.err);
    assert_eq!(intake.taken()[0].line, "PUT /v1/s%2F1/orders?n=0 HTTP/1.1");
    // The letter has method and URL of its event.
    let to = intake.url();
    let told = folder.replay(&["dead.jsonl", "--to", &to, "--speedup", "0"]);
    assert_eq!(told.code, Some(0), "{}", told.err);
    assert_eq!(intake.taken()[1].line, "DELETE /v1/%C3%BC%20%3F/orders?n=1 HTTP/1.1");
    let told = folder.replay(&["a.jsonl", "--time", "at", "--to", "http://{shop}.example/", "--speedup", "0"]);
    assert!(told.code == Some(2) && told.err.contains("--to: columns are for path and query"), "{}", told.err);
}

#[test]
fn packed_bodies_are_what_they_were() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..4))]);
    let expected: Vec<String> = lines(0..4).lines().map(str::to_owned).collect();
    for (packing, args) in [("gzip", &[][..]), ("zstd", &[]), ("gzip", &["--batch", "10", "--batch-as", "lines"])] {
        let intake = Intake::willing();
        let told = sent(&folder, &intake, &[&["--compress", packing, "--fresh"], args].concat());
        assert_eq!(told.code, Some(0), "{}", told.err);
        let taken = intake.taken();
        let unpacked = taken.iter().map(|Taken { headers, raw: body, .. }| {
            assert_eq!(headers["content-encoding"], packing);
            let mut text = String::new();
            match packing {
                "gzip" => GzDecoder::new(&body[..]).read_to_string(&mut text).unwrap(),
                _ => zstd::Decoder::new(&body[..]).unwrap().read_to_string(&mut text).unwrap(),
            };
            text
        });
        let bodies: Vec<String> =
            unpacked.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        assert_eq!(bodies, expected, "{packing} {args:?}");
    }
    // A letter has the body as it was.
    let picky = Intake::new(|_, _| 422);
    let told = sent(&folder, &picky, &["--compress", "zstd", "--fresh", "--dead-letter", "dead.jsonl"]);
    assert_eq!(told.code, Some(0), "{}", told.err);
    let letters = std::fs::read_to_string(folder.path("dead.jsonl")).unwrap();
    let bodies: Vec<Value> =
        letters.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["body"].clone()).collect();
    assert_eq!(bodies, expected.iter().map(|text| serde_json::from_str::<Value>(text).unwrap()).collect::<Vec<_>>());
}

#[test]
fn a_filter_makes_bodies_and_ids_of_their_own() {
    let row = |n: usize, items: &str| format!("{{\"at\":\"{}\",\"order\":\"o:{n}\",\"items\":{items}}}\n", at(n));
    let rows = row(0, "[]") + &row(1, "[9007199254740993]") + &row(2, "[1.10,2,18446744073709551616]") + &row(3, "[4]");
    let folder = Folder::new(&[("a.jsonl", &rows)]);
    let intake = Intake::willing();
    let filter = ".order as $o | .items[] | {order: $o, n: .}";
    let told = sent(&folder, &intake, &["--jq", filter, "--id", "order"]);
    assert_eq!(told.code, Some(0), "{}", told.err);
    let bodies = [
        r#"{"order":"o:1","n":9007199254740993}"#,
        r#"{"order":"o:2","n":1.10}"#,
        r#"{"order":"o:2","n":2}"#,
        r#"{"order":"o:2","n":18446744073709551616}"#,
        r#"{"order":"o:3","n":4}"#,
    ];
    assert_eq!(intake.bodies(), bodies);
    let ids: Vec<String> = intake.taken().into_iter().map(|taken| taken.id).collect();
    assert_eq!(ids, ["o%3A1", "o%3A2:0", "o%3A2:1", "o%3A2:2", "o%3A3"]);
    // Without columns an id is a hash, another one for each body.
    let hashed = Intake::willing();
    sent(&folder, &hashed, &["--jq", ".items[]", "--fresh"]);
    let mut ids: Vec<String> = hashed.taken().into_iter().map(|taken| taken.id).collect();
    ids.dedup();
    assert_eq!((ids.len(), ids[0].len()), (5, 64));
    let told = sent(&folder, &intake, &["--jq", ".items[0].x", "--state", "other"]);
    assert_eq!(told.code, Some(1));
    assert!(told.err.contains("a.jsonl, row 2: --jq: cannot index 9007199254740993 with \"x\""), "{}", told.err);
    let told = sent(&folder, &intake, &["--jq", ".a | nosuch"]);
    assert!(told.code == Some(2) && told.err.contains("--jq: there is no filter nosuch"), "{}", told.err);
}

#[test]
fn a_row_is_answered_when_all_its_bodies_are() {
    let row = |n: usize| format!("{{\"at\":\"{}\",\"n\":{n}}}\n", at(n));
    let folder = Folder::new(&[("a.jsonl", &(0..6).map(row).collect::<String>())]);
    let args = ["--jq", "range(3) as $part | {n, $part}", "--limit", "4"];
    let picky = Intake::new(|nth, request| if nth < 8 && request.body == br#"{"n":2,"part":1}"# { 422 } else { 200 });
    let told = sent(&folder, &picky, &args);
    assert_eq!((told.code, picky.taken().len()), (Some(1), 7), "{}", told.err);
    assert!(told.err.contains("a.jsonl, row 3, id "), "{}", told.err);
    // The same address takes it when it is asked again.
    let told = sent(&folder, &picky, &args);
    assert_eq!(told.code, Some(0), "{}", told.err);
    let made = |n: usize| (0..3).map(move |part| format!("{{\"n\":{n},\"part\":{part}}}"));
    // Row 3 is made again as a whole, and no other; the limit counts rows.
    assert_eq!(picky.bodies()[7..], made(2).chain(made(3)).collect::<Vec<_>>());
    assert_eq!(told.json()["answered_before"], 2);
}

#[test]
fn a_batch_is_an_array_or_lines_and_is_tried_again_as_it_was() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..10))]);
    let expected: Vec<String> = lines(0..10).lines().map(str::to_owned).collect();
    for (form, separator) in [("array", ","), ("lines", "\n")] {
        let busy = Intake::recording(|nth, _| if nth == 1 { 503 } else { 200 });
        let told = sent(&folder, &busy, &["--batch", "4", "--batch-as", form, "--fresh"]);
        assert_eq!(told.code, Some(0), "{}", told.err);
        let taken = busy.taken();
        let texts: Vec<String> = taken.iter().map(|taken| taken.body.clone()).collect();
        let batch = |range: std::ops::Range<usize>| {
            let joined = expected[range].join(separator);
            if form == "array" { format!("[{joined}]") } else { joined + "\n" }
        };
        assert_eq!(texts, [batch(0..4), batch(4..8), batch(4..8), batch(8..10)]);
        assert_eq!((taken[1].id.len(), &taken[1].id), (64, &taken[2].id), "the same id on each attempt");
        assert_ne!(taken[0].id, taken[1].id);
        let kind = if form == "array" { "application/json" } else { "application/x-ndjson" };
        assert_eq!(taken[0].headers["content-type"], kind);
        let summary = told.json();
        assert_eq!((&summary["accepted"], &summary["attempts"]), (&10.into(), &4.into()));
    }
}

#[test]
fn events_of_a_key_stay_in_order_in_batches_too() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..400))]);
    let busy = Intake::new(|nth, _| if nth % 3 == 1 { 503 } else { 200 });
    let args = ["--key", "customer", "--batch", "7", "--in-flight", "8", "--batch-as", "lines", "--batch-bytes", "300"];
    let told = sent(&folder, &busy, &args);
    assert_eq!(told.code, Some(0), "{}", told.err);
    let events: Vec<Value> = busy
        .bodies()
        .iter()
        .flat_map(|text| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>())
        .collect();
    assert_eq!(events.len(), 400);
    for customer in ["c0", "c1", "c2"] {
        let of = events.iter().filter(|event| event["customer"] == customer).map(|event| event["n"].as_u64().unwrap());
        assert!(of.is_sorted(), "{customer}");
    }
    assert!(busy.bodies().iter().all(|text| text.len() <= 310), "no batch is longer than it may be");
}

#[test]
fn a_batch_waits_no_longer_than_it_may() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..4))]);
    let intake = Intake::willing();
    let url = intake.url();
    let args = ["a.jsonl", "--time", "at", "--to", &url, "--speedup", "2", "--batch", "100", "--batch-age", "100ms"];
    let told = folder.replay(&args);
    assert_eq!(told.code, Some(0), "{}", told.err);
    assert_eq!(intake.taken().len(), 4, "events half a second apart are no batch");
}

/// An intake that answers each event of a batch as Elasticsearch does.
fn bulk(status: impl Fn(usize, &Value) -> u16 + Send + Sync + 'static) -> Intake {
    Intake::answering(move |nth, request| {
        let events: Vec<Value> = serde_json::from_slice(&request.body).unwrap();
        let items = events.iter().map(|event| json!({"index": {"status": status(nth, event)}}));
        (200, json!({"errors": true, "items": items.collect::<Vec<_>>()}).to_string())
    })
}

#[test]
fn an_answer_may_have_a_verdict_for_each_event() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..8))]);
    let args =
        ["--batch", "4", "--order", "free", "--in-flight", "1", "--verdicts", "items[].*.status", "--drop-on", "410"];
    let picky = bulk(|nth, event| match event["n"].as_u64().unwrap() {
        1 if nth == 0 => 429,
        2 => 410,
        3 => 400,
        _ => 201,
    });
    let told = sent(&folder, &picky, &[&args[..], &["--dead-letter", "dead.jsonl"]].concat());
    assert_eq!(told.code, Some(0), "{}", told.err);
    let summary = told.json();
    let counts =
        ["accepted", "dropped", "dead_letters", "attempts", "retried"].map(|name| summary[name].as_u64().unwrap());
    assert_eq!(counts, [6, 1, 1, 3, 1]);
    let sent_numbers: Vec<Vec<u64>> = picky
        .bodies()
        .iter()
        .map(|text| {
            let events: Vec<Value> = serde_json::from_str(text).unwrap();
            events.iter().map(|event| event["n"].as_u64().unwrap()).collect()
        })
        .collect();
    assert!(sent_numbers.contains(&vec![1]), "what is decided is not sent again: {sent_numbers:?}");
    let letter: Value = serde_json::from_str(&std::fs::read_to_string(folder.path("dead.jsonl")).unwrap()).unwrap();
    assert_eq!((&letter["row"], &letter["status"], &letter["body"]["n"]), (&4.into(), &400.into(), &3.into()));
    assert_eq!(letter["answer"], r#"{"index":{"status":400}}"#);
    // Without a file for them, a refused event ends the replay by its row.
    let told = sent(&folder, &bulk(|_, event| if event["n"] == 5 { 400 } else { 201 }), &args);
    assert_eq!(told.code, Some(1));
    assert!(told.err.contains("a.jsonl, row 6: verdict {\"index\":{\"status\":400}}"), "{}", told.err);
    let short = Intake::answering(|_, _| (200, "{\"items\":[{\"index\":{\"status\":201}}]}".to_owned()));
    let told = sent(&folder, &short, &args);
    assert!(told.code == Some(1) && told.err.contains("1 verdicts for 4 events"), "{}", told.err);
    let told = sent(&folder, &short, &["--batch", "4", "--verdicts", "items[].status"]);
    assert!(
        told.code == Some(2) && told.err.contains("--verdicts: the receiver may take a later event"),
        "{}",
        told.err
    );
}

#[test]
fn a_key_keeps_its_order_when_the_receiver_takes_only_a_part_of_a_batch() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..200))]);
    let asked = std::sync::Mutex::new(0_u32);
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let taken = seen.clone();
    let picky = bulk(move |_, event| {
        let mut asked = asked.lock().unwrap();
        *asked += 1;
        if asked.is_multiple_of(3) {
            return 429;
        }
        seen.lock().unwrap().push(event.clone());
        201
    });
    let args = ["--key", "customer", "--batch", "5", "--in-flight", "2", "--verdicts", "items[].*.status"];
    let told = sent(&folder, &picky, &args);
    assert_eq!(told.code, Some(0), "{}", told.err);
    let taken = taken.lock().unwrap();
    assert_eq!(taken.len(), 200, "each is taken once");
    for customer in ["c0", "c1", "c2"] {
        let of = taken.iter().filter(|event| event["customer"] == customer).map(|event| event["n"].as_u64().unwrap());
        assert!(of.is_sorted(), "{customer}");
    }
}

#[test]
fn what_can_not_be_a_batch_is_refused() {
    let row = |text: &str| format!("{{\"at\":\"{}\",\"text\":{text}}}\n", at(0));
    let folder = Folder::new(&[("a.jsonl", &(row("\"{}\"") + &row("\"a\\nb\"")))]);
    let intake = Intake::willing();
    for (args, code, words) in [
        (&["-H", "X-N: {text}"][..], 2, "--batch: a batch has one head; the header x-n"),
        (&["--method", "{text}"], 2, "--batch: a batch goes to one place"),
        (&["--body-column", "text"], 1, "a.jsonl, row 2: --batch: its body is no JSON"),
        (
            &["--body-column", "text", "--batch-as", "lines", "--fresh"],
            1,
            "a.jsonl, row 2: --batch: its body has a line break",
        ),
    ] {
        let told = sent(&folder, &intake, &[&["--batch", "4"], args].concat());
        assert!(told.code == Some(code) && told.err.contains(words), "{args:?}: {:?} {}", told.code, told.err);
    }
}

#[test]
fn rounds_have_ids_of_their_own_and_keep_the_pace() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..3)), ("b.jsonl", &lines(5..6))]);
    let intake = Intake::willing();
    let url = intake.url();
    let args = ["a.jsonl", "b.jsonl", "--time", "at", "--to", &url, "--id", "n", "--loop", "3", "--speedup", "20"];
    let told = folder.replay(&[&args[..], &["--limit", "6"]].concat());
    assert_eq!((told.code, intake.taken().len()), (Some(0), 6), "{}", told.err);
    let told = folder.replay(&args);
    assert_eq!((told.code, intake.taken().len()), (Some(0), 12), "{}", told.err);
    assert_eq!(numbers(&intake.taken()), [0, 1, 2, 5, 0, 1, 2, 5, 0, 1, 2, 5]);
    let ids: Vec<String> = intake.taken().into_iter().map(|taken| taken.id).collect();
    assert_eq!(ids, ["0", "1", "2", "5", "0:r2", "1:r2", "2:r2", "5:r2", "0:r3", "1:r3", "2:r3", "5:r3"]);
    let summary = told.json();
    assert_eq!(
        (&summary["last_time"], &summary["answered_before"]),
        (&"2026-01-01T00:00:05.000000Z".into(), &6.into())
    );
    // From the third event of the second round to the end are 8 s, at twenty times their speed.
    let elapsed = summary["elapsed_seconds"].as_f64().unwrap();
    assert!((0.38..2.0).contains(&elapsed), "{elapsed}");
    let told = folder.replay(&[&args[..], &["--plan", "--json", "--fresh"]].concat());
    assert_eq!((&told.json()["events"], &told.json()["rounds"]), (&4.into(), &3.into()));
    let told = folder.replay(&["a.jsonl", "b.jsonl", "--time", "at", "--to", &url, "--id", "n", "--loop", "4"]);
    assert!(
        told.code == Some(2) && told.err.contains("--loop: \"4\" now and \"3\" in the earlier start"),
        "{}",
        told.err
    );
}

#[test]
fn times_of_bodies_move_with_the_schedule() {
    let row = |n: usize| {
        format!("{{\"at\":\"{}\",\"ms\":{},\"old\":\"{}\",\"n\":{n}}}\n", at(n), 1_767_225_600_000 + n * 1000, at(n))
    };
    let folder = Folder::new(&[("a.jsonl", &(0..4).map(row).collect::<String>())]);
    let intake = Intake::willing();
    let url = intake.url();
    let began = now();
    let args = [
        "a.jsonl",
        "--time",
        "at",
        "--to",
        &url,
        "--speedup",
        "4",
        "--shift-to",
        "now",
        "--shift",
        "at",
        "--loop",
        "2",
    ];
    let told = folder.replay(&args);
    assert_eq!(told.code, Some(0), "{}", told.err);
    let bodies: Vec<Value> = intake.taken().iter().map(Taken::json).collect();
    let times: Vec<i64> = bodies
        .iter()
        .map(|body| Micros::parse(body["at"].as_str().unwrap().as_bytes()).unwrap().0 / 1_000_000)
        .collect();
    let began = began / 1_000_000;
    assert!((began..began + 20).contains(&times[0]), "{times:?} {began}");
    // Six seconds of recorded time, at four times their speed.
    assert!((1..=2).contains(&(times[7] - times[0])), "{times:?}");
    for (n, body) in bodies.iter().enumerate() {
        assert_eq!(
            (body["old"].as_str(), body["ms"].as_u64()),
            (Some(at(n % 4).as_str()), Some(1_767_225_600_000 + (n as u64 % 4) * 1000))
        );
        assert_eq!(body["at"].as_str().unwrap().len(), at(0).len(), "the form is kept");
    }
    let told =
        folder.replay(&["a.jsonl", "--time", "at", "--to", &url, "--shift-to", "now", "--shift", "n", "--fresh"]);
    assert!(
        told.code == Some(1) && told.err.contains("a.jsonl, row 1, column n: --shift: a number is a time only with"),
        "{}",
        told.err
    );
}

#[test]
fn what_an_answer_says_decides_where_that_is_asked_for() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..5))]);
    let talkative = Intake::answering(|nth, request| {
        let event: Value = serde_json::from_slice(&request.body).unwrap();
        let result = match event["n"].as_u64().unwrap() {
            1 if nth < 2 => "busy",
            2 => "gone",
            3 => "bad",
            _ => "ok",
        };
        (200, json!({"result": result}).to_string())
    });
    let args = ["--delivered-if", "result = ok", "--retry-if", "result = busy", "--drop-if", "result = gone"];
    let told = sent(&folder, &talkative, &[&args[..], &["--dead-letter", "dead.jsonl"]].concat());
    assert_eq!(told.code, Some(0), "{}", told.err);
    let summary = told.json();
    let counts = ["accepted", "dropped", "dead_letters", "retried"].map(|name| summary[name].as_u64().unwrap());
    assert_eq!(counts, [3, 1, 1, 1]);
    let told = sent(&folder, &talkative, &["--delivered-if", "result"]);
    assert!(told.code == Some(2) && told.err.contains("is no condition"), "{}", told.err);
}

#[test]
fn a_replay_starts_at_its_time_and_ends_a_wait_when_it_is_stopped() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..2))]);
    let intake = Intake::willing();
    let url = intake.url();
    let in_seconds = |seconds: i64| Micros(now() + seconds * 1_000_000).to_string();
    let start = in_seconds(3);
    let args = ["a.jsonl", "--time", "at", "--to", &url, "--speedup", "0", "--start-at"];
    let mut child =
        folder.command(&[&args[..], &[&start]].concat()).stdout(std::process::Stdio::null()).spawn().unwrap();
    assert!(child.wait().unwrap().success());
    let due = Micros::parse(start.as_bytes()).unwrap().0;
    assert!(now() >= due, "not before its time");
    assert_eq!(intake.taken().len(), 2);
    // A time that is over is no wait; a stop ends one.
    let told = folder.replay(&[&args[..], &["2020-01-01", "--fresh"]].concat());
    assert_eq!((told.code, intake.taken().len()), (Some(0), 4), "{}", told.err);
    let later = in_seconds(600);
    let mut child = folder
        .command(&[&args[..], &[&later, "--fresh"]].concat())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    std::io::BufReader::new(child.stderr.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.contains("state "), "{first}");
    crate::kit::live::nap(std::time::Duration::from_secs(1));
    assert!(std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert_eq!((child.wait().unwrap().code(), intake.taken().len()), (Some(3), 4));
}

#[test]
fn an_adaptive_replay_finds_what_the_intake_can_take() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..600))]);
    // It has room for eight requests at once, and refuses others.
    let (now, most) = (std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0)), 8);
    let intake = Intake::new(move |_, _| {
        use std::sync::atomic::Ordering::SeqCst;
        let at_once = now.fetch_add(1, SeqCst) + 1;
        crate::kit::live::nap(std::time::Duration::from_millis(4));
        now.fetch_sub(1, SeqCst);
        if at_once > most { 503 } else { 200 }
    });
    let refused = |args: &[&str]| {
        let told = sent(&folder, &intake, &[&["--order", "free", "--in-flight", "64", "--fresh"], args].concat());
        assert_eq!(told.code, Some(0), "{}", told.err);
        told.json()["retried"].as_u64().unwrap()
    };
    let (fixed, adaptive) = (refused(&[]), refused(&["--adaptive"]));
    assert!(adaptive * 2 < fixed, "{adaptive} of 600 with it, {fixed} without");
    assert_eq!(intake.taken().len(), 1200);
}
