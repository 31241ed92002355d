//! Why a READY had to wait: what was looked at, when, and what was missing, without a line a look.
//!
//! ```text
//! looks ──► Deferral: one stretch a cause {from, to, looks, reasons} ──► wsp/deferrals/<message_id>.json
//! ```
//!
//! Waiting can take a day at two looks a second, so what is written grows with the changes of cause alone, and it is
//! written when the cause changes, when the looks reach a power of two, and when the wait is over.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wsp::store::{Key, ObjectStore};

use super::{document, key, run_prefix, unavailable};
use crate::model::{Hex32, Hex64, Lane, Micros, PlatformRunId, Refusal};

/// Stretches kept, the first one and the newest ones; what lies between is counted.
const STRETCHES: usize = 64;
const LIMIT: u64 = 4 << 20;

/// A READY that waits, or waited.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deferral {
    /// The READY.
    pub message_id: Hex64,
    /// Its run.
    pub run_id: Hex32,
    /// First look that deferred it.
    pub first_ts_utc: String,
    /// Newest one.
    pub last_ts_utc: String,
    /// Looks that deferred it.
    pub looks: u64,
    /// Stretches that are not listed any more.
    pub stretches_left_out: u64,
    /// One a cause, by time.
    pub stretches: Vec<Stretch>,
    /// When it had to wait no longer.
    pub ended_ts_utc: Option<String>,
}

/// A time through which the same things were missing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stretch {
    /// First look.
    pub from_ts_utc: String,
    /// Last one.
    pub to_ts_utc: String,
    /// Looks.
    pub looks: u64,
    /// What was missing, each as `REASON:detail`.
    pub reasons: Vec<String>,
    /// What was looked at, as the first look saw it.
    pub looked_at: Value,
}

impl Deferral {
    /// A READY that has not had to wait yet.
    #[must_use]
    pub fn new(message_id: Hex64, run_id: Hex32, at: Micros) -> Self {
        let at = at.to_string();
        Self {
            message_id,
            run_id,
            first_ts_utc: at.clone(),
            last_ts_utc: at,
            looks: 0,
            stretches_left_out: 0,
            stretches: Vec::new(),
            ended_ts_utc: None,
        }
    }

    /// Notes a look at `at` that found `reasons` missing, and says whether this is worth writing down.
    pub fn note(&mut self, at: Micros, reasons: &[String], looked_at: &Value) -> bool {
        let at = at.to_string();
        self.looks += 1;
        self.last_ts_utc.clone_from(&at);
        let goes_on = self.ended_ts_utc.take().is_none();
        if let Some(last) = self.stretches.last_mut().filter(|last| goes_on && last.reasons == reasons) {
            last.looks += 1;
            last.to_ts_utc = at;
            return self.looks.is_power_of_two();
        }
        if self.stretches.len() == STRETCHES {
            self.stretches.remove(1);
            self.stretches_left_out += 1;
        }
        let (reasons, looked_at) = (reasons.to_vec(), looked_at.clone());
        self.stretches.push(Stretch { from_ts_utc: at.clone(), to_ts_utc: at, looks: 1, reasons, looked_at });
        true
    }

    /// The wait is over.
    pub fn end(&mut self, at: Micros) {
        self.ended_ts_utc = Some(at.to_string());
    }

    /// What is missing now, or was last.
    #[must_use]
    pub fn reasons(&self) -> &[String] {
        self.stretches.last().map_or(&[], |last| &last.reasons)
    }
}

/// The deferrals of a platform run, or of one lane of it.
#[derive(Debug, Clone)]
pub struct Deferrals {
    store: Arc<dyn ObjectStore>,
    folder: Key,
    lane: Lane,
}

impl Deferrals {
    /// Those of `platform_run_id` in `store`.
    ///
    /// # Errors
    ///
    /// As [`run_prefix`].
    pub fn new(store: Arc<dyn ObjectStore>, platform_run_id: &PlatformRunId, lane: Lane) -> Result<Self, Refusal> {
        let folder = key(&format!("{}/wsp/deferrals", run_prefix(store.root(), platform_run_id)?))?;
        Ok(Self { store, folder, lane })
    }

