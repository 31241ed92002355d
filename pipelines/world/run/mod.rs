//! What permits a run to start: its facts, and that READY and facts describe one run (contract, section 2).
//!
//! ```text
//! Ready ──facts_view_ref──► facts ──lock──► RunIdentity ──► oracle checks
//! RunDocuments ──► facts, READY: what the Scenario Runner writes, for worlds that have none
//! ```

pub mod documents;
pub mod facts;
pub mod identity;
pub mod packs;
pub mod roots;
