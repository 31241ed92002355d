//! Credentials of a replay: tokens, signatures, certificates; and proxies in between.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use wsp::clock::{Clock as _, SystemClock};

use super::{Folder, Intake, lines};
use crate::kit::http::Request;
use crate::kit::process::Told;
use crate::kit::repository;

type Asked = Arc<Mutex<Vec<Request>>>;

/// A server that answers by `answer`, and keeps what it was asked.
fn server(answer: impl Fn(&Request) -> (u16, String) + Send + Sync + 'static) -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Asked::default();
    let (kept, answer) = (asked.clone(), Arc::new(answer));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, kept, answer) = (stream.unwrap(), kept.clone(), answer.clone());
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut writer = stream;
                while let Some(request) = Request::read(&mut reader) {
                    let (status, body) = answer(&request);
                    kept.lock().unwrap().push(request);
                    let text = format!("HTTP/1.1 {status} -\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                    if writer.write_all(text.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, asked)
}

/// Who hands out tokens `t1`, `t2`… that are good for so many seconds, and an intake that takes the newest alone, but `t1` only for
/// `revoked` after it was handed out.
fn tokens(expires_in: &str, revoked: Duration) -> (String, Asked) {
    let (clock, issued) = (SystemClock::new(), Mutex::new(Vec::new()));
    let expires_in = expires_in.to_owned();
    server(move |request| {
        let mut issued = issued.lock().unwrap();
        if request.line.starts_with("POST /token ") {
            issued.push(clock.now());
            let n = issued.len();
            return (200, format!("{{\"access_token\":\"t{n}\",\"token_type\":\"Bearer\"{expires_in}}}"));
        }
        let newest = issued.len();
        let is_newest = request.field("authorization") == Some(&*format!("Bearer t{newest}"));
        let is_revoked = newest == 1 && clock.now().saturating_sub(issued[0]) > revoked;
        (if is_newest && !is_revoked { 200 } else { 401 }, String::new())
    })
}

fn oauth(folder: &Folder, url: &str, more: &[&str]) -> Told {
    folder.write("secret", "hunter2\n");
    let (to, token) = (format!("{url}/events"), format!("{url}/token"));
    let args = ["a.jsonl", "--time", "at", "--to", &to, "--oauth-url", &token, "--oauth-id", "me"];
    folder.replay(&[&args[..], &["--oauth-secret-file", "secret"], more].concat())
}

fn of<'a>(asked: &'a [Request], path: &str) -> Vec<&'a Request> {
    asked.iter().filter(|request| request.line.contains(path)).collect()
}

#[test]
fn a_token_is_fetched_anew_before_it_expires() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..40))]);
    let (url, asked) = tokens(",\"expires_in\":1", Duration::MAX);
    let told = oauth(&folder, &url, &["--rate", "20", "--oauth-scope", "events:write"]);
    assert_eq!((told.code, &told.json()["accepted"]), (Some(0), &40.into()), "{}", told.err);
    let asked = asked.lock().unwrap();
    let fetched = of(&asked, "/token");
    assert!((3..8).contains(&fetched.len()), "{}", fetched.len());
    assert_eq!(fetched[0].field("authorization"), Some("Basic bWU6aHVudGVyMg=="));
    assert_eq!(fetched[0].body, b"grant_type=client_credentials&scope=events%3Awrite");
    assert_eq!(of(&asked, "/events").len(), 40, "no event was refused for its token");
}

#[test]
fn a_token_that_is_refused_is_replaced_and_the_event_sent_again() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..40))]);
    let (url, asked) = tokens("", Duration::from_millis(1200));
    let told = oauth(&folder, &url, &["--rate", "20"]);
    assert_eq!((told.code, &told.json()["accepted"]), (Some(0), &40.into()), "{}", told.err);
    let asked = asked.lock().unwrap();
    assert_eq!((of(&asked, "/token").len(), of(&asked, "/events").len()), (2, 41));
}