    /// What is known of `message_id`'s waiting. A file that can't be read as one is left out of account: it is replaced
    /// by the next write, and no run hangs on it.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`.
    pub async fn read(&self, message_id: &Hex64) -> Result<Option<Deferral>, Refusal> {
        let body = self.store.get(&self.key(message_id)?, LIMIT).await.map_err(unavailable)?;
        Ok(body.and_then(|body| serde_json::from_slice(&body).ok()))
    }

    /// Writes what is known of a READY's waiting.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`.
    pub async fn write(&self, deferral: &Deferral) -> Result<(), Refusal> {
        let key = self.key(&deferral.message_id)?;
        self.store.put(&key, document(deferral)?).await.map_err(unavailable)
    }

    fn key(&self, message_id: &Hex64) -> Result<Key, Refusal> {
        let lane = self.lane.label().map(|lane| format!(".{lane}")).unwrap_or_default();
        key(&format!("{}/{message_id}{lane}.json", self.folder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wsp::store::MemoryStore;

    fn at(second: i64) -> Micros {
        Micros(second * 1_000_000)
    }

    fn reasons(text: &str) -> Vec<String> {
        vec![text.to_owned()]
    }

    fn deferral() -> Deferral {
        Deferral::new(Hex64::sha256("m"), "5e".repeat(16).parse().unwrap(), at(0))
    }

    #[test]
    fn what_is_written_grows_with_the_causes_not_with_the_looks() {
        let mut deferral = deferral();
        let writes = (0..100_000).filter(|n| deferral.note(at(*n), &reasons("A:x"), &Value::Null)).count();
        assert_eq!((writes, deferral.looks, deferral.stretches.len()), (17, 100_000, 1));
        assert!(deferral.note(at(100_000), &reasons("B:y"), &Value::Null));
        let [first, second] = deferral.stretches.as_slice() else { panic!("{deferral:?}") };
        assert_eq!((first.to_ts_utc.as_str(), first.looks), ("1970-01-02T03:46:39.000000Z", 100_000));
        assert_eq!((second.from_ts_utc.as_str(), second.looks), ("1970-01-02T03:46:40.000000Z", 1));
        assert_eq!(deferral.reasons(), ["B:y"]);
    }

    #[test]
    fn causes_that_take_turns_for_a_day_stay_bounded() {
        let mut deferral = deferral();
        (0..1000)
            .for_each(|n| _ = deferral.note(at(n), &reasons(if n % 2 == 0 { "A:x" } else { "B:y" }), &Value::Null));
        assert_eq!(deferral.stretches.len(), STRETCHES);
        assert_eq!((deferral.stretches_left_out, deferral.looks), (1000 - STRETCHES as u64, 1000));
        assert_eq!(deferral.stretches[0].from_ts_utc, deferral.first_ts_utc);
        assert_eq!(deferral.stretches[STRETCHES - 1].from_ts_utc, deferral.last_ts_utc);
    }

    #[tokio::test]
    async fn a_wait_is_taken_up_again_after_a_restart() {
        let store = MemoryStore::new("s3://bucket");
        let run = "platform_20260101T000000Z".parse().unwrap();
        let deferrals = Deferrals::new(Arc::new(store.clone()), &run, Lane::WHOLE).unwrap();
        let mut deferral = deferral();
        assert_eq!(deferrals.read(&deferral.message_id).await.unwrap(), None);
        deferral.note(at(1), &reasons("A:x"), &serde_json::json!(["pack.yaml"]));
        deferral.end(at(2));
        deferrals.write(&deferral).await.unwrap();
        let mut again = deferrals.read(&deferral.message_id).await.unwrap().unwrap();
        assert_eq!(again, deferral);
        again.note(at(3), &reasons("A:x"), &Value::Null);
        assert_eq!((again.stretches.len(), again.ended_ts_utc), (2, None));
        let name = format!("platform_20260101T000000Z/wsp/deferrals/{}.json", deferral.message_id);
        store.put(&name.parse().unwrap(), "{".into()).await.unwrap();
        assert_eq!(deferrals.read(&deferral.message_id).await.unwrap(), None);
    }
}
