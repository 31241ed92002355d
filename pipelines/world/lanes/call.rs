//! Calls other workers to a run, where the control topic gives READY to one of them alone.
//!
//! ```text
//! worker with READY ──tasks made──► Caller ──READY, once a lane──► lanes topic ══group══► other workers: the same run
//! ```
//!
//! The store holds the tasks, so a call that is lost, late or made twice changes nothing but who helps. A call is READY in
//! its own form: who takes one takes part in the run, and settles it when the run has its verdict.

use std::collections::BTreeSet;
use std::fmt;

use futures::future::BoxFuture;
use serde_json::json;

use super::tasks::TaskSet;
use crate::evidence::document;
use crate::model::Refusal;
use crate::ready::Outgoing;

/// Calls at most: a topic has fewer partitions than that, and so no more workers that could hear one.
const CALLS: usize = 64;

/// A way to the other workers.
pub trait Caller: fmt::Debug + Send + Sync {
    /// The lanes topic.
    fn topic(&self) -> &str;

    /// Puts the calls there.
    ///
    /// # Errors
    ///
    /// `CONTROL_TOPIC_UNREACHABLE`.
    fn call(&self, calls: Vec<Outgoing>) -> BoxFuture<'_, Result<(), Refusal>>;
}

/// One call a lane that has not ended, keyed by message and lane.
///
/// # Errors
///
/// None in practice: READY has a JSON form.
pub fn calls(tasks: &TaskSet, ended: &BTreeSet<u32>, topic: &str) -> Result<Vec<Outgoing>, Refusal> {
    let message_id = tasks.message_id();
    let open = tasks.lanes.lanes().filter(|lane| !ended.contains(&lane.index()));
    open.take(CALLS)
        .map(|lane| {
            let partition_key = format!("{message_id}:{lane}");
            let mut message = json!({
                "attributes": {"kind": "READY", "lane": lane.to_string(), "round": tasks.round},
                "message_id": message_id,
                "partition_key": partition_key,
                "payload": tasks.ready.payload,
                "topic": topic,
            });
            if let Some(published) = tasks.ready.published_at {
                message["published_at_utc"] = published.to_string().into();
            }
            Ok(Outgoing { message_id: message_id.clone(), partition_key, body: document(&message)? })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::book::tests::tasks;
    use super::*;
    use crate::ready::{Parsed, message};

    #[test]
    fn a_call_is_the_ready_and_has_a_key_of_its_own() {
        let (tasks, topic) = (tasks(2), "fp.bus.wsp.lanes.v1");
        let calls = calls(&tasks, &BTreeSet::from([1]), topic).unwrap();
        let keys: Vec<_> = calls.iter().map(|call| call.partition_key.clone()).collect();
        let id = tasks.message_id();
        assert_eq!(keys, [0, 2].map(|index| format!("{id}:lane-{index}-of-3-by-order_key")));
        for call in &calls {
            let Ok(Parsed::Ready(ready)) = message::parse(&call.body, topic) else { panic!("no READY") };
            assert_eq!((*ready, &call.message_id), (tasks.ready.clone(), id));
            // On the control topic it is none.
            assert!(matches!(message::parse(&call.body, "fp.bus.control.v1"), Ok(Parsed::Other { .. })));
        }
    }
}
