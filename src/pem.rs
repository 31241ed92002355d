//! Certificates and keys out of PEM files.
//!
//! An error says what is wrong with a file but not which file it is: its name may be a piece of a misquoted secret, so
//! whether to show it is the caller's decision.

use std::io;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why a PEM file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// It can't be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It has no such item.
    #[error("it holds no {0} in PEM")]
    Missing(&'static str),
    /// Its PEM is broken.
    #[error("it is no PEM")]
    Broken,
    /// One of its certificates can't be a root.
    #[error("a certificate can't be trusted: {0}")]
    Untrusted(rustls::Error),
}

/// All certificates of a file, one at least, in their order.
///
/// # Errors
///
/// If the file can't be read, is no PEM or holds no certificate.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| unusable(error, CERTIFICATE))?;
    if certificates.is_empty() { Err(PemError::Missing(CERTIFICATE)) } else { Ok(certificates) }
}

/// The certificates of a file as roots to trust.
///
/// # Errors
///
/// As [`certificates`], and if one of them can't be a root.
pub fn roots(path: &Path) -> Result<RootCertStore, PemError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(PemError::Untrusted)?;
    }
    Ok(roots)
}

/// The first private key of a file.
///
/// # Errors
///
/// If the file can't be read, is no PEM or holds no key.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| unusable(error, "private key"))
}

const CERTIFICATE: &str = "certificate";

fn unusable(error: pem::Error, wanted: &'static str) -> PemError {
    match error {
        pem::Error::Io(error) => PemError::Io(error),
        pem::Error::NoItemsFound => PemError::Missing(wanted),
        _ => PemError::Broken,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn data(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src/deliver/http/testdata").join(name)
    }

    #[test]
    fn each_kind_of_thing_is_found_in_its_file_alone() {
        assert_eq!(certificates(&data("localhost.pem")).unwrap().len(), 1);
        assert_eq!(roots(&data("root.pem")).unwrap().len(), 1);
        assert!(private_key(&data("localhost.key.pem")).is_ok());
        let words = |error: Option<PemError>| error.map(|error| error.to_string());
        let no_certificate = Some("it holds no certificate in PEM".to_owned());
        assert_eq!(words(certificates(&data("localhost.key.pem")).err()), no_certificate);
        assert_eq!(words(roots(&data("localhost.key.pem")).err()), no_certificate);
        assert_eq!(words(private_key(&data("localhost.pem")).err()), Some("it holds no private key in PEM".to_owned()));
        assert!(matches!(certificates(&data("none.pem")), Err(PemError::Io(_))));
    }

    #[test]
    fn what_is_cut_or_garbled_is_no_pem_and_what_is_no_certificate_is_no_root() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.pem");
        let pem = std::fs::read_to_string(data("root.pem")).unwrap();
        for (text, words) in [
            (&pem[..pem.len() / 2], "it is no PEM"),
            (&*pem.replacen('M', "\u{e9}", 1), "it is no PEM"),
            ("", "it holds no certificate in PEM"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "a certificate can't be trusted"),
        ] {
            std::fs::write(&file, text).unwrap();
            let error = roots(&file).unwrap_err().to_string();
            assert!(error.starts_with(words), "{text}: {error}");
        }
    }
}
