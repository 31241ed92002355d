//! Files as the producer in place leaves and reads them, and what crashes and others do to them.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use wsp::checkpoint::file::journal;
use wsp::clock::SystemClock;
use wsp::disk::{Fate, MemoryDisk, Operation};

use super::place::LIMIT;
use super::record::sha256;
use super::*;
use crate::checkpoint::{AnsweredRows, Beyond, Cursor, LeaseState, Place as RowPlace};
use crate::model::{Micros, Reason};

const SCOPE: &str = "99244ea4c111f8bd0f218f542701b02e21a4057324c319250b7c46eaf8eaf9e7";
const OUTPUT: &str = "arrival_events_5B";
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/ready/checkpoints");
const OUTPUTS: [(&str, u64); 4] = [
    (OUTPUT, 49),
    ("s1_arrival_entities_6B", 49),
    ("s3_flow_anchor_with_fraud_6B", 49),
    ("s3_event_stream_with_fraud_6B", 99),
];

/// A clock that shows one time.
#[derive(Debug, Clone)]
struct At(Micros);

impl Clock for At {
    fn now(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }

    fn utc(&self) -> Micros {
        self.0
    }

    fn sleep_until(&self, _: std::time::Duration) -> impl Future<Output = ()> + Send + 'static {
        std::future::ready(())
    }
}

fn scope() -> Hex64 {
    SCOPE.parse().unwrap()
}

fn output() -> OutputId {
    OUTPUT.parse().unwrap()
}

fn golden_file(output: &str) -> String {
    fs::read_to_string(format!("{GOLDEN}/{SCOPE}/output_id={output}/cursor.json")).unwrap()
}

fn cursor(last_row_index: u64) -> Cursor {
    let last_file = "v/part-000000.parquet".to_owned();
    Cursor { output_id: output(), last_file, last_row_index, last_ts_utc: None, last_event_id: None, digested: None }
}

fn store(dir: &tempfile::TempDir) -> FileCheckpoints<SystemClock> {
    FileCheckpoints::new(dir.path(), SystemClock::new())
}

fn cursor_path(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join(SCOPE).join(format!("output_id={OUTPUT}")).join("cursor.json")
}

#[tokio::test]
async fn reads_what_the_producer_in_place_left() {
    let outputs: Vec<OutputId> = OUTPUTS.iter().map(|(output, _)| output.parse().unwrap()).collect();
    let cursors = FileCheckpoints::new(GOLDEN, SystemClock::new()).peek(&scope(), &outputs).await.unwrap().cursors;
    for (cursor, (output, row)) in cursors.iter().zip(OUTPUTS) {
        assert_eq!((cursor.output_id.as_str(), cursor.last_row_index), (output, row));
        assert_eq!(cursor.last_file, format!("world/stream_view/ts_utc/output_id={output}/part-000000.parquet"));
        assert_eq!(cursor.last_ts_utc.as_deref(), Some("2026-01-02T22:26:25.681764Z"));
    }
    assert_eq!(cursors.len(), 4);
}

#[tokio::test]
async fn leaves_what_the_producer_in_place_reads_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    for (name, _) in OUTPUTS {
        let golden = golden_file(name);
        let saved: serde_json::Value = serde_json::from_str(&golden).unwrap();
        let now = Micros::parse(saved["updated_at_utc"].as_str().unwrap().as_bytes()).unwrap();
        let cursor: Cursor = serde_json::from_value(saved).unwrap();
        let store = FileCheckpoints::new(dir.path(), At(now));
        store.open(&scope()).await.unwrap().save(&Kept::at([cursor])).await.unwrap();
        let folder = dir.path().join(SCOPE).join(format!("output_id={name}"));
        assert_eq!(fs::read_to_string(folder.join("cursor.json")).unwrap(), golden);
        assert_eq!(fs::read_to_string(folder.join("cursor.jsonl")).unwrap(), format!("{golden}\n"));
        let log = fs::read_to_string(format!("{GOLDEN}/{SCOPE}/output_id={name}/cursor.jsonl")).unwrap();
        assert_eq!(log.lines().last(), Some(golden.as_str()), "the golden log has the cursor's own form");
    }
}

