//! What the benches of delivery share: ready-made events, a server that answers at once, and figures of a thread.

#![allow(dead_code, unreachable_pub, reason = "each bench uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a bench that can't run shall say where")]

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use wsp::clock::Clock;
use wsp_world::model::{Event, Micros, Position};

pub const CONNECTIONS: usize = 64;
pub const BODY_BYTES: usize = 1_190;
const ANSWER: &str = r#"{"decision":"ADMIT","receipt":{"event_id":"00000000000000000000000000000000","partition":0},"receipt_ref":"r/0"}"#;

pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body.len(), BODY_BYTES);
    Ok(Response::new(Full::new(Bytes::from_static(ANSWER.as_bytes()))))
}

/// A server that answers everything at once.
pub fn serve() -> SocketAddr {
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

pub fn event(i: u64, body: &Bytes) -> Event {
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

/// How long this thread has been on a processor, in seconds; 0 where the system does not tell. Other than the
/// rate it does not suffer from what else runs on the machine.
pub fn thread_cpu() -> f64 {
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok())
        .unwrap_or(0.0)
        / 1e9
}

/// Events a second, and microseconds of the client's thread an event.
#[derive(Clone, Copy)]
pub struct Figure {
    pub rate: f64,
    pub cpu: f64,
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The figures of `work` on `events` events, made on this thread.
pub fn timed(clock: &impl Clock, events: u64, work: impl FnOnce()) -> Figure {
    let (start, cpu) = (clock.now(), thread_cpu());
    work();
    Figure {
        rate: events as f64 / clock.now().saturating_sub(start).as_secs_f64(),
        cpu: (thread_cpu() - cpu) * 1e6 / events as f64,
    }
}
