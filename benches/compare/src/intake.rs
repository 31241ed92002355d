//! An intake that takes any body, with a latency and faults on request, and keeps account: which events came, how often, and in
//! which order those of a key came first.
//!
//! ```text
//! POST ──latency──► 503 · cut · taken ──► 200        GET /account ──► JSON
//! ```
//!
//! It finds `"seq":` and `"key":"` in a body, as [`super::replays`] makes them; events without them are only counted.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::Result;

/// What a gate of the platform would answer; others look at the status alone.
const ANSWER: &str = r#"{"decision":"ADMIT"}"#;
const HEALTHY: &str = r#"{"reasons":[],"state":"GREEN"}"#;

/// How it answers.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Faults {
    /// Milliseconds that each answer takes.
    #[arg(long, default_value_t = 0)]
    pub(crate) latency: u64,
    /// Of a thousand requests, so many are answered 503, and nothing is taken.
    #[arg(long, default_value_t = 0)]
    pub(crate) busy: u64,
    /// Of a thousand requests, the connections of so many are cut, half of them after the event was taken.
    #[arg(long, default_value_t = 0)]
    pub(crate) cuts: u64,
}

/// What it says of what came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Account {
    pub(crate) requests: u64,
    /// Different events.
    pub(crate) events: u64,
    /// Events that came again.
    pub(crate) repeated: u64,
    /// Events that came first when a later one of their key had come.
    pub(crate) out_of_order: u64,
}

impl Account {
    fn json(&self) -> Value {
        let Self { requests, events, repeated, out_of_order } = self;
        json!({"requests": requests, "events": events, "repeated": repeated, "out_of_order": out_of_order})
    }

    pub(crate) fn read(json: &str) -> Result<Self> {
        let json: Value = serde_json::from_str(json)?;
        let number = |name: &str| json[name].as_u64().ok_or("an account without a number");
        Ok(Self {
            requests: number("requests")?,
            events: number("events")?,
            repeated: number("repeated")?,
            out_of_order: number("out_of_order")?,
        })
    }
}

#[derive(Default)]
struct Desk {
    account: Account,
    seen: Vec<bool>,
    /// By key, the latest event that came.
    last: HashMap<Vec<u8>, u64>,
    random: u64,
}

impl Desk {
    /// A number below a thousand, the same in every run.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % 1_000
    }

    fn take(&mut self, body: &[u8]) {
        let (Some(seq), Some(key)) = (behind(body, b"\"seq\":"), behind(body, b"\"key\":\"")) else {
            self.account.events += 1;
            return;
        };
        let seq = seq.iter().take_while(|byte| byte.is_ascii_digit());
        let seq = seq.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
        let key: Vec<u8> = key.iter().copied().take_while(|byte| *byte != b'"').collect();
        let place = seq as usize;
        if self.seen.len() <= place {
            self.seen.resize(place + 1, false);
        }
        if std::mem::replace(&mut self.seen[place], true) {
            self.account.repeated += 1;
            return;
        }
        self.account.events += 1;
        let last = self.last.entry(key).or_insert(seq);
        self.account.out_of_order += u64::from(seq < *last);
        *last = seq.max(*last);
    }
}

fn behind<'a>(body: &'a [u8], mark: &[u8]) -> Option<&'a [u8]> {
    let at = body.windows(mark.len()).position(|window| window == mark)?;
    Some(&body[at + mark.len()..])
}

/// Prints its address, then answers until it is terminated.
pub(crate) fn serve(faults: Faults) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("http://{}", listener.local_addr()?);
        let desk = Rc::new(RefCell::new(Desk::default()));
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        loop {
            let stream = tokio::select! {
                accepted = listener.accept() => accepted?.0,
                _ = terminate.recv() => return Ok(()),
            };
            stream.set_nodelay(true)?;
            let desk = desk.clone();
            let service = service_fn(move |request| answer(request, desk.clone(), faults));
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::task::spawn_local(async move {
                // A client that goes away, or one that is cut off.
                let _ = connection.await;
            });
        }
    })
}

async fn answer(
    request: Request<Incoming>,
    desk: Rc<RefCell<Desk>>,
    faults: Faults,
) -> io::Result<Response<Full<Bytes>>> {
    if *request.method() == Method::GET {
        let body = match request.uri().path() {
            "/account" => desk.borrow().account.json().to_string(),
            _ => HEALTHY.to_owned(),
        };
        return Ok(Response::new(Full::new(body.into())));
    }
    let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
    if faults.latency > 0 {
        tokio::time::sleep(Duration::from_millis(faults.latency)).await;
    }
    let mut desk = desk.borrow_mut();
    desk.account.requests += 1;
    let drawn = if faults.busy + faults.cuts > 0 { desk.draw() } else { u64::MAX };
    if drawn < faults.busy {
        let mut busy = Response::new(Full::new(Bytes::new()));
        *busy.status_mut() = hyper::StatusCode::SERVICE_UNAVAILABLE;
        return Ok(busy);
    }
    let is_cut = drawn < faults.busy + faults.cuts;
    if is_cut && drawn % 2 == 0 {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    desk.take(&body);
    if is_cut {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    Ok(Response::new(Full::new(Bytes::from_static(ANSWER.as_bytes()))))
}
