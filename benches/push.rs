//! What does the push stage cost beside the HTTP client below it?
//!
//! ```text
//! ready-made bodies ──► push, 64 connections ─┐
//!                                          ├──► trivial server on a thread of its own
//! ready-made bodies ──► bare hyper, 64   ──┘
//! ```
//!
//! Both sides send the same bodies from a runtime of one thread, in turns, and the ratios of their rates and of
//! their CPU an event are printed. `PUSH_BENCH_EVENTS` and `PUSH_BENCH_ROUNDS` set how long it takes.

#![allow(clippy::unwrap_used, reason = "a bench that can't run shall say where")]

mod common;

use std::cell::Cell;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::rc::Rc;

use bytes::Bytes;
use common::{BODY_BYTES, CONNECTIONS, Figure, event, median, runtime, serve, setting, timed};
use futures::StreamExt;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use wsp::clock::SystemClock;
use wsp::deliver::{DeliveryMode, HttpGate, PushExt, PushOptions};
use wsp_world::ig::{IgJudge, parse_ig_endpoint};
use wsp_world::model::Secret;

/// One sender a connection, each with its connection in a task: what hyper's own examples do.
async fn bare(address: SocketAddr, events: u64, body: &Bytes) {
    let left = Rc::new(Cell::new(events));
    let senders: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (left, body) = (left.clone(), body.clone());
            tokio::task::spawn_local(async move {
                let stream = TcpStream::connect(address).await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
                tokio::spawn(connection);
                while left.get() > 0 {
                    left.set(left.get() - 1);
                    let request = Request::post("/v1/ingest/push")
                        .header("host", "127.0.0.1")
                        .header("content-type", "application/json")
                        .header("x-ig-api-key", "k")
                        .body(Full::new(body.clone()))
                        .unwrap();
                    sender.ready().await.unwrap();
                    let response = sender.send_request(request).await.unwrap();
                    assert_eq!(response.status(), 200);
                    response.into_body().collect().await.unwrap();
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
}

async fn push(address: SocketAddr, events: u64, body: &Bytes, mode: DeliveryMode) {
    let clock = SystemClock::new();
    let endpoint = parse_ig_endpoint(&format!("http://{address}"), "X-IG-Api-Key", &Secret::new("k")).unwrap();
    let gate = HttpGate::new(endpoint, clock).unwrap();
    let answers = futures::stream::iter((0..events).map(|i| Ok(event(i, body)))).push(
        gate,
        IgJudge::default(),
        PushOptions::new(clock).mode(mode),
    );
    let answered = answers.fold(0, async |n, answer| n + u64::from(answer.is_ok())).await;
    assert_eq!(answered, events);
}

fn main() {
    let events = setting("PUSH_BENCH_EVENTS", 50_000);
    let rounds = setting("PUSH_BENCH_ROUNDS", 5);
    let address = serve();
    let body = Bytes::from(vec![b'x'; BODY_BYTES]);
    let connections = NonZeroUsize::new(CONNECTIONS).unwrap();
    let clock = runtime().block_on(async { SystemClock::new() });
    let modes = [DeliveryMode::Keyed(connections), DeliveryMode::Free(connections)];
    let mut figures = [Vec::new(), Vec::new(), Vec::new()];
    println!("{events} events of {BODY_BYTES} bytes a round, {CONNECTIONS} connections");
    for round in 1..=rounds {
        let bare =
            timed(&clock, events, || tokio::task::LocalSet::new().block_on(&runtime(), bare(address, events, &body)));
        let [keyed, free] =
            modes.map(|mode| timed(&clock, events, || runtime().block_on(push(address, events, &body, mode))));
        print!("round {round}:");
        for ((name, figure), all) in [("bare", bare), ("keyed", keyed), ("free", free)].into_iter().zip(&mut figures) {
            print!("  {name} {:.0}/s {:.1} us", figure.rate, figure.cpu);
            all.push(figure);
        }
        println!();
    }
    let [bare, keyed, free] = &figures;
    for (name, push) in [("keyed", keyed), ("free", free)] {
        let ratio =
            |of: fn(&Figure) -> f64| median(push.iter().zip(bare).map(|(push, bare)| of(push) / of(bare)).collect());
        println!("push {name}: {:.3} of bare's rate, {:.3} of its CPU an event", ratio(|f| f.rate), ratio(|f| f.cpu));
    }
}
