//! Apache Kafka, one node that is broker and controller (`KRaft`), with a plain listener and one with login over TLS.
//!
//! `WSP_LIVE_KAFKA_BOOTSTRAP` names another one to use instead, for the tests that need neither login nor a restart.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers as _, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::{free_port, scripts};

/// Who may log in at the listener with TLS, by PLAIN and both SCRAMs.
pub(crate) const USER: &str = "streamer";
/// With what.
pub(crate) const PASSWORD: &str = "live-test-password";

const WAIT: Duration = Duration::from_mins(1);

/// Who may log in by IAM: the environment of a program.
pub(crate) const IAM: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "wsp-live"),
    ("AWS_SECRET_ACCESS_KEY", "wsp-live-secret"),
    ("AWS_SESSION_TOKEN", "a/session+token=="),
];

/// A record of a topic.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) partition: i32,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) value: Vec<u8>,
}

/// How the listener with TLS lets in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Login {
    Password,
    Iam,
}

/// A broker, ours or another one.
pub(crate) struct Kafka {
    /// The plain listener.
    pub(crate) bootstrap: String,
    own: Option<Own>,
}

struct Own {
    folder: tempfile::TempDir,
    jars: PathBuf,
    secured: String,
    process: Option<Child>,
}

impl Kafka {
    /// A plain broker: the environment's, or one of our own.
    pub(crate) fn any() -> Self {
        match std::env::var("WSP_LIVE_KAFKA_BOOTSTRAP") {
            Ok(bootstrap) if !bootstrap.is_empty() => Self { bootstrap, own: None },
            _ => Self::own(),
        }
    }

    /// A broker of our own.
    pub(crate) fn own() -> Self {
        Self::with(Login::Password)
    }

    /// A broker of our own that checks the IAM logins of MSK, signed for `eu-west-2` with the keys of [`IAM`].
    pub(crate) fn own_with_iam() -> Self {
        Self::with(Login::Iam)
    }

    fn with(login: Login) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (plain, secured, controller) = (free_port(), free_port(), free_port());
        keys(folder.path());
        fs::write(folder.path().join("log4j.properties"), LOGGING).unwrap();
        let mut properties = properties(folder.path(), plain, secured, controller);
        let jars = jars();
        if login == Login::Iam {
            compile(folder.path(), &jars);
            properties.push_str(IAM_PROPERTIES);
        }
        fs::write(folder.path().join("server.properties"), properties).unwrap();
        let own = Own { folder, jars, secured: format!("127.0.0.1:{secured}"), process: None };
        let scram = |hash| format!("SCRAM-SHA-{hash}=[name={USER},password={PASSWORD}]");
        let mut format = own.java("kafka.tools.StorageTool");
        format.args(["format", "--cluster-id", "MkU3OEVBNTcwNTJENDM2Qg", "--config", "server.properties"]);
        format.args(["--add-scram", &scram(256), "--add-scram", &scram(512)]);
        assert!(format.status().unwrap().success(), "{}", own.log());
        let mut kafka = Self { bootstrap: format!("127.0.0.1:{plain}"), own: Some(own) };
        kafka.start();
        kafka
    }

    /// The address of the listener with login over TLS, and the certificate to trust.
    pub(crate) fn secured(&self) -> (String, PathBuf) {
        let own = self.own.as_ref().expect("a broker of our own");
        (own.secured.clone(), own.folder.path().join("broker.pem"))
    }

    /// Starts it (again), on the same ports and with the same data.
    pub(crate) fn start(&mut self) {
        let client: BaseProducer = self.client().create().unwrap();
        let own = self.own.as_mut().expect("a broker of our own");
        own.process = Some(own.java("kafka.Kafka").arg("server.properties").spawn().unwrap());
        let brokers =
            || client.client().fetch_metadata(None, Duration::from_secs(1)).map_or(0, |found| found.brokers().len());
        for _ in 0..300 {
            if brokers() > 0 {
                return;
            }
            let ended = own.process.as_mut().and_then(|process| process.try_wait().unwrap());
            assert_eq!(ended, None, "{}", own.log());
        }
        panic!("it does not start: {}", own.log());
    }

    /// Kills it; its data stays.
    pub(crate) fn stop(&mut self) {
        self.own.as_mut().expect("a broker of our own").kill();
    }

    /// From its next start on, the password for PLAIN is another one.
    pub(crate) fn change_password(&self) {
        let own = self.own.as_ref().expect("a broker of our own");
        let file = own.folder.path().join("server.properties");
        let right = format!("user_{USER}=\"{PASSWORD}\"");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(&right));
        fs::write(file, text.replace(&right, &format!("user_{USER}=\"another\""))).unwrap();
    }

    /// The signatures of the IAM logins so far, each as often as it was used.
    pub(crate) fn iam_logins(&self) -> Vec<String> {
        let own = self.own.as_ref().expect("a broker of our own");
        let tokens = fs::read_to_string(own.folder.path().join("tokens")).unwrap_or_default();
        tokens.lines().map(str::to_owned).collect()
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).set("log_level", "0");
        config
    }

    /// Creates a topic.
    pub(crate) async fn create(&self, topic: &str, partitions: i32) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(WAIT)).request_timeout(Some(WAIT));
        for created in admin.create_topics([&topic], &options).await.unwrap() {
            created.unwrap();
        }
    }

    /// Puts a message into a partition; `None` is a tombstone.
    pub(crate) fn publish(&self, topic: &str, partition: i32, bytes: Option<&[u8]>) {
        let producer: BaseProducer = self.client().create().unwrap();
        let mut record: BaseRecord<'_, str, [u8]> = BaseRecord::to(topic).partition(partition).key("key");
        record.payload = bytes;
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(WAIT).unwrap();
    }

    /// All records of a topic, partition after partition, each in its order.
    pub(crate) fn records(&self, topic: &str, partitions: i32) -> Vec<Record> {
        let mut records = Vec::new();
        for partition in 0..partitions {
            let consumer: BaseConsumer = self.client().set("group.id", "nobody").create().unwrap();
            let (low, high) = consumer.fetch_watermarks(topic, partition, WAIT).unwrap();
            if low == high {
                continue;
            }
            let mut all = TopicPartitionList::new();
            all.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
            consumer.assign(&all).unwrap();
            loop {
                let message = consumer.poll(WAIT);
                let message = message.unwrap_or_else(|| panic!("{topic}/{partition}: no record below {high}")).unwrap();
                let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
                let header =
                    |header: Header<'_, &[u8]>| (header.key.to_owned(), header.value.unwrap_or_default().to_vec());
                records.push(Record {
                    partition,
                    key: message.key().map(<[u8]>::to_vec),
                    headers: headers.map(header).collect(),
                    value: message.payload().unwrap_or_default().to_vec(),
                });
                if message.offset() + 1 >= high {
                    break;
                }
            }
        }
        records
    }

    /// The members of a group, as the broker names them.
    pub(crate) fn members(&self, group: &str) -> Vec<String> {
        let client: BaseProducer = self.client().create().unwrap();
        let groups = client.client().fetch_group_list(Some(group), WAIT).unwrap();
        groups
            .groups()
            .iter()
            .flat_map(rdkafka::groups::GroupInfo::members)
            .map(|member| member.id().to_owned())
            .collect()
    }

    /// What the group has committed for a partition.
    pub(crate) fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        let consumer: BaseConsumer = self.client().set("group.id", group).create().unwrap();
        let mut asked = TopicPartitionList::new();
        asked.add_partition(topic, partition);
        let committed = consumer.committed_offsets(asked, WAIT).unwrap();
        match committed.elements()[0].offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }
}

