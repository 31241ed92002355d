//! Every row of the matrix, once: what has to hold, how it is tried, and what that needs.

use serde::Serialize;

/// What a row can't be tried without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// Kafka's topic, the Kinesis stream, or the folder of the file control bus.
    ControlTopic,
    /// The store of facts and evidence.
    Store,
    /// The Ingestion Gate.
    Gate,
    /// Where positions are kept.
    Checkpoint,
    /// A READY of the run.
    Ready,
    /// The world that READY names, in order.
    World,
    /// The run, stopped.
    Stopped,
    /// The run, streamed to its cap.
    Streamed,
}

impl Need {
    /// Its name in a sentence.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Need::ControlTopic => "control topic",
            Need::Store => "object store",
            Need::Gate => "gate",
            Need::Checkpoint => "checkpoint store",
            Need::Ready => "READY",
            Need::World => "world",
            Need::Stopped => "stopped run",
            Need::Streamed => "streamed run",
        }
    }
}

/// One requirement before it is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    /// Its name.
    pub id: &'static str,
    /// What has to hold.
    pub requirement: &'static str,
    /// What it can't be tried without.
    pub needs: &'static [Need],
    /// What is unavailable while it is red.
    pub gives: Option<Need>,
    /// What is done.
    pub done: &'static str,
    /// The expected result; `{N}` stands for the cap.
    pub expected: &'static str,
}

use Need::{Checkpoint, ControlTopic, Gate, Ready, Store, Streamed, World};

/// For a doctored READY.
const DOCTORED: &[Need] = &[Store, Ready];
/// For a doctored world.
const OF_WORLD: &[Need] = &[Store, Ready, World];
/// For a run that streams.
const ALL: &[Need] = &[Store, Ready, World, Gate, Checkpoint];

const fn row(
    id: &'static str,
    requirement: &'static str,
    needs: &'static [Need],
    done: &'static str,
    expected: &'static str,
) -> Spec {
    Spec { id, requirement, needs, gives: None, done, expected }
}

const fn giving(gives: Need, spec: Spec) -> Spec {
    Spec { gives: Some(gives), ..spec }
}

