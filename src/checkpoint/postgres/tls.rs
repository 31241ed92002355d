//! TLS towards the database, as strict as the DSN asks for.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::dsn::{DsnError, Verify, refuse};
use crate::pem;

/// What opens TLS connections under `verify`.
///
/// # Errors
///
/// Where the roots can't be read. It names the file where there is one: a name that no file has may
/// be anything that a misplaced quote made of the DSN, a part of the password too.
pub(super) fn connector(verify: &Verify) -> Result<MakeRustlsConnect, DsnError> {
    let provider = Arc::new(ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match verify {
        Verify::Nothing => Arc::new(NoName { chain: None, provider: provider.clone() }),
        Verify::Chain(file) => Arc::new(NoName { chain: Some(below(file, &provider)?), provider: provider.clone() }),
        Verify::Name(Some(file)) => below(file, &provider)?,
        Verify::Name(None) => {
            let roots = rustls_platform_verifier::Verifier::new(provider.clone());
            Arc::new(roots.map_err(|error| refuse(format!("the machine's roots: {error}")).setting("sslrootcert"))?)
        }
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refuse(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

/// Chain and name, below the roots in a PEM file.
fn below(file: &std::path::Path, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, DsnError> {
    let unusable = |error: String| {
        let error = refuse(error).setting("sslrootcert");
        if file.exists() { error.file(file.to_string_lossy()) } else { error }
    };
    let roots = pem::roots(file).map_err(|error| unusable(error.to_string()))?;
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    built.map_err(|error| unusable(error.to_string()))
}

/// libpq's weaker modes: the certificate's name is not looked at, and its chain only where there are roots. That the
/// server has the certificate's key is checked all the same.
#[derive(Debug)]
struct NoName {
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for NoName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        // The name is looked at last, so a wrong name says that all else is well.
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn roots_that_cannot_be_read_are_refused_by_name_if_it_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("ca.pem");
        std::fs::write(&empty, "no certificate").unwrap();
        let refused = |file: PathBuf| connector(&Verify::Name(Some(file))).err().unwrap();
        let (there, not_there) = (refused(empty.clone()), refused("/ca.pem password=secret".into()));
        assert_eq!(there.file.as_deref(), empty.to_str());
        assert!(!not_there.to_string().contains("secret"), "{not_there}");
        assert_eq!(
            [there, not_there].map(|error| error.setting),
            [Some("sslrootcert".to_owned()), Some("sslrootcert".to_owned())]
        );
        assert!(connector(&Verify::Nothing).is_ok());
    }
}