impl Own {
    /// A Java program of Kafka's, in its folder.
    fn java(&self, class: &str) -> Command {
        let log = File::options().create(true).append(true).open(self.folder.path().join("kafka.log")).unwrap();
        let mut command = Command::new("java");
        command
            .current_dir(self.folder.path())
            .args(["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg("-Dlog4j.configuration=file:log4j.properties")
            .arg("-cp")
            .arg(format!("{}:{}", self.jars.join("*").display(), self.folder.path().display()))
            .arg(class)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        command
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("kafka.log")).unwrap_or_default()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The folder with Kafka's jars, fetched where they are not there yet.
fn jars() -> PathBuf {
    let script = scripts().join("install-kafka.sh");
    let output = Command::new(script).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "Kafka could not be fetched");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

/// Compiles what checks the IAM logins.
fn compile(folder: &Path, jars: &Path) {
    let source = scripts().join("servers/MskLogin.java");
    let mut javac = Command::new("javac");
    let output = javac.arg("-d").arg(folder).arg("-cp").arg(jars.join("*")).arg(source).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A key for the TLS listener, and its certificate by itself for the client.
fn keys(folder: &Path) {
    let keytool = |arguments: &[&str]| {
        let output = Command::new("keytool")
            .current_dir(folder)
            .args(arguments)
            .args(["-alias", "broker", "-keystore", "broker.p12", "-storetype", "PKCS12", "-storepass", PASSWORD])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    };
    keytool(&[
        "-genkeypair",
        "-keyalg",
        "RSA",
        "-keysize",
        "2048",
        "-dname",
        "CN=localhost",
        "-ext",
        "SAN=ip:127.0.0.1",
    ]);
    keytool(&["-exportcert", "-rfc", "-file", "broker.pem"]);
}

fn properties(folder: &Path, plain: u16, secured: u16, controller: u16) -> String {
    let mut text = format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listeners=PLAINTEXT://127.0.0.1:{plain},SASL_SSL://127.0.0.1:{secured},CONTROLLER://127.0.0.1:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
ssl.keystore.location={keystore}
ssl.keystore.type=PKCS12
ssl.keystore.password={PASSWORD}
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
         user_{USER}=\"{PASSWORD}\";
",
        data = folder.join("data").display(),
        keystore = folder.join("broker.p12").display(),
    );
    for hash in [256, 512] {
        let _ = writeln!(
            text,
            "listener.name.sasl_ssl.scram-sha-{hash}.sasl.jaas.config=\
             org.apache.kafka.common.security.scram.ScramLoginModule required;"
        );
    }
    text
}

/// In place of the mechanisms above. A connection lives no longer than the token that it logged in with.
const IAM_PROPERTIES: &str = "
sasl.enabled.mechanisms=OAUTHBEARER
listener.name.sasl_ssl.oauthbearer.sasl.jaas.config=\
org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"broker\";
listener.name.sasl_ssl.oauthbearer.sasl.server.callback.handler.class=MskLogin
listener.name.sasl_ssl.oauthbearer.connections.max.reauth.ms=3600000
";

const LOGGING: &str = "log4j.rootLogger=WARN, stdout
log4j.appender.stdout=org.apache.log4j.ConsoleAppender
log4j.appender.stdout.layout=org.apache.log4j.PatternLayout
log4j.appender.stdout.layout.ConversionPattern=%d %p %m (%c)%n
";
