//! READYs that have to wait: what they wait for, and the evidence of it.
//!
//! ```text
//! required packs ──look──┐
//! checkpoint held, away ─┴─► Waiting ──► wsp/deferrals/<message_id>.json, RUN_STARTED's details
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use wsp::store::ObjectStore;

use crate::evidence::{Deferral, Deferrals};
use crate::model::{Hex64, Lane, Micros, PlatformRunId, Refusal};
use crate::profile::RequiredPacks;
use crate::ready::Ready;
use crate::run::packs::{LiveProcesses, Look, look};

/// READYs whose waiting is remembered; the control bus holds back fewer than that.
const REMEMBERED: usize = 1024;

/// What a look at all required packs came to.
#[derive(Debug)]
pub struct PacksLook {
    looks: Vec<Look>,
    required: bool,
}

impl PacksLook {
    /// Looks at the packs that `required` names, for READY's run; their states lie below `folder`.
    #[must_use]
    pub fn take(required: &RequiredPacks, folder: &Path, run: Option<&PlatformRunId>) -> Self {
        let run = run.filter(|_| required.same_run);
        let files = required.files.as_deref().unwrap_or_default();
        let looks = files.iter().map(|file| look(file, folder, run, &LiveProcesses)).collect();
        Self { looks, required: required.files.is_some() }
    }

    /// What is up, in words, or the first thing that is not.
    ///
    /// # Errors
    ///
    /// The first problem's `PACK_…` reason; its detail names all of them.
    pub fn verdict(&self) -> Result<String, Refusal> {
        let Some(first) = self.looks.iter().find_map(Look::refusal) else {
            let names: Vec<_> = self.looks.iter().filter_map(|look| look.pack_id.as_deref()).collect();
            return Ok(match (names.is_empty(), self.required) {
                (false, _) => format!("up: {}", names.join(", ")),
                (true, true) => "none is required: WSP_READY_REQUIRED_PACKS is empty".to_owned(),
                (true, false) => "none is required: WSP_READY_REQUIRED_PACKS is not set".to_owned(),
            });
        };
        let mut refusal = first.clone();
        refusal.detail = self.problems().join("; ");
        Err(refusal)
    }

    /// All that is missing, each as `REASON:detail` (contract, section 9).
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        self.looks.iter().flat_map(Look::reasons).collect()
    }

    fn problems(&self) -> Vec<String> {
        self.looks.iter().flat_map(|look| look.problems.iter().cloned()).collect()
    }
}

/// The READYs of a service that wait.
#[derive(Debug)]
pub struct Waiting {
    store: Arc<dyn ObjectStore>,
    lane: Lane,
    known: Mutex<BTreeMap<Hex64, Deferral>>,
}

impl Waiting {
    /// Nobody waits.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, lane: Lane) -> Self {
        Self { store, lane, known: Mutex::default() }
    }

    /// Whether this process has deferred the message before.
    #[must_use]
    pub fn knows(&self, message_id: &Hex64) -> bool {
        self.known().contains_key(message_id)
    }

    /// Notes that `ready` has to wait for what `packs` lacks.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`.
    pub async fn for_packs(
        &self,
        ready: &Ready,
        home: &PlatformRunId,
        packs: &PacksLook,
        at: Micros,
    ) -> Result<(), Refusal> {
        let looked_at = json!({"required_packs": packs.looks});
        self.note(ready, home, &packs.reasons(), &looked_at, at).await
    }

    /// Notes that `ready` has to wait because of `refusal`.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`.
    pub async fn because(
        &self,
        ready: &Ready,
        home: &PlatformRunId,
        refusal: &Refusal,
        at: Micros,
    ) -> Result<(), Refusal> {
        // What was found differs from look to look (when a lease ends, how an outage shows) and the cause does not.
        let reason = format!("{}:checkpoint", refusal.reason);
        let looked_at = json!({"checkpoint": refusal.place.file, "found": refusal.detail});
        self.note(ready, home, &[reason], &looked_at, at).await
    }

    /// The message has to wait no longer. Says what `RUN_STARTED` tells of the wait, where there was one.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`.
    pub async fn over(&self, message_id: &Hex64, home: &PlatformRunId, at: Micros) -> Result<Option<Value>, Refusal> {
        let deferrals = self.deferrals(home)?;
        let known = self.known().get(message_id).cloned();
        let deferral = match known {
            Some(deferral) => Some(deferral),
            None => deferrals.read(message_id).await?,
        };
        let Some(mut deferral) = deferral else { return Ok(None) };
        if deferral.ended_ts_utc.is_none() {
            deferral.end(at);
            deferrals.write(&deferral).await?;
        }
        self.known().remove(message_id);
        Ok(Some(json!({
            "first_ts_utc": deferral.first_ts_utc,
            "last_ts_utc": deferral.last_ts_utc,
            "looks": deferral.looks,
            "reasons": deferral.reasons(),
        })))
    }

    async fn note(
        &self,
        ready: &Ready,
        home: &PlatformRunId,
        reasons: &[String],
        looked_at: &Value,
        at: Micros,
    ) -> Result<(), Refusal> {
        let message_id = &ready.payload.message_id;
        let deferrals = self.deferrals(home)?;
        let known = self.known().get(message_id).cloned();
        let before = match known {
            Some(deferral) => Some(deferral),
            None => deferrals.read(message_id).await?,
        };
        let mut deferral =
            before.unwrap_or_else(|| Deferral::new(message_id.clone(), ready.payload.run_id.clone(), at));
        if deferral.note(at, reasons, looked_at) {
            deferrals.write(&deferral).await?;
        }
        let mut known = self.known();
        if known.len() == REMEMBERED {
            known.pop_first();
        }
        known.insert(message_id.clone(), deferral);
        Ok(())
    }

    fn deferrals(&self, home: &PlatformRunId) -> Result<Deferrals, Refusal> {
        Deferrals::new(self.store.clone(), home, self.lane)
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Hex64, Deferral>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
