//! What every checkpoint store owes its callers; a store joins by a call of [`holds`].

use std::time::Duration;

use wsp_world::checkpoint::{
    AnsweredRows, Beyond, CheckpointStore, Cursor, FileRows, Kept, LeaseState, OutputFiles, Place, RowCursors, Views,
};
use wsp_world::model::{Digested, Hex64, OutputId, Reason};

/// A scope key made of one digit.
pub(crate) fn scope(digit: char) -> Hex64 {
    digit.to_string().repeat(64).parse().unwrap()
}

pub(crate) fn output(name: &str) -> OutputId {
    name.parse().unwrap()
}

pub(crate) fn cursor(name: &str, file: &str, row: u64) -> Cursor {
    let last_ts_utc = Some("2026-01-01T00:00:00.000001Z".to_owned());
    Cursor {
        output_id: output(name),
        last_file: file.to_owned(),
        last_row_index: row,
        last_ts_utc,
        last_event_id: None,
        digested: None,
    }
}

/// Rows answered beyond that cursor, or beyond none.
pub(crate) fn beyond(name: &str, at: Option<(&str, u64)>, rows: &[(u64, u64)]) -> Beyond {
    let cursor = at.map(|(file, row)| Place { file: file.to_owned(), row });
    let file = at.map_or("first", |(file, _)| file).to_owned();
    Beyond { output_id: output(name), cursor, files: vec![AnsweredRows { file, rows: rows.to_vec() }] }
}

/// Views of these outputs, with a file each of so many rows.
fn views(outputs: &[(&str, u64)]) -> Views {
    let files = |rows| {
        let name = "s3://b/pré fix/'part' \\ \"0\".parquet".to_owned();
        let e_tag = Some("\"etag-2\"".to_owned());
        vec![FileRows { name, rows, bytes: 1 << 40, footer_sha256: Hex64::sha256("footer"), e_tag }]
    };
    Views(outputs.iter().map(|(name, rows)| OutputFiles { output_id: output(name), files: files(*rows) }).collect())
}

/// Runs the suite on a store in which scopes `a` to `e` were never used. `take` takes a scope that is held from its
/// holder, as an operator's mistake or a lease that ran out does.
pub(crate) async fn holds(store: &dyn CheckpointStore<RowCursors>, take: impl AsyncFn(&Hex64)) {
    cursors_are_kept_and_never_go_back(store).await;
    rows_beyond_are_kept_beside_them(store).await;
    views_and_event_ids_are_kept_until_a_reset(store).await;
    who_lost_a_scope_saves_nothing_more(store, take).await;
}

async fn views_and_event_ids_are_kept_until_a_reset(store: &dyn CheckpointStore<RowCursors>) {
    let (e, outputs) = (scope('e'), [output("traffic"), output("context")]);
    assert_eq!(store.peek_views(&e).await.unwrap(), None, "a scope that was never used has none");
    let mut held = store.open(&e).await.unwrap();
    assert_eq!(held.views().await.unwrap(), None);
    held.keep_views(&views(&[("traffic", 3)])).await.unwrap();
    // Without positions they may be others.
    let kept = views(&[("context", u64::MAX >> 1), ("traffic", 4)]);
    held.keep_views(&kept).await.unwrap();
    assert_eq!(held.views().await.unwrap(), Some(kept.clone()));

    let beside = |text: &str, cursor: Cursor| {
        let id = Hex64::sha256(text);
        let digested = Digested { from: 1, events: cursor.last_row_index, digest: id.clone().into() };
        Cursor { last_event_id: Some(id), digested: Some(digested), ..cursor }
    };
    let traffic = beside("traffic", cursor("traffic", "t", 3));
    let context = beside("context", cursor("context", "c", 5));
    held.save(&Kept::at([traffic.clone(), context.clone()])).await.unwrap();
    // One moves on, and one is saved without its id.
    let moved = beside("moved", cursor("traffic", "t", 4));
    let beyond = vec![beyond("traffic", Some(("t", 4)), &[(7, 8)])];
    held.save(&Kept { cursors: vec![moved.clone()], beyond: beyond.clone() }).await.unwrap();
    let now = Kept { cursors: vec![moved, context.clone()], beyond };
    assert_eq!(held.load(&outputs).await.unwrap(), now);
    drop(held);
    store.released().await;
    assert_eq!(store.peek(&e, &outputs).await.unwrap(), now, "event ids outlive their writer");
    assert_eq!(store.peek_views(&e).await.unwrap(), Some(kept), "and so do views");

    let mut again = store.open(&e).await.unwrap();
    again.load(&outputs).await.unwrap();
    let moved = Cursor { last_event_id: None, digested: None, ..cursor("traffic", "t", 9) };
    again.save(&Kept::at([moved.clone()])).await.unwrap();
    assert_eq!(again.load(&outputs).await.unwrap(), Kept::at([moved, context]), "an id is of its own row alone");
    drop(again);
    store.released().await;
    store.reset(&e, &outputs).await.unwrap();
    assert_eq!(store.peek_views(&e).await.unwrap(), None, "a reset drops them");
    assert_eq!(store.peek(&e, &outputs).await.unwrap(), Kept::default());
    store.released().await;
}

