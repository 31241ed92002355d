//! A Postgres server from Debian's package, in a folder of its own. `WSP_LIVE_POSTGRES_DSN` takes its place where a test
//! needs a database alone and not a server to stop.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use wsp_world::model::Secret;

/// A running server with one role, `wsp`, whose password is `hunter2`.
pub(crate) struct Postgres {
    folder: TempDir,
    bin: PathBuf,
    port: u16,
}

/// A database for a test: the one of the environment, or a server of its own.
pub(crate) enum Database {
    Given(String),
    Own(Postgres),
}

impl Database {
    pub(crate) fn start() -> Self {
        match std::env::var("WSP_LIVE_POSTGRES_DSN") {
            Ok(dsn) if !dsn.is_empty() => Self::Given(dsn),
            _ => Self::Own(Postgres::start()),
        }
    }

    pub(crate) fn dsn(&self) -> Secret {
        match self {
            Self::Given(dsn) => Secret::new(dsn.as_str()),
            Self::Own(server) => server.dsn("sslmode=disable"),
        }
    }
}

impl Postgres {
    /// Starts a server that asks for a password and offers TLS.
    pub(crate) fn start() -> Self {
        let bin = newest_bin();
        let folder = tempfile::Builder::new().prefix("wsp-postgres-").tempdir().unwrap();
        let port = super::free_port();
        let server = Self { folder, bin, port };
        let path = server.path();
        std::fs::write(path.join("password"), "hunter2").unwrap();
        server.certificates();
        if is_root() {
            run(Command::new("chown").args(["-R", "postgres"]).arg(path));
        }
        let initdb = server.bin.join("initdb");
        run(as_server_user(&initdb)
            .args(["-U", "wsp", "-A", "scram-sha-256", "-E", "UTF8", "--no-sync", "--pwfile"])
            .arg(path.join("password"))
            .arg("-D")
            .arg(server.data()));
        server.up();
        server
    }

    /// A DSN with more settings.
    pub(crate) fn dsn(&self, settings: &str) -> Secret {
        Secret::new(format!("postgresql://wsp:hunter2@localhost:{}/postgres?{settings}", self.port))
    }

    /// The certificate that signed the server's own, which is for `localhost`.
    pub(crate) fn root_certificate(&self) -> PathBuf {
        self.path().join("ca.pem")
    }

    /// A root certificate that signed nothing here.
    pub(crate) fn foreign_certificate(&self) -> PathBuf {
        self.path().join("foreign.pem")
    }

    /// The port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Starts the server, on the data that is there.
    pub(crate) fn up(&self) {
        let path = self.path().display();
        let options = format!(
            "-h 127.0.0.1 -p {} -k {path} -c ssl=on -c ssl_cert_file={path}/server.pem -c ssl_key_file={path}/server.key",
            self.port
        );
        self.pg_ctl(
            &["start", "-w", "-t", "60", "-l"],
            &[&self.path().join("log").display().to_string(), "-o", &options],
        );
    }

    /// Ends the server at once, as a crash would: nothing is written down that was not yet.
    pub(crate) fn crash(&self) {
        self.pg_ctl(&["stop", "-w", "-m", "immediate"], &[]);
    }

    fn pg_ctl(&self, command: &[&str], more: &[&str]) {
        run(as_server_user(&self.bin.join("pg_ctl")).args(command).args(more).arg("-D").arg(self.data()));
    }

    fn certificates(&self) {
        let path = self.path();
        let openssl = |arguments: &str| run(Command::new("openssl").args(arguments.split(' ')).current_dir(path));
        let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
        openssl(&format!("{new} -keyout ca.key -out ca.pem -subj /CN=wsp-test-root"));
        openssl(&format!("{new} -keyout foreign.key -out foreign.pem -subj /CN=wsp-other-root"));
        openssl(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout server.key -out server.csr \
             -subj /CN=localhost",
        );
        std::fs::write(path.join("extensions"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n").unwrap();
        openssl(
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions \
             -out server.pem",
        );
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn data(&self) -> PathBuf {
        self.path().join("data")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let stop = self.bin.join("pg_ctl");
        let _ = as_server_user(&stop).args(["stop", "-m", "immediate", "-D"]).arg(self.data()).output();
    }
}

/// The server refuses to run as root.
fn as_server_user(program: &Path) -> Command {
    let mut command = Command::new(if is_root() { Path::new("runuser") } else { program });
    if is_root() {
        command.args(["-u", "postgres", "--"]).arg(program);
    }
    // That user may not be allowed into the tests' own folder.
    command.current_dir("/");
    command
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// The newest version that is installed.
fn newest_bin() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("run tests/live/install-postgres.sh first");
    let bins = versions.map(|version| version.unwrap().path().join("bin")).filter(|bin| bin.join("initdb").exists());
    let number = |bin: &PathBuf| bin.iter().rev().nth(1).and_then(|name| name.to_str()?.parse::<u32>().ok());
    bins.max_by_key(number).expect("run tests/live/install-postgres.sh first")
}

fn run(command: &mut Command) {
    // The server inherits these; pipes would keep this waiting for it to end.
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(status.unwrap().success(), "{command:?}");
}