#[test]
fn without_a_token_nothing_is_sent_and_a_wrong_one_is_not_fetched_for_ever() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..3))]);
    let (url, asked) = server(|_| (401, "{\"error\":\"invalid_client\"}".to_owned()));
    let told = oauth(&folder, &url, &["--speedup", "0"]);
    assert!(
        told.code == Some(2) && told.err.contains("--oauth-url: no token: status 401: invalid_client"),
        "{}",
        told.err
    );
    assert!(!told.err.contains("hunter2") && of(&asked.lock().unwrap(), "/events").is_empty());
    let (url, asked) = tokens("", Duration::ZERO);
    let told = oauth(&folder, &url, &["--speedup", "0", "--fresh"]);
    assert!(
        told.code == Some(1) && told.err.contains("a.jsonl, row 1") && told.err.contains("status 401"),
        "{}",
        told.err
    );
    assert_eq!(of(&asked.lock().unwrap(), "/token").len(), 1, "a token that was refused at once is not too old");
    let told = folder.replay(&["a.jsonl", "--time", "at", "--to", &url, "--oauth-url", &url, "--oauth-id", "me"]);
    assert!(told.code == Some(2) && told.err.contains("--oauth-secret-file"), "{}", told.err);
}

#[cfg(feature = "s3")]
#[test]
fn each_attempt_is_signed_for_aws() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..1))]);
    let seen = Mutex::new(0);
    let (url, asked) = server(move |_| {
        *seen.lock().unwrap() += 1;
        (if *seen.lock().unwrap() == 1 { 503 } else { 200 }, String::new())
    });
    let to = format!("{url}/v1/events");
    let mut command = folder.command(&["a.jsonl", "--time", "at", "--to", &to, "--aws-sigv4", "execute-api/eu-west-2"]);
    command.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "hunter2");
    command
        .env("AWS_SESSION_TOKEN", "session")
        .env("AWS_CONFIG_FILE", "/none")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    let told = Told::of(command);
    assert_eq!(told.code, Some(0), "{}", told.err);
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 2);
    for request in asked.iter() {
        let authorization = request.field("authorization").unwrap();
        assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"), "{authorization}");
        assert!(authorization.contains("/eu-west-2/execute-api/aws4_request, "), "{authorization}");
        assert!(
            authorization.contains("SignedHeaders=content-type;host;x-amz-date;x-amz-security-token"),
            "{authorization}"
        );
        assert_eq!(request.field("x-amz-security-token"), Some("session"));
    }
    let mut command = folder.command(&["a.jsonl", "--time", "at", "--to", &to, "--aws-sigv4", "nonsense"]);
    let told = Told::of(&mut command);
    assert!(told.code == Some(2) && told.err.contains("SERVICE/REGION"), "{}", told.err);
}

#[test]
fn a_proxy_is_given_the_whole_address_and_its_login() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..3)), ("login", "me:hunter2\n")]);
    let proxy = Intake::willing();
    let to = "http://intake.invalid/v1/events?x=1";
    let args = ["a.jsonl", "--time", "at", "--speedup", "0", "--to", to, "--attempts", "1"];
    let with = |more: &[&str]| folder.replay(&[&args[..], more].concat());
    let told = with(&["--proxy", &proxy.url(), "--proxy-login-file", "login"]);
    assert_eq!((told.code, proxy.taken().len()), (Some(0), 3), "{}", told.err);
    let first = &proxy.taken()[0];
    assert_eq!(first.line, "POST http://intake.invalid/v1/events?x=1 HTTP/1.1");
    assert_eq!(first.headers["host"], "intake.invalid");
    assert_eq!(first.headers["proxy-authorization"], "Basic bWU6aHVudGVyMg==");
    for (proxy, words) in
        [("https://p", "--proxy: a proxy is spoken to over http"), ("http://p/x", "no path"), ("p", "--proxy")]
    {
        let told = with(&["--proxy", proxy]);
        assert!(told.code == Some(2) && told.err.contains(words), "{proxy}: {}", told.err);
    }
}

#[test]
fn a_proxy_that_only_the_environment_names_is_not_passed_by_without_a_word() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..3))]);
    let run = |more: &[&str]| {
        let to = "http://intake.invalid/v1/events";
        let args = ["a.jsonl", "--time", "at", "--speedup", "0", "--to", to, "--attempts", "1"];
        let mut command = folder.command(&[&args[..], more].concat());
        command.env("http_proxy", "http://127.0.0.1:9").env_remove("NO_PROXY").env_remove("no_proxy");
        Told::of(command)
    };
    let told = run(&[]);
    assert!(
        told.code == Some(2) && told.err.contains("--proxy: http_proxy names a proxy for intake.invalid"),
        "{}",
        told.err
    );
    let told = run(&["--proxy", "none"]);
    assert!(told.code == Some(1) && told.err.contains("no connection: intake.invalid"), "{}", told.err);
}