async fn cursors_are_kept_and_never_go_back(store: &dyn CheckpointStore<RowCursors>) {
    let (a, b, outputs) = (scope('a'), scope('b'), [output("traffic"), output("context"), output("never")]);
    assert_eq!(store.peek(&a, &outputs).await.unwrap(), Kept::default(), "a scope that was never used has none");

    let mut held = store.open(&a).await.unwrap();
    assert_eq!(held.load(&outputs).await.unwrap(), Kept::default());
    held.save(&Kept::default()).await.unwrap();
    let odd = Cursor { last_ts_utc: None, ..cursor("context", "s3://b/pré fix/'part' \\ \"0\".parquet", 0) };
    held.save(&Kept::at([cursor("traffic", "/z/part-000009.parquet", 7), odd.clone()])).await.unwrap();
    // A later file may sort before an earlier one; a smaller row in it is no step back.
    held.save(&Kept::at([cursor("traffic", "/a/part-000010.parquet", 3)])).await.unwrap();
    held.save(&Kept::at([cursor("traffic", "/a/part-000010.parquet", 3)])).await.unwrap();
    let saved = [cursor("traffic", "/a/part-000010.parquet", 3), odd];
    assert_eq!(held.load(&outputs).await.unwrap().cursors, saved);
    assert_eq!(store.peek(&a, &outputs).await.unwrap().cursors, saved, "peeking needs no hold");
    assert_eq!(store.peek(&a, &outputs[1..]).await.unwrap().cursors, saved[1..]);

    for busy in [store.open(&a).await.map(drop), store.reset(&a, &outputs).await] {
        assert_eq!(busy.unwrap_err().reason, Reason::CheckpointScopeBusy);
    }
    assert_eq!(store.peek(&a, &outputs).await.unwrap().cursors, saved, "a reset that is refused drops nothing");
    let mut other = store.open(&b).await.unwrap();
    assert_eq!(other.load(&outputs).await.unwrap(), Kept::default(), "scopes are apart");
    drop(other);

    drop(held);
    store.released().await;
    let mut again = store.open(&a).await.unwrap();
    assert_eq!(again.load(&outputs).await.unwrap().cursors, saved, "cursors outlive their writer");
    let back = Kept {
        cursors: vec![cursor("traffic", "/a/part-000010.parquet", 2)],
        beyond: vec![beyond("context", None, &[(5, 6)])],
    };
    let refused = again.save(&back).await.unwrap_err();
    assert_eq!(refused.reason, Reason::CheckpointSaveFailed, "a lower row of the same file is a step back");
    assert_eq!(again.load(&outputs).await.unwrap(), Kept::at(saved.clone()), "and nothing else of it was saved");
    drop(again);
    store.released().await;

    store.reset(&a, &outputs[..1]).await.unwrap();
    assert_eq!(store.peek(&a, &outputs).await.unwrap().cursors, saved[1..], "a reset drops what it was asked to");
    store.released().await;
    store.open(&a).await.unwrap();
    store.released().await;
}

