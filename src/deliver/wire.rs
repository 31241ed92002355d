//! The bytes below HTTP: a TCP connection to the gate, with or without TLS.
//!
//! ```text
//! Dialer: host, port ──DNS──► addresses, a head start each ──TCP, no delay──► plain · TLS ──► Wire
//! ```

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::endpoint::Endpoint;
use super::proxy::HttpProxy;
use super::tls::{Config, Secured, secured};
use crate::clock::Clock;

/// How long an address is waited for before the next is tried beside it (RFC 8305, 8).
const HEAD_START: Duration = Duration::from_millis(250);

/// A connection that HTTP can be spoken over.
pub(super) enum Wire {
    Plain(TcpStream),
    Tls(Box<Secured>),
}

/// Who makes connections to a gate.
#[derive(Debug, Clone)]
pub(super) struct Dialer<C> {
    pub(super) clock: C,
    pub(super) endpoint: Endpoint,
    /// There if the endpoint is one of TLS.
    pub(super) tls: Option<Arc<Config>>,
}

impl<C: Clock> Dialer<C> {
    /// Connects to the host, or to the proxy before it, whose name is resolved anew each time.
    ///
    /// # Errors
    ///
    /// Why there is no connection, for a person.
    pub(super) async fn connect(&self, deadline: Duration) -> Result<Wire, String> {
        let Endpoint { host, port, proxy, .. } = &self.endpoint;
        let (host, port) = proxy.as_ref().map_or((host.as_str(), *port), HttpProxy::address);
        let found = tokio::net::lookup_host((host, port)).await;
        let addresses = found.map_err(|error| format!("{host}: {error}"))?;
        self.connect_to(alternating(addresses), deadline).await
    }

    /// Connects to one of these addresses: the first that takes the connection, in their order, and that TLS is spoken to
    /// where that is wanted. An address that is slow or dead holds up the others by [`HEAD_START`].
    async fn connect_to(&self, mut left: Vec<SocketAddr>, deadline: Duration) -> Result<Wire, String> {
        let mut failed: Option<String> = None;
        while !left.is_empty() {
            let (address, stream) = match self.first_open(&mut left, deadline).await {
                Ok(opened) => opened,
                // That TLS failed at an address that was there says more.
                Err(error) => return Err(failed.unwrap_or(error)),
            };
            let now = self.clock.now();
            // What is left of the time is shared with the addresses that are left.
            let until = now + deadline.saturating_sub(now) / (left.len() as u32 + 1);
            let secured = tokio::select! {
                biased;
                secured = self.secured(stream) => secured,
                () = self.clock.sleep_until(until) => Err("TLS: no answer in time".to_owned()),
            };
            match secured {
                Ok(wire) => return Ok(wire),
                Err(error) => failed = Some(format!("{address}: {error}")),
            }
        }
        Err(failed.unwrap_or_else(|| "the host has no address".to_owned()))
    }

    /// The first address that takes a TCP connection (RFC 8305, 5). It is taken out of those that are `left`, and so are
    /// those that refused.
    async fn first_open(
        &self,
        left: &mut Vec<SocketAddr>,
        deadline: Duration,
    ) -> Result<(SocketAddr, TcpStream), String> {
        let mut waiting: VecDeque<SocketAddr> = left.iter().copied().collect();
        let mut opening = FuturesUnordered::new();
        let mut next = self.clock.now();
        let mut last = "no answer in time".to_owned();
        loop {
            if self.clock.now() >= next || opening.is_empty() {
                match waiting.pop_front() {
                    Some(address) => opening.push(async move { (address, TcpStream::connect(address).await) }),
                    None if opening.is_empty() => return Err(last),
                    None => {}
                }
                next = self.clock.now() + HEAD_START;
            }
            tokio::select! {
                biased;
                Some((address, opened)) = opening.next() => {
                    left.retain(|other| *other != address);
                    match opened.and_then(|stream| stream.set_nodelay(true).map(|()| stream)) {
                        Ok(stream) => return Ok((address, stream)),
                        Err(error) => last = format!("{address}: {error}"),
                    }
                    // Who comes next need not wait for one that is gone.
                    next = self.clock.now();
                }
                () = self.clock.sleep_until(next), if !waiting.is_empty() => {}
                () = self.clock.sleep_until(deadline) => return Err(last),
            }
        }
    }

