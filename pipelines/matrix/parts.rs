//! The systems of the environment, each asked by itself. Nothing else is tried on one that is red here.

use std::time::Duration;

use bytes::Bytes;
use wsp::clock::Clock;
use wsp::deliver::HttpGate;
use wsp_observe::readiness::ControlTopic;
use wsp_world::checkpoint::{CheckpointStore, Cursor, Kept, RowCursors};
use wsp_world::evidence::unavailable;
use wsp_world::ig::{IgProbe, ProbeError};
use wsp_world::model::{Hex64, OutputId, Reason, Refusal};
use wsp_world::positions::checkpoints;
use wsp_world::prepare;

use super::kept;
use super::matrix::Matrix;
use super::report::{Report, Seen};

/// How long the control topic may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Fills the rows that ask one system by itself.
pub(super) async fn ask<C: Clock + std::fmt::Debug>(m: &Matrix<C>, report: &mut Report) {
    report.fill("C1.profile", async { profile(m) }).await;
    report.fill("C1.topic", topic(m)).await;
    report.fill("C1.ready", async { ready(m) }).await;
    report.fill("C1.store", store(m)).await;
    report.fill("C2.remote", async { remote(m) }).await;
    report.fill("C3.gate", gate(&m.gate)).await;
    report.fill("C3.key", key(&m.stranger)).await;
    report.fill("C3.hold", hold(m)).await;
    report.fill("C3.alone", alone(m)).await;
}

fn profile<C>(m: &Matrix<C>) -> Seen {
    let checked = prepare::check_profile(&m.profile);
    checked.map(|()| format!("profile {}, producer {}", m.profile.profile_id, m.profile.producer_id)).into()
}

async fn topic<C>(m: &Matrix<C>) -> Seen {
    match &m.control {
        ControlTopic::Remote(probe) => match probe.look(PATIENCE).await {
            Ok(0) => Seen::red(
                "the topic does not exist",
                "Create it, or correct CONTROL_BUS_TOPIC, or CONTROL_BUS_STREAM where the bus is Kinesis.",
            ),
            Ok(parts) => Seen::green(format!("{} has {parts} {}", m.profile.topic, probe.counted())),
            Err(error) => Seen::refused(&Refusal::from(error)),
        },
        ControlTopic::Folder(folder) => match tokio::fs::read_dir(folder).await {
            Ok(_) => Seen::green("the folder can be read"),
            Err(error) => {
                let detail = format!("{}: {error}", folder.display());
                Seen::refused(&Refusal::new(Reason::ControlTopicUnreachable, detail))
            }
        },
    }
}

fn ready<C>(m: &Matrix<C>) -> Seen {
    match &m.on_topic {
        Ok(Some((ready, source))) => Seen::green(format!("READY {} at {}", ready.payload.message_id, source.name)),
        Ok(None) => Seen::red(
            format!("no READY of {} is there", m.run),
            "Have SR emit READY for the run, or name the run that one is there for.",
        ),
        Err(refusal) => Seen::refused(refusal),
    }
}

/// Writes in every way in which a run writes.
async fn store<C: Clock>(m: &Matrix<C>) -> Result<String, Refusal> {
    let store = prepare::open_own(&m.profile)?;
    let (object, list) = (kept::object(m, "probe.json")?, kept::object(m, "probe.jsonl")?);
    let line = format!("{{\"ts_utc\":\"{}\"}}\n", m.clock.utc());
    store.put(&object, Bytes::from(line.clone())).await.map_err(unavailable)?;
    let read = store.get(&object, 1 << 16).await.map_err(unavailable)?;
    let wrong = |what: &str| Refusal::new(Reason::StoreUnavailable, what.to_owned()).file(store.full_name(&object));
    if read.as_deref() != Some(line.as_bytes()) {
        return Err(wrong("what was written is not what is read"));
    }
    if store.put_new(&object, Bytes::from(line.clone())).await.map_err(unavailable)? {
        return Err(wrong("an object that is there was written as a new one: facts could be overwritten"));
    }
    store.append(&list, Bytes::from(line.clone())).await.map_err(unavailable)?;
    let lines = store.get(&list, 1 << 20).await.map_err(unavailable)?.unwrap_or_default();
    if !lines.ends_with(line.as_bytes()) {
        return Err(wrong("a line that was added is not there"));
    }
    Ok(format!("written and read below {}", store.root()))
}