fn pem(name: &str) -> std::path::PathBuf {
    repository("src/deliver/http/testdata").join(name)
}

/// An intake that lets in who has a certificate of the test's authority; it answers one request a connection.
fn secured() -> (u16, Arc<Mutex<usize>>) {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(pem("other-root.pem")).unwrap()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let chain = CertificateDer::pem_file_iter(pem("localhost.pem")).unwrap().collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(pem("localhost.key.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_client_cert_verifier(verifier).with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, taken) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(0)));
    let counted = taken.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let tls = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream.unwrap());
            let mut reader = BufReader::new(tls);
            while Request::read(&mut reader).is_some() {
                *counted.lock().unwrap() += 1;
                reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            }
        }
    });
    (port, taken)
}

/// A proxy that makes tunnels to `port`, whatever host is asked for; it keeps the heads of what it was asked.
fn tunnels(port: u16, status: u16) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = asked.clone();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut reader = BufReader::new(client.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                reader.read_line(&mut head).unwrap();
            }
            kept.lock().unwrap().push(head);
            client.write_all(format!("HTTP/1.1 {status} -\r\nx: y\r\n\r\n").as_bytes()).unwrap();
            if status != 200 {
                continue;
            }
            let mut gate = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (mut back, mut to_client) = (gate.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut back, &mut to_client));
            std::thread::spawn(move || std::io::copy(&mut reader.by_ref(), &mut gate));
        }
    });
    (url, asked)
}

#[test]
fn a_certificate_logs_in_and_without_one_nothing_arrives() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..3))]);
    let (port, taken) = secured();
    let (to, ca) = (format!("https://localhost:{port}"), pem("root.pem"));
    let (certificate, key) = (pem("client.pem"), pem("client.key.pem"));
    let (ca, certificate, key) = (ca.to_str().unwrap(), certificate.to_str().unwrap(), key.to_str().unwrap());
    let args = ["a.jsonl", "--time", "at", "--speedup", "0", "--to", &to, "--attempts", "1", "--ca-file", ca];
    let told = folder.replay(&args);
    assert!(told.code == Some(1) && told.err.contains("certificate"), "{}", told.err);
    assert_eq!(*taken.lock().unwrap(), 0);
    let told = folder.replay(&[&args[..], &["--client-cert", certificate, "--client-key", key]].concat());
    assert_eq!((told.code, *taken.lock().unwrap()), (Some(0), 3), "{}", told.err);
    let told = folder.replay(&[&args[..], &["--client-cert", certificate]].concat());
    assert!(told.code == Some(2) && told.err.contains("--client-key"), "{}", told.err);
    let told = folder.replay(&[&args[..], &["--fresh", "--client-cert", ca, "--client-key", key]].concat());
    assert!(told.code == Some(2) && told.err.contains("client.key.pem"), "{}", told.err);
}

#[test]
fn tls_goes_through_a_tunnel_of_the_proxy() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..3)), ("login", "me:hunter2\n")]);
    let (port, taken) = secured();
    let (proxy, asked) = tunnels(port, 200);
    let (ca, certificate, key) = (pem("root.pem"), pem("client.pem"), pem("client.key.pem"));
    let tls = ["--ca-file", ca.to_str().unwrap(), "--client-cert", certificate.to_str().unwrap()];
    let key = ["--client-key", key.to_str().unwrap(), "--proxy-login-file", "login"];
    let args = ["a.jsonl", "--time", "at", "--speedup", "0", "--to", "https://localhost:4444", "--attempts", "1"];
    let told = folder.replay(&[&args[..], &tls, &key, &["--proxy", &proxy]].concat());
    assert_eq!((told.code, *taken.lock().unwrap()), (Some(0), 3), "{}", told.err);
    let heads = asked.lock().unwrap().clone();
    let expected = "CONNECT localhost:4444 HTTP/1.1\r\nhost: localhost:4444\r\nproxy-authorization: Basic bWU6aHVudGVyMg==\r\n\r\n";
    assert_eq!(heads, [expected]);
    let (proxy, _) = tunnels(port, 407);
    let told = folder.replay(&[&args[..], &tls, &key, &["--proxy", &proxy, "--fresh"]].concat());
    assert!(told.code == Some(1) && told.err.contains("proxy: it wants a login"), "{}", told.err);
    assert!(!told.err.contains("hunter2"), "{}", told.err);
}
