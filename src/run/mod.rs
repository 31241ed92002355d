//! Whether a run may start: its facts, its identity, its roots.

pub mod roots;
