//! TLS to the gate: whom it trusts, as whom it connects, and what its failures mean.
//!
//! ```text
//! platform's roots · ca_file ─┐
//! client certificate, key ────┴──► ClientConfig (ring, ALPN http/1.1, sessions kept) ──► Dialer
//! handshake's failure ──► words for an operator
//! ```
//!
//! All connections to a gate share one configuration, and with it the sessions: a new connection resumes an old session,
//! which saves the handshake's signatures.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::endpoint::{Endpoint, SettingNames};
use crate::pem::{self, PemError};

/// PEM files for the way to the gate. Without any, the platform's roots are trusted and nobody logs in by certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Authorities that are trusted, in place of the platform's.
    pub ca: Option<PathBuf>,
    /// Our certificate, with those between it and its authority behind it, and its key: for gates that ask for one.
    pub client: Option<ClientFiles>,
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFiles {
    /// The chain, our own certificate first.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// Why there is no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that can't be used.
    #[error("{}: {problem}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The platform's trust can't be loaded, in practice.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

impl TlsFiles {
    /// TLS as the gate's clients use it: ring, HTTP/1.1 alone, these files.
    ///
    /// # Errors
    ///
    /// If a file can't be read or holds no such thing, if key and certificate don't belong together, or if the platform's
    /// trust can't be loaded.
    pub fn client_config(&self) -> Result<ClientConfig, TlsError> {
        let builder = match &self.ca {
            Some(path) => builder()?.with_root_certificates(pem::roots(path).map_err(|error| unusable(path, &error))?),
            None => builder()?.with_platform_verifier()?,
        };
        let mut config = match &self.client {
            None => builder.with_no_client_auth(),
            Some(ClientFiles { certificate, key }) => {
                let chain = pem::certificates(certificate).map_err(|error| unusable(certificate, &error))?;
                let read = pem::private_key(key).map_err(|error| unusable(key, &error))?;
                let fits = builder.with_client_auth_cert(chain, read);
                fits.map_err(|error| file(key, &format!("not the key of {}: {error}", certificate.display())))?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// TLS that trusts nobody, for where a configuration is asked for and none is used: the platform's trust need not even
/// be there.
///
/// # Errors
///
/// None in practice: its versions are those of the provider.
pub fn unused_tls() -> Result<ClientConfig, rustls::Error> {
    Ok(builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
}

fn unusable(path: &Path, error: &PemError) -> TlsError {
    file(path, &error.to_string())
}

fn file(path: &Path, problem: &str) -> TlsError {
    TlsError::File { path: path.to_owned(), problem: problem.to_owned() }
}

/// What is needed for TLS to a host.
pub(super) type Config = ClientConfig;
/// A connection with TLS on it.
pub(super) type Secured = TlsStream<TcpStream>;

/// The configuration where nothing is set: the platform's trust.
pub(super) fn usual() -> Result<Config, TlsError> {
    TlsFiles::default().client_config()
}

/// Makes a handshake; an error is in words for an operator.
pub(super) async fn secured(config: &Arc<Config>, endpoint: &Endpoint, stream: TcpStream) -> Result<Secured, String> {
    let name = ServerName::try_from(endpoint.host.clone()).map_err(|error| format!("TLS: {error}"))?;
    let connected = TlsConnector::from(config.clone()).connect(name, stream).await;
    connected.map_err(|error| words(&error, &endpoint.names))
}

/// A connection's error in words that say what to do, where TLS is what failed.
pub(super) fn words(error: &io::Error, names: &SettingNames) -> String {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return error.to_string();
    };
    hint(tls, names).map_or_else(|| format!("TLS: {tls}"), |hint| format!("TLS: {hint} ({tls})"))
}

fn hint(error: &rustls::Error, names: &SettingNames) -> Option<String> {
    use AlertDescription as Alert;
    use CertificateError as Bad;
    let SettingNames { url, ca_file, client_certificate } = names;
    let hint = match error {
        rustls::Error::InvalidCertificate(bad) => match bad {
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                return Some(format!("the gate's certificate is for another name than {url} has"));
            }
            Bad::Expired | Bad::ExpiredContext { .. } => {
                "the gate's certificate has expired; is this machine's clock right?"
            }
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                "the gate's certificate is not valid yet; is this machine's clock right?"
            }
            Bad::UnknownIssuer => {
                return Some(format!(
                    "no authority that is trusted here has signed the gate's certificate; {ca_file} names others"
                ));
            }
            Bad::Revoked => "the gate's certificate was revoked",
            _ => "the gate's certificate can't be trusted",
        },
        rustls::Error::InvalidMessage(_) => "the gate does not speak TLS there; is http:// meant, or another port?",
        rustls::Error::NoApplicationProtocol | rustls::Error::AlertReceived(Alert::NoApplicationProtocol) => {
            "the gate offers no HTTP/1.1"
        }
        rustls::Error::AlertReceived(Alert::CertificateRequired) => {
            return Some(format!("the gate wants a client certificate: {client_certificate}"));
        }
        rustls::Error::AlertReceived(
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied,
        ) => "the gate does not accept our client certificate",
        rustls::Error::AlertReceived(Alert::ProtocolVersion | Alert::HandshakeFailure)
        | rustls::Error::PeerIncompatible(_) => {
            "the gate has no TLS version or cipher in common with us, or wants a client certificate"
        }
        rustls::Error::AlertReceived(Alert::UnrecognisedName) => {
            return Some(format!("the gate knows no host of the name in {url}"));
        }
        _ => return None,
    };
    Some(hint.to_owned())
}
