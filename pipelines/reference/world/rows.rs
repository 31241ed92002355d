//! The rows of a world, before they become columns.

use wsp_world::model::Micros;

use super::values::Zone;

/// One arrival at a merchant: a row of the arrival events, the entities and the flow anchors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Arrival {
    pub(super) ts: Micros,
    pub(super) merchant_id: u64,
    /// Its place among the merchant's arrivals, from 1.
    pub(super) seq: i64,
    /// Hours since the world's start.
    pub(super) bucket: i64,
    pub(super) zone: &'static str,
    pub(super) card_present: bool,
    pub(super) primary: Zone,
    pub(super) settlement: Option<Zone>,
    pub(super) operational: Option<Zone>,
    pub(super) site_id: Option<u64>,
    /// Set where the merchant is a virtual one.
    pub(super) edge_id: Option<u64>,
    pub(super) lambda: f64,
    pub(super) party_id: i64,
    pub(super) account_id: i64,
    pub(super) instrument_id: i64,
    pub(super) device_id: i64,
    pub(super) ip_id: i64,
    pub(super) session_id: i64,
    pub(super) flow_id: i64,
    pub(super) amount: f64,
    pub(super) fraud: bool,
    pub(super) campaign: Option<&'static str>,
    /// Events of its flow.
    pub(super) events: u8,
}

/// One event of a flow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct FlowEvent {
    pub(super) ts: Micros,
    pub(super) flow_id: i64,
    /// Its place in the flow, from 0.
    pub(super) seq: i64,
    pub(super) kind: &'static str,
    pub(super) amount: f64,
    pub(super) fraud: bool,
    pub(super) campaign: Option<&'static str>,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Row {
    Arrival(Arrival),
    Event(FlowEvent),
}
