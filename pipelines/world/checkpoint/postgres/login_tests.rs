//! The way in, before a double of a server: who is trusted with the login, and for how long a host is waited for.
//!
//! ```text
//! SSLRequest ─► "S" ─► TLS handshake ─► StartupMessage: here the server hears of user and database
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_rustls::TlsAcceptor;
use wsp::clock::SystemClock;

use super::*;
use crate::checkpoint::CheckpointStore;
use crate::model::{Hex64, Secret};

/// Signed by `root.pem` for `localhost` and 127.0.0.1.
const CERTIFICATE: &[u8] = include_bytes!("../../../../src/deliver/http/testdata/localhost.pem");
const KEY: &[u8] = include_bytes!("../../../../src/deliver/http/testdata/localhost.key.pem");
/// The key of no certificate here.
const STRANGER: &[u8] = include_bytes!("testdata/stranger.key.pem");

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../src/deliver/http/testdata/root.pem"))
}

/// A root that signed nothing here.
fn foreign() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/checkpoint/postgres/testdata/foreign.pem"))
}

fn server_config(key: &[u8], version: &'static rustls::SupportedProtocolVersion) -> Arc<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let key = provider.key_provider.load_private_key(PrivateKeyDer::from_pem_slice(key).unwrap()).unwrap();
    // Whether the key is the certificate's is the client's to find out.
    let certified = CertifiedKey::new(vec![CertificateDer::from_pem_slice(CERTIFICATE).unwrap()], key);
    let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    Arc::new(config.with_no_client_auth().with_cert_resolver(Arc::new(SingleCertAndKey::from(certified))))
}

/// A server that lets nobody in, but says who came as far as to the login. Without `tls` it speaks in clear.
async fn server(tls: Option<Arc<ServerConfig>>) -> (u16, UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (heard, hearing) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(greet(stream, tls.clone(), heard.clone()));
        }
    });
    (port, hearing)
}

async fn greet(mut stream: TcpStream, tls: Option<Arc<ServerConfig>>, heard: UnboundedSender<String>) {
    let Some(tls) = tls else { return refuse_login(&mut stream, &heard).await };
    let mut request = [0; 8];
    stream.read_exact(&mut request).await.unwrap();
    assert_eq!(request, [0, 0, 0, 8, 4, 210, 22, 47], "an SSLRequest");
    stream.write_all(b"S").await.unwrap();
    // A client that does not trust us leaves here.
    if let Ok(mut stream) = TlsAcceptor::from(tls).accept(stream).await {
        refuse_login(&mut stream, &heard).await;
    }
}

async fn refuse_login(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), heard: &UnboundedSender<String>) {
    let Ok(length) = stream.read_u32().await else { return };
    let mut message = vec![0; length as usize - 4];
    stream.read_exact(&mut message).await.unwrap();
    heard.send(String::from_utf8_lossy(&message[4..]).replace('\0', " ")).unwrap();
    let fields = b"SFATAL\0C57P03\0Mthe database system is starting up\0\0";
    let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
    let answer = [b"E".as_slice(), &length, fields].concat();
    // Who left does not hear it.
    let _ = stream.write_all(&answer).await;
    let _ = stream.shutdown().await;
}

/// What comes of opening a scope: the refusal, and what the server heard.
async fn open(dsn: String, heard: &mut UnboundedReceiver<String>) -> (Refusal, Option<String>) {
    let store = PostgresCheckpoints::new(&PostgresDsn::parse(&Secret::new(dsn)).unwrap(), SystemClock::new()).unwrap();
    let store = store.open_limit(Duration::ZERO).request_timeout(Duration::from_secs(20));
    let refusal = store.open(&Hex64::sha256("scope")).await.map(drop).unwrap_err();
    (refusal, heard.try_recv().ok())
}

fn dsn(port: u16, more: &str) -> String {
    format!("host=localhost hostaddr=127.0.0.1 port={port} user=wsp password=hunter2 dbname=d {more}")
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_never_hears_of_the_login() {
    let (root, foreign) = (root().display().to_string(), foreign().display().to_string());
    let other_name = |port| dsn(port, "").replace("host=localhost ", "host=db.example ");
    for version in [&TLS12, &TLS13] {
        let (port, mut heard) = server(Some(server_config(KEY, version))).await;
        for distrusted in [
            dsn(port, &format!("sslmode=require sslrootcert='{foreign}'")),
            dsn(port, &format!("sslmode=verify-ca sslrootcert='{foreign}'")),
            dsn(port, &format!("sslmode=verify-full sslrootcert='{foreign}'")),
            dsn(port, "sslmode=verify-full"),
            format!("{} sslmode=verify-full sslrootcert='{root}'", other_name(port)),
        ] {
            let (refusal, heard) = open(distrusted.clone(), &mut heard).await;
            assert!(refusal.detail.contains("certificate"), "{distrusted}: {refusal}");
            assert_eq!(heard, None, "{distrusted}");
        }
        for trusted in [
            dsn(port, "sslmode=require"),
            dsn(port, &format!("sslmode=require sslrootcert='{root}'")),
            dsn(port, &format!("sslmode=verify-ca sslrootcert='{root}'")),
            dsn(port, &format!("sslmode=verify-full sslrootcert='{root}'")),
            format!("{} sslmode=verify-ca sslrootcert='{root}'", other_name(port)),
        ] {
            let (refusal, heard) = open(trusted.clone(), &mut heard).await;
            assert_eq!(refusal.reason, Reason::CheckpointUnavailable, "{trusted}: {refusal}");
            assert!(refusal.detail.contains("57P03") && !refusal.detail.contains("hunter2"), "{trusted}: {refusal}");
            assert!(heard.unwrap().contains("user wsp database d"), "{trusted}");
        }
    }
}

/// Anybody can show a certificate. That it is the server's own is checked in every mode, whatever else is not.
#[tokio::test]
async fn a_server_without_its_certificates_key_never_hears_of_the_login() {
    for version in [&TLS12, &TLS13] {
        let (port, mut heard) = server(Some(server_config(STRANGER, version))).await;
        for settings in ["sslmode=require".to_owned(), format!("sslmode=verify-ca sslrootcert='{}'", root().display())]
        {
            let (refusal, heard) = open(dsn(port, &settings), &mut heard).await;
            assert_eq!((refusal.reason, heard), (Reason::CheckpointUnavailable, None), "{settings}: {refusal}");
            assert!(refusal.detail.contains("ignature"), "{settings}: {refusal}");
        }
    }
}

/// The first host takes the connection and says nothing, as behind a broken proxy. The second one has its time left.
#[tokio::test]
async fn a_silent_host_leaves_the_others_their_time() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, mut heard) = server(None).await;
    let dsn = format!(
        "host=127.0.0.1,127.0.0.1 port={},{port} user=wsp password=hunter2 sslmode=disable",
        silent.local_addr().unwrap().port()
    );
    let store = PostgresCheckpoints::new(&PostgresDsn::parse(&Secret::new(dsn)).unwrap(), SystemClock::new()).unwrap();
    let store = store.open_limit(Duration::ZERO).request_timeout(Duration::from_secs(1));
    let refusal = store.open(&Hex64::sha256("scope")).await.map(drop).unwrap_err();
    assert!(heard.try_recv().unwrap().contains("user wsp"), "the second was asked");
    assert_eq!(refusal.reason, Reason::CheckpointUnavailable);
    for words in ["host 1 of 2: no answer within 0.5 s", "host 2 of 2: ", "57P03"] {
        assert!(refusal.detail.contains(words), "{refusal}");
    }
}