/// All rows, in the order of the report.
pub const ROWS: &[Spec] = &[
    row(
        "C1.profile",
        "the profile is in order",
        &[],
        "producer, outputs and catalogue looked up",
        "producer allowed, outputs and catalogue whole",
    ),
    giving(
        ControlTopic,
        row("C1.topic", "the control topic can be read", &[], "its partitions or shards asked for", "it is there"),
    ),
    row(
        "C1.ready",
        "the run's READY stands on the control topic",
        &[ControlTopic],
        "the topic read from its beginning, nothing committed",
        "a READY of the run, the one named where one is",
    ),
    giving(
        Store,
        row(
            "C1.store",
            "the object store takes evidence",
            &[],
            "an object written, read, written once, and a line added to another",
            "each as asked",
        ),
    ),
    row("C1.unknown_key", "READY is closed", &[Ready], "a key added to the payload", "no READY"),
    row("C1.two_ids", "a message has one id", &[Ready], "another message_id on the envelope", "no READY"),
    row(
        "C1.foreign",
        "another run's READY is passed over",
        DOCTORED,
        "READY of another platform_run_id",
        "SKIPPED_OUT_OF_SCOPE PLATFORM_RUN_SCOPE_MISMATCH, 0 attempts",
    ),
    row(
        "C1.no_run",
        "READY names its run",
        DOCTORED,
        "READY without platform_run_id",
        "FAILED PLATFORM_RUN_ID_MISSING, 0 attempts",
    ),
    row(
        "C1.stale",
        "an old READY is refused",
        DOCTORED,
        "READY emitted in 2020, under the profile's age limit or an hour's",
        "FAILED READY_TOO_OLD, 0 attempts",
    ),
    row(
        "C1.facts_run",
        "the facts are of READY's run",
        DOCTORED,
        "facts of another platform_run_id",
        "FAILED PLATFORM_RUN_ID_MISMATCH, 0 attempts",
    ),
    row(
        "C1.scenario_run",
        "READY and facts name one scenario run",
        DOCTORED,
        "READY of another scenario_run_id",
        "FAILED SCENARIO_RUN_ID_MISMATCH, 0 attempts",
    ),
    row(
        "C1.no_scenario",
        "READY names its scenario",
        DOCTORED,
        "READY without scenario_id",
        "FAILED SCENARIO_ID_MISSING, 0 attempts",
    ),
    row(
        "C1.scenario",
        "READY and facts name one scenario",
        DOCTORED,
        "READY of another scenario_id",
        "FAILED WORLD_KEY_MISMATCH, 0 attempts",
    ),
    row(
        "C1.fingerprint",
        "READY and facts name one manifest_fingerprint",
        DOCTORED,
        "READY with another one",
        "FAILED WORLD_KEY_MISMATCH, 0 attempts",
    ),
    row(
        "C1.parameters",
        "READY and facts name one parameter_hash",
        DOCTORED,
        "READY with another one",
        "FAILED WORLD_KEY_MISMATCH, 0 attempts",
    ),
    row(
        "C1.no_seed",
        "the facts name the seed",
        DOCTORED,
        "facts without pins.seed",
        "FAILED WORLD_KEY_MISSING, 0 attempts",
    ),
    row(
        "C1.sr_run",
        "READY and facts name one run_id",
        DOCTORED,
        "READY with another one",
        "FAILED RUN_FACTS_MISMATCH, 0 attempts",
    ),
    row(
        "C1.bundle",
        "READY and facts name one bundle_hash",
        DOCTORED,
        "READY with another one",
        "FAILED RUN_FACTS_MISMATCH, 0 attempts",
    ),
    row(
        "C1.config",
        "READY and facts name one run_config_digest",
        DOCTORED,
        "READY with another one",
        "FAILED RUN_FACTS_MISMATCH, 0 attempts",
    ),
    row(
        "C1.no_facts",
        "READY points to facts",
        DOCTORED,
        "facts_view_ref to nothing",
        "FAILED RUN_FACTS_INVALID, 0 attempts",
    ),
    row(
        "C1.open_facts",
        "the facts are closed",
        DOCTORED,
        "a key added to the facts",
        "FAILED RUN_FACTS_INVALID, 0 attempts",
    ),
    row(
        "C2.remote",
        "a strict profile reads nothing of this machine",
        &[],
        "every source and target of the profile looked at",
        "each is remote",
    ),
    row(
        "C2.climbing",
        "a reference stays in its root",
        DOCTORED,
        "facts_view_ref with `..`",
        "FAILED REF_OUTSIDE_ROOT, 0 attempts",
    ),
    row(
        "C2.local",
        "a reference to this machine is refused",
        DOCTORED,
        "facts_view_ref file:///etc/hostname",
        "FAILED REF_OUTSIDE_ROOT, 0 attempts",
    ),
    giving(
        World,
        row(
            "C2.world",
            "the world is sealed, gated, and READY's",
            &[Store, Ready],
            "every check before the first event, on READY as it is",
            "all pass",
        ),
    ),
    row(
        "C2.other_world",
        "the world is the one of the facts",
        OF_WORLD,
        "facts with another seed",
        "FAILED WORLD_KEY_MISMATCH, 0 attempts",
    ),
    row(
        "C2.other_pack",
        "the pack is the one that was named",
        OF_WORLD,
        "READY and facts with another oracle_pack_id",
        "FAILED WORLD_KEY_MISMATCH, 0 attempts",
    ),
    row(
        "C2.no_world",
        "there is an engine run",
        OF_WORLD,
        "an engine run root with nothing in it",
        "FAILED RUN_RECEIPT_UNREADABLE, 0 attempts",
    ),
    row(
        "C2.no_seal",
        "the world is sealed",
        OF_WORLD,
        "an engine run root without seal",
        "FAILED PACK_NOT_SEALED, 0 attempts",
    ),
    row(
        "C2.failed_seal",
        "a failed seal is no seal",
        OF_WORLD,
        "an engine run root with SEALED_FAILED",
        "FAILED PACK_NOT_SEALED, 0 attempts",
    ),
    row(
        "C2.failed_gate",
        "a gate that the facts say failed is closed",
        OF_WORLD,
        "facts with FAIL in every gate receipt",
        "FAILED GATE_PASS_MISSING, 0 attempts",
    ),
    row(
        "C2.no_flag",
        "each gate has its passed flag",
        OF_WORLD,
        "a sealed engine run root without flags",
        "FAILED GATE_PASS_MISSING, 0 attempts",
    ),
    row(
        "C2.no_view",
        "each output has its stream view",
        OF_WORLD,
        "a sealed, gated engine run root without views",
        "FAILED STREAM_VIEW_MISSING, 0 attempts",
    ),
    row(
        "C2.moved_view",
        "a view belongs to its engine run root",
        OF_WORLD,
        "the views' documents under another engine run root",
        "FAILED STREAM_VIEW_ID_MISMATCH, 0 attempts",
    ),
    giving(
        Gate,
        row("C3.gate", "the gate takes events", &[], "its health asked for, with our key", "GREEN, AMBER or ok"),
    ),
    row("C3.key", "the gate takes no other key", &[Gate], "its health asked for, with another key", "401 or 403"),
    giving(
        Checkpoint,
        row(
            "C3.hold",
            "positions can be kept",
            &[],
            "a scope of the matrix's own held, saved in, let go, read",
            "what was saved",
        ),
    ),
    row(
        "C3.alone",
        "a run's positions have one holder",
        &[Checkpoint],
        "the same scope asked for twice",
        "CHECKPOINT_SCOPE_BUSY",
    ),
    giving(
        Need::Stopped,
        row(
            "C3.stop",
            "a stop ends the run where it stands",
            ALL,
            "streamed with one request in flight, told to stop at half of the cap",
            "FAILED RUN_STOPPED, with some events, fewer than {N}",
        ),
    ),
    giving(
        Streamed,
        row(
            "C3.cap",
            "the next start resumes and keeps to its cap",
            &[Store, Ready, World, Gate, Checkpoint, Need::Stopped],
            "started again, capped at the rest",
            "STREAMED, capped; {N} events by both starts",
        ),
    ),
    row(
        "C3.again",
        "the same READY again is a duplicate",
        &[Store, Ready, Streamed],
        "READY again",
        "SKIPPED_DUPLICATE, 0 attempts",
    ),
    row(
        "C3.other_message",
        "a run is not streamed under another READY",
        &[Store, Ready, World, Streamed],
        "READY again with another message_id, the facts that tell of the cap hidden",
        "FAILED RUN_ALREADY_STREAMED, 0 attempts",
    ),
    row(
        "C3.resent",
        "an event sent again is the same event",
        &[Store, Ready, World, Gate, Checkpoint, Streamed],
        "the run's first events sent again, from a checkpoint of their own",
        "DUPLICATE for each",
    ),
    row(
        "C4.listener",
        "a running wsp tells of itself",
        &[],
        "a listener on loopback asked for /livez and /metrics",
        "200 for both",
    ),
    row(
        "C4.readyz",
        "readiness is that of the parts",
        &[ControlTopic, Store, Gate],
        "/readyz asked for",
        "200, every part ready",
    ),
    row(
        "C4.metrics",
        "the metrics are what happened",
        &[Streamed],
        "/metrics read after the run",
        "as many answered events as the run tells",
    ),
    row(
        "C4.packs",
        "what has to be up is said, and is up",
        &[],
        "WSP_READY_REQUIRED_PACKS looked at",
        "each pack up, or none required",
    ),
    row(
        "C4.wait",
        "a READY waits for a pack that is not up",
        DOCTORED,
        "a pack required that is not there",
        "DEFERRED_DOWNSTREAM_NOT_READY PACK_FILE_MISSING, 0 attempts, the wait told",
    ),
    row(
        "C4.facts",
        "governance facts tell start, stop and cap apart",
        &[Store, Streamed],
        "the run's facts read",
        "READY seen and started once, an end stopped, an end capped with its outputs",
    ),
    row(
        "C5.verify",
        "the evidence holds together",
        &[Store, Checkpoint, Streamed],
        "all of `wsp verify` but the gate",
        "every check passes",
    ),
    row(
        "C5.gate",
        "the gate has what the evidence says",
        &[Store, Gate, Streamed],
        "the gate asked about the last start's events, where it can be asked",
        "it has each",
    ),
    row(
        "C5.report",
        "the run left its report",
        &[Store, Streamed],
        "wsp_report.html read",
        "a page that names the run",
    ),
    row(
        "C5.secrets",
        "no evidence shows a secret",
        &[Store, Streamed],
        "every object of the run's evidence searched for keys and passwords",
        "none found",
    ),
];

/// The row with this name; every name in the code has one.
pub(super) fn spec(id: &str) -> &'static Spec {
    let unknown = &ROWS[0];
    let found = ROWS.iter().find(|spec| spec.id == id);
    debug_assert!(found.is_some(), "{id} is no row");
    found.unwrap_or(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_names_of_their_own_and_need_what_an_earlier_row_gives() {
        let mut given = vec![Need::Ready];
        for (i, spec) in ROWS.iter().enumerate() {
            assert!(ROWS[..i].iter().all(|other| other.id != spec.id), "{}", spec.id);
            assert!(spec.id.starts_with(['C']) && spec.id.as_bytes()[2] == b'.', "{}", spec.id);
            // The world is asked for before the doctored ones, the parts before all: see `Matrix::run`.
            given.extend(spec.gives);
        }
        for spec in ROWS {
            assert!(spec.needs.iter().all(|need| given.contains(need)), "{}", spec.id);
        }
    }
}
