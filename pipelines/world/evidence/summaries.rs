//! Where the two objects of a platform run are kept, written and read back.
//!
//! ```text
//! <prefix>/wsp/wsp_start.json · wsp_summary.json
//! ```
//!
//! Both tell of the platform run's last start; records and facts keep the earlier ones. Each lane of a run that is
//! spread over several has its own two, `wsp_start.<lane>.json` and `wsp_summary.<lane>.json`. A run without READY has
//! its own, too: `wsp_start.direct.json`, `wsp_summary.direct.json`.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use wsp::store::{Key, ObjectStore};

use super::start::{START_SCHEMA, Start};
use super::summary::{SUMMARY_SCHEMA, Summary};
use super::{document, key, run_prefix, unavailable};
use crate::model::{Lane, PlatformRunId, Reason, Refusal};

/// What either may have at most, in bytes; a series of full length has some 60 kB.
const LIMIT: u64 = 8 << 20;

#[derive(Deserialize)]
struct Version {
    schema: String,
}

/// The two objects of a platform run, or of one lane of it.
#[derive(Debug, Clone)]
pub struct Summaries {
    store: Arc<dyn ObjectStore>,
    folder: Key,
    direct: bool,
    lane: Lane,
}

impl Summaries {
    /// Those of `platform_run_id` in `store`.
    ///
    /// # Errors
    ///
    /// As [`run_prefix`].
    pub fn new(store: Arc<dyn ObjectStore>, platform_run_id: &PlatformRunId) -> Result<Self, Refusal> {
        let folder = key(&format!("{}/wsp", run_prefix(store.root(), platform_run_id)?))?;
        Ok(Self { store, folder, direct: false, lane: Lane::WHOLE })
    }

    /// Those of one lane.
    #[must_use]
    pub fn of_lane(mut self, lane: Lane) -> Self {
        self.lane = lane;
        self
    }

    /// Those of runs that were started without READY: no record and no fact goes with them, so they take no READY's place.
    #[must_use]
    pub fn direct(mut self) -> Self {
        self.direct = true;
        self
    }

    /// Writes `wsp_start.json` and says its full name.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`.
    pub async fn put_start(&self, start: &Start) -> Result<String, Refusal> {
        self.put("wsp_start.json", document(start)?).await
    }

    /// Writes `wsp_summary.json` and says its full name.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`.
    pub async fn put_summary(&self, summary: &Summary) -> Result<String, Refusal> {
        self.put("wsp_summary.json", document(summary)?).await
    }

    /// Writes `wsp_report.html` and says its full name.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`.
    pub async fn put_report(&self, page: String) -> Result<String, Refusal> {
        self.put("wsp_report.html", page.into()).await
    }

    /// What the last start set out to do; `None` where nothing started.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`; `EVIDENCE_UNREADABLE` where the object is not what this program writes, or of another version.
    pub async fn start(&self) -> Result<Option<Start>, Refusal> {
        self.get("wsp_start.json", START_SCHEMA).await
    }

    /// How the last start ended; `None` where none did.
    ///
    /// # Errors
    ///
    /// As [`Summaries::start`].
    pub async fn summary(&self) -> Result<Option<Summary>, Refusal> {
        self.get("wsp_summary.json", SUMMARY_SCHEMA).await
    }

    /// Notes in `start` the start that the two objects tell of, which is the one before it. What can't be read is no reason
    /// to refuse the run; `wsp verify` says that it is missing.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`.
    pub async fn tell_earlier(&self, start: &mut Start) -> Result<(), Refusal> {
        let Some(before) = readable(self.start().await)? else { return Ok(()) };
        let summary = readable(self.summary().await)?;
        start.follows(before, summary.as_ref());
        Ok(())
    }

    async fn get<T: DeserializeOwned>(&self, name: &str, schema: &str) -> Result<Option<T>, Refusal> {
        let key = self.key(name)?;
        let Some(bytes) = self.store.get(&key, LIMIT).await.map_err(unavailable)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            // Another version lacks keys or has others: that it is one says more than which key.
            let detail = match serde_json::from_slice(&bytes) {
                Ok(Version { schema: found }) if found != schema => {
                    format!("it is {found}, this program reads {schema}")
                }
                _ => error.to_string(),
            };
            Refusal::new(Reason::EvidenceUnreadable, detail).file(self.store.full_name(&key))
        })
    }

    async fn put(&self, name: &str, body: Bytes) -> Result<String, Refusal> {
        let key = self.key(name)?;
        self.store.put(&key, body).await.map_err(unavailable)?;
        Ok(self.store.full_name(&key))
    }

    /// `wsp_start.json` of the whole run, `wsp_start.<lane>.json` of a lane; `.direct` comes before the lane.
    fn key(&self, name: &str) -> Result<Key, Refusal> {
        let direct = self.direct.then_some("direct".to_owned());
        let words: Vec<String> = direct.into_iter().chain(self.lane.label()).collect();
        let name = match name.split_once('.') {
            Some((stem, extension)) if !words.is_empty() => format!("{stem}.{}.{extension}", words.join(".")),
            _ => name.to_owned(),
        };
        key(&format!("{}/{name}", self.folder))
    }
}

/// Nothing in place of what can't be read.
fn readable<T>(read: Result<Option<T>, Refusal>) -> Result<Option<T>, Refusal> {
    read.or_else(|refusal| match refusal.reason {
        Reason::EvidenceUnreadable => {
            tracing::warn!(%refusal, "the evidence of the start before this one can't be read");
            Ok(None)
        }
        _ => Err(refusal),
    })
}