async fn rows_beyond_are_kept_beside_them(store: &dyn CheckpointStore<RowCursors>) {
    let (c, b, outputs) = (scope('c'), scope('b'), [output("traffic"), output("context")]);
    let mut held = store.open(&c).await.unwrap();
    // Before any cursor, with a cursor, and alone again.
    let first = Kept { cursors: vec![], beyond: vec![beyond("context", None, &[(1, 1), (4, 1 << 40)])] };
    held.save(&first).await.unwrap();
    assert_eq!(held.load(&outputs).await.unwrap(), first);
    let file = "s3://b/pré fix/'part' \\ \"0\".parquet";
    let both = Kept {
        cursors: vec![cursor("traffic", file, 7)],
        beyond: vec![beyond("traffic", Some((file, 7)), &[(9, 11)]), beyond("context", None, &[(1, 2)])],
    };
    held.save(&both).await.unwrap();
    assert_eq!(held.load(&outputs).await.unwrap(), both, "all that was beyond is replaced");
    let wider = vec![beyond("traffic", Some((file, 7)), &[(9, 11), (13, 13)])];
    held.save(&Kept { cursors: vec![], beyond: wider.clone() }).await.unwrap();
    let kept = Kept { cursors: both.cursors, beyond: wider };
    assert_eq!(store.peek(&c, &outputs).await.unwrap(), kept);
    assert_eq!(store.peek(&b, &outputs).await.unwrap().beyond, [], "scopes are apart");
    drop(held);
    store.released().await;

    let mut again = store.open(&c).await.unwrap();
    assert_eq!(again.load(&outputs).await.unwrap(), kept, "they outlive their writer");
    again.save(&Kept::at([cursor("traffic", file, 13)])).await.unwrap();
    assert_eq!(again.load(&outputs).await.unwrap(), Kept::at([cursor("traffic", file, 13)]), "passed, and gone");
    again
        .save(&Kept { cursors: vec![], beyond: vec![beyond("traffic", Some((file, 13)), &[(20, 21)])] })
        .await
        .unwrap();
    drop(again);
    store.released().await;
    store.reset(&c, &outputs).await.unwrap();
    assert_eq!(store.peek(&c, &outputs).await.unwrap(), Kept::default(), "a reset drops them too");
    store.released().await;
}

async fn who_lost_a_scope_saves_nothing_more(store: &dyn CheckpointStore<RowCursors>, take: impl AsyncFn(&Hex64)) {
    let (d, outputs) = (scope('d'), [output("traffic")]);
    let mut first = store.open(&d).await.unwrap();
    first.save(&Kept::at([cursor("traffic", "part-000000", 10)])).await.unwrap();
    let lease = first.lease();
    assert!(!matches!(lease.state(Duration::ZERO), LeaseState::Lost(_)));
    take(&d).await;
    let mut second = store.open(&d).await.unwrap();
    assert_eq!(second.load(&outputs).await.unwrap(), Kept::at([cursor("traffic", "part-000000", 10)]));
    let now = Kept {
        cursors: vec![cursor("traffic", "part-000000", 11)],
        beyond: vec![beyond("traffic", Some(("part-000000", 11)), &[(13, 13)])],
    };
    second.save(&now).await.unwrap();

    for late in [12, 11, 9] {
        let late = Kept {
            cursors: vec![cursor("traffic", "part-000000", late)],
            beyond: vec![beyond("traffic", Some(("part-000000", late)), &[(20, 21)])],
        };
        let lost = first.save(&late).await.unwrap_err();
        assert_eq!(lost.reason, Reason::CheckpointLeaseLost, "{lost}");
        assert_eq!(lease.state(Duration::ZERO), LeaseState::Lost(lost), "whoever sends hears of it");
    }
    assert_eq!(store.peek(&d, &outputs).await.unwrap(), now);
    let lost = first.keep_views(&views(&[])).await.unwrap_err();
    assert_eq!((lost.reason, store.peek_views(&d).await.unwrap()), (Reason::CheckpointLeaseLost, None));
    drop(first);
    store.released().await;
    assert_eq!(
        store.open(&d).await.map(drop).unwrap_err().reason,
        Reason::CheckpointScopeBusy,
        "the second's hold lasts"
    );
    second.save(&now).await.unwrap();
    drop(second);
    store.released().await;
}
