//! One connection to the database, opened when it is needed and anew after it broke.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Error};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::targets::{Targets, within};
use crate::checkpoint::leased::Fault;
use crate::clock::Clock;

/// What is to be done about errors that have to do with a producer's own tables.
#[derive(Debug, Clone, Copy)]
pub struct Hints {
    /// A number doesn't fit its column.
    pub out_of_range: &'static str,
    /// The role has too few rights.
    pub rights: &'static str,
}

/// The way to the database. It holds one connection at most.
pub struct Database<C> {
    targets: Targets,
    tls: MakeRustlsConnect,
    clock: C,
    /// Bound on one statement, and on connecting before it.
    timeout: Duration,
    link: Mutex<Option<Link>>,
    hints: Hints,
}

impl<C> std::fmt::Debug for Database<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// A connection, and the task that moves its bytes.
#[derive(Clone)]
struct Link {
    client: Arc<Client>,
    task: AbortHandle,
}

/// Cuts a connection that is not in order in time.
struct Opening(Option<AbortHandle>);

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}

impl<C: Clock> Database<C> {
    pub(super) fn new(targets: Targets, tls: MakeRustlsConnect, clock: C, timeout: Duration, hints: Hints) -> Self {
        Self { targets, tls, clock, timeout, link: Mutex::new(None), hints }
    }

    /// Makes a request, on a new connection where there is none. One that gets no answer in time takes the
    /// connection with it; its statement may still be carried out, or never.
    ///
    /// # Errors
    ///
    /// Away where there is no answer in time, or time may mend it; refused otherwise.
    pub async fn request<T, F>(&self, request: impl FnOnce(Arc<Client>) -> F + Send) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Error>> + Send,
    {
        let link = self.connected().await?;
        let answer = async { request(link.client.clone()).await.map_err(|error| fault(&error, self.hints)) };
        let answer = within(&self.clock, self.timeout, answer).await;
        if let Err(Fault::Away(_)) = &answer {
            self.forget(&link);
        }
        answer
    }

    async fn connected(&self) -> Result<Link, Fault> {
        let known = lock(&self.link).clone().filter(|link| !link.client.is_closed());
        if let Some(link) = known {
            return Ok(link);
        }
        let open = |config: Config| async move { self.open(config).await.map_err(|error| fault(&error, self.hints)) };
        let link = self.targets.try_each(&self.clock, self.timeout, open).await?;
        *lock(&self.link) = Some(link.clone());
        Ok(link)
    }

    /// A connection whose session is as it has to be.
    async fn open(&self, config: Config) -> Result<Link, Error> {
        let (client, connection) = config.connect(self.tls.clone()).await?;
        let task = tokio::spawn(async move {
            // Whoever waits for an answer hears of the error himself.
            if let Err(error) = connection.await {
                tracing::debug!(error = %describe(&error), "the connection to the checkpoint database ended");
            }
        });
        let link = Link { client: Arc::new(client), task: task.abort_handle() };
        let mut opening = Opening(Some(task.abort_handle()));
        link.client.batch_execute(&self.session()).await?;
        opening.0 = None;
        Ok(link)
    }

