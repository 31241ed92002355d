//! TLS to a gate: whom it trusts, as whom it connects, what its failures say.
//!
//! The certificates were made for these tests and are good for nothing else: a server's for `localhost` and 127.0.0.1, one
//! like it that expired in 2020, a client's, and the authorities of both.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::tests::{OK, answered, endpoint, event};
use super::*;
use crate::clock::SystemClock;
use crate::deliver::endpoint::SettingNames;
use crate::deliver::tls::{ClientFiles, TlsFiles, unused_tls};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/deliver/http/testdata").join(name)
}

fn server_config(name: &str, asks: bool) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = if asks {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(data("other-root.pem")).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let chain = vec![CertificateDer::from_pem_file(data(&format!("{name}.pem"))).unwrap()];
    let key = PrivateKeyDer::from_pem_file(data(&format!("{name}.key.pem"))).unwrap();
    builder.with_single_cert(chain, key).unwrap()
}

/// Answers one request a connection; says of each whether its session was resumed.
async fn server(config: ServerConfig) -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<bool>) {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], listener.local_addr().unwrap().port()));
    let (told, resumed) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // A client that does not trust us, or that we don't, leaves here.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = told.send(stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed));
            if stream.read(&mut [0; 4096]).await.is_ok_and(|n| n > 0) {
                stream.write_all(OK.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        }
    });
    (address, resumed)
}

fn named(url: &str) -> Endpoint {
    let names = SettingNames { url: "the_url", ca_file: "the_ca", client_certificate: "our_certificate" };
    endpoint(url).named(names)
}

fn gate(url: &str, files: &TlsFiles) -> HttpGate<SystemClock> {
    HttpGate::with_tls(named(url), SystemClock::new(), Arc::new(files.client_config().unwrap()))
}

fn trusting(ca: &str) -> TlsFiles {
    TlsFiles { ca: Some(data(ca)), client: None }
}

#[tokio::test]
async fn a_trusted_gate_is_spoken_to_by_name_and_by_address_and_its_sessions_are_resumed() {
    let (address, mut resumed) = server(server_config("localhost", false)).await;
    for host in ["localhost", "127.0.0.1"] {
        let gate = gate(&format!("https://{host}:{}", address.port()), &trusting("root.pem"));
        // Each connection brings one answer; the second connection shares what the first one learned.
        for nth in 0..4 {
            let mut connection = gate.connection();
            assert_eq!(answered(connection.push(&event()).await).status(), 200, "{host}");
            assert_eq!(resumed.recv().await, Some(nth > 0), "{host}, connection {nth}");
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_gates_certificate_is_said() {
    let (good, _resumed) = server(server_config("localhost", false)).await;
    let (expired, _also) = server(server_config("expired", false)).await;
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain_at = plain.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = plain.accept().await.unwrap();
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        }
    });
    for (url, ca, words) in [
        (format!("https://127.0.0.2:{}", good.port()), "root.pem", "another name than the_url has"),
        (format!("https://localhost:{}", good.port()), "other-root.pem", "no authority"),
        (format!("https://localhost:{}", expired.port()), "other-root.pem", "has expired"),
        (format!("https://{plain_at}"), "root.pem", "does not speak TLS"),
    ] {
        let attempt = gate(&url, &trusting(ca)).connection().push(&event()).await;
        assert!(matches!(&attempt, Attempt::ConnectFailed(cause) if cause.contains(words)), "{words}: {attempt:?}");
    }
    let nobody =
        HttpGate::with_tls(named(&format!("https://{good}")), SystemClock::new(), Arc::new(unused_tls().unwrap()));
    let attempt = nobody.connection().push(&event()).await;
    assert!(matches!(&attempt, Attempt::ConnectFailed(cause) if cause.contains("the_ca")), "{attempt:?}");
}

#[tokio::test]
async fn a_gate_may_ask_who_we_are() {
    let (address, _resumed) = server(server_config("localhost", true)).await;
    let url = format!("https://{address}");
    let client = Some(ClientFiles { certificate: data("client.pem"), key: data("client.key.pem") });
    let known = TlsFiles { client, ..trusting("root.pem") };
    assert_eq!(answered(gate(&url, &known).connection().push(&event()).await).status(), 200);

    // With TLS 1.3 the refusal comes after our side of the handshake is over.
    let attempt = gate(&url, &trusting("root.pem")).connection().push(&event()).await;
    let (Attempt::ConnectFailed(cause) | Attempt::ConnectionLost(cause)) = &attempt else {
        unreachable!("{attempt:?}")
    };
    assert!(cause.contains("our_certificate"), "{cause}");
    let stranger = Some(ClientFiles { certificate: data("localhost.pem"), key: data("localhost.key.pem") });
    let attempt = gate(&url, &TlsFiles { client: stranger, ..known }).connection().push(&event()).await;
    let (Attempt::ConnectFailed(cause) | Attempt::ConnectionLost(cause)) = &attempt else {
        unreachable!("{attempt:?}")
    };
    assert!(cause.contains("does not accept our client certificate"), "{cause}");
}

#[test]
fn files_that_are_no_such_thing_are_refused_by_name() {
    let client = |certificate: &str, key: &str| TlsFiles {
        ca: Some(data("root.pem")),
        client: Some(ClientFiles { certificate: data(certificate), key: data(key) }),
    };
    for (files, name, words) in [
        (trusting("none.pem"), "none.pem", "No such file"),
        (trusting("localhost.key.pem"), "localhost.key.pem", "no certificate"),
        (client("client.key.pem", "client.key.pem"), "client.key.pem", "no certificate"),
        (client("client.pem", "client.pem"), "client.pem", "no private key"),
        (client("client.pem", "localhost.key.pem"), "localhost.key.pem", "not the key of"),
    ] {
        let error = files.client_config().unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(words), "{name}, {words}: {error}");
    }
    assert!(client("client.pem", "client.key.pem").client_config().is_ok());
}