#[tokio::test]
async fn a_scope_has_one_holder() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (store(&dir), store(&dir));
    let held = first.open(&scope()).await.unwrap();
    let refusal = second.open(&scope()).await.err().unwrap();
    assert_eq!(refusal.reason, Reason::CheckpointScopeBusy);
    assert!(refusal.place.file.unwrap().ends_with(SCOPE));
    assert_eq!(second.reset(&scope(), &[output()]).await.unwrap_err().reason, Reason::CheckpointScopeBusy);
    second.open(&Hex64::sha256("another scope")).await.unwrap();
    drop(held);
    second.open(&scope()).await.unwrap();
}

#[tokio::test]
async fn saves_and_loads_and_resets() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    assert_eq!(store.peek(&scope(), &[output()]).await.unwrap().cursors, []);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "a look makes nothing");
    let mut held = store.open(&scope()).await.unwrap();
    for row in [3, 3, 7] {
        held.save(&Kept::at([cursor(row)])).await.unwrap();
    }
    assert_eq!(held.save(&Kept::at([cursor(6)])).await.unwrap_err().reason, Reason::CheckpointSaveFailed);
    assert_eq!(held.load(&[output()]).await.unwrap().cursors, [cursor(7)]);
    drop(held);
    let log = fs::read_to_string(cursor_path(&dir).with_extension("jsonl")).unwrap();
    assert_eq!(log.lines().count(), 2, "an unchanged cursor is not logged again");
    store.reset(&scope(), &[output(), "other".parse().unwrap()]).await.unwrap();
    assert_eq!(store.peek(&scope(), &[output()]).await.unwrap().cursors, []);
}

#[tokio::test]
async fn what_a_crash_left_is_cleared_up() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    store.open(&scope()).await.unwrap().save(&Kept::at([cursor(1)])).await.unwrap();
    let path = cursor_path(&dir);
    fs::write(path.with_file_name(".cursor.json.1.0.wsp-tmp"), "{\"last").unwrap();
    fs::write(path.with_extension("jsonl"), "{\"last").unwrap();
    assert_eq!(store.peek(&scope(), &[output()]).await.unwrap().cursors, [cursor(1)]);
    store.open(&scope()).await.unwrap().save(&Kept::at([cursor(2)])).await.unwrap();
    assert_eq!(store.peek(&scope(), &[output()]).await.unwrap().cursors, [cursor(2)]);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2);
    let log = fs::read_to_string(path.with_extension("jsonl")).unwrap();
    assert!(log.starts_with("{\"last\n{\"last_file\": ") && log.ends_with("}\n"));
}

#[tokio::test]
async fn a_cursor_that_is_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = cursor_path(&dir);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let good = golden_file(OUTPUT);
    let huge = format!("{good}{}", " ".repeat(LIMIT as usize));
    let negative = good.replace("\"last_row_index\": 49", "\"last_row_index\": -1");
    let fileless = good.replace("last_file", "file");
    let other_output = good.replace(&format!("\"output_id\": \"{OUTPUT}\""), "\"output_id\": \"other\"");
    let other_scope = good.replace("99244", "99245");
    for (bad, reason) in [
        ("", Reason::CheckpointUnreadable),
        ("{\"last_file\": ", Reason::CheckpointUnreadable),
        ("\0\0\0\0", Reason::CheckpointUnreadable),
        (&huge, Reason::CheckpointUnreadable),
        (&negative, Reason::CheckpointUnreadable),
        (&fileless, Reason::CheckpointUnreadable),
        (&other_output, Reason::CheckpointForeign),
        (&other_scope, Reason::CheckpointForeign),
    ] {
        fs::write(&path, bad).unwrap();
        let refusal = store(&dir).peek(&scope(), &[output()]).await.unwrap_err();
        assert_eq!(refusal.reason, reason, "{refusal}");
        assert_eq!(refusal.place.file.as_deref(), path.to_str());
    }
    fs::write(&path, good).unwrap();
    assert_eq!(store(&dir).peek(&scope(), &[output()]).await.unwrap().cursors.len(), 1);
}

