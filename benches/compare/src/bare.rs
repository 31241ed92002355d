//! The least that HTTP can cost with hyper: a client that only sends, and a server that only answers.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use wsp::deliver::TlsFiles;

use crate::process::{Of, cpu};
use crate::{Result, parts, stage};

/// About as long as the gate's answer.
const ANSWER_BYTES: usize = 900;

/// Sends every body once over `connections` connections, a task and a hyper sender each, and says what that took:
/// seconds of wall and seconds of CPU.
pub(crate) fn client(url: &str, connections: usize, bodies: Vec<Bytes>) -> Result<String> {
    let target = Target::at(url)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let events = bodies.len();
    let (started, before) = (Instant::now(), cpu(Of::Own)?);
    let left = Rc::new(RefCell::new(bodies.into_iter()));
    let sent = tokio::task::LocalSet::new().block_on(&runtime, async move {
        let tasks: Vec<_> =
            (0..connections).map(|_| tokio::task::spawn_local(channel(target.clone(), left.clone()))).collect();
        let mut sent = 0;
        for task in tasks {
            sent += task.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        }
        Ok::<usize, String>(sent)
    })?;
    let (wall, cpu) = (started.elapsed(), cpu(Of::Own)? - before);
    if sent != events {
        return Err("not everything was sent".into());
    }
    Ok(format!("{} {}", wall.as_secs_f64(), cpu.as_secs_f64()))
}

/// Sends every body over one connection, one after the other; `before` is called before each.
pub(crate) fn one_by_one(address: SocketAddr, bodies: Vec<Bytes>, mut before: impl FnMut()) -> Result<()> {
    stage::runtime()?.block_on(async {
        let mut sender = connect(&Target { address, tls: None }).await?;
        for body in bodies {
            before();
            send(&mut sender, body).await?;
        }
        Ok(())
    })
}

async fn channel(target: Target, left: Rc<RefCell<std::vec::IntoIter<Bytes>>>) -> Result<usize> {
    let mut sender = connect(&target).await?;
    let mut sent = 0;
    loop {
        let Some(body) = left.borrow_mut().next() else { return Ok(sent) };
        send(&mut sender, body).await?;
        sent += 1;
    }
}

type Sender = hyper::client::conn::http1::SendRequest<Full<Bytes>>;

/// Where the client sends to.
#[derive(Clone)]
struct Target {
    address: SocketAddr,
    /// There if the URL is https.
    tls: Option<TlsConnector>,
}

impl Target {
    /// The gate at `url`; https is trusted by the authority of the tests' certificates.
    fn at(url: &str) -> Result<Self> {
        if let Some(address) = url.strip_prefix("http://") {
            return Ok(Self { address: address.parse()?, tls: None });
        }
        let address = url.strip_prefix("https://").ok_or("a URL of another scheme")?.parse()?;
        let files = TlsFiles { ca: Some(parts::certificate("root.pem")), client: None };
        Ok(Self { address, tls: Some(TlsConnector::from(Arc::new(files.client_config()?))) })
    }
}

async fn connect(Target { address, tls }: &Target) -> Result<Sender> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    match tls {
        None => spoken(stream).await,
        Some(tls) => spoken(tls.connect(address.ip().into(), stream).await?).await,
    }
}

async fn spoken(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Sender> {
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn send(sender: &mut Sender, body: Bytes) -> Result<()> {
    let request = Request::post("/v1/ingest/push")
        .header("host", "127.0.0.1")
        .header("content-type", "application/json")
        .header("x-ig-api-key", stage::KEY)
        .body(Full::new(body))?;
    sender.ready().await?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let answer = response.into_body().collect().await?.to_bytes();
    if status != 200 || answer.is_empty() {
        return Err(format!("answered {status}").into());
    }
    Ok(())
}

/// Tells its address, then takes bodies whole and answers with as many bytes as the gate does, until terminated.
pub(crate) fn serve() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("http://{}", listener.local_addr()?);
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        loop {
            let stream = tokio::select! {
                accepted = listener.accept() => accepted?.0,
                _ = terminate.recv() => return Ok(()),
            };
            stream.set_nodelay(true)?;
            let service = service_fn(answer);
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::task::spawn_local(async move {
                // A client that goes away is how each round ends.
                let _ = connection.await;
            });
        }
    })
}

async fn answer(request: Request<Incoming>) -> hyper::Result<Response<Full<Bytes>>> {
    static ANSWER: [u8; ANSWER_BYTES] = [b' '; ANSWER_BYTES];
    request.into_body().collect().await?;
    Ok(Response::new(Full::new(Bytes::from_static(&ANSWER))))
}
