//! S3 servers: `SeaweedFS`, and `MinIO` beside it.
//!
//! `WSP_LIVE_S3_ENDPOINT` names another one to use instead, for the tests that need no restart; then
//! `WSP_LIVE_S3_KEY_ID` and `WSP_LIVE_S3_KEY` are its credentials, `WSP_LIVE_S3_BUCKET` an existing bucket that may be
//! written to (`wsp-live`, made if need be) and `WSP_LIVE_S3_REGION` its region.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use wsp::store::{S3Credentials, S3Options, S3Store};
use wsp_world::model::Secret;

use super::{free_port, scripts};

const KEY_ID: &str = "wsp-live";
const KEY: &str = "wsp-live-secret";
const BUCKET: &str = "wsp-live";

/// Which program.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    SeaweedFs,
    Minio,
}

/// A server, ours or another one.
pub(crate) struct S3Server {
    endpoint: String,
    region: String,
    key_id: String,
    key: String,
    bucket: String,
    own: Option<Own>,
}

struct Own {
    kind: Kind,
    program: PathBuf,
    folder: tempfile::TempDir,
    ports: [u16; 8],
    process: Option<Child>,
}

impl S3Server {
    /// The environment's, or `SeaweedFS` of our own; with a bucket.
    pub(crate) async fn any() -> Self {
        match std::env::var("WSP_LIVE_S3_ENDPOINT") {
            Ok(endpoint) if !endpoint.is_empty() => {
                let setting = |name: &str, usual: &str| std::env::var(name).unwrap_or_else(|_| usual.to_owned());
                let server = Self {
                    endpoint,
                    region: setting("WSP_LIVE_S3_REGION", "us-east-1"),
                    key_id: setting("WSP_LIVE_S3_KEY_ID", KEY_ID),
                    key: setting("WSP_LIVE_S3_KEY", KEY),
                    bucket: setting("WSP_LIVE_S3_BUCKET", BUCKET),
                    own: None,
                };
                server.make_bucket().await;
                server
            }
            _ => Self::own(Kind::SeaweedFs).await,
        }
    }

    /// One of our own, with a bucket.
    pub(crate) async fn own(kind: Kind) -> Self {
        let folder = tempfile::Builder::new().prefix("wsp-s3-").tempdir().unwrap();
        let identity = format!(
            r#"{{"identities":[{{"name":"wsp","credentials":[{{"accessKey":"{KEY_ID}","secretKey":"{KEY}"}}],
            "actions":["Admin","Read","Write","List"]}}]}}"#
        );
        fs::write(folder.path().join("identity.json"), identity).unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        let ports = [(); 8].map(|()| free_port());
        let mut server = Self {
            endpoint: format!("http://127.0.0.1:{}", ports[0]),
            region: "us-east-1".to_owned(),
            key_id: KEY_ID.to_owned(),
            key: KEY.to_owned(),
            bucket: BUCKET.to_owned(),
            own: Some(Own { kind, program: program(kind), folder, ports, process: None }),
        };
        server.start().await;
        server
    }

    /// Starts it (again), on the same port and with the same data, and waits until it answers.
    pub(crate) async fn start(&mut self) {
        let own = self.own.as_mut().expect("a server of our own");
        own.process = Some(own.command().spawn().unwrap());
        self.make_bucket().await;
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn crash(&mut self) {
        let own = self.own.as_mut().expect("a server of our own");
        own.stop();
    }

    /// The environment in which a program reaches it.
    pub(crate) fn environment(&self) -> [(&'static str, &str); 5] {
        [
            ("AWS_ENDPOINT_URL", &self.endpoint),
            ("AWS_REGION", &self.region),
            ("AWS_ACCESS_KEY_ID", &self.key_id),
            ("AWS_SECRET_ACCESS_KEY", &self.key),
            ("WSP_S3_PATH_STYLE", "true"),
        ]
    }

    /// What a store on this server is opened with.
    pub(crate) fn options(&self) -> S3Options {
        S3Options {
            endpoint: Some(self.endpoint.parse().unwrap()),
            region: Some(self.region.clone()),
            path_style: true,
            credentials: S3Credentials::Keys {
                id: Secret::new(self.key_id.as_str()),
                key: Secret::new(self.key.as_str()),
                session_token: None,
            },
            ..S3Options::default()
        }
    }

    /// A root of its own for `name`, empty also on a server that has seen this test before.
    pub(crate) fn root(&self, name: &str) -> String {
        format!("s3://{}/{name}-{}", self.bucket, free_port())
    }

    /// A store on `root`.
    pub(crate) fn store(&self, root: &str) -> S3Store {
        S3Store::open(root, self.options()).unwrap()
    }

    /// The SDK's client with its own habits, to compare with.
    pub(crate) fn client(&self) -> Client {
        let http = aws_smithy_http_client::Builder::new().build_http();
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http)
            .retry_config(RetryConfig::disabled())
            .endpoint_url(&self.endpoint)
            .region(Region::new(self.region.clone()))
            .credentials_provider(Credentials::new(&self.key_id, &self.key, None, None, "live"))
            .force_path_style(true);
        Client::from_conf(config.build())
    }

    /// Makes the bucket once the server is up, if it isn't there.
    async fn make_bucket(&self) {
        let client = self.client();
        let mut last = String::new();
        for _ in 0..600 {
            if client.head_bucket().bucket(&self.bucket).send().await.is_ok() {
                return;
            }
            if let Err(error) = client.create_bucket().bucket(&self.bucket).send().await {
                last = format!("{error:?}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let log = self.own.as_ref().map(Own::log).unwrap_or_default();
        panic!("no bucket {} on {} within a minute: {last}\n{log}", self.bucket, self.endpoint);
    }
}

impl Own {
    fn command(&self) -> Command {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut command = Command::new(&self.program);
        command.current_dir(&self.folder).stdout(log.try_clone().unwrap()).stderr(log);
        let [port, ports @ ..] = self.ports;
        match self.kind {
            Kind::SeaweedFs => {
                command.args(["server", "-dir=data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false"]);
                command.args(["-master.volumeSizeLimitMB=1024", "-volume.max=100", "-volume.preStopSeconds=0"]);
                command.args(["-s3", "-s3.config=identity.json", "-s3.port.iceberg=0", "-s3.port.lance=0"]);
                command.arg(format!("-s3.port={port}"));
                let others = ["s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc"];
                let others = others.into_iter().chain(["filer.port", "filer.port.grpc"]);
                command.args(others.zip(ports).map(|(name, port)| format!("-{name}={port}")));
            }
            Kind::Minio => {
                let address = format!("127.0.0.1:{port}");
                command.args(["server", "--quiet", "--address", &address, "data"]);
                command.args(["--console-address", &format!("127.0.0.1:{}", ports[0])]);
                command.env("MINIO_ROOT_USER", KEY_ID).env("MINIO_ROOT_PASSWORD", KEY);
                command.env("MINIO_UPDATE", "off").env("MINIO_CALLHOME_ENABLE", "off");
            }
        }
        command
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// The end of what it wrote about itself.
    fn log(&self) -> String {
        let text = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(30).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The program, fetched if it isn't there yet.
fn program(kind: Kind) -> PathBuf {
    let script = scripts().join("install-s3.sh");
    let name = match kind {
        Kind::SeaweedFs => "seaweedfs",
        Kind::Minio => "minio",
    };
    let output = Command::new(script).arg(name).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}