#[tokio::test]
async fn a_place_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let store = FileCheckpoints::new(dir.path().join("file"), SystemClock::new());
    let refusal = store.open(&scope()).await.err().unwrap();
    assert_eq!(refusal.reason, Reason::CheckpointSaveFailed);
    assert!(refusal.place.file.unwrap().contains("/file/"));
}

/// What is beyond the cursor at row 1.
fn beyond() -> Vec<Beyond> {
    let file = "v/part-000000.parquet".to_owned();
    let cursor = Some(RowPlace { file: file.clone(), row: 1 });
    vec![Beyond { output_id: output(), cursor, files: vec![AnsweredRows { file, rows: vec![(3, 4)] }] }]
}

#[tokio::test]
async fn what_is_beyond_lies_beside_the_cursors_and_goes_when_it_is_passed() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let mut held = store.open(&scope()).await.unwrap();
    held.save(&Kept { cursors: vec![cursor(1)], beyond: beyond() }).await.unwrap();
    let path = dir.path().join(SCOPE).join("answered.json");
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text, Beyond::write(&scope(), &beyond(), &[]));
    held.save(&Kept { cursors: vec![], beyond: beyond() }).await.unwrap();
    assert_eq!(held.load(&[output()]).await.unwrap(), Kept { cursors: vec![cursor(1)], beyond: beyond() });
    held.save(&Kept::at([cursor(4)])).await.unwrap();
    assert!(!path.exists());
    held.finish().await.unwrap();

    // A crash before the file was in place, or before its removal was: its rows are passed, or beyond the cursor as before.
    fs::write(&path, &text).unwrap();
    fs::write(path.with_file_name(".answered.json.1.0.wsp-tmp"), "{").unwrap();
    drop(held);
    let kept = store.open(&scope()).await.unwrap().load(&[output()]).await.unwrap();
    assert_eq!(kept, Kept { cursors: vec![cursor(4)], beyond: beyond() });
    assert!(!path.with_file_name(".answered.json.1.0.wsp-tmp").exists());
    store.reset(&scope(), &[output()]).await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn the_last_save_of_a_holder_that_died_has_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let at = |second: i64| FileCheckpoints::new(dir.path(), At(Micros(second * 1_000_000)));
    let mut held = at(5).open(&scope()).await.unwrap();
    assert_eq!(held.saved_before().await, Ok(None), "nobody has saved");
    held.save(&Kept::at([cursor(1)])).await.unwrap();
    drop(held);
    let mut next = at(9).open(&scope()).await.unwrap();
    assert_eq!(next.saved_before().await, Ok(Some(Micros(5_000_000))));
    next.save(&Kept::at([cursor(2)])).await.unwrap();
    next.finish().await.unwrap();
    drop(next);
    let mut last = at(12).open(&scope()).await.unwrap();
    assert_eq!(last.saved_before().await, Ok(None), "who ends in order leaves no journal");
}

/// What the journal alone has: the cursor at row 2 and what is beyond it. The files stand at row 1.
async fn ahead(dir: &tempfile::TempDir) -> Kept {
    let store = store(dir);
    let mut held = store.open(&scope()).await.unwrap();
    held.save(&Kept::at([cursor(1)])).await.unwrap();
    let kept = Kept { cursors: vec![cursor(2)], beyond: beyond() };
    held.save(&kept).await.unwrap();
    assert_eq!(row_in_file(dir), Some(1));
    kept
}

fn row_in_file(dir: &tempfile::TempDir) -> Option<u64> {
    let text = fs::read(cursor_path(dir)).ok()?;
    serde_json::from_slice::<serde_json::Value>(&text).unwrap()["last_row_index"].as_u64()
}

