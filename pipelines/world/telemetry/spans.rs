//! The spans of a run: what a trace shows, and the context of log lines.
//!
//! ```text
//! run ─┬─ identify · check · hold
//!      ├─ stream ─┬─ read, one an output ─ frame
//!      │          └─ output, one an output: from the start to its last answer
//!      └─ evidence
//! ```
//!
//! There is none per event: at full rate a span would cost more than the event itself.

use sha2::{Digest, Sha256};
use tracing::field::{Empty, display};
use tracing::{Span, info_span};

use crate::evidence::{Tally, Verdict};
use crate::model::{Hex64, Micros, OutputId};

/// The id of the trace of a run of `what` (a READY, or a world) that starts at `now`: no two starts have the same.
pub(crate) fn trace_id(what: &str, now: Micros) -> u128 {
    let text = format!("{what}|{}|{}", now.0, std::process::id());
    let digest = Sha256::digest(text);
    u128::from_be_bytes(std::array::from_fn(|i| digest[i]))
}

/// From a READY, where there is one, to its verdict.
pub(crate) fn run(message_id: Option<&Hex64>, trace_id: u128) -> Span {
    let trace_id = format_args!("{trace_id:032x}");
    let message_id = message_id.map(display);
    info_span!("run", %trace_id, message_id, platform_run_id = Empty, status = Empty, reason = Empty, emitted = Empty)
}

/// Records the run's verdict.
pub(crate) fn judged(run: &Span, verdict: &Verdict) {
    run.record("status", display(verdict.status));
    if let Some(reason) = verdict.reason {
        run.record("reason", reason.code());
    }
    run.record("emitted", verdict.emitted);
}

/// One an output, below the present span.
pub(crate) fn outputs<'a>(output_ids: impl Iterator<Item = &'a OutputId>) -> Vec<Span> {
    let span = |output_id| info_span!("output", %output_id, admitted = Empty, duplicates = Empty, quarantined = Empty, retries = Empty);
    output_ids.map(span).collect()
}

/// Records the outputs' counts, and ends their spans.
pub(crate) fn answered(outputs: &[Span], tally: &Tally) {
    for (span, output) in outputs.iter().zip(tally.outputs()) {
        let counts = output.counts();
        span.record("admitted", counts.admitted);
        span.record("duplicates", counts.duplicates);
        span.record("quarantined", counts.quarantined);
        span.record("retries", counts.retries);
    }
}
