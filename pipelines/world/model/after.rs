//! What becomes of a READY once its run has ended for a reason, and what an operator does on each control bus then.
//!
//! ```text
//! Reason ──after──► After ──on(Bus)──► a sentence for the log and for docs/reasons.md
//! ```

use super::Reason;

/// The control bus that a READY comes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bus {
    /// Files in a folder.
    File,
    /// A Kafka topic.
    Kafka,
    /// A Kinesis stream.
    Kinesis,
}

impl Bus {
    /// All of them, in the order of the page.
    pub const ALL: [Self; 3] = [Self::File, Self::Kafka, Self::Kinesis];

    /// Its name in a heading.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "File bus",
            Self::Kafka => "Kafka",
            Self::Kinesis => "Kinesis",
        }
    }
}

/// What becomes of a READY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum After {
    /// It has no verdict and is looked at again until the cause is over.
    Waits,
    /// It has its verdict, FAILED, and the cause may pass by itself.
    MayPass,
    /// It has its verdict.
    Settled,
    /// It has its verdict, and is at fault itself, or the facts that it points to are: another READY has to come.
    Superseded,
    /// It has no verdict on the bus: the next start takes it up again.
    Kept,
    /// The control topic itself is at fault.
    Topic,
    /// No READY is concerned (the program did not start, or evidence was checked), or nothing is left to do with it.
    None,
}

impl After {
    /// Those that the page explains, in its order.
    pub const EXPLAINED: [Self; 6] =
        [Self::Waits, Self::MayPass, Self::Settled, Self::Superseded, Self::Kept, Self::Topic];

    /// Its name on the page.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Waits => "waits",
            Self::MayPass => "may pass",
            Self::Settled => "settled",
            Self::Superseded => "superseded",
            Self::Kept => "kept",
            Self::Topic => "topic",
            Self::None => "–",
        }
    }

    /// What happens on `bus` and what to do there; empty where there is nothing to do.
    #[must_use]
    pub fn on(self, bus: Bus) -> &'static str {
        match (self, bus) {
            (Self::Waits, Bus::File) => {
                "WSP looks at the READY again by itself, every half second (`--poll-seconds`), without a limit."
            }
            (Self::Waits, Bus::Kafka) => {
                "WSP looks at the READY again by itself, every 10 s (`--poll-seconds`), without a limit. Its offset is not committed; \
                 READYs behind it go first."
            }
            (Self::Waits, Bus::Kinesis) => {
                "WSP looks at the READY again by itself, every 10 s (`--poll-seconds`), without a limit. Its shard's position is not \
                 moved past it; READYs behind it go first."
            }
            (Self::MayPass, Bus::File) => {
                "A service looks at the READY again by itself, ten times in six minutes. After that, and with `--once`, restart WSP, \
                 or `touch` the READY's file."
            }
            (Self::Settled, Bus::File) => "Restart WSP, or `touch` the READY's file: it is looked at again.",
            (Self::MayPass | Self::Settled, Bus::Kafka) => {
                "The READY's offset is committed, so a restart does not bring it back. Emit the same message again (SR, or the same \
                 `wsp ready` command)."
            }
            (Self::MayPass | Self::Settled, Bus::Kinesis) => {
                "The shard's position is past the READY, so a restart does not bring it back. Put the same record again (SR, or the \
                 same `wsp ready` command)."
            }
            (Self::Superseded, Bus::File) => {
                "Have the corrected READY written, over the same file or as a file of its own; WSP takes it up by itself. Remove \
                 a wrong file that stays: each restart looks at it again and refuses it again."
            }
            (Self::Superseded, Bus::Kafka) => {
                "The wrong READY's offset is committed, so it does not come back. Have the corrected READY emitted to the same \
                 topic; WSP takes it up by itself."
            }
            (Self::Superseded, Bus::Kinesis) => {
                "The shard's position is past the wrong READY, so it does not come back. Have the corrected READY put on the same \
                 stream; WSP takes it up by itself."
            }
            (Self::Kept, Bus::File) => "The READY's file is still there: the next start takes it up.",
            (Self::Kept, Bus::Kafka) => {
                "The READY's offset is not committed: the next start gets it, after a crash once the consumer group's session is over \
                 (`WSP_READY_SESSION_TIMEOUT_SECONDS`)."
            }
            (Self::Kept, Bus::Kinesis) => "The shard's position is not moved past the READY: the next start gets it.",
            (Self::Topic, Bus::File) => {
                "This reason does not occur. A folder that can't be listed is STORE_UNAVAILABLE: check that WSP may read it; a folder \
                 that is not there yet is an empty topic."
            }
            (Self::Topic, Bus::Kafka) => {
                "Compare `KAFKA_BOOTSTRAP_SERVERS`, `KAFKA_SECURITY_PROTOCOL`, `KAFKA_SASL_…` and `KAFKA_CA_LOCATION` with the broker. \
                 The login has to allow Read and Describe on the topic and Read on the group, and Write on the topic for `wsp ready`. \
                 Then restart; no offset was committed."
            }
            (Self::Topic, Bus::Kinesis) => {
                "Check `wiring.control_bus` (`stream`, `region`, `endpoint_url`) and the AWS credentials: they have to allow \
                 ListShards, GetShardIterator and GetRecords, the stream's key if it has one, and PutRecord for `wsp ready`. Then \
                 restart; no position was moved."
            }
            (Self::None, _) => "",
        }
    }
}

