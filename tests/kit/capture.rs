//! A gate that keeps each request's body as it came and answers what a script says: plain HTTP/1.1, a thread a
//! connection, nothing of the library in it.

use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::http::Request;
use super::live::nap;

/// What to do with the n-th request (from 0).
pub enum Reply {
    /// Answer with status and body.
    Answer(u16, String),
    /// The same, but not before the gate is [released](CaptureGate::release).
    Held(u16, String),
    /// Answer with status and `Location`.
    Redirect(u16, String),
    /// Close the connection without a word.
    Cut,
    /// Send these bytes, each piece after its pause.
    Pieces(Vec<(Duration, Vec<u8>)>),
    /// Send these bytes and close the connection.
    Last(Vec<u8>),
}

impl Reply {
    /// ADMIT.
    pub fn admit() -> Self {
        Self::Answer(200, ADMIT.to_owned())
    }

    /// ADMIT, held.
    pub fn admit_held() -> Self {
        Self::Held(200, ADMIT.to_owned())
    }
}

const ADMIT: &str = r#"{"decision":"ADMIT","receipt":{},"receipt_ref":"x"}"#;

type Script = dyn Fn(usize, &[u8]) -> Reply + Send + Sync;

/// Listens until the process ends.
pub struct CaptureGate {
    pub url: String,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
    marks: Arc<Mutex<Vec<String>>>,
    heard: Arc<AtomicUsize>,
    valve: Arc<Valve>,
}

/// Whether held answers may go.
#[derive(Default)]
struct Valve {
    open: Mutex<bool>,
    opened: Condvar,
}

impl CaptureGate {
    /// Admits everything.
    pub fn admitting() -> Self {
        Self::scripted(|_, _| Reply::admit())
    }

    pub fn scripted(script: impl Fn(usize, &[u8]) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let marks = Arc::new(Mutex::new(Vec::new()));
        let noted = marks.clone();
        let (heard, valve) = (Arc::new(AtomicUsize::new(0)), Arc::new(Valve::default()));
        let (kept, script): (_, Arc<Script>) = (bodies.clone(), Arc::new(script));
        let (asked, held) = (heard.clone(), valve.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (kept, held, asked, script) = (kept.clone(), held.clone(), asked.clone(), script.clone());
                let noted = noted.clone();
                std::thread::spawn(move || serve(&stream.unwrap(), &kept, &noted, &held, &asked, &*script));
            }
        });
        Self { url, bodies, marks, heard, valve }
    }

    /// Lets held answers go, now and from now on.
    pub fn release(&self) {
        *self.valve.open.lock().unwrap() = true;
        self.valve.opened.notify_all();
    }

    /// The bodies so far, in the order they came.
    pub fn bodies(&self) -> Vec<Vec<u8>> {
        self.bodies.lock().unwrap().clone()
    }

    /// The `traceparent` of each push that had one.
    pub fn marks(&self) -> Vec<String> {
        self.marks.lock().unwrap().clone()
    }

    /// How many requests came, whatever they asked for.
    pub fn heard(&self) -> usize {
        self.heard.load(Ordering::SeqCst)
    }

    /// How many pushes came.
    pub fn requests(&self) -> usize {
        self.bodies.lock().unwrap().len()
    }
}

/// Serves one connection until it ends; a request that is no POST of an event with the key is answered 400.
fn serve(
    stream: &TcpStream,
    kept: &Mutex<Vec<Vec<u8>>>,
    marks: &Mutex<Vec<String>>,
    release: &Valve,
    heard: &AtomicUsize,
    script: &Script,
) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let request = Request::read(&mut reader)?;
        heard.fetch_add(1, Ordering::SeqCst);
        marks.lock().unwrap().extend(request.field("traceparent").map(str::to_owned));
        let fit = request.line == "POST /v1/ingest/push HTTP/1.1"
            && request.field("content-type").is_none_or(|of| of == "application/json")
            && request.field("x-ig-api-key") == Some(super::KEY);
        let body = request.body;
        let reply = if fit {
            // Number and order are decided under one lock, so the script sees what the list will say.
            let mut kept = kept.lock().unwrap();
            let reply = script(kept.len(), &body);
            kept.push(body);
            reply
        } else {
            Reply::Answer(400, r#"{"error":"NOT_A_PUSH"}"#.to_owned())
        };
        if matches!(reply, Reply::Held(..)) {
            drop(release.opened.wait_while(release.open.lock().unwrap(), |open| !*open));
        }
        let (status, more, body) = match reply {
            Reply::Answer(status, body) | Reply::Held(status, body) => (status, String::new(), body),
            Reply::Redirect(status, to) => (status, format!("location: {to}\r\n"), String::new()),
            Reply::Cut => return None,
            Reply::Pieces(pieces) => {
                for (pause, bytes) in pieces {
                    nap(pause);
                    writer.write_all(&bytes).ok()?;
                }
                continue;
            }
            Reply::Last(bytes) => return writer.write_all(&bytes).ok(),
        };
        let reply = format!(
            "HTTP/1.1 {status} X\r\n{more}content-length: {}\r\ncontent-type: application/json\r\n\r\n",
            body.len()
        );
        writer.write_all((reply + &body).as_bytes()).ok()?;
    }
}
