//! Why a run was refused or ended: one closed list of reasons, each with a stable code, its meaning and the
//! operator's next step. `wsp docs reasons` generates `docs/reasons.md` from it, and a test compares the two.

use std::fmt;

macro_rules! reasons {
    ($($(#[doc = $meaning:literal])+ $name:ident = $code:literal, $next:literal;)+) => {
        /// A reason code. Codes of the contract (section 8) keep their meaning; ours are added in the same style.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[doc = $meaning])+ $name,)+
        }

        impl Reason {
            /// Every reason, in the order of the pipeline.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)+];

            /// The stable code, as in records and facts.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(Reason::$name => $code,)+ }
            }

            /// What it means, in a sentence or two.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Reason::$name => concat!($($meaning,)+).trim_ascii(),)+ }
            }

            /// What an operator does next.
            #[must_use]
            pub fn next(self) -> &'static str {
                match self { $(Reason::$name => $next,)+ }
            }
        }
    };
}

reasons! {
    /// The control topic can't be read or written with these settings: login or TLS refused, no right to topic, group or
    /// stream, or, in a single pass, no broker or service there.
    ControlTopicUnreachable = "CONTROL_TOPIC_UNREACHABLE", "Read the detail: it holds the broker's or service's reason and names the settings to compare.";
    /// The Kinesis control bus is configured without a stream.
    ControlBusStreamMissing = "CONTROL_BUS_STREAM_MISSING", "Set `wiring.control_bus.stream` or `CONTROL_BUS_STREAM`.";
    /// READY names no `platform_run_id`, or the facts don't.
    PlatformRunIdMissing = "PLATFORM_RUN_ID_MISSING", "Have SR emit READY and facts with `platform_run_id` at the top and in `pins`.";
    /// READY and facts name different platform runs.
    PlatformRunIdMismatch = "PLATFORM_RUN_ID_MISMATCH", "Compare READY with the facts that `facts_view_ref` points to; re-emit READY for the right facts.";
    /// READY is for another platform run than the active one.
    PlatformRunScopeMismatch = "PLATFORM_RUN_SCOPE_MISMATCH", "Nothing, if it is another run's message. Otherwise set `PLATFORM_RUN_ID` or `ACTIVE_RUN_ID` to the run that shall stream.";
    /// The facts name no `scenario_run_id`.
    ScenarioRunIdMissing = "SCENARIO_RUN_ID_MISSING", "Have SR write facts with `scenario_run_id` at the top and in `pins`.";
    /// READY and facts name different scenario runs.
    ScenarioRunIdMismatch = "SCENARIO_RUN_ID_MISMATCH", "Compare READY with the facts that `facts_view_ref` points to; re-emit READY for the right facts.";
    /// READY or facts name no `scenario_id`.
    ScenarioIdMissing = "SCENARIO_ID_MISSING", "Have SR emit READY and facts with `scenario_id`.";
    /// The facts can't be read, are too large or too deep, or are not the closed object they have to be.
    RunFactsInvalid = "RUN_FACTS_INVALID", "Read the detail: it names the object and the key. Have SR write the facts again under a new run.";
    /// A field that READY and facts share (other than those with a reason of their own) is missing on one side or differs.
    RunFactsMismatch = "RUN_FACTS_MISMATCH", "Compare the field named in the detail in READY and facts; re-emit READY for the right facts.";
    /// READY is older than `policy.ready_max_age_seconds` allows.
    ReadyTooOld = "READY_TOO_OLD", "Re-emit READY if the run shall still stream, or raise `ready_max_age_seconds`.";
    /// Another READY of the same platform and scenario run has been streamed to its end.
    RunAlreadyStreamed = "RUN_ALREADY_STREAMED", "Nothing; a second streaming needs a new scenario run.";
    /// A reference leaves the roots that the profile configures (`..`, another bucket, an absolute path elsewhere).
    RefOutsideRoot = "REF_OUTSIDE_ROOT", "Correct the reference named in the detail, or the root in the profile.";
    /// The file of a required pack can't be read.
    PackFileMissing = "PACK_FILE_MISSING", "Put the pack's file there, or correct `WSP_READY_REQUIRED_PACKS` and start WSP anew.";
    /// The file of a required pack is not one: version 1, `pack_id`, `processes` with an `id` each.
    PackSpecInvalid = "PACK_SPEC_INVALID", "Correct the pack's file; the detail says what is wrong.";
    /// A required pack has no state: it was never started here.
    PackStateMissing = "PACK_STATE_MISSING", "Start the pack.";
    /// The state of a required pack can't be read.
    PackStateInvalid = "PACK_STATE_INVALID", "Start the pack again, which writes its state anew.";
    /// The state of a required pack names no active run.
    PackActiveRunMissing = "PACK_ACTIVE_RUN_MISSING", "Start the pack for this run, or set `WSP_READY_REQUIRE_ACTIVE_RUN_MATCH=0`.";
    /// A required pack is up for another run.
    PackActiveRunMismatch = "PACK_ACTIVE_RUN_MISMATCH", "Start the pack for this run, or set `WSP_READY_REQUIRE_ACTIVE_RUN_MATCH=0`.";
    /// The state of a required pack holds no process.
    PackProcessesMissing = "PACK_PROCESSES_MISSING", "Start the pack.";
    /// The state of a required pack lacks one of its processes.
    PackProcessMissing = "PACK_PROCESS_MISSING", "Start that process of the pack.";
    /// A process of a required pack does not run, or another one has its id.
    PackProcessNotRunning = "PACK_PROCESS_NOT_RUNNING", "Find out why it ended and start it.";
    /// Neither profile nor READY says where the engine run is.
    EngineRootMissing = "ENGINE_ROOT_MISSING", "Set `wiring.oracle_engine_run_root`, or have SR send `oracle_pack_ref.engine_run_root`.";
    /// `run_receipt.json` can't be read or lacks what identifies the world.
    RunReceiptUnreadable = "RUN_RECEIPT_UNREADABLE", "Check that the engine run root holds a complete `run_receipt.json`.";
    /// A part of the world's identity is missing.
    WorldKeyMissing = "WORLD_KEY_MISSING", "Read the detail: it names the file and the field.";
    /// READY, facts, run receipt, pack manifest and stream-view manifest do not all name one world.
    WorldKeyMismatch = "WORLD_KEY_MISMATCH", "Point the run at the world it was planned for; the detail names the two sides and the field.";
    /// The engine run root holds no `_oracle_pack_manifest.json`.
    PackManifestMissing = "PACK_MANIFEST_MISSING", "Seal the world with the packer, or point to the sealed one.";
    /// `_oracle_pack_manifest.json` is not the closed object it has to be.
    PackManifestInvalid = "PACK_MANIFEST_INVALID", "Seal the world again; the detail names the key.";
    /// No seal, a failed seal, or the seal of another pack.
    PackNotSealed = "PACK_NOT_SEALED", "Seal the world. A local try-out may set `policy.require_seal: false`, and its evidence says so.";
    /// The policy names no traffic output.
    NoTrafficOutputs = "NO_TRAFFIC_OUTPUTS", "Set `policy.traffic_output_ids` to one output.";
    /// The catalogue or the gate map can't be read, or has no usable entry for an output of the run.
    CatalogueInvalid = "CATALOGUE_INVALID", "Check `wiring.engine_catalogue_path` and the gate map beside it; the detail names the entry.";
    /// A gate that an output requires has no passed flag, an unreadable one, or the facts say it failed.
    GatePassMissing = "GATE_PASS_MISSING", "Have the engine's validation of that segment pass; never write the flag by hand.";
    /// No producer id is configured.
    ProducerIdMissing = "PRODUCER_ID_MISSING", "Set `wiring.wsp_producer.producer_id` or `WSP_PRODUCER_ID`.";
    /// No producer allowlist is configured.
    ProducerAllowlistMissing = "PRODUCER_ALLOWLIST_MISSING", "Set `wiring.wsp_producer.allowlist_ref` or `WSP_PRODUCER_ALLOWLIST_REF`.";
    /// The producer allowlist names nobody.
    ProducerAllowlistEmpty = "PRODUCER_ALLOWLIST_EMPTY", "Add the producer to the allowlist.";
    /// The producer allowlist can't be read.
    ProducerAllowlistUnreadable = "PRODUCER_ALLOWLIST_UNREADABLE", "Check the file that `allowlist_ref` names.";
    /// The configured producer is not on the allowlist.
    ProducerNotAllowed = "PRODUCER_NOT_ALLOWED", "Add the producer to the allowlist, or run as one that is on it.";
    /// A stream view, its manifest or its receipt is not there.
    StreamViewMissing = "STREAM_VIEW_MISSING", "Build the stream view of that output.";
    /// The stream-view manifest is not readable as one.
    StreamViewManifestInvalid = "STREAM_VIEW_MANIFEST_INVALID", "Build the stream view of that output again.";
    /// The sort receipt is not readable, not `OK`, or its two row counts differ.
    StreamViewReceiptBad = "STREAM_VIEW_RECEIPT_BAD", "Build the stream view of that output again.";
    /// Manifest, receipt and the id computed from the resolved engine root are not one stream-view id.
    StreamViewIdMismatch = "STREAM_VIEW_ID_MISMATCH", "Use the view that was built from this engine root, under the same spelling of that root.";
    /// The view's manifest or receipt is of another output.
    StreamViewOutputMismatch = "STREAM_VIEW_OUTPUT_MISMATCH", "Check `oracle_stream_view_root`; build the view again.";
    /// A view without a Parquet part.
    StreamViewEmpty = "STREAM_VIEW_EMPTY", "Build the stream view of that output again.";
    /// The parts hold more or fewer rows than the receipt says.
    StreamViewRowsMismatch = "STREAM_VIEW_ROWS_MISMATCH", "A part is missing or foreign: build the view again.";
    /// A part can't be read as Parquet, or its columns differ from the first part's.
    StreamViewUnreadable = "STREAM_VIEW_UNREADABLE", "Read the detail: it names the file. Build the view again.";
    /// A part changed while the run was reading it.
    StreamViewChanged = "STREAM_VIEW_CHANGED", "Find out who writes into a sealed world; the run has to start over as a new one.";
    /// A row is earlier than the one before it in its view.
    StreamViewOrderViolation = "STREAM_VIEW_ORDER_VIOLATION", "Where a cursor was taken back by hand, set its `last_ts_utc` to null as well: it is the time of a later row. Else build the view again; its sort receipt was not true.";
    /// A row's `ts_utc` is missing or can't be read.
    TsUtcInvalid = "TS_UTC_INVALID", "Correct the world at the row named in the detail and seal it anew.";
    /// A primary key column is missing, or null in a row.
    PrimaryKeyMissing = "PRIMARY_KEY_MISSING", "Correct the catalogue's `primary_key`, or the world at the row named in the detail.";
    /// A column's type has no honest JSON form.
    ColumnNotEncodable = "COLUMN_NOT_ENCODABLE", "Leave the column out of the view, or store it as a type that has a JSON form.";
    /// A value has no JSON form (NaN, an infinity), or a `payload_json` is not a JSON object.
    ValueNotEncodable = "VALUE_NOT_ENCODABLE", "Correct the world at the row named in the detail and seal it anew.";
    /// An event's body is larger than IG takes (1 MiB).
    EventTooLarge = "EVENT_TOO_LARGE", "Shorten the row named in the detail, or leave the named column out of the view, and seal the world anew. No policy lets the run go on: IG would answer 413.";
    /// IG refused an event for good, or gave an answer that says nothing.
    IgPushRejected = "IG_PUSH_REJECTED", "Read the detail: it holds IG's status and error. The checkpoint stands before the event.";
    /// IG holds another payload under an event's id.
    IgPayloadMismatch = "IG_PAYLOAD_MISMATCH", "Find out who sent the other payload: a run of another world under this platform run, or this world changed since. The checkpoint stands before the event.";
    /// IG took no event for as long as `wsp_delivery.circuit_limit_seconds` allows, so none was tried any more.
    IgUnavailable = "IG_UNAVAILABLE", "Restore IG. The run resumes from the checkpoint.";
    /// An event was tried as often as allowed and never answered for good.
    IgPushRetryExhausted = "IG_PUSH_RETRY_EXHAUSTED", "Restore IG. The run resumes from the checkpoint.";
    /// The lane tasks of this READY were made for other lanes, facts or views than this worker has.
    LaneTasksForeign = "LANE_TASKS_FOREIGN", "Read the detail: it names the two sides. Give every worker of the run the same profile, facts and world; the READY waits meanwhile. Lanes can't be changed once a READY has tasks.";
    /// The Postgres backend is configured without a DSN.
    CheckpointDsnMissing = "CHECKPOINT_DSN_MISSING", "Set `wiring.wsp_checkpoint.dsn` or `WSP_CHECKPOINT_DSN`.";
    /// The DSN of the Postgres backend can't be read, asks for what this program can't do, or its root certificates can't be read.
    CheckpointDsnInvalid = "CHECKPOINT_DSN_INVALID", "Correct `wiring.wsp_checkpoint.dsn` or `WSP_CHECKPOINT_DSN`; the detail names the setting, never its value.";
    /// The checkpoint was taken in other views, or with other outputs, than the run has now.
    CheckpointForeign = "CHECKPOINT_FOREIGN", "Read the detail: it names what the checkpoint has and what is there now. Put world, outputs and the spelling of roots back as the checkpoint has them (`wsp checkpoint show` prints it), or stream the changed world as a new run.";
    /// The checkpoint is there and can't be read.
    CheckpointUnreadable = "CHECKPOINT_UNREADABLE", "Restore what the detail names: the right to read it, or its content (of a cursor file, the last line of the `cursor.jsonl` beside it). The run then resumes.";
    /// The checkpoint database does not answer. The READY waits for it.
    CheckpointUnavailable = "CHECKPOINT_UNAVAILABLE", "Restore the database, or the way to it. The run resumes where it stood.";
    /// A position could not be saved. What was delivered beyond it is sent again on resume.
    CheckpointSaveFailed = "CHECKPOINT_SAVE_FAILED", "Make room, or restore write access or the database, where the detail says. The run resumes from the checkpoint.";
    /// Another producer holds this run's checkpoint.
    CheckpointScopeBusy = "CHECKPOINT_SCOPE_BUSY", "Nothing, if a second producer was started by mistake.";
    /// The hold on this run's checkpoint went to another producer, or was dropped, in the middle of the run.
    CheckpointLeaseLost = "CHECKPOINT_LEASE_LOST", "Nothing, if the other producer streams the run to its end. Find out what kept this one away from the database for longer than its lease, or who removed its lock file.";
    /// Evidence or facts could not be read from or written to the object store.
    StoreUnavailable = "STORE_UNAVAILABLE", "Restore the store.";
    /// A run left no evidence where it would have, or not all of it.
    EvidenceMissing = "EVIDENCE_MISSING", "Check store root and run. A run that is still going has no summary yet; one that was cut off is completed by its next start.";
    /// A part of a run's evidence is not in the form this program writes.
    EvidenceUnreadable = "EVIDENCE_UNREADABLE", "Read the detail: another version wrote it, or somebody changed it.";
    /// Parts of a run's evidence contradict each other, the Oracle, the checkpoint or the gate.
    EvidenceMismatch = "EVIDENCE_MISMATCH", "Read the detail: it names the two sides. Don't build on this run before it is explained.";
    /// A stop was requested before the run's end.
    RunStopped = "RUN_STOPPED", "Start again to resume from the checkpoint.";
    /// A fault in this program.
    InternalError = "INTERNAL_ERROR", "Report it with the log. The run resumes from the checkpoint.";
}

