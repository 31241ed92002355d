//! What stands for TLS in a build without the feature `tls`: an https address is refused.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::endpoint::{Endpoint, SettingNames};

/// There is none.
#[derive(Debug)]
pub(super) enum Config {}
/// There is none.
pub(super) type Secured = TcpStream;

/// Why there is no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The build has no TLS.
    #[error("https is asked for, and this build is without the feature `tls`")]
    Missing,
}

pub(super) fn usual() -> Result<Config, TlsError> {
    Err(TlsError::Missing)
}

pub(super) async fn secured(config: &Arc<Config>, _: &Endpoint, _: TcpStream) -> Result<Secured, String> {
    match **config {}
}

pub(super) fn words(error: &io::Error, _: &SettingNames) -> String {
    error.to_string()
}