fn names(dir: &tempfile::TempDir) -> Vec<String> {
    let entries = fs::read_dir(dir.path().join(SCOPE)).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn files_follow_the_journal_and_are_all_that_is_left_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let mut held = store.open(&scope()).await.unwrap();
    for row in 1..=3 {
        held.save(&Kept { cursors: vec![cursor(row)], beyond: beyond() }).await.unwrap();
        assert_eq!(store.peek(&scope(), &[output()]).await.unwrap().cursors, [cursor(row)], "a look sees each save");
    }
    // By themselves, while nothing is saved.
    while row_in_file(&dir) != Some(3) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    for row in 4..=5 {
        held.save(&Kept { cursors: vec![cursor(row)], beyond: vec![] }).await.unwrap();
    }
    held.finish().await.unwrap();
    assert_eq!((row_in_file(&dir), names(&dir)), (Some(5), vec![".lock".to_owned(), format!("output_id={OUTPUT}")]));
    held.save(&Kept::at([cursor(6)])).await.unwrap();
    assert_eq!(row_in_file(&dir), Some(6), "it may begin again");
    let log = fs::read_to_string(cursor_path(&dir).with_extension("jsonl")).unwrap();
    let rows = log.lines().map(|line| serde_json::from_str::<Cursor>(line).unwrap().last_row_index);
    assert_eq!(rows.collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6], "the log has each save");
}

/// Whoever publishes rests when the files say what was saved, until the next save.
#[tokio::test(start_paused = true)]
async fn files_that_say_all_that_was_saved_are_left_alone() {
    let operations = Arc::new(AtomicU64::new(0));
    let counted = operations.clone();
    let count = move |_: &Operation<'_>| {
        counted.fetch_add(1, Ordering::Relaxed);
        Fate::Happens
    };
    let disk = MemoryDisk::new();
    let store = FileCheckpoints::on(Arc::new(disk.seen_by(Arc::new(count))), "/data", SystemClock::new());
    let mut held = store.open(&scope()).await.unwrap();
    let path = PathBuf::from(format!("/data/{SCOPE}/output_id={OUTPUT}/cursor.json"));
    for row in [2, 4] {
        for row in [row - 1, row] {
            held.save(&Kept::at([cursor(row)])).await.unwrap();
        }
        tokio::time::sleep(PUBLISH_EVERY * 2).await;
        let text: serde_json::Value = serde_json::from_slice(&disk.content(&path).unwrap()).unwrap();
        assert_eq!(text["last_row_index"], row);
        let before = operations.load(Ordering::Relaxed);
        tokio::time::sleep(PUBLISH_EVERY * 20).await;
        assert_eq!(operations.load(Ordering::Relaxed), before);
    }
}

#[tokio::test]
async fn what_a_crash_left_in_the_journal_alone_is_brought_to_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let kept = ahead(&dir).await;
    assert_eq!(store(&dir).peek(&scope(), &[output()]).await.unwrap(), kept);
    let mut held = store(&dir).open(&scope()).await.unwrap();
    assert_eq!(row_in_file(&dir), Some(2));
    let expected = [".lock", "answered.json", &format!("output_id={OUTPUT}")];
    assert_eq!(names(&dir), expected);
    assert_eq!(held.load(&[output()]).await.unwrap(), kept);
}

#[tokio::test]
async fn an_entry_that_a_crash_cut_short_leaves_the_one_before_it() {
    let dir = tempfile::tempdir().unwrap();
    ahead(&dir).await;
    let newest = dir.path().join(SCOPE).join("journal.1");
    let whole = fs::read(&newest).unwrap();
    for cut in [whole[..100].to_vec(), whole[..200].to_vec(), vec![0; whole.len()], vec![]] {
        fs::write(&newest, cut).unwrap();
        assert_eq!(store(&dir).peek(&scope(), &[output()]).await.unwrap(), Kept::at([cursor(1)]));
    }
    // Nor is the first entry of all missed.
    fs::write(dir.path().join(SCOPE).join("journal.0"), &whole[..100]).unwrap();
    assert_eq!(store(&dir).peek(&scope(), &[output()]).await.unwrap(), Kept::at([cursor(1)]));
}

