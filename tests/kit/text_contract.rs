//! What every store of two texts owes its callers; a store joins by a call of [`holds`].

use std::time::Duration;

use wsp::checkpoint::{CheckpointError, CheckpointFault, CheckpointStore, Form, LeaseState, TextForm};

/// Notes: both texts are any text, told apart by their first word.
pub(crate) enum Notes {}

impl Form for Notes {
    type Key = String;
    type Source = ();
    type Kept = String;
    type Content = String;
    type Error = CheckpointError;
}

impl TextForm for Notes {
    const FILES: [&'static str; 2] = ["about.txt", "note.txt"];
    const TABLE: &'static str = "wsp_contract_notes";
    const RIGHTS: &'static str = "the role needs SELECT, INSERT and UPDATE on wsp_contract_notes";

    fn kept_text(note: &String) -> String {
        format!("note {note}")
    }

    fn read_kept(text: &str) -> Result<String, String> {
        text.strip_prefix("note ").map(str::to_owned).ok_or_else(|| "it is no note".to_owned())
    }

    fn content_text(about: &String) -> String {
        format!("about {about}")
    }

    fn read_content_text(text: &str) -> Result<String, String> {
        text.strip_prefix("about ").map(str::to_owned).ok_or_else(|| "it is about nothing".to_owned())
    }
}

/// A scope.
pub(crate) fn scope(name: &str) -> String {
    format!("contract {name}")
}

/// Runs the suite on a store in which scopes `a` to `d` hold nothing. `take` takes a scope that is held from its holder, as an
/// operator's mistake or a lease that ran out does.
pub(crate) async fn holds(store: &dyn CheckpointStore<Notes>, take: impl AsyncFn(&String)) {
    texts_are_kept_until_a_reset(store).await;
    any_text_comes_back(store).await;
    one_at_a_time_holds_a_scope(store).await;
    who_lost_a_scope_saves_nothing_more(store, take).await;
}

fn text(text: &str) -> String {
    text.to_owned()
}

async fn texts_are_kept_until_a_reset(store: &dyn CheckpointStore<Notes>) {
    let (a, b) = (scope("a"), scope("b"));
    assert_eq!(store.peek(&a, &[]).await.unwrap(), "", "a scope that was never used has none");
    assert_eq!(store.peek_views(&a).await.unwrap(), None);
    let mut held = store.open(&a).await.unwrap();
    assert_eq!((held.views().await.unwrap(), held.load(&[]).await.unwrap()), (None, text("")));
    held.keep_views(&text("first")).await.unwrap();
    held.keep_views(&text("orders")).await.unwrap();
    for note in ["9", "10", "8"] {
        // Texts have no order: the last one counts.
        held.save(&text(note)).await.unwrap();
        assert_eq!(held.load(&[]).await.unwrap(), note);
    }
    assert_eq!(held.views().await.unwrap(), Some(text("orders")));
    assert_eq!(store.peek(&a, &[]).await.unwrap(), "8", "peeking needs no hold");
    assert_eq!(store.peek_views(&a).await.unwrap(), Some(text("orders")));
    let mut other = store.open(&b).await.unwrap();
    assert_eq!((other.views().await.unwrap(), other.load(&[]).await.unwrap()), (None, text("")), "scopes are apart");
    held.finish().await.unwrap();
    drop((held, other));
    store.released().await;

    let mut again = store.open(&a).await.unwrap();
    assert_eq!(again.load(&[]).await.unwrap(), "8", "texts outlive their writer");
    assert_eq!(again.views().await.unwrap(), Some(text("orders")));
    drop(again);
    store.released().await;
    store.reset(&a, &[]).await.unwrap();
    assert_eq!((store.peek_views(&a).await.unwrap(), store.peek(&a, &[]).await.unwrap()), (None, text("")));
    let mut fresh = store.open(&a).await.unwrap();
    fresh.save(&text("1")).await.unwrap();
    assert_eq!(fresh.load(&[]).await.unwrap(), "1");
    drop(fresh);
    store.released().await;
    store.reset(&a, &[]).await.unwrap();
    store.released().await;
}

async fn any_text_comes_back(store: &dyn CheckpointStore<Notes>) {
    let c = scope("c");
    let mut held = store.open(&c).await.unwrap();
    let long = "ü'\\\"$1;--\n".repeat(200_000);
    for awkward in ["", " ", "'; DROP TABLE wsp_contract_notes; --", "\\000 \\N \u{1}\u{7f}", "ü\u{1f600}\r\n\t", &long]
    {
        held.save(&text(awkward)).await.unwrap();
        held.keep_views(&text(awkward)).await.unwrap();
        assert_eq!(held.load(&[]).await.unwrap(), awkward);
        assert_eq!(held.views().await.unwrap().as_deref(), Some(awkward));
    }
    drop(held);
    store.released().await;
}

async fn one_at_a_time_holds_a_scope(store: &dyn CheckpointStore<Notes>) {
    let c = scope("c");
    let mut held = store.open(&c).await.unwrap();
    held.save(&text("5")).await.unwrap();
    for busy in [store.open(&c).await.map(drop), store.reset(&c, &[]).await] {
        assert_eq!(busy.unwrap_err().fault, CheckpointFault::Busy);
    }
    assert_eq!(held.load(&[]).await.unwrap(), "5", "a reset that is refused drops nothing");
    assert!(!matches!(held.lease().state(Duration::ZERO), LeaseState::Lost(_)));
    let epoch = held.lease().epoch();
    drop(held);
    store.released().await;
    let next = store.open(&c).await.unwrap().lease().epoch();
    assert!(next.is_none() || next > epoch, "{next:?} after {epoch:?}");
    store.released().await;
}

async fn who_lost_a_scope_saves_nothing_more(store: &dyn CheckpointStore<Notes>, take: impl AsyncFn(&String)) {
    let d = scope("d");
    let mut first = store.open(&d).await.unwrap();
    first.save(&text("10")).await.unwrap();
    let lease = first.lease();
    take(&d).await;
    let mut second = store.open(&d).await.unwrap();
    assert_eq!(second.load(&[]).await.unwrap(), "10");
    second.save(&text("11")).await.unwrap();
    second.keep_views(&text("second")).await.unwrap();
    for late in ["12", "9"] {
        let lost = first.save(&text(late)).await.unwrap_err();
        assert_eq!(lost.fault, CheckpointFault::Lost, "{lost}");
        assert_eq!(lease.state(Duration::ZERO), LeaseState::Lost(lost), "whoever sends hears of it");
    }
    assert_eq!(first.keep_views(&text("first")).await.unwrap_err().fault, CheckpointFault::Lost);
    assert_eq!(store.peek(&d, &[]).await.unwrap(), "11");
    assert_eq!(store.peek_views(&d).await.unwrap(), Some(text("second")));
    drop(first);
    store.released().await;
    let busy = store.open(&d).await.map(drop).unwrap_err();
    assert_eq!(busy.fault, CheckpointFault::Busy, "the second's hold lasts");
    second.save(&text("13")).await.unwrap();
    drop(second);
    store.released().await;
}
