//! What workers note of the lanes that they hold, and how a lane changes its worker.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::utc;
use crate::model::Micros;

/// What a worker notes about a lane that it holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaneNote {
    /// The worker: host, process and a random number.
    pub worker: String,
    /// Which of the holds on the lane's checkpoint it has, where the store counts them.
    pub epoch: Option<u64>,
    /// When it took the lane.
    #[serde(rename = "taken_at_utc", with = "utc")]
    pub taken: Micros,
    /// When it wrote this.
    #[serde(rename = "noted_at_utc", with = "utc")]
    pub noted: Micros,
    /// Events of the lane that are answered, over all its starts.
    pub answered: u64,
    /// Answered events a second since the note before.
    pub rate: f64,
    /// The event time that the lane has reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached_ts_utc: Option<String>,
    /// The times that the lane has changed its worker so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub takeovers: Vec<Takeover>,
}

impl LaneNote {
    /// The event time that the lane has reached.
    #[must_use]
    pub fn reached(&self) -> Option<Micros> {
        Micros::parse(self.reached_ts_utc.as_ref()?.as_bytes())
    }
}

/// A worker went on with a lane where another one had stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Takeover {
    /// The worker before.
    pub from_worker: String,
    /// Whether that one left the lane in order. Else it died, hung, or lost its lease.
    pub left: bool,
    /// The last save of the worker before, where the checkpoint store keeps its time; by the store's clock.
    #[serde(rename = "last_saved_at_utc", with = "utc::optional")]
    pub last_saved: Option<Micros>,
    /// The worker that went on.
    pub to_worker: String,
    /// When that one held the lane.
    #[serde(rename = "held_at_utc", with = "utc")]
    pub held: Micros,
    /// When it sent its first event: that of the first answer. None where it sent none.
    #[serde(rename = "first_event_at_utc", with = "utc::optional")]
    pub first_event: Option<Micros>,
}

impl Takeover {
    /// The time for which the lane made no progress: from the last save of one worker to the first event of the next. The worker
    /// before may have sent events after its last save, so this is an upper bound.
    #[must_use]
    pub fn recovery(&self) -> Option<Duration> {
        let micros = self.first_event?.0.saturating_sub(self.last_saved?.0);
        Some(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn note(worker: &str, noted: Micros) -> LaneNote {
        LaneNote {
            worker: worker.to_owned(),
            epoch: Some(1),
            taken: Micros(1),
            noted,
            answered: 0,
            rate: 0.0,
            reached_ts_utc: None,
            takeovers: Vec::new(),
        }
    }

    pub(crate) fn takeover(seconds: [i64; 3]) -> Takeover {
        let [saved, held, first] = seconds.map(|second| Micros(second * 1_000_000));
        Takeover {
            from_worker: "a".to_owned(),
            left: false,
            last_saved: Some(saved),
            to_worker: "b".to_owned(),
            held,
            first_event: Some(first),
        }
    }

    #[test]
    fn the_time_of_recovery_is_from_the_last_save_to_the_first_event() {
        assert_eq!(takeover([10, 25, 27]).recovery(), Some(Duration::from_secs(17)));
        // The clocks of database and worker may differ by more than that.
        assert_eq!(takeover([10, 8, 9]).recovery(), Some(Duration::ZERO));
        assert_eq!(Takeover { first_event: None, ..takeover([1, 2, 3]) }.recovery(), None);
        assert_eq!(Takeover { last_saved: None, ..takeover([1, 2, 3]) }.recovery(), None);
    }

    #[test]
    fn a_note_reads_back() {
        let note = LaneNote { takeovers: vec![takeover([1, 2, 3])], rate: 1.5, ..note("a", Micros(7)) };
        let text = serde_json::to_string(&note).unwrap();
        assert_eq!(serde_json::from_str::<LaneNote>(&text).unwrap(), note);
        assert!(text.contains(r#""last_saved_at_utc":"1970-01-01T00:00:01.000000Z""#), "{text}");
    }
}
