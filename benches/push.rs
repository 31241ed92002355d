//! What does the push stage cost beside the HTTP client below it?
//!
//! ```text
//! ready-made bodies ──► push, 64 channels ─┐
//!                                          ├──► trivial server on a thread of its own
//! ready-made bodies ──► bare hyper, 64   ──┘
//! ```
//!
//! Both sides send the same bodies from a runtime of one thread, in turns, and the ratios of their rates and of
//! their CPU an event are printed. `PUSH_BENCH_EVENTS` and `PUSH_BENCH_ROUNDS` set how long it takes.

#![allow(clippy::unwrap_used, reason = "a bench that can't run shall say where")]

use std::cell::Cell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::rc::Rc;

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use wsp::clock::{Clock, SystemClock};
use wsp::deliver::{DeliveryMode, Endpoint, HttpGate, PushExt, PushOptions};
use wsp::model::{Event, Micros, Position, Secret};

const CHANNELS: usize = 64;
const BODY_BYTES: usize = 1_190;
const ANSWER: &str = r#"{"decision":"ADMIT","receipt":{"event_id":"00000000000000000000000000000000","partition":0},"receipt_ref":"r/0"}"#;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body.len(), BODY_BYTES);
    Ok(Response::new(Full::new(Bytes::from_static(ANSWER.as_bytes()))))
}

/// A server that answers everything at once.
fn serve() -> SocketAddr {
    let (told, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let server = async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            told.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(answer));
                tokio::task::spawn_local(async move {
                    // A client that goes away is how each round ends.
                    let _ = connection.await;
                });
            }
        };
        tokio::task::LocalSet::new().block_on(&runtime(), server);
    });
    address.recv().unwrap()
}

fn event(i: u64, body: &Bytes) -> Event {
    let mut event_id = [0; 32];
    event_id[..8].copy_from_slice(&i.to_be_bytes());
    Event {
        position: Position { rank: 0, file: 0, row: i, seq: i },
        ts: Micros(0),
        order_key: i / 3,
        event_id,
        body: body.clone(),
        due: None,
    }
}

/// One sender a connection, each with its connection in a task: what hyper's own examples do.
async fn bare(address: SocketAddr, events: u64, body: &Bytes) {
    let left = Rc::new(Cell::new(events));
    let senders: Vec<_> = (0..CHANNELS)
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
    let endpoint = Endpoint::new(&format!("http://{address}"), "X-IG-Api-Key", &Secret::new("k")).unwrap();
    let gate = HttpGate::new(endpoint, clock).unwrap();
    let answers =
        futures::stream::iter((0..events).map(|i| Ok(event(i, body)))).push(gate, PushOptions::new(clock).mode(mode));
    let answered = answers.fold(0, async |n, answer| n + u64::from(answer.is_ok())).await;
    assert_eq!(answered, events);
}

/// How long this thread has been on a processor, in seconds; 0 where the system does not tell. Other than the
/// rate it does not suffer from what else runs on the machine.
fn thread_cpu() -> f64 {
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok())
        .unwrap_or(0.0)
        / 1e9
}

/// Events a second, and microseconds of the client's thread an event.
#[derive(Clone, Copy)]
struct Figure {
    rate: f64,
    cpu: f64,
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let events = setting("PUSH_BENCH_EVENTS", 50_000);
    let rounds = setting("PUSH_BENCH_ROUNDS", 5);
    let address = serve();
    let body = Bytes::from(vec![b'x'; BODY_BYTES]);
    let channels = NonZeroUsize::new(CHANNELS).unwrap();
    let clock = runtime().block_on(async { SystemClock::new() });
    let timed = |work: &mut dyn FnMut()| {
        let (start, cpu) = (clock.now(), thread_cpu());
        work();
        Figure {
            rate: events as f64 / clock.now().saturating_sub(start).as_secs_f64(),
            cpu: (thread_cpu() - cpu) * 1e6 / events as f64,
        }
    };
    let modes = [DeliveryMode::Keyed(channels), DeliveryMode::Free(channels)];
    let mut figures = [Vec::new(), Vec::new(), Vec::new()];
    println!("{events} events of {BODY_BYTES} bytes a round, {CHANNELS} connections");
    for round in 1..=rounds {
        let bare = timed(&mut || tokio::task::LocalSet::new().block_on(&runtime(), bare(address, events, &body)));
        let [keyed, free] = modes.map(|mode| timed(&mut || runtime().block_on(push(address, events, &body, mode))));
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
