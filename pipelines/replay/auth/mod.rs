//! Credentials that a fixed header cannot carry: tokens that are fetched, requests that are signed.
//!
//! ```text
//! --oauth-… ───► ClientCredentials ─► token, fetched over the same HTTP stack ─┐
//! --aws-sigv4 ─► Sigv4 ─► signature of each attempt ───────────────────────────┴─► header lines
//! ```

mod oauth;
#[cfg(feature = "aws")]
mod sigv4;

use std::sync::Arc;

use wsp::clock::SystemClock;
use wsp::deliver::{Authorize, Endpoint, HttpGate, HttpProxy, TlsFiles};

use super::error::Error;

pub use oauth::{ClientCredentials, Grant};
#[cfg(feature = "aws")]
pub use sigv4::Sigv4;

/// How each attempt says who we are.
#[derive(Debug, Clone)]
pub enum Auth {
    /// By a token of OAuth 2.0 (RFC 6749, 4.4).
    ClientCredentials(Box<ClientCredentials>),
    /// By a signature of AWS, version 4.
    #[cfg(feature = "aws")]
    Sigv4(Sigv4),
}

/// How a server is reached.
#[derive(Debug, Clone, Default)]
pub(super) struct Way {
    pub(super) tls: TlsFiles,
    pub(super) proxy: Option<HttpProxy>,
}

impl Way {
    /// A gate at `endpoint`.
    pub(super) fn gate(&self, endpoint: Endpoint, clock: SystemClock) -> Result<HttpGate<SystemClock>, Error> {
        let endpoint = match &self.proxy {
            Some(proxy) => endpoint.through(proxy.clone()),
            None => endpoint,
        };
        if endpoint.is_tls() {
            let tls = self.tls.client_config().map_err(|error| Error::flag("--ca-file", error))?;
            return Ok(HttpGate::with_tls(endpoint, clock, Arc::new(tls)));
        }
        HttpGate::new(endpoint, clock).map_err(|error| Error::Internal(error.to_string()))
    }
}

impl Auth {
    /// What makes the header lines of attempts at `target`. A first token is fetched, so that nothing begins that can't go on.
    pub(super) async fn open(
        &self,
        target: &super::target::Target,
        way: &Way,
        clock: SystemClock,
    ) -> Result<Arc<dyn Authorize>, Error> {
        match self {
            Self::ClientCredentials(credentials) => {
                // The receiver's URL does not matter to who hands out tokens.
                let _ = target;
                Ok(Arc::new(credentials.tokens(way, clock).await?))
            }
            #[cfg(feature = "aws")]
            Self::Sigv4(sigv4) => Ok(Arc::new(sigv4.signer(target, clock).await?)),
        }
    }
}