fn remote<C>(m: &Matrix<C>) -> Seen {
    if m.profile.is_strict() {
        // A strict profile with a path of this machine in it is not even read: `wsp validate`, `tests/program/profiles`.
        return Seen::green(format!(
            "{}: object store, control bus, checkpoint and gate are remote",
            m.profile.profile_id
        ));
    }
    Seen::not_run(format!("{} is no strict profile", m.profile.profile_id))
}

async fn gate<C: Clock>(gate: &HttpGate<C>) -> Seen {
    const NEXT: &str = "Restore IG, or correct ig_ingest_url and the API key.";
    match IgProbe::of(gate).health().await {
        Ok(health) => Seen::of(health.is_good(), health.words(), NEXT),
        Err(error) => Seen::red(error.to_string(), NEXT),
    }
}

async fn key<C: Clock>(stranger: &HttpGate<C>) -> Seen {
    const NEXT: &str = "Anybody could send events: have IG check its keys.";
    match IgProbe::of(stranger).health().await {
        Err(ProbeError::Status(status @ (401 | 403))) => Seen::green(format!("status {status}")),
        Err(error) => Seen::red(error.to_string(), NEXT),
        Ok(health) => Seen::red(format!("{} for a key that nobody was given", health.words()), NEXT),
    }
}

/// A scope of the matrix's own; no run has it.
fn scope<C>(m: &Matrix<C>) -> Hex64 {
    Hex64::sha256(format!("wsp matrix|{}", m.run))
}

fn opened<C: Clock + std::fmt::Debug>(m: &Matrix<C>) -> Result<Box<dyn CheckpointStore<RowCursors>>, Refusal> {
    checkpoints(&m.profile, &m.run, m.clock.clone())
}

fn output() -> Result<OutputId, Refusal> {
    "wsp_matrix".parse().map_err(|error| Refusal::new(Reason::InternalError, format!("{error}")))
}

async fn hold<C: Clock + std::fmt::Debug>(m: &Matrix<C>) -> Result<String, Refusal> {
    let (store, scope, outputs) = (opened(m)?, scope(m), [output()?]);
    let cursor = Cursor {
        output_id: outputs[0].clone(),
        last_file: "wsp matrix".to_owned(),
        last_row_index: 1,
        last_ts_utc: None,
        last_event_id: None,
        digested: None,
    };
    let kept = Kept::at([cursor]);
    let mut held = store.open(&scope).await?;
    held.load(&outputs).await?;
    held.save(&kept).await?;
    drop(held);
    store.released().await;
    let read = store.peek(&scope, &outputs).await?;
    store.reset(&scope, &outputs).await?;
    if read.cursors != kept.cursors {
        return Err(Refusal::new(Reason::CheckpointUnreadable, "what was saved is not what is read"));
    }
    Ok("held, saved, let go, read, dropped".to_owned())
}

async fn alone<C: Clock + std::fmt::Debug>(m: &Matrix<C>) -> Result<Seen, Refusal> {
    let (one, other, scope) = (opened(m)?, opened(m)?, scope(m));
    let held = one.open(&scope).await?;
    let second = other.open(&scope).await;
    let seen = match &second {
        Err(refusal) => {
            Seen::of(refusal.reason == Reason::CheckpointScopeBusy, refusal.to_string(), refusal.reason.next())
        }
        Ok(_) => Seen::red("two holders", "Two producers could send one run: find out what keeps no lock here."),
    };
    drop((held, second));
    one.released().await;
    other.released().await;
    Ok(seen)
}
