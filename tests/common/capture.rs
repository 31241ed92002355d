//! A gate that keeps each request's body as it came and answers what a script says: plain HTTP/1.1, a thread a
//! connection, nothing of the library in it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};

/// What to do with the n-th request (from 0).
pub enum Reply {
    /// Answer with status and body.
    Answer(u16, String),
    /// Answer with status and body once the test comes to the barrier too.
    Held(Arc<Barrier>, u16, String),
    /// Answer with status and `Location`.
    Redirect(u16, String),
    /// Close the connection without a word.
    Cut,
}

type Script = dyn Fn(usize, &[u8]) -> Reply + Send + Sync;

/// Listens until the process ends.
pub struct CaptureGate {
    pub url: String,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
    heard: Arc<AtomicUsize>,
}

impl CaptureGate {
    /// Admits everything.
    pub fn admitting() -> Self {
        Self::scripted(|_, _| Reply::Answer(200, r#"{"decision":"ADMIT","receipt":{},"receipt_ref":"x"}"#.to_owned()))
    }

    pub fn scripted(script: impl Fn(usize, &[u8]) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::new(AtomicUsize::new(0));
        let (kept, script): (_, Arc<Script>) = (bodies.clone(), Arc::new(script));
        let asked = heard.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (kept, script, asked) = (kept.clone(), script.clone(), asked.clone());
                std::thread::spawn(move || serve(&stream.unwrap(), &kept, &asked, &*script));
            }
        });
        Self { url, bodies, heard }
    }

    /// The bodies so far, in the order they came.
    pub fn bodies(&self) -> Vec<Vec<u8>> {
        self.bodies.lock().unwrap().clone()
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
fn serve(stream: &TcpStream, kept: &Mutex<Vec<Vec<u8>>>, heard: &AtomicUsize, script: &Script) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        heard.fetch_add(1, Ordering::SeqCst);
        let mut fit = line == "POST /v1/ingest/push HTTP/1.1\r\n";
        let (mut length, mut key) = (0, false);
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            let Some((name, value)) = header.trim_end().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().ok()?,
                "x-ig-api-key" => key = value == super::KEY,
                "content-type" => fit &= value == "application/json",
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let reply = if fit && key {
            // Number and order are decided under one lock, so the script sees what the list will say.
            let mut kept = kept.lock().unwrap();
            let reply = script(kept.len(), &body);
            kept.push(body);
            reply
        } else {
            Reply::Answer(400, r#"{"error":"NOT_A_PUSH"}"#.to_owned())
        };
        let (status, more, body) = match reply {
            Reply::Answer(status, body) => (status, String::new(), body),
            Reply::Held(barrier, status, body) => {
                barrier.wait();
                (status, String::new(), body)
            }
            Reply::Redirect(status, to) => (status, format!("location: {to}\r\n"), String::new()),
            Reply::Cut => return None,
        };
        let answer = format!(
            "HTTP/1.1 {status} X\r\n{more}content-length: {}\r\ncontent-type: application/json\r\n\r\n",
            body.len()
        );
        writer.write_all((answer + &body).as_bytes()).ok()?;
    }
}