impl Reason {
    /// Whether a READY waits for this to be over, without a verdict: what has to be up is not, another producer has the run,
    /// this worker is not set up as the others are, or the database of the checkpoints is away.
    #[must_use]
    pub fn defers(self) -> bool {
        matches!(
            self,
            Reason::PackFileMissing
                | Reason::PackSpecInvalid
                | Reason::PackStateMissing
                | Reason::PackStateInvalid
                | Reason::PackActiveRunMissing
                | Reason::PackActiveRunMismatch
                | Reason::PackProcessesMissing
                | Reason::PackProcessMissing
                | Reason::PackProcessNotRunning
                | Reason::LaneTasksForeign
                | Reason::CheckpointScopeBusy
                | Reason::CheckpointLeaseLost
                | Reason::CheckpointUnavailable
        )
    }

    /// Whether the cause may go away while READY, facts and settings stay as they are: a part that is away, or a world that
    /// is not all there yet.
    #[must_use]
    pub fn may_pass(self) -> bool {
        matches!(
            self,
            Reason::StoreUnavailable
                | Reason::RunReceiptUnreadable
                | Reason::PackManifestMissing
                | Reason::PackNotSealed
                | Reason::GatePassMissing
                | Reason::StreamViewMissing
                | Reason::StreamViewEmpty
                | Reason::StreamViewRowsMismatch
                | Reason::ProducerAllowlistUnreadable
                | Reason::IgUnavailable
                | Reason::IgPushRetryExhausted
                | Reason::CheckpointSaveFailed
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl serde::Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> serde::Deserialize<'de> for Reason {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = String::deserialize(deserializer)?;
        let known = Reason::ALL.iter().find(|reason| reason.code() == code);
        known.copied().ok_or_else(|| serde::de::Error::custom(format!("{code:?} is no reason code")))
    }
}

/// Where a refusal's cause lies, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// A file, object or URL.
    pub file: Option<String>,
    /// A 0-based row in that file.
    pub row: Option<u64>,
    /// A key or column.
    pub field: Option<String>,
}

