//! `wsp replay --listen`: metrics, status and liveness of a replay while it runs.
//!
//! ```text
//! GET /metrics ──► families ──► text        GET /status ──► JSON        GET /livez, /healthz ──► 200
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use wsp::clock::{Clock, SystemClock};
use wsp::deliver::PushStats;
use wsp::telemetry::prometheus;
use wsp_observe::StatusCode;
use wsp_observe::listener::{Answer, Answers, Listener};
use wsp_replay::{Live, Totals, metrics};

use super::{Failure, note};

/// What the listener answers from.
pub(crate) struct Desk {
    pub(crate) live: Live,
    pub(crate) stats: PushStats,
    /// Events that earlier starts had answered.
    pub(crate) before: u64,
    /// Where the state is, without secrets; a replay of standard input has none.
    pub(crate) state: Option<String>,
    pub(crate) clock: SystemClock,
    /// When the replay was started.
    pub(crate) began: Duration,
}

impl Desk {
    /// Listens on an address, and says on which where any port will do.
    pub(crate) async fn listen(self, address: SocketAddr) -> Result<Listener, Failure> {
        let clock = self.clock;
        let listener = Listener::serving(address, self, clock).await;
        let listener = listener.map_err(|error| Failure::usage(format!("--listen: {address}: {error}")))?;
        note(format_args!("metrics at http://{}/metrics, status at /status", listener.address()));
        Ok(listener)
    }

    fn status(&self) -> Value {
        let Totals { answered, accepted, dropped, dead_letters, first, last, lag } = self.live.totals();
        let (counts, on_the_way) = (self.stats.counts(), self.stats.on_the_way());
        let time = |time: Option<wsp::time::Micros>| time.map(|time| time.to_string());
        let now = self.clock.now();
        let seconds = now.saturating_sub(self.began).as_secs_f64();
        let outage = self.stats.gate_down_since().map(|since| now.saturating_sub(since).as_secs_f64());
        json!({
            "state": self.state,
            "answered_before": self.before,
            "answered": answered,
            "accepted": accepted,
            "dropped": dropped,
            "dead_letters": dead_letters,
            "retried": counts.retries,
            "unanswered": on_the_way.unanswered,
            "open_requests": on_the_way.requests,
            "first_time": time(first),
            "last_time": time(last),
            "lag_seconds": lag.as_secs_f64(),
            "outage_seconds": outage,
            "elapsed_seconds": seconds,
            "events_per_second": answered as f64 / seconds.max(1e-3),
        })
    }
}

impl Answers for Desk {
    async fn get(&self, path: &str) -> Answer {
        match path {
            "/metrics" => {
                let families = metrics::families(&self.live, &self.stats, self.before, &self.clock);
                Answer::new(StatusCode::OK, prometheus::CONTENT_TYPE, prometheus::text(&families))
            }
            "/status" => Answer::new(StatusCode::OK, "application/json", format!("{:#}\n", self.status())),
            "/livez" | "/healthz" => Answer::text(StatusCode::OK, "alive\n"),
            _ => Answer::text(StatusCode::NOT_FOUND, "there is /metrics, /status and /livez\n"),
        }
    }
}