impl Reason {
    /// What becomes of a READY whose run ended for this reason.
    #[must_use]
    pub fn after(self) -> After {
        match self {
            Reason::ControlTopicUnreachable => After::Topic,
            Reason::RunStopped => After::Kept,
            Reason::PlatformRunIdMissing
            | Reason::PlatformRunIdMismatch
            | Reason::ScenarioRunIdMissing
            | Reason::ScenarioRunIdMismatch
            | Reason::ScenarioIdMissing
            | Reason::RunFactsInvalid
            | Reason::RunFactsMismatch
            | Reason::ReadyTooOld => After::Superseded,
            Reason::ControlBusStreamMissing
            | Reason::ProducerIdMissing
            | Reason::ProducerAllowlistMissing
            | Reason::CheckpointDsnMissing
            | Reason::CheckpointDsnInvalid
            | Reason::RunAlreadyStreamed
            | Reason::EvidenceMissing
            | Reason::EvidenceUnreadable
            | Reason::EvidenceMismatch => After::None,
            reason if reason.defers() => After::Waits,
            reason if reason.may_pass() => After::MayPass,
            _ => After::Settled,
        }
    }

    /// What an operator does next, where READYs come over `bus`.
    #[must_use]
    pub fn next_on(self, bus: Bus) -> String {
        let (next, after) = (self.next(), self.after().on(bus));
        if after.is_empty() { next.to_owned() } else { format!("{next} {after}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_explained_outcome_has_an_advice_for_each_bus_and_occurs() {
        for after in After::EXPLAINED {
            for bus in Bus::ALL {
                assert!(after.on(bus).ends_with('.'), "{after:?} on {bus:?}");
            }
            assert!(Reason::ALL.iter().any(|reason| reason.after() == after), "{after:?}");
        }
        assert!(Bus::ALL.iter().all(|bus| After::None.on(*bus).is_empty()));
    }

    /// What concerns READY or the control topic is done in another way on each bus, in that bus's own words.
    #[test]
    fn each_bus_has_an_advice_of_its_own_in_its_own_words() {
        let words = |bus| match bus {
            Bus::File => ["file", "folder", "half second"].as_slice(),
            Bus::Kafka => &["offset", "KAFKA_BOOTSTRAP_SERVERS"],
            Bus::Kinesis => &["shard", "stream"],
        };
        let concerned: Vec<_> = Reason::ALL.iter().filter(|reason| reason.after() != After::None).collect();
        assert!(concerned.len() > 50, "{}", concerned.len());
        for reason in concerned {
            let advices = Bus::ALL.map(|bus| reason.next_on(bus));
            for (bus, advice) in Bus::ALL.into_iter().zip(&advices) {
                assert!(advice.starts_with(reason.next()), "{reason} on {bus:?}: {advice}");
                let own = &advice[reason.next().len()..];
                assert!(words(bus).iter().any(|word| own.contains(word)), "{reason} on {bus:?}: {own}");
                let others = Bus::ALL.into_iter().filter(|other| *other != bus);
                assert!(others.into_iter().all(|other| reason.next_on(other) != *advice), "{reason} on {bus:?}");
            }
        }
    }

    /// The reasons that the control topic itself gives name the settings of the bus.
    #[test]
    fn a_topic_at_fault_names_the_settings_of_its_bus() {
        let topic = |bus| Reason::ControlTopicUnreachable.next_on(bus);
        for name in ["KAFKA_BOOTSTRAP_SERVERS", "KAFKA_SECURITY_PROTOCOL", "KAFKA_CA_LOCATION", "Read and Describe"] {
            assert!(topic(Bus::Kafka).contains(name), "{name}");
        }
        for name in ["`stream`", "`region`", "`endpoint_url`", "AWS credentials", "GetRecords"] {
            assert!(topic(Bus::Kinesis).contains(name), "{name}");
        }
        assert!(topic(Bus::File).contains(Reason::StoreUnavailable.code()));
        // Kinesis alone has a stream; the setting's name says so.
        assert!(Reason::ControlBusStreamMissing.next().contains("CONTROL_BUS_STREAM"));
        assert!(Reason::ControlBusStreamMissing.meaning().contains("Kinesis"));
    }

    /// To emit a READY again that is wrong itself is no advice.
    #[test]
    fn a_ready_at_fault_is_not_to_come_again() {
        for reason in Reason::ALL.iter().filter(|reason| reason.after() == After::Superseded) {
            for bus in Bus::ALL {
                let next = reason.next_on(bus);
                assert!(
                    next.contains("corrected READY") && !next.contains("the same message again"),
                    "{reason}: {next}"
                );
            }
        }
        let facts =
            [Reason::RunFactsInvalid, Reason::RunFactsMismatch, Reason::PlatformRunIdMissing, Reason::ReadyTooOld];
        assert!(facts.iter().all(|reason| reason.after() == After::Superseded));
    }

    /// A restart brings a settled READY back on the file bus alone, so what to do with it may not stand in the advice that is
    /// the same on every bus.
    #[test]
    fn only_the_advice_for_a_bus_says_how_a_ready_comes_back() {
        for reason in Reason::ALL {
            let next = reason.next().to_ascii_lowercase();
            let says = ["restart", "re-emit ready or", "looked at again"].iter().find(|word| next.contains(**word));
            assert_eq!(says, None, "{reason}: {next}");
        }
    }

    #[test]
    fn what_waits_and_what_may_pass_are_told_apart() {
        assert_eq!(Reason::CheckpointScopeBusy.after(), After::Waits);
        assert_eq!(Reason::IgUnavailable.after(), After::MayPass);
        assert_eq!(Reason::WorldKeyMismatch.after(), After::Settled);
        let next = Reason::IgUnavailable.next_on(Bus::Kafka);
        assert!(next.starts_with("Restore IG") && next.contains("a restart does not bring it back"), "{next}");
        assert!(Reason::IgUnavailable.next_on(Bus::File).contains("touch"));
    }
}
