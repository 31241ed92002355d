//! What the session log tells: one event kind each, in the shape that the platform's other components read.

use serde_json::{Value, json};

use super::status::Status;
use crate::model::{Hex32, Hex64, Micros, OutputId, PlatformRunId, Reason, ScenarioId, json};

/// One entry of the session log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionEvent {
    kind: &'static str,
    details: Value,
}

/// The world of a run and the outputs taken from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorldOutputs {
    /// The world.
    pub engine_run_root: String,
    /// Its scenario.
    pub scenario_id: ScenarioId,
    /// All outputs, in the order of the run.
    pub output_ids: Vec<OutputId>,
    /// The traffic among them.
    pub traffic_output_ids: Vec<OutputId>,
    /// The context among them.
    pub context_output_ids: Vec<OutputId>,
}

/// A position that was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointSaved<'a> {
    /// The scope key.
    pub scope: &'a Hex64,
    /// The world's key, from which the scope key was made.
    pub pack_key: &'a Hex64,
    /// The attempt, where the operator set one apart.
    pub attempt_id: Option<&'a str>,
    /// The platform run.
    pub platform_run_id: &'a PlatformRunId,
    /// SR's scenario run.
    pub scenario_run_id: &'a Hex32,
    /// The output.
    pub output_id: &'a OutputId,
    /// Its file.
    pub last_file: &'a str,
    /// 0-based row.
    pub last_row_index: u64,
    /// That row's event time.
    pub last_ts_utc: Option<&'a str>,
    /// `periodic_flush`, `file_complete`, `output_complete` or `stop`.
    pub reason: &'a str,
}

impl SessionEvent {
    /// A READY came in.
    #[must_use]
    pub fn ready_received(message_id: &Hex64, run_id: &Hex32) -> Self {
        Self { kind: "ready_received", details: json!({"message_id": message_id, "run_id": run_id}) }
    }

    /// The run's world is known.
    #[must_use]
    pub fn engine_world_selected(engine_run_root: &str) -> Self {
        Self { kind: "engine_world_selected", details: json!({"engine_run_root": engine_run_root}) }
    }

    /// Streaming starts.
    #[must_use]
    pub fn stream_start(outputs: &WorldOutputs, pack_key: &Hex64, producer_id: &str) -> Self {
        let mut details = outputs.details();
        details["pack_key"] = json!(pack_key);
        details["producer_id"] = json!(producer_id);
        details["stream_mode"] = json!("stream_view");
        Self { kind: "stream_start", details }
    }

    /// A position was saved.
    #[must_use]
    pub fn checkpoint_saved(saved: &CheckpointSaved<'_>) -> Self {
        let details = json!({
            "pack_key": saved.scope,
            "pack_key_base": saved.pack_key,
            "checkpoint_attempt_id": saved.attempt_id,
            "platform_run_id": saved.platform_run_id,
            "scenario_run_id": saved.scenario_run_id,
            "output_id": saved.output_id,
            "last_file": saved.last_file,
            "last_row_index": saved.last_row_index,
            "last_ts_utc": saved.last_ts_utc,
            "reason": saved.reason,
        });
        Self { kind: "checkpoint_saved", details }
    }

    /// All of the world's outputs were streamed.
    #[must_use]
    pub fn engine_world_streamed(outputs: &WorldOutputs, emitted: u64) -> Self {
        let mut details = outputs.details();
        details["emitted"] = json!(emitted);
        Self { kind: "engine_world_streamed", details }
    }

    /// The run has a verdict; `reason` is there unless it streamed.
    #[must_use]
    pub fn stream_complete(engine_run_root: &str, status: Status, reason: Option<Reason>, emitted: u64) -> Self {
        let mut details = json!({"emitted": emitted, "engine_run_root": engine_run_root, "status": status.as_str()});
        if let Some(reason) = reason {
            details["reason"] = json!(reason);
        }
        Self { kind: "stream_complete", details }
    }

    /// The entry as a line with its newline.
    pub(super) fn line(&self, platform_run_id: &PlatformRunId, now: Micros) -> String {
        let entry = json!({
            "component": "wsp",
            "event_kind": self.kind,
            "details": self.details,
            "platform_run_id": platform_run_id,
            "ts_utc": now.offset_text(),
        });
        json::spaced(&entry) + "\n"
    }
}

impl WorldOutputs {
    fn details(&self) -> Value {
        json!({
            "engine_run_root": self.engine_run_root,
            "scenario_id": self.scenario_id,
            "output_ids": self.output_ids,
            "traffic_output_ids": self.traffic_output_ids,
            "context_output_ids": self.context_output_ids,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = include_str!("../../../tests/golden/ready/session.jsonl");

    /// Makes the event again from what the golden line says.
    fn again(line: &Value) -> SessionEvent {
        let details = &line["details"];
        let text = |key: &str| details[key].as_str().unwrap();
        let ids = |key: &str| -> Vec<OutputId> { serde_json::from_value(details[key].clone()).unwrap() };
        let outputs = || WorldOutputs {
            engine_run_root: text("engine_run_root").to_owned(),
            scenario_id: text("scenario_id").parse().unwrap(),
            output_ids: ids("output_ids"),
            traffic_output_ids: ids("traffic_output_ids"),
            context_output_ids: ids("context_output_ids"),
        };
        match line["event_kind"].as_str().unwrap() {
            "ready_received" => {
                SessionEvent::ready_received(&text("message_id").parse().unwrap(), &text("run_id").parse().unwrap())
            }
            "engine_world_selected" => SessionEvent::engine_world_selected(text("engine_run_root")),
            "stream_start" => {
                SessionEvent::stream_start(&outputs(), &text("pack_key").parse().unwrap(), text("producer_id"))
            }
            "checkpoint_saved" => SessionEvent::checkpoint_saved(&CheckpointSaved {
                scope: &text("pack_key").parse().unwrap(),
                pack_key: &text("pack_key_base").parse().unwrap(),
                attempt_id: details["checkpoint_attempt_id"].as_str(),
                platform_run_id: &text("platform_run_id").parse().unwrap(),
                scenario_run_id: &text("scenario_run_id").parse().unwrap(),
                output_id: &text("output_id").parse().unwrap(),
                last_file: text("last_file"),
                last_row_index: details["last_row_index"].as_u64().unwrap(),
                last_ts_utc: details["last_ts_utc"].as_str(),
                reason: text("reason"),
            }),
            "engine_world_streamed" => SessionEvent::engine_world_streamed(&outputs(), 250),
            other => {
                assert_eq!(other, "stream_complete");
                SessionEvent::stream_complete(text("engine_run_root"), Status::Streamed, None, 250)
            }
        }
    }

    #[test]
    fn every_golden_line_is_made_again_byte_for_byte() {
        for golden in GOLDEN.split_inclusive('\n') {
            let line: Value = serde_json::from_str(golden).unwrap();
            let now = Micros::parse(line["ts_utc"].as_str().unwrap().as_bytes()).unwrap();
            let platform_run_id = line["platform_run_id"].as_str().unwrap().parse().unwrap();
            assert_eq!(again(&line).line(&platform_run_id, now), golden);
        }
    }

    #[test]
    fn a_run_that_did_not_stream_says_why() {
        let event = SessionEvent::stream_complete("world", Status::Failed, Some(Reason::IgPushRejected), 7);
        assert_eq!(event.details["reason"], "IG_PUSH_REJECTED");
    }
}
