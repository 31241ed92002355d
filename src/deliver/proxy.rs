//! An HTTP proxy between us and the gate.
//!
//! ```text
//! http://gate   ──► POST http://gate/path, the whole address in the request line ──► proxy ──► gate
//! https://gate  ──► CONNECT gate:443 ──► proxy ──► a tunnel, and TLS to the gate within it
//! ```

use std::fmt;

use http::header::{HeaderValue, InvalidHeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http_url::HttpUrl;
use crate::secret::Secret;

/// The longest head of a proxy's answer, in bytes.
const MAX_HEAD: usize = 16 << 10;

/// A proxy that is spoken to without TLS.
#[derive(Clone)]
pub struct HttpProxy {
    url: HttpUrl,
    /// What `Proxy-Authorization` says.
    login: Option<HeaderValue>,
}

impl HttpProxy {
    /// The proxy at `url`; `login` is the value of `Proxy-Authorization`, such as `Basic dTpw`.
    ///
    /// # Errors
    ///
    /// If no header can carry the login.
    pub fn new(url: &HttpUrl, login: Option<&Secret>) -> Result<Self, InvalidHeaderValue> {
        let login = login.map(|login| {
            let mut value = HeaderValue::from_str(login.expose())?;
            value.set_sensitive(true);
            Ok(value)
        });
        Ok(Self { url: url.clone(), login: login.transpose()? })
    }

    /// Where it is: a name, or an address without brackets, and a port.
    pub(super) fn address(&self) -> (&str, u16) {
        (self.url.host().trim_start_matches('[').trim_end_matches(']'), self.url.port())
    }

    pub(super) fn login(&self) -> Option<&HeaderValue> {
        self.login.as_ref()
    }

    /// Makes a tunnel to a host, so that what is sent over the stream arrives there.
    ///
    /// # Errors
    ///
    /// Why the proxy makes none, for a person.
    pub(super) async fn tunnel(&self, mut stream: TcpStream, host: &str, port: u16) -> Result<TcpStream, String> {
        let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut head = format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n").into_bytes();
        if let Some(login) = &self.login {
            head.extend_from_slice(b"proxy-authorization: ");
            head.extend_from_slice(login.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        stream.write_all(&head).await.map_err(|error| format!("proxy: {error}"))?;
        match answer(&mut stream).await? {
            200..=299 => Ok(stream),
            407 => Err("proxy: it wants a login, or another one (status 407)".to_owned()),
            status => Err(format!("proxy: it makes no tunnel to {authority} (status {status})")),
        }
    }
}

/// The status of the answer, which is read to the end of its head and no further: what follows is the tunnel's.
async fn answer(stream: &mut TcpStream) -> Result<u16, String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_HEAD {
            return Err("proxy: its answer has no end".to_owned());
        }
        head.push(stream.read_u8().await.map_err(|error| format!("proxy: {error}"))?);
    }
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut answer = httparse::Response::new(&mut headers);
    let read = answer.parse(&head).map_err(|error| format!("proxy: its answer is no HTTP: {error}"))?;
    if read.is_partial() {
        return Err("proxy: its answer is no HTTP".to_owned());
    }
    answer.code.ok_or_else(|| "proxy: its answer has no status".to_owned())
}

impl fmt::Debug for HttpProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpProxy").field("url", &self.url).finish_non_exhaustive()
    }
}