    /// What a session has to be, whatever the defaults of the role and the database are: a statement given up here
    /// ends there too, each sees what others did before, and what is answered is durable.
    fn session(&self) -> String {
        let millis = self.timeout.as_millis().max(1);
        format!(
            "SET statement_timeout = {millis};
             SET default_transaction_isolation = 'read committed';
             SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
    }

    /// Cuts a connection that can't be trusted any more.
    fn forget(&self, used: &Link) {
        used.task.abort();
        let mut link = lock(&self.link);
        if link.as_ref().is_some_and(|link| Arc::ptr_eq(&link.client, &used.client)) {
            *link = None;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the server or the way to it did, without what was asked.
fn describe(error: &Error) -> String {
    use std::error::Error as _;
    if let Some(error) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", error.message(), error.code().code());
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn fault(error: &Error, hints: Hints) -> Fault {
    let text = describe(error);
    match error.code() {
        Some(state) if *state == SqlState::NUMERIC_VALUE_OUT_OF_RANGE => {
            Fault::Refused(format!("{text}: {}", hints.out_of_range))
        }
        Some(state) if *state == SqlState::INSUFFICIENT_PRIVILEGE => {
            Fault::Refused(format!("{text}: {}", hints.rights))
        }
        Some(state) if is_final(state.code()) => Fault::Refused(text),
        _ => Fault::Away(text),
    }
}

/// Whether a SQLSTATE is of a class that time doesn't mend: a feature that is not there, data, constraints,
/// authorisation, database or schema names, syntax and rights. All else (connections, restarts, time-outs, deadlocks,
/// want of space, a standby that can't write) may pass.
fn is_final(code: &str) -> bool {
    ["0A", "22", "23", "28", "3D", "3F", "42"].iter().any(|class| code.starts_with(class))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
    use tokio::time::timeout;

    use super::super::PostgresDsn;
    use super::super::tls::connector;
    use super::*;
    use crate::clock::SystemClock;
    use crate::secret::Secret;

    /// A double of a server, which answers so many statements on each connection and then none. It notes when connections
    /// open and close.
    async fn server(statements: usize) -> (Database<SystemClock>, UnboundedReceiver<&'static str>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (note, noted) = unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                note.send("open").unwrap();
                let note = note.clone();
                tokio::spawn(async move {
                    serve(stream, statements).await;
                    // The test may be over.
                    let _ = note.send("closed");
                });
            }
        });
        let dsn = Secret::new(format!("host=127.0.0.1 port={port} user=wsp dbname=d sslmode=disable"));
        let dsn = PostgresDsn::parse(&dsn).unwrap();
        let (targets, tls) = (Targets::new(&dsn.config), connector(&dsn.verify).unwrap());
        let hints = Hints { out_of_range: "", rights: "" };
        (Database::new(targets, tls, SystemClock::new(), Duration::from_millis(300), hints), noted)
    }

    /// Until the connection is closed.
    async fn serve(mut stream: TcpStream, statements: usize) {
        const LET_IN: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";
        const DONE: &[u8] = b"C\0\0\0\x08SET\0Z\0\0\0\x05I";
        let (mut left, mut is_startup) = (statements, true);
        loop {
            let kind = if is_startup { Ok(b'S') } else { stream.read_u8().await };
            let (Ok(kind), Ok(length)) = (kind, stream.read_u32().await) else { return };
            let mut message = vec![0; length as usize - 4];
            if stream.read_exact(&mut message).await.is_err() {
                return;
            }
            let answer = match kind {
                _ if std::mem::take(&mut is_startup) => LET_IN,
                b'Q' if left > 0 => {
                    left -= 1;
                    DONE
                }
                _ => continue,
            };
            stream.write_all(answer).await.unwrap();
        }
    }

    async fn ask(database: &Database<SystemClock>) -> Result<(), Fault> {
        database.request(async |client: Arc<Client>| client.batch_execute("SELECT 1").await).await
    }

    async fn next(noted: &mut UnboundedReceiver<&'static str>) -> &'static str {
        timeout(Duration::from_secs(20), noted.recv()).await.expect("the server notes something").unwrap()
    }

    #[tokio::test]
    async fn a_connection_without_an_answer_is_cut_and_the_next_request_opens_another() {
        // One for the session and one for the test.
        let (database, mut noted) = server(2).await;
        ask(&database).await.unwrap();
        assert!(matches!(ask(&database).await, Err(Fault::Away(_))));
        ask(&database).await.unwrap();
        let mut all = [next(&mut noted).await, next(&mut noted).await, next(&mut noted).await];
        all.sort_unstable();
        assert_eq!(all, ["closed", "open", "open"]);
    }

    #[tokio::test]
    async fn a_connection_whose_session_does_not_get_in_order_is_cut() {
        let (database, mut noted) = server(0).await;
        assert!(matches!(ask(&database).await, Err(Fault::Away(_))));
        assert_eq!([next(&mut noted).await, next(&mut noted).await], ["open", "closed"]);
    }

    #[test]
    fn time_mends_some_errors() {
        for state in [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::QUERY_CANCELED,
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::DISK_FULL,
            SqlState::READ_ONLY_SQL_TRANSACTION,
        ] {
            assert!(!is_final(state.code()), "{state:?}");
        }
        for state in [
            SqlState::INVALID_PASSWORD,
            SqlState::INSUFFICIENT_PRIVILEGE,
            SqlState::UNDEFINED_COLUMN,
            SqlState::INVALID_CATALOG_NAME,
        ] {
            assert!(is_final(state.code()), "{state:?}");
        }
    }
}
