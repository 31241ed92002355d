//! What IG knows of each output: its event class, its topic, and the column whose value orders it.

/// IG's class of an event type (contract, section 6; names and topics as in the golden receipts).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventClass {
    /// `arrival_events_5B`.
    ContextArrival,
    /// `s1_arrival_entities_6B`.
    ContextArrivalEntities,
    /// `s3_flow_anchor_with_fraud_6B`.
    ContextFlowFraud,
    /// `s2_flow_anchor_baseline_6B`.
    ContextFlowBaseline,
    /// `s3_event_stream_with_fraud_6B`.
    TrafficFraud,
    /// `s2_event_stream_baseline_6B`.
    TrafficBaseline,
    /// Any other event type; IG files it under plain traffic.
    Traffic,
}

impl EventClass {
    /// All classes, in the order of [`EventClass::index`].
    pub const ALL: [EventClass; 7] = [
        EventClass::ContextArrival,
        EventClass::ContextArrivalEntities,
        EventClass::ContextFlowFraud,
        EventClass::ContextFlowBaseline,
        EventClass::TrafficFraud,
        EventClass::TrafficBaseline,
        EventClass::Traffic,
    ];

    /// The class of an event type.
    #[must_use]
    pub fn of(event_type: &str) -> Self {
        Self::ALL.into_iter().find(|class| class.event_type() == event_type).unwrap_or(Self::Traffic)
    }

    /// Its place in [`EventClass::ALL`].
    #[must_use]
    pub fn index(self) -> u8 {
        self as u8
    }

    /// The output it stands for; empty for [`EventClass::Traffic`], which stands for all others.
    #[must_use]
    pub fn event_type(self) -> &'static str {
        self.row().0
    }

    /// The class as receipts name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The topic its events are published to.
    #[must_use]
    pub fn topic(self) -> &'static str {
        self.row().2
    }

    /// The payload column whose value orders its events (contract, section 3).
    #[must_use]
    pub fn order_column(self) -> &'static str {
        match self {
            Self::ContextArrival | Self::ContextArrivalEntities => "merchant_id",
            _ => "flow_id",
        }
    }

    fn row(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::ContextArrival => ("arrival_events_5B", "context_arrival", "fp.bus.context.arrival_events.v1"),
            Self::ContextArrivalEntities => {
                ("s1_arrival_entities_6B", "context_arrival_entities", "fp.bus.context.arrival_entities.v1")
            }
            Self::ContextFlowFraud => {
                ("s3_flow_anchor_with_fraud_6B", "context_flow_fraud", "fp.bus.context.flow_anchor.fraud.v1")
            }
            Self::ContextFlowBaseline => {
                ("s2_flow_anchor_baseline_6B", "context_flow_baseline", "fp.bus.context.flow_anchor.baseline.v1")
            }
            Self::TrafficFraud => ("s3_event_stream_with_fraud_6B", "traffic_fraud", "fp.bus.traffic.fraud.v1"),
            Self::TrafficBaseline => ("s2_event_stream_baseline_6B", "traffic_baseline", "fp.bus.traffic.baseline.v1"),
            Self::Traffic => ("", "traffic", "fp.bus.traffic.v1"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_leads_back_to_its_class() {
        for class in EventClass::ALL {
            assert_eq!(EventClass::ALL[usize::from(class.index())], class);
        }
        assert_eq!(EventClass::of("anything"), EventClass::Traffic);
    }
}