/// Takes the cursor at row 1 to `row`.
fn take(path: &Path, row: &str) {
    let text = fs::read_to_string(path).unwrap();
    fs::write(path, text.replace("\"last_row_index\": 1,", &format!("\"last_row_index\": {row},"))).unwrap();
}

#[tokio::test]
async fn whoever_moves_a_cursor_is_heard() {
    type Move = fn(&Path);
    let cases: [(Move, Option<u64>); 5] = [
        (|_| (), Some(2)),
        (|path| take(path, "2"), Some(2)),
        (|path| take(path, "7"), Some(7)),
        (|path| take(path, "0"), Some(0)),
        (|path| fs::remove_file(path).unwrap(), None),
    ];
    for (change, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        let kept = ahead(&dir).await;
        change(&cursor_path(&dir));
        for _ in 0..2 {
            let mut held = store(&dir).open(&scope()).await.unwrap();
            let found = held.load(&[output()]).await.unwrap();
            assert_eq!(found.cursors.first().map(|cursor| cursor.last_row_index), expected);
            assert_eq!(found.beyond, kept.beyond, "what it stood beside is told with it");
        }
    }
}

#[tokio::test]
async fn a_journal_that_is_none_is_refused_and_can_be_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(SCOPE);
    for (damage, reason) in [("", Reason::CheckpointUnreadable), ("0", Reason::CheckpointForeign)] {
        ahead(&dir).await;
        for path in journal::paths(&folder) {
            if damage.is_empty() {
                fs::write(path, "wsp-journal 1 7").unwrap();
            } else {
                let found = journal::read(&RealDisk, &folder, sha256).unwrap().bodies;
                let body = String::from_utf8(found[0].1.clone()).unwrap().replace("99244", "99245");
                fs::remove_file(path).unwrap();
                let mut journal = journal::Journal::open(&RealDisk, &folder, sha256).unwrap();
                journal.write(body.as_bytes()).unwrap();
                journal.write(body.as_bytes()).unwrap();
                break;
            }
        }
        for refusal in [
            store(&dir).peek(&scope(), &[output()]).await.unwrap_err(),
            store(&dir).open(&scope()).await.err().unwrap(),
        ] {
            assert_eq!(refusal.reason, reason, "{refusal}");
            assert!(refusal.place.file.as_ref().unwrap().ends_with("journal.0"), "{refusal}");
        }
        store(&dir).reset(&scope(), &[output()]).await.unwrap();
        assert_eq!(store(&dir).peek(&scope(), &[output()]).await.unwrap(), Kept::default());
    }
}

#[tokio::test]
async fn a_producer_whose_lock_was_taken_saves_nothing_more() {
    type Take = fn(&Path);
    let takes: [Take; 3] = [
        |folder| fs::remove_file(folder.join(".lock")).unwrap(),
        |folder| fs::rename(folder, folder.with_file_name("elsewhere")).unwrap(),
        |folder| fs::write(folder.join(".lock"), "epoch 9, somebody").unwrap(),
    ];
    for (case, take) in takes.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        let mut first = store.open(&scope()).await.unwrap();
        first.save(&Kept::at([cursor(1)])).await.unwrap();
        let lease = first.lease();
        take(&dir.path().join(SCOPE));
        // Where the file is still the one that is locked, nobody else gets in; the first is out all the same.
        let second = store.open(&scope()).await;
        if case < 2 {
            second.unwrap().save(&Kept::at([cursor(7)])).await.unwrap();
        }
        let before = store.peek(&scope(), &[output()]).await.unwrap();
        let refusal = first.save(&Kept { cursors: vec![cursor(9)], beyond: beyond() }).await.unwrap_err();
        assert_eq!(refusal.reason, Reason::CheckpointLeaseLost, "{case}: {refusal}");
        assert_eq!(lease.state(std::time::Duration::ZERO), LeaseState::Lost(refusal), "{case}");
        assert_eq!(store.peek(&scope(), &[output()]).await.unwrap(), before, "{case}");
    }
}
