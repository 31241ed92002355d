//! A READY taken by the service with its store aside and its gate shut.

use std::sync::Arc;

use serde_json::{Value, json};
use wsp::clock::Clock;
use wsp::stop::Stop;
use wsp::store::{Key, MemoryStore};
use wsp_world::model::{Hex64, Reason, Refusal};
use wsp_world::prepare;
use wsp_world::producer::{Caps, Settings};
use wsp_world::profile::{ConfigError, Profile, RequiredPacks};
use wsp_world::ready::{Incoming, Ready, Source};
use wsp_world::service::{Service, Taken};

use super::aside::Aside;
use super::gates::ShutGate;
use super::kept;
use super::matrix::Matrix;
use super::report::{Seen, verdict_words};
use super::rows::spec;

/// A READY for a service that can send nothing and leave nothing.
pub(super) struct Trial<'a, C> {
    matrix: &'a Matrix<C>,
    id: &'static str,
    pub(super) ready: Ready,
    pub(super) profile: Profile,
    pub(super) aside: Aside,
}

impl<'a, C: Clock + std::fmt::Debug> Trial<'a, C> {
    /// READY as it is; no pack is waited for.
    pub(super) fn new(matrix: &'a Matrix<C>, id: &'static str, ready: Ready) -> Result<Self, Refusal> {
        let mut profile = matrix.profile.clone();
        profile.required_packs = RequiredPacks { files: Some(Vec::new()), same_run: false };
        // If it got that far, it would find no position of a run.
        "wsp-matrix-shut".clone_into(&mut profile.checkpoint.attempt_id);
        Ok(Self { matrix, id, ready, aside: Aside::new(prepare::open_own(&profile)?), profile })
    }

    /// Gives READY an id of this row's own.
    pub(super) fn rename(&mut self) {
        let real = &self.ready.payload.message_id;
        self.ready.payload.message_id = Hex64::sha256(format!("wsp matrix|{}|{real}", self.id));
    }

    /// Hides what the store holds below `prefix`.
    pub(super) fn hiding(mut self, prefix: &Key) -> Self {
        self.aside = self.aside.hiding(prefix);
        self
    }

    /// Takes READY to its verdict; returns it with the attempts to send and what was written.
    pub(super) async fn judge(self) -> Result<(Taken, u64, MemoryStore), Refusal> {
        let Self { matrix: m, id, ready, profile, aside } = self;
        let (gate, written) = (ShutGate::default(), aside.written());
        let settings = Settings::new(&profile, Caps { max_events: Some(1), ..Caps::default() });
        let service = Service::new(profile, settings, gate.clone(), m.clock.clone(), Stop::new());
        let service = service.map_err(|error| broken(&error))?.keeping(Arc::new(aside)).in_folder(&m.scratch);
        let source = Source {
            topic: "wsp matrix".to_owned(),
            partition: None,
            offset: None,
            name: format!("wsp matrix, row {id}"),
        };
        let taken = Box::pin(service.take(&Incoming::by_hand(ready, source))).await?;
        Ok((taken, gate.attempts(), written))
    }

    /// The row: verdict and attempts compared with what is expected, all of it stored as evidence.
    pub(super) async fn seen(self, m: &Matrix<C>) -> Result<Seen, Refusal> {
        let (spec, message_id) = (spec(self.id), self.ready.payload.message_id.clone());
        let (taken, attempts, written) = self.judge().await?;
        let (verdict, contents) = (&taken.verdict, written.contents());
        let mut seen = format!("{}, {attempts} attempts", verdict_words(verdict));
        let record = format!("ready_runs/{message_id}.jsonl");
        if contents.keys().any(|key| key.ends_with(&record)) != verdict.status.is_recorded() {
            seen.push_str(", and a record that does not go with it");
        }
        if contents.keys().any(|key| key.ends_with(&format!("deferrals/{message_id}.json"))) {
            seen.push_str(", the wait told");
        }
        let words = taken.refusal.as_ref().map(ToString::to_string);
        let shown = json!({
            "row": spec.id,
            "done": spec.done,
            "message_id": message_id,
            "verdict": verdict.line().trim(),
            "refusal": words,
            "attempts": attempts,
            "written": contents.iter().map(|(key, body)| (key.clone(), String::from_utf8_lossy(body).into())).collect::<serde_json::Map<String, Value>>(),
        });
        let why = words.unwrap_or_else(|| "it was not refused".to_owned());
        let judged = Seen::of(seen == spec.expected, seen, why);
        Ok(judged.shown_by(kept::show(m, spec.id, &shown).await?))
    }
}

/// The refusal for a profile that the service rejects after a row's change.
pub(super) fn broken(error: &ConfigError) -> Refusal {
    Refusal::new(Reason::InternalError, error.to_string())
}