    async fn secured(&self, stream: TcpStream) -> Result<Wire, String> {
        let Some(config) = &self.tls else { return Ok(Wire::Plain(stream)) };
        let Endpoint { host, port, proxy, .. } = &self.endpoint;
        let stream = match proxy {
            Some(proxy) => proxy.tunnel(stream, host, *port).await?,
            None => stream,
        };
        Ok(Wire::Tls(Box::new(secured(config, &self.endpoint, stream).await?)))
    }
}

/// The addresses with their families in turns, beginning with that of the first (RFC 8305, 4): a family that leads nowhere
/// costs one head start.
fn alternating(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let addresses: Vec<_> = addresses.into_iter().collect();
    let first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let of = |same: bool| addresses.iter().copied().filter(move |at| (at.is_ipv6() == first) == same);
    let (mut one, mut other): (VecDeque<_>, VecDeque<_>) = (of(true).collect(), of(false).collect());
    let mut in_turns = Vec::with_capacity(addresses.len());
    while !one.is_empty() || !other.is_empty() {
        in_turns.extend(one.pop_front());
        in_turns.extend(other.pop_front());
    }
    in_turns
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

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;
    use crate::clock::SystemClock;

    fn dialer() -> Dialer<SystemClock> {
        let endpoint = Endpoint::post(&"http://ig".parse().unwrap(), http::HeaderMap::new()).unwrap();
        Dialer { clock: SystemClock::new(), endpoint, tls: None }
    }

    #[test]
    fn families_take_turns() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (v4, v6) = (["1.1.1.1:1", "1.1.1.2:1", "1.1.1.3:1"].map(at), ["[2001::1]:1", "[2001::2]:1"].map(at));
        assert_eq!(alternating([v6[0], v6[1], v4[0], v4[1], v4[2]]), [v6[0], v4[0], v6[1], v4[1], v4[2]]);
        assert_eq!(alternating([v4[0], v4[1], v6[0]]), [v4[0], v6[0], v4[1]]);
        assert!(alternating([]).is_empty());
    }

    #[tokio::test]
    async fn a_dead_address_holds_up_the_others_by_a_head_start() {
        // Its queue is full, so that what comes is swallowed.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = socket.listen(1).unwrap();
        let silent = full.local_addr().unwrap();
        let mut filling = Vec::new();
        while let Ok(stream) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(silent)).await {
            filling.push(stream.unwrap());
        }
        let refusing = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let alive = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = alive.local_addr().unwrap();
        let dialer = dialer();
        for addresses in [vec![silent, good], vec![refusing, silent, refusing, good], vec![refusing, good], vec![good]]
        {
            let began = dialer.clock.now();
            let wire = dialer.connect_to(addresses.clone(), began + Duration::from_secs(20)).await;
            let Ok(Wire::Plain(stream)) = wire else { unreachable!("{addresses:?}") };
            let took = dialer.clock.now().saturating_sub(began);
            assert_eq!(stream.peer_addr().unwrap(), good);
            assert!(took < Duration::from_secs(5), "{addresses:?}: {took:?}");
        }
        let soon = dialer.clock.now() + Duration::from_millis(400);
        let error = dialer.connect_to(vec![silent], soon).await.err().unwrap();
        assert!(error.contains("no answer in time"), "{error}");
        let error = dialer.connect_to(vec![refusing, silent], soon).await.err().unwrap();
        assert!(error.contains(&refusing.to_string()) || error.contains("time"), "{error}");
    }
}
