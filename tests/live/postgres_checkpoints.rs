//! Checkpoints in a real database: leases, outages, TLS, and the producer in place beside it.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, NoTls};
use wsp::clock::{Clock, SystemClock};
use wsp_world::checkpoint::{CheckpointStore, Kept, LeaseState, PostgresCheckpoints, PostgresDsn, PostgresShards};
use wsp_world::model::{Hex64, Reason, Refusal, Secret, ShardPosition};

use crate::kit::checkpoint_contract::{self, cursor, output, scope};
use crate::kit::text_contract::{self, Notes};
use crate::servers::postgres::{Database, Postgres};

/// Checkpoints with times that suit a test.
fn checkpoints(dsn: &Secret, clock: SystemClock) -> PostgresCheckpoints<SystemClock> {
    let dsn = PostgresDsn::parse(dsn).unwrap();
    PostgresCheckpoints::new(&dsn, clock)
        .unwrap()
        .lease(Duration::from_millis(1500))
        .save_limit(Duration::from_secs(30))
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

async fn client(dsn: &Secret) -> Client {
    let (client, connection) = tokio_postgres::connect(dsn.expose(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn number(client: &Client, query: &str) -> i64 {
    client.query_one(query, &[]).await.unwrap().get(0)
}

fn reason<T>(result: Result<T, Refusal>) -> Option<Reason> {
    result.err().map(|refusal| refusal.reason)
}

#[tokio::test]
#[ignore = "starts a server"]
async fn postgres_keeps_the_contract() {
    let database = Database::start();
    let store = checkpoints(&database.dsn(), SystemClock::new());
    if let Database::Given(_) = database {
        // A database that outlives the test may hold the scopes of an earlier one.
        for digit in ['a', 'b', 'c', 'd', 'e'] {
            store.reset(&scope(digit), &["traffic", "context", "never"].map(output)).await.unwrap();
        }
    }
    let other = client(&database.dsn()).await;
    checkpoint_contract::holds(&store, async |scope| {
        // Under another owner's name no renewal brings it back.
        let taken = "UPDATE wsp_checkpoint_lease SET owner = 'another', expires_at = now() - interval '1 second'
            WHERE scope_key = $1";
        assert_eq!(other.execute(taken, &[&scope.as_str()]).await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
#[ignore = "starts a server"]
async fn postgres_keeps_the_contract_of_texts() {
    let database = Database::start();
    let dsn = PostgresDsn::parse(&database.dsn()).unwrap();
    let store = wsp::checkpoint::postgres::PostgresCheckpoints::<Notes, _>::new(&dsn, SystemClock::new()).unwrap();
    let store = store.lease(Duration::from_millis(1500));
    assert_eq!(store.peek(&text_contract::scope("a"), &[]).await.unwrap(), "", "reading makes no table");
    for name in ["a", "b", "c", "d"] {
        // A database that outlives the test may hold the scopes of an earlier one.
        store.reset(&text_contract::scope(name), &[]).await.unwrap();
    }
    let other = client(&database.dsn()).await;
    text_contract::holds(&store, async |scope| {
        // Under another owner's name no renewal brings it back.
        let taken = "UPDATE wsp_contract_notes SET owner = 'another', expires_at = now() - interval '1 second'
            WHERE scope_key = $1";
        assert_eq!(other.execute(taken, &[&scope.as_str()]).await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
#[ignore = "starts a server"]
async fn positions_in_a_control_stream_are_kept_by_scope_and_never_move_back() {
    let database = Database::start();
    let store = checkpoints(&database.dsn(), SystemClock::new());
    let unique = tempfile::tempdir().unwrap();
    let scope = |name: &str| Hex64::sha256(format!("{name}{}", unique.path().display()));
    let position = |shard: &str, sequence: &str, drained| ShardPosition {
        shard_id: shard.parse().unwrap(),
        sequence_number: sequence.parse().unwrap(),
        drained,
    };
    let (one, other) = (PostgresShards::new(&store, scope("one")), PostgresShards::new(&store, scope("other")));
    assert_eq!(one.load().await, Ok(Vec::new()), "reading makes no table");
    let long = "49590338271490256608559692538361571095921575989136588898";
    one.save(&[position("s-0", "9", false), position("s-1", long, false)]).await.unwrap();
    one.save(&[position("s-0", "10", false)]).await.unwrap();
    // What another consumer of the scope has not settled yet takes nothing back.
    one.save(&[position("s-0", "9", false), position("s-1", long, true)]).await.unwrap();
    one.save(&[position("s-1", long, false)]).await.unwrap();
    let mut kept = one.load().await.unwrap();
    kept.sort_by(|one, other| one.shard_id.cmp(&other.shard_id));
    assert_eq!(kept, [position("s-0", "10", false), position("s-1", long, true)]);
    assert_eq!(other.load().await, Ok(Vec::new()));
    assert_eq!(PostgresShards::new(&store, scope("one")).load().await.unwrap().len(), 2, "on another connection");
}

/// As a process under SIGSTOP: the first owner's runtime stands still for longer than its lease.
#[test]
#[ignore = "starts a server"]
fn an_owner_that_stood_still_steps_nobody_back() {
    let server = Postgres::start();
    let (stopped, running) = (runtime(), runtime());
    let (clock, dsn, key) = (SystemClock::new(), server.dsn(""), scope('c'));
    let first_store = checkpoints(&dsn, clock).owner("first");
    let mut first = stopped.block_on(async {
        let mut first = first_store.open(&key).await.unwrap();
        first
            .save(&Kept::at([cursor("traffic", "part-000000", 10), cursor("context", "part-000000", 5)]))
            .await
            .unwrap();
        first
    });

    let second_store = checkpoints(&dsn, clock).owner("second");
    let mut second = running.block_on(async {
        let busy = second_store.open(&key).await.map(drop).unwrap_err();
        assert_eq!(busy.reason, Reason::CheckpointScopeBusy);
        assert!(busy.detail.contains("held by first "), "{busy}");
        tokio::time::sleep(Duration::from_millis(1600)).await;
        let mut second = second_store.open(&key).await.unwrap();
        let loaded = second.load(&["traffic", "context"].map(output)).await.unwrap().cursors;
        assert_eq!(loaded, [cursor("traffic", "part-000000", 10), cursor("context", "part-000000", 5)]);
        let saved = second.saved_before().await.unwrap().expect("the first one has saved");
        let ago = clock.utc().0 - saved.0;
        assert!((1_000_000..60_000_000).contains(&ago), "the first one saved {ago} µs ago");
        second.save(&Kept::at([cursor("traffic", "part-000001", 2)])).await.unwrap();
        assert_eq!(second.saved_before().await, Ok(None), "its own save is none before its hold");
        second
    });

    assert_eq!(first.lease().state(clock.now()), LeaseState::Lapsed, "it knows before it asks");
    stopped.block_on(async {
        let lost =
            first.save(&Kept::at([cursor("traffic", "part-000000", 11), cursor("context", "part-000000", 6)])).await;
        let lost = lost.unwrap_err();
        assert_eq!(lost.reason, Reason::CheckpointLeaseLost);
        assert!(lost.detail.contains("now held by second "), "{lost}");
        assert_eq!(first.lease().lost().await, lost);
        drop(first);
        first_store.released().await;
    });
    running.block_on(async {
        let now = [cursor("traffic", "part-000001", 2), cursor("context", "part-000000", 5)];
        assert_eq!(second_store.peek(&key, &["traffic", "context"].map(output)).await.unwrap().cursors, now);
        second.save(&Kept::at([cursor("traffic", "part-000001", 3)])).await.unwrap();
        assert_eq!(number(&client(&dsn).await, "SELECT epoch FROM wsp_checkpoint_lease").await, 2);
    });
}

#[tokio::test]
#[ignore = "starts a server"]
async fn a_lapsed_lease_that_nobody_took_comes_back_under_its_epoch() {
    let server = Postgres::start();
    let (clock, key) = (SystemClock::new(), scope('c'));
    let store = checkpoints(&server.dsn(""), clock);
    let mut held = store.open(&key).await.unwrap();
    held.save(&Kept::at([cursor("traffic", "part-000000", 10)])).await.unwrap();

    server.crash();
    let lease = held.lease();
    let saving = tokio::spawn(async move {
        held.save(&Kept::at([cursor("traffic", "part-000000", 20)])).await.unwrap();
        held
    });
    while lease.state(clock.now()) == LeaseState::Held {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(lease.state(clock.now()), LeaseState::Lapsed);
    assert!(!saving.is_finished());
    server.up();

    let mut held = saving.await.unwrap();
    assert_eq!(lease.state(clock.now()), LeaseState::Held);
    let outputs = [output("traffic")];
    assert_eq!(store.peek(&key, &outputs).await.unwrap().cursors, [cursor("traffic", "part-000000", 20)]);
    held.save(&Kept::at([cursor("traffic", "part-000000", 21)])).await.unwrap();
    assert_eq!(number(&client(&server.dsn("")).await, "SELECT epoch FROM wsp_checkpoint_lease").await, 1);
}

#[tokio::test]
#[ignore = "starts a server"]
async fn an_outage_past_the_limit_fails_with_what_was_saved_intact() {
    let server = Postgres::start();
    let key = scope('c');
    let store = checkpoints(&server.dsn(""), SystemClock::new());
    let store = store.save_limit(Duration::from_millis(500)).open_limit(Duration::from_millis(500));
    let mut held = store.open(&key).await.unwrap();
    held.save(&Kept::at([cursor("traffic", "part-000000", 10)])).await.unwrap();
    server.crash();
    let failed = held.save(&Kept::at([cursor("traffic", "part-000000", 20)])).await.unwrap_err();
    assert_eq!(failed.reason, Reason::CheckpointSaveFailed);
    assert!(!failed.detail.contains("hunter2"), "{failed}");
    let outputs = [output("traffic")];
    // A database that is away is neither unreadable nor unwritable.
    let away = Some(Reason::CheckpointUnavailable);
    assert_eq!(reason(store.peek(&key, &outputs).await), away);
    assert_eq!(reason(store.peek_views(&key).await), away);
    assert_eq!(reason(store.open(&scope('d')).await), away);
    server.up();
    assert_eq!(store.peek(&key, &outputs).await.unwrap().cursors, [cursor("traffic", "part-000000", 10)]);
}

#[tokio::test]
#[ignore = "starts a server"]
async fn a_save_outlasts_a_row_that_somebody_has_locked() {
    let server = Postgres::start();
    let (dsn, key) = (server.dsn(""), scope('c'));
    let store = checkpoints(&dsn, SystemClock::new()).request_timeout(Duration::from_millis(200));
    let mut held = store.open(&key).await.unwrap();
    let other = client(&dsn).await;
    other.batch_execute("BEGIN; SELECT * FROM wsp_checkpoint_lease FOR UPDATE").await.unwrap();
    let saving =
        tokio::spawn(async move { (held.save(&Kept::at([cursor("traffic", "part-000000", 10)])).await, held) });
    // Long enough for tries to be given up, here and by the server.
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(!saving.is_finished());
    other.batch_execute("ROLLBACK").await.unwrap();
    let (saved, _held) = saving.await.unwrap();
    saved.unwrap();
    assert_eq!(store.peek(&key, &[output("traffic")]).await.unwrap().cursors, [cursor("traffic", "part-000000", 10)]);
}

#[tokio::test]
#[ignore = "starts a server"]
async fn a_statement_that_comes_late_saves_nothing() {
    let server = Postgres::start();
    let (dsn, key) = (server.dsn(""), scope('c'));
    let store = checkpoints(&dsn, SystemClock::new());
    let mut held = store.open(&key).await.unwrap();
    held.save(&Kept::at([cursor("traffic", "part-000001", 1)])).await.unwrap();
    // As it is when the database carries out a newer save first.
    client(&dsn).await.batch_execute("UPDATE wsp_checkpoint_lease SET save_seq = 100").await.unwrap();
    assert_eq!(
        reason(held.save(&Kept::at([cursor("traffic", "part-000000", 9)])).await),
        Some(Reason::CheckpointSaveFailed)
    );
    assert_eq!(store.peek(&key, &[output("traffic")]).await.unwrap().cursors, [cursor("traffic", "part-000001", 1)]);
}

#[tokio::test]
#[ignore = "starts a server"]
async fn a_text_that_is_damaged_or_anothers_is_refused() {
    let server = Postgres::start();
    let (dsn, key) = (server.dsn(""), scope('c'));
    let store = checkpoints(&dsn, SystemClock::new());
    store.open(&key).await.unwrap().save(&Kept::at([cursor("traffic", "part-000000", 10)])).await.unwrap();
    store.released().await;
    let good = format!(r#"{{"version":1,"scope_key":"{key}","outputs":[]}}"#);
    let other = client(&dsn).await;
    for (text, expected) in [
        (good.replace("\"version\":1", "\"version\":2"), Some(Reason::CheckpointUnreadable)),
        (good[1..].to_owned(), Some(Reason::CheckpointUnreadable)),
        (good.replace(key.as_str(), scope('d').as_str()), Some(Reason::CheckpointForeign)),
        (good, None),
    ] {
        assert_eq!(other.execute("UPDATE wsp_checkpoint_answered SET answered = $1", &[&text]).await.unwrap(), 1);
        assert_eq!(reason(store.peek(&key, &[output("traffic")]).await), expected, "{text}");
    }
}

#[tokio::test]
#[ignore = "starts a server"]
async fn the_producer_in_place_and_this_one_go_on_from_each_other() {
    let server = Postgres::start();
    let (dsn, key) = (server.dsn(""), scope('c'));
    let old = client(&dsn).await;
    old.batch_execute(
        "CREATE TABLE wsp_checkpoint (pack_key TEXT NOT NULL, output_id TEXT NOT NULL, last_file TEXT NOT NULL,
             last_row_index INTEGER NOT NULL, last_ts_utc TEXT NULL, updated_at_utc TIMESTAMPTZ NOT NULL,
             PRIMARY KEY (pack_key, output_id))",
    )
    .await
    .unwrap();
    let upsert = "INSERT INTO wsp_checkpoint VALUES ($1, 'traffic', $2, $3, $4, now())
        ON CONFLICT (pack_key, output_id) DO UPDATE SET last_file = excluded.last_file,
            last_row_index = excluded.last_row_index, last_ts_utc = excluded.last_ts_utc,
            updated_at_utc = excluded.updated_at_utc";
    let ts = "2026-01-01T00:00:00.000001Z";
    old.execute(upsert, &[&key.as_str(), &"part-000000", &41_i32, &ts]).await.unwrap();

    let store = checkpoints(&dsn, SystemClock::new());
    let outputs = ["traffic", "context"].map(output);
    let mut held = store.open(&key).await.unwrap();
    assert_eq!(held.load(&outputs).await.unwrap().cursors, [cursor("traffic", "part-000000", 41)]);
    held.save(&Kept::at([cursor("traffic", "part-000000", 42), cursor("context", "part-000000", 7)])).await.unwrap();
    let row = old
        .query_one("SELECT last_file, last_row_index, last_ts_utc FROM wsp_checkpoint WHERE output_id = 'traffic'", &[])
        .await
        .unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, i32>(1), row.get::<_, &str>(2)), ("part-000000", 42, ts));
    old.execute(upsert, &[&key.as_str(), &"part-000000", &43_i32, &ts]).await.unwrap();
    assert_eq!(
        reason(held.save(&Kept::at([cursor("traffic", "part-000000", 42)])).await),
        Some(Reason::CheckpointSaveFailed),
        "what the other one saved is not taken back"
    );

    // Beyond 32 bits nothing is wrapped, and nothing of the flush is saved.
    let beyond = [cursor("context", "part-000000", 8), cursor("traffic", "part-000000", 1 << 31)];
    let refused = held.save(&Kept::at(beyond.clone())).await.unwrap_err();
    assert_eq!(refused.reason, Reason::CheckpointSaveFailed);
    assert!(refused.detail.contains("ALTER COLUMN last_row_index"), "{refused}");
    let now = [cursor("traffic", "part-000000", 43), cursor("context", "part-000000", 7)];
    assert_eq!(held.load(&outputs).await.unwrap().cursors, now);
    old.batch_execute("ALTER TABLE wsp_checkpoint ALTER COLUMN last_row_index TYPE bigint").await.unwrap();
    held.save(&Kept::at(beyond.clone())).await.unwrap();
    assert_eq!(held.load(&outputs).await.unwrap().cursors, [beyond[1].clone(), beyond[0].clone()]);
}

#[tokio::test]
#[ignore = "starts a server"]
async fn peeking_makes_no_tables_and_a_role_without_that_right_can_stream() {
    let server = Postgres::start();
    let (dsn, key) = (server.dsn(""), scope('c'));
    let admin = client(&dsn).await;
    let store = checkpoints(&dsn, SystemClock::new());
    assert_eq!(store.peek(&key, &[output("traffic")]).await.unwrap().cursors, []);
    assert_eq!(number(&admin, "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'wsp%'").await, 0);

    store.open(&key).await.unwrap();
    store.released().await;
    let rights = "CREATE ROLE plain LOGIN PASSWORD 'hunter2';
        REVOKE CREATE ON SCHEMA public FROM PUBLIC;
        GRANT SELECT, INSERT, UPDATE, DELETE ON wsp_checkpoint, wsp_checkpoint_lease, wsp_checkpoint_answered,
            wsp_checkpoint_views TO plain";
    admin.batch_execute(rights).await.unwrap();
    let plain = Secret::new(dsn.expose().replace("wsp:", "plain:"));
    let mut held = checkpoints(&plain, SystemClock::new()).open(&key).await.unwrap();
    held.save(&Kept::at([cursor("traffic", "part-000000", 10)])).await.unwrap();
    drop(held);

    // As it is when an older version of this program made the tables.
    admin.batch_execute("DROP TABLE wsp_checkpoint_views").await.unwrap();
    let refused = checkpoints(&plain, SystemClock::new()).open(&key).await.map(drop).unwrap_err();
    assert_eq!(refused.reason, Reason::CheckpointSaveFailed);
    assert!(refused.detail.contains("wsp_checkpoint_views") && refused.detail.contains("CREATE"), "{refused}");

    let wrong = Secret::new(dsn.expose().replace("hunter2", "hunter3"));
    let refused = checkpoints(&wrong, SystemClock::new()).open(&key).await.map(drop).unwrap_err();
    assert_eq!(refused.reason, Reason::CheckpointSaveFailed);
    assert!(refused.detail.contains("28P01") && !refused.detail.contains("hunter3"), "{refused}");
}

/// A host that takes connections and says nothing, as a database behind a broken proxy: the second one is tried in time.
#[tokio::test]
#[ignore = "starts a server"]
async fn the_second_host_of_a_dsn_is_tried_within_the_time() {
    let server = Postgres::start();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dsn = format!(
        "host=127.0.0.1,localhost port={},{} user=wsp password=hunter2 dbname=postgres",
        silent.local_addr().unwrap().port(),
        server.port()
    );
    let store = checkpoints(&Secret::new(dsn), SystemClock::new()).open_limit(Duration::ZERO);
    let clock = SystemClock::new();
    let mut held = store.open(&scope('c')).await.unwrap();
    held.save(&Kept::at([cursor("traffic", "part-000000", 10)])).await.unwrap();
    assert!(clock.now() < Duration::from_secs(5), "{:?}", clock.now());
}

#[tokio::test]
#[ignore = "starts a server"]
async fn many_producers_that_start_at_once_get_one_hold() {
    let server = Postgres::start();
    let key = scope('c');
    let opening = (0..8).map(|_| {
        let (store, key) = (checkpoints(&server.dsn(""), SystemClock::new()), key.clone());
        tokio::spawn(async move { store.open(&key).await })
    });
    let mut opened = Vec::new();
    for opening in opening.collect::<Vec<_>>() {
        match opening.await.unwrap() {
            Ok(held) => opened.push(held),
            Err(refusal) => assert_eq!(refusal.reason, Reason::CheckpointScopeBusy, "{refusal}"),
        }
    }
    assert_eq!(opened.len(), 1);
}

#[tokio::test]
#[ignore = "starts a server"]
async fn tls_is_as_strict_as_the_dsn_asks_for() {
    let server = Postgres::start();
    let (root, foreign) = (server.root_certificate(), server.foreign_certificate());
    let (root, foreign) = (root.display(), foreign.display());
    let by_address = format!("host=127.0.0.1 port={} user=wsp password=hunter2 dbname=postgres", server.port());
    let url = |settings: String| server.dsn(&settings);
    let pairs = |settings: String| Secret::new(format!("{by_address} {settings}"));
    let cases = [
        (url("connect_timeout=5".into()), Some(true)),
        (url("sslmode=disable".into()), Some(false)),
        (url("sslmode=prefer".into()), Some(true)),
        (url("sslmode=require&channel_binding=require".into()), Some(true)),
        (url(format!("sslmode=require&sslrootcert={foreign}")), None),
        (url(format!("sslmode=verify-ca&sslrootcert={root}")), Some(true)),
        (url(format!("sslmode=verify-ca&sslrootcert={foreign}")), None),
        (pairs(format!("sslmode=verify-ca sslrootcert='{root}'")), Some(true)),
        (url(format!("sslmode=verify-full&sslrootcert={root}")), Some(true)),
        (url("sslmode=verify-full".into()), None),
        (pairs(format!("sslmode=verify-full sslrootcert='{root}'")), None),
    ];
    for (case, (dsn, encrypted)) in cases.into_iter().enumerate() {
        let name = if dsn.expose().contains("://") { "&application_name=" } else { " application_name=" };
        let dsn = Secret::new(format!("{}{name}case{case}", dsn.expose()));
        let store = checkpoints(&dsn, SystemClock::new()).open_limit(Duration::ZERO);
        let opened = store.open(&scope('c')).await;
        let shown = dsn.expose().replace("hunter2", "***");
        match (opened, encrypted) {
            (Ok(held), Some(encrypted)) => {
                let query = format!(
                    "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                     WHERE application_name = 'case{case}' AND ssl = {encrypted}"
                );
                assert_eq!(number(&client(&server.dsn("")).await, &query).await, 1, "{shown}");
                drop(held);
            }
            (Err(refusal), None) => assert!(refusal.detail.contains("certificate"), "{shown}: {refusal}"),
            (opened, _) => panic!("{shown}: {:?}", opened.map(drop)),
        }
        store.released().await;
    }
}
