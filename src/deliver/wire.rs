//! The bytes below HTTP: a TCP connection to the gate, with or without TLS.
//!
//! ```text
//! Dialer: host, port ──DNS──► addresses in turn ──TCP, no delay──► plain · TLS ──► Wire
//! ```

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::endpoint::Endpoint;
use crate::clock::Clock;

/// A connection that HTTP can be spoken over.
pub(super) enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Who makes connections to a gate.
#[derive(Debug, Clone)]
pub(super) struct Dialer<C> {
    pub(super) clock: C,
    pub(super) endpoint: Endpoint,
    /// There if the endpoint is one of TLS.
    pub(super) tls: Option<Arc<ClientConfig>>,
}

/// TLS as the gate's clients use it: the platform's trust, ring, HTTP/1.1 alone.
///
/// # Errors
///
/// If the platform's trust can't be loaded.
pub fn platform_tls() -> Result<ClientConfig, rustls::Error> {
    let mut config = tls_builder()?.with_platform_verifier()?.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// TLS that trusts nobody, for where a configuration is asked for and none is used: the platform's trust
/// need not even be there.
///
/// # Errors
///
/// None in practice: its versions are those of the provider.
pub fn unused_tls() -> Result<ClientConfig, rustls::Error> {
    Ok(tls_builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn tls_builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
}

impl<C: Clock> Dialer<C> {
    /// Connects to the first of the host's addresses that takes it. Each gets an even share of what is left until
    /// `deadline`, so that one that swallows packets does not use up the attempt.
    pub(super) async fn connect(&self, deadline: Duration) -> io::Result<Wire> {
        let Self { clock, endpoint: Endpoint { host, port, .. }, tls } = self;
        let mut addresses: Vec<_> = tokio::net::lookup_host((host.as_str(), *port)).await?.collect();
        addresses.reverse();
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        while let Some(address) = addresses.pop() {
            let now = clock.now();
            let share = deadline.saturating_sub(now) / (addresses.len() as u32 + 1);
            let open = async {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let Some(config) = tls else { return Ok(Wire::Plain(stream)) };
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                let stream = TlsConnector::from(config.clone()).connect(name, stream).await?;
                Ok(Wire::Tls(Box::new(stream)))
            };
            let opened: io::Result<Wire> = tokio::select! {
                biased;
                opened = open => opened,
                () = clock.sleep_until(now + share) => Err(io::ErrorKind::TimedOut.into()),
            };
            match opened {
                Ok(wire) => return Ok(wire),
                Err(error) => last = io::Error::new(error.kind(), format!("{address}: {error}")),
            }
        }
        Err(last)
    }
}

macro_rules! on_either {
    ($self:expr, $io:ident => $call:expr) => {
        match $self.get_mut() {
            Wire::Plain($io) => {
                let $io = Pin::new($io);
                $call
            }
            Wire::Tls($io) => {
                let $io = Pin::new(&mut **$io);
                $call
            }
        }
    };
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_either!(self, io => io.poll_read(cx, buf))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        on_either!(self, io => io.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_either!(self, io => io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_either!(self, io => io.poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_either!(self, io => io.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Wire::Plain(io) => io.is_write_vectored(),
            Wire::Tls(io) => io.is_write_vectored(),
        }
    }
}
