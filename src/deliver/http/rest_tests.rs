//! When connections open, and when they close while nothing is sent.

use std::net::SocketAddr;

use futures::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::tests::{OK, Reply, answered, connections, event, gate, request, server};
use super::*;
use crate::clock::SystemClock;
use crate::deliver::testing::{Event, Named};
use crate::deliver::{DeliveryMode, PushCounts, PushExt, PushOptions, PushStats};

#[tokio::test]
async fn a_connection_at_rest_is_closed_when_it_has_been_idle_for_too_long() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let limit = Duration::from_millis(30);
    let mut connection = gate(listener.local_addr().unwrap()).idle_limit(limit).connection();
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        request(&mut stream).await.unwrap();
        stream.write_all(OK.as_bytes()).await.unwrap();
        request(&mut stream).await
    };
    let used = async {
        answered(connection.push(&event()).await);
        let clock = SystemClock::new();
        connection.rest().await;
        clock.now()
    };
    let (end, rested) =
        tokio::time::timeout(Duration::from_secs(10), Box::pin(async { tokio::join!(serve, used) })).await.unwrap();
    assert_eq!(end, None, "the connection's end");
    assert!(rested >= limit / 2, "{rested:?}");
}

#[tokio::test]
async fn a_connection_at_rest_that_its_peer_ends_or_talks_on_is_closed_and_costs_nothing() {
    for reply in [Reply::SendAndClose(OK.into()), Reply::Send(format!("{OK}HTTP/1.1 408 Request Timeout\r\n\r\n"))] {
        let (address, seen) = server([reply]).await;
        let mut connection = gate(address).connection();
        answered(connection.push(&event()).await);
        tokio::time::timeout(Duration::from_secs(10), connection.rest()).await.expect("long before its limit");
        assert!(connection.slot.is_none());
        assert_eq!(answered(connection.push(&event()).await).status(), 200);
        assert_eq!((connections(&seen), connection.sent_again()), (vec![0, 1], false));
    }
}

#[tokio::test]
async fn a_rest_that_is_broken_off_leaves_the_connection_as_it_was() {
    let (address, seen) = server([]).await;
    let mut connection = gate(address).connection();
    for _ in 0..3 {
        answered(connection.push(&event()).await);
        assert!(tokio::time::timeout(Duration::from_millis(10), connection.rest()).await.is_err());
    }
    assert_eq!(connections(&seen), [0, 0, 0]);
}

/// Pushes `n` events of different keys, one every `gap`, with up to 16 in flight.
async fn push_all(address: SocketAddr, n: u64, gap: Duration) -> PushCounts {
    let stats = PushStats::new();
    let mode = DeliveryMode::Keyed(std::num::NonZeroUsize::new(16).unwrap());
    let options = PushOptions::new(SystemClock::new()).mode(mode).stats(stats.clone());
    let events = futures::stream::iter(0..n).then(|order_key| async move {
        tokio::time::sleep(gap).await;
        Ok(Event { order_key, ..event() })
    });
    let answers: Vec<_> = events.push(gate(address), Named, options).collect().await;
    assert_eq!((answers.len() as u64, answers.iter().all(Result::is_ok)), (n, true));
    stats.counts()
}

#[tokio::test]
async fn connections_are_opened_as_they_are_needed() {
    let (address, seen) = server([]).await;
    push_all(address, 12, Duration::from_millis(10)).await;
    // One does, unless an answer took longer than the pause; it is the one that rests since last.
    let mut used = connections(&seen);
    used.sort_unstable();
    used.dedup();
    assert!(used.len() <= 3, "{used:?}");
}

#[tokio::test]
async fn a_gate_that_closes_after_each_answer_costs_no_event_an_attempt() {
    let close = OK.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let (address, seen) = server(std::iter::repeat_n(Reply::SendAndClose(close), 100)).await;
    let counts = push_all(address, 100, Duration::ZERO).await;
    assert_eq!((counts.attempts, counts.retries, counts.sent_again), (100, 0, 0), "{counts:?}");
    let mut used = connections(&seen);
    used.sort_unstable();
    assert_eq!(used, (0..100).collect::<Vec<_>>());
}
