//! The flags about delivery: order, retries, and what answers mean.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use wsp::deliver::{Adaptive, DeliveryMode, RetryPolicy};
use wsp_replay::{Condition, Rules, Statuses, in_flight};

use super::values::duration;

// How events are delivered.
#[derive(Debug, Args)]
#[command(next_help_heading = "Delivery")]
pub(crate) struct DeliveryArgs {
    /// strict: one request in flight, all in order. keyed: in order per key. free: in any order, none displaced by more than
    /// the requests in flight. Default: keyed with --key, else strict.
    #[arg(long, value_name = "ORDER")]
    order: Option<OrderArg>,
    /// Requests in flight at once.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    in_flight: u16,
    /// Find out how many requests in flight the receiver can take, up to --in-flight.
    #[arg(long)]
    adaptive: bool,
    /// How often an event is tried. The first delays double from 0.1 s to 5 s, so 50 attempts take some six minutes.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    attempts: u32,
    /// How long an attempt may take.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(super) attempt_timeout: Duration,
    /// How long the receiver may take nothing before the replay ends.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub(super) outage: Duration,
    /// Statuses that are tried again, besides 408, 425, 429 and 5xx.
    #[arg(long, value_name = "STATUSES")]
    retry_on: Option<Statuses>,
    /// Statuses of events that are left out, such as 404,409-410.
    #[arg(long, value_name = "STATUSES")]
    drop_on: Option<Statuses>,
    /// Statuses that mean delivered, besides 2xx.
    #[arg(long, value_name = "STATUSES")]
    accept_on: Option<Statuses>,
    /// Leave an event out where this holds of the JSON answer, such as 'error.code = gone'. May be given several times.
    #[arg(long, value_name = "PATH=VALUE")]
    drop_if: Vec<Condition>,
    /// Try it again where this holds.
    #[arg(long, value_name = "PATH=VALUE")]
    retry_if: Vec<Condition>,
    /// It is delivered where this holds, whatever the status, and by 2xx alone no more.
    #[arg(long, value_name = "PATH=VALUE")]
    delivered_if: Vec<Condition>,
    /// Write refused events to this file and go on; `wsp replay FILE` sends them again. Default: the first one ends the
    /// replay.
    #[arg(long, value_name = "FILE")]
    pub(super) dead_letter: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OrderArg {
    Strict,
    Keyed,
    Free,
}

impl DeliveryArgs {
    pub(super) fn rules(&self) -> Rules {
        Rules {
            drop: self.drop_on.clone().unwrap_or_default(),
            retry: self.retry_on.clone().unwrap_or_default(),
            accept: self.accept_on.clone().unwrap_or_default(),
            drop_if: self.drop_if.clone(),
            retry_if: self.retry_if.clone(),
            delivered_if: self.delivered_if.clone(),
            dead_letters: self.dead_letter.is_some(),
        }
    }

    /// A flag that was given and means nothing to a sink that is no intake of HTTP.
    pub(super) fn http_only(&self) -> Option<&'static str> {
        [
            (self.retry_on.is_some(), "--retry-on"),
            (self.drop_on.is_some(), "--drop-on"),
            (self.accept_on.is_some(), "--accept-on"),
            (!self.retry_if.is_empty(), "--retry-if"),
            (!self.drop_if.is_empty(), "--drop-if"),
            (!self.delivered_if.is_empty(), "--delivered-if"),
        ]
        .into_iter()
        .find_map(|(given, flag)| given.then_some(flag))
    }

    pub(super) fn adaptive(&self) -> Option<Adaptive> {
        self.adaptive.then_some(Adaptive { min: 4, slow: Duration::from_secs(2) })
    }

    pub(super) fn retry(&self) -> RetryPolicy {
        RetryPolicy { max_attempts: self.attempts, base_delay: Duration::from_millis(100), ..RetryPolicy::default() }
    }

    pub(super) fn mode(&self, has_key: bool) -> DeliveryMode {
        let many = in_flight(usize::from(self.in_flight));
        match self.order.unwrap_or(if has_key { OrderArg::Keyed } else { OrderArg::Strict }) {
            OrderArg::Strict => DeliveryMode::Strict,
            OrderArg::Keyed => DeliveryMode::Keyed(many),
            OrderArg::Free => DeliveryMode::Free(many),
        }
    }
}
