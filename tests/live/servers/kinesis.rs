//! Kinesis servers: moto's, and kinesalite, whose shards and sequence numbers are like the service's.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{Shard, StreamStatus};

use super::{free_port, scripts};

const KEY_ID: &str = "wsp-live";
const KEY: &str = "wsp-live-secret";
const REGION: &str = "us-east-1";

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Moto,
    Kinesalite,
}

/// A server of our own, whose streams are gone when it ends.
pub(crate) struct Kinesis {
    kind: Kind,
    port: u16,
    folder: tempfile::TempDir,
    program: Vec<String>,
    process: Option<Child>,
}

impl Kinesis {
    pub(crate) async fn start(kind: Kind) -> Self {
        let folder = tempfile::Builder::new().prefix("wsp-kinesis-").tempdir().unwrap();
        let mut server = Self { kind, port: free_port(), folder, program: program(kind), process: None };
        server.up().await;
        server
    }

    /// Starts it (again), on the same port.
    pub(crate) async fn up(&mut self) {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut command = Command::new(&self.program[0]);
        command.args(&self.program[1..]).stdin(Stdio::null());
        let port = self.port.to_string();
        match self.kind {
            Kind::Moto => command.args(["-H", "127.0.0.1", "-p", &port]),
            Kind::Kinesalite => {
                let quick = ["--createStreamMs", "20", "--deleteStreamMs", "20", "--updateStreamMs", "20"];
                command.args(["--port", &port]).args(quick)
            }
        };
        self.process = Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
        for _ in 0..1200 {
            if self.client().list_streams().send().await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("it does not start: {}", fs::read_to_string(self.folder.path().join("log")).unwrap_or_default());
    }

    /// Ends it at once; its streams are gone.
    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The environment in which a program reaches it.
    pub(crate) fn environment() -> [(&'static str, &'static str); 2] {
        [("AWS_ACCESS_KEY_ID", KEY_ID), ("AWS_SECRET_ACCESS_KEY", KEY)]
    }

    pub(crate) fn client(&self) -> Client {
        let config = aws_sdk_kinesis::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .retry_config(RetryConfig::disabled())
            .endpoint_url(self.endpoint())
            .region(Region::new(REGION))
            .credentials_provider(Credentials::new(KEY_ID, KEY, None, None, "live"));
        Client::from_conf(config.build())
    }

    /// Makes a stream, and waits until it can be used.
    pub(crate) async fn create(&self, stream: &str, shards: i32) {
        self.client().create_stream().stream_name(stream).shard_count(shards).send().await.unwrap();
        self.until_active(stream).await;
    }

    async fn until_active(&self, stream: &str) {
        for _ in 0..600 {
            let told = self.client().describe_stream_summary().stream_name(stream).send().await.unwrap();
            let summary = told.stream_description_summary().unwrap();
            if *summary.stream_status() == StreamStatus::Active {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{stream} does not become active");
    }

    /// Puts a record; which shard it goes to is decided by `hash`, where that is given, else by a constant key.
    pub(crate) async fn put(&self, stream: &str, data: &[u8], hash: Option<&str>) -> (String, String) {
        let request = self.client().put_record().stream_name(stream).partition_key("control").data(Blob::new(data));
        let put = request.set_explicit_hash_key(hash.map(str::to_owned)).send().await.unwrap();
        (put.shard_id, put.sequence_number)
    }

    /// Closed shards too, as they are listed.
    pub(crate) async fn shards(&self, stream: &str) -> Vec<Shard> {
        self.client().list_shards().stream_name(stream).send().await.unwrap().shards.unwrap()
    }

    async fn open_shards(&self, stream: &str) -> Vec<Shard> {
        let open = |shard: &Shard| shard.sequence_number_range().unwrap().ending_sequence_number().is_none();
        self.shards(stream).await.into_iter().filter(open).collect()
    }

    /// Splits the one open shard in the middle.
    pub(crate) async fn split(&self, stream: &str) {
        let shard = self.open_shards(stream).await.remove(0);
        let middle = (1_u128 << 127).to_string();
        let request = self.client().split_shard().stream_name(stream).shard_to_split(shard.shard_id());
        request.new_starting_hash_key(middle).send().await.unwrap();
        self.until_active(stream).await;
    }

    /// Merges the two open shards.
    pub(crate) async fn merge(&self, stream: &str) {
        let [one, other] = self.open_shards(stream).await.try_into().unwrap();
        let request = self.client().merge_shards().stream_name(stream).shard_to_merge(one.shard_id());
        request.adjacent_shard_to_merge(other.shard_id()).send().await.unwrap();
        self.until_active(stream).await;
    }
}

impl Drop for Kinesis {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What starts it, fetched if it isn't there yet.
fn program(kind: Kind) -> Vec<String> {
    let name = match kind {
        Kind::Moto => "moto",
        Kind::Kinesalite => "kinesalite",
    };
    let output = Command::new(scripts().join("install-kinesis.sh")).arg(name).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}
