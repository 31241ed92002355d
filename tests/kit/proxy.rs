//! The way between WSP and the gate, which a test can spoil: bytes late, changed, cut off, or gone.
//!
//! ```text
//! WSP ──► link ──requests, as a script says──► gate
//!         link ◄──answers, as a script says─── gate
//! ```
//!
//! A connection carries one request at a time, so what is read at once is a request or an answer.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::live::nap;

/// What becomes of bytes on their way.
pub(crate) enum Pass {
    /// They arrive.
    On,
    /// They arrive later.
    Late(Duration),
    /// Others arrive.
    Changed(Bytes),
    /// These arrive, then the connection is cut.
    Last(Vec<u8>),
    /// They arrive one at a time, with this between two.
    Drip(Duration),
    /// They never arrive, and the connection stays.
    Never,
}

/// Decides over the n-th message (from 0, over all connections) of one direction.
type Script = dyn Fn(usize, &[u8]) -> Pass + Send + Sync;

/// Listens until the process ends.
pub(crate) struct Proxy {
    pub(crate) url: String,
    state: Arc<State>,
}

struct State {
    gate: Mutex<SocketAddr>,
    requests: Direction,
    answers: Direction,
    /// Connections are taken; otherwise they are closed at once.
    open: AtomicBool,
    links: Mutex<Vec<TcpStream>>,
}

struct Direction {
    script: Mutex<Arc<Script>>,
    seen: AtomicUsize,
}

impl Direction {
    fn new() -> Self {
        Self { script: Mutex::new(Arc::new(|_, _| Pass::On)), seen: AtomicUsize::new(0) }
    }

    fn follow(&self, script: impl Fn(usize, &[u8]) -> Pass + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Arc::new(script);
        self.seen.store(0, Ordering::SeqCst);
    }
}

impl Proxy {
    /// A way to the gate at `base_url` on which nothing happens yet.
    pub(crate) fn to(base_url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            gate: Mutex::new(address(base_url)),
            requests: Direction::new(),
            answers: Direction::new(),
            open: AtomicBool::new(true),
            links: Mutex::new(Vec::new()),
        });
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let state = shared.clone();
                std::thread::spawn(move || state.link(client.unwrap()));
            }
        });
        Self { url, state }
    }

    /// From now on, and counted from now on, answers pass as `script` says.
    pub(crate) fn answers(&self, script: impl Fn(usize, &[u8]) -> Pass + Send + Sync + 'static) {
        self.state.answers.follow(script);
    }

    /// The same of requests.
    pub(crate) fn requests(&self, script: impl Fn(usize, &[u8]) -> Pass + Send + Sync + 'static) {
        self.state.requests.follow(script);
    }

    /// Nothing happens any more.
    pub(crate) fn mend(&self) {
        self.answers(|_, _| Pass::On);
        self.requests(|_, _| Pass::On);
        self.state.open.store(true, Ordering::SeqCst);
    }

    /// Cuts every connection, and every new one, until it is [mended](Proxy::mend).
    pub(crate) fn cut(&self) {
        self.state.open.store(false, Ordering::SeqCst);
        for link in self.state.links.lock().unwrap().drain(..) {
            let _ = link.shutdown(Shutdown::Both);
        }
    }

    /// New connections lead to another gate.
    pub(crate) fn lead_to(&self, base_url: &str) {
        *self.state.gate.lock().unwrap() = address(base_url);
    }
}

fn address(base_url: &str) -> SocketAddr {
    base_url.strip_prefix("http://").unwrap().parse().unwrap()
}

impl State {
    fn link(self: Arc<Self>, client: TcpStream) -> Option<()> {
        if !self.open.load(Ordering::SeqCst) {
            return None;
        }
        let gate = TcpStream::connect(*self.gate.lock().unwrap()).ok()?;
        for end in [&client, &gate] {
            end.set_nodelay(true).ok()?;
            self.links.lock().unwrap().push(end.try_clone().ok()?);
        }
        let (from, to, state) = (client.try_clone().ok()?, gate.try_clone().ok()?, self.clone());
        std::thread::spawn(move || pump(from, to, &state.requests));
        pump(gate, client, &self.answers)
    }
}

/// Carries bytes one way until either end closes; then the other one is closed too.
fn pump(mut from: TcpStream, mut to: TcpStream, direction: &Direction) -> Option<()> {
    let mut buffer = vec![0; 1 << 16];
    let mut carry = || -> Option<()> {
        loop {
            let n = from.read(&mut buffer).ok().filter(|n| *n > 0)?;
            let script = direction.script.lock().unwrap().clone();
            match script(direction.seen.fetch_add(1, Ordering::SeqCst), &buffer[..n]) {
                Pass::On => to.write_all(&buffer[..n]).ok()?,
                Pass::Late(by) => {
                    nap(by);
                    to.write_all(&buffer[..n]).ok()?;
                }
                Pass::Changed(bytes) => to.write_all(&bytes).ok()?,
                Pass::Last(bytes) => {
                    to.write_all(&bytes).ok()?;
                    return None;
                }
                Pass::Drip(pause) => {
                    for byte in &buffer[..n] {
                        to.write_all(&[*byte]).ok()?;
                        nap(pause);
                    }
                }
                Pass::Never => {}
            }
        }
    };
    let end = carry();
    let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
    end
}
