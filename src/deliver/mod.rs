//! Delivery of events to a gate: in order per key, retried in place, answered one by one.

pub mod gate;