/// Why a run is not started or not continued: the error of every stage. Its texts quote what others wrote, and end up on
/// terminals and in logs: control characters in them, line ends aside, become spaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The stable reason.
    pub reason: Reason,
    /// Where.
    pub place: Place,
    /// What exactly, for a person.
    pub detail: String,
}

impl Refusal {
    /// A refusal without a place.
    #[must_use]
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, place: Place::default(), detail: sayable(detail.into()) }
    }

    /// The same, in `file` (a path, URI or URL).
    #[must_use]
    pub fn file(mut self, file: impl Into<String>) -> Self {
        self.place.file = Some(sayable(file.into()));
        self
    }

    /// The same, at 0-based `row`.
    #[must_use]
    pub fn row(mut self, row: u64) -> Self {
        self.place.row = Some(row);
        self
    }

    /// The same, at `field`, a key or column.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.place.field = Some(sayable(field.into()));
        self
    }
}

/// Without what a terminal would obey.
fn sayable(text: String) -> String {
    let obeyed = |c: char| c.is_control() && c != '\n';
    if !text.contains(obeyed) {
        return text;
    }
    text.replace(obeyed, " ")
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reason)?;
        if let Some(file) = &self.place.file {
            write!(f, " in {file}")?;
        }
        if let Some(row) = self.place.row {
            write!(f, " at row {row}")?;
        }
        if let Some(field) = &self.place.field {
            write!(f, ", {field}")?;
        }
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_upper_snake() {
        let mut codes: Vec<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Reason::ALL.len());
        assert!(codes.iter().all(|code| code.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')));
    }

    /// A reset sends every event again. Nobody is to do that for a reason that passes, or that can be put right.
    #[test]
    fn no_advice_is_to_drop_a_checkpoint() {
        assert!(Reason::ALL.iter().all(|reason| !reason.next().contains("reset")));
    }

    #[test]
    fn a_refusal_says_what_where_and_why() {
        let refusal = Refusal::new(Reason::TsUtcInvalid, "null").file("a/part-000000.parquet").row(7).field("ts_utc");
        assert_eq!(refusal.to_string(), "TS_UTC_INVALID in a/part-000000.parquet at row 7, ts_utc: null");
    }

    #[test]
    fn what_a_terminal_would_obey_is_not_said() {
        let refusal = Refusal::new(Reason::TsUtcInvalid, "a\u{1b}[2Jb\nc").file("a\0b").field("a\u{7f}\u{9b}b");
        assert_eq!(refusal.to_string(), "TS_UTC_INVALID in a b, a  b: a [2Jb\nc");
    }
}
