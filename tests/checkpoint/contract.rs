//! What every checkpoint store owes its callers; a store joins by a call of [`holds`].

use wsp::checkpoint::{CheckpointStore, Cursor};
use wsp::model::{Hex64, OutputId, Reason};

/// A scope key made of one digit.
pub(crate) fn scope(digit: char) -> Hex64 {
    digit.to_string().repeat(64).parse().unwrap()
}

pub(crate) fn output(name: &str) -> OutputId {
    name.parse().unwrap()
}

pub(crate) fn cursor(name: &str, file: &str, row: u64) -> Cursor {
    let last_ts_utc = Some("2026-01-01T00:00:00.000001Z".to_owned());
    Cursor { output_id: output(name), last_file: file.to_owned(), last_row_index: row, last_ts_utc }
}

/// Runs the suite on a store in which scopes `a` and `b` were never used.
pub(crate) async fn holds(store: &dyn CheckpointStore) {
    let (a, b, outputs) = (scope('a'), scope('b'), [output("traffic"), output("context"), output("never")]);
    assert_eq!(store.peek(&a, &outputs).await.unwrap(), [], "a scope that was never used has no cursors");

    let mut held = store.open(&a).await.unwrap();
    assert_eq!(held.load(&outputs).await.unwrap(), []);
    held.save(&[]).await.unwrap();
    let odd = Cursor { last_ts_utc: None, ..cursor("context", "s3://b/pré fix/'part' \\ \"0\".parquet", 0) };
    held.save(&[cursor("traffic", "/z/part-000009.parquet", 7), odd.clone()]).await.unwrap();
    // A later file may sort before an earlier one; a smaller row in it is no step back.
    held.save(&[cursor("traffic", "/a/part-000010.parquet", 3)]).await.unwrap();
    held.save(&[cursor("traffic", "/a/part-000010.parquet", 3)]).await.unwrap();
    let saved = [cursor("traffic", "/a/part-000010.parquet", 3), odd];
    assert_eq!(held.load(&outputs).await.unwrap(), saved);
    assert_eq!(store.peek(&a, &outputs).await.unwrap(), saved, "peeking needs no hold");
    assert_eq!(store.peek(&a, &outputs[1..]).await.unwrap(), saved[1..]);

    for busy in [store.open(&a).await.map(drop), store.reset(&a, &outputs).await] {
        assert_eq!(busy.unwrap_err().reason, Reason::CheckpointScopeBusy);
    }
    assert_eq!(store.peek(&a, &outputs).await.unwrap(), saved, "a reset that is refused drops nothing");
    let mut other = store.open(&b).await.unwrap();
    assert_eq!(other.load(&outputs).await.unwrap(), [], "scopes are apart");
    drop(other);

    drop(held);
    store.released().await;
    let mut again = store.open(&a).await.unwrap();
    assert_eq!(again.load(&outputs).await.unwrap(), saved, "cursors outlive their writer");
    let back = again.save(&[cursor("traffic", "/a/part-000010.parquet", 2)]).await.unwrap_err();
    assert_eq!(back.reason, Reason::CheckpointSaveFailed, "a lower row of the same file is a step back");
    drop(again);
    store.released().await;

    store.reset(&a, &outputs[..1]).await.unwrap();
    assert_eq!(store.peek(&a, &outputs).await.unwrap(), saved[1..], "a reset drops what it was asked to");
    store.released().await;
    store.open(&a).await.unwrap();
    store.released().await;
}
