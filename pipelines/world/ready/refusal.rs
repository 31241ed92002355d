//! The platform's reasons for what a feed fails with, and the names under which its operators set a feed's settings.

use wsp::feed::{Fate, FeedError, Setting};

use crate::model::{Reason, Refusal};

impl<E: Into<Refusal>> From<FeedError<E>> for Refusal {
    fn from(error: FeedError<E>) -> Self {
        match error {
            FeedError::Missing(settings) if settings.contains(&Setting::Stream) => {
                Self::new(Reason::ControlBusStreamMissing, "wiring.control_bus.stream: it is missing")
            }
            FeedError::Missing(settings) => {
                let named: Vec<String> = settings.into_iter().map(missing).collect();
                Self::new(Reason::ControlTopicUnreachable, format!("not configured: {}", named.join(", ")))
            }
            FeedError::Unreachable { log, why, access } => {
                let detail = format!("{why}; {}", access.what_to_check(name));
                Self::new(Reason::ControlTopicUnreachable, detail).file(log)
            }
            FeedError::NotAccepted { log, why, fate, access } => {
                let fate = match fate {
                    Fate::NotPublished => "the READY was not published",
                    Fate::Unknown => "the READY may have been published all the same",
                };
                let detail = format!("{why}; {fate}; {}", access.what_to_check(name));
                Self::new(Reason::ControlTopicUnreachable, detail).file(log)
            }
            FeedError::Positions(error) => error.into(),
            FeedError::Folder { folder, error } => {
                let detail = format!("the control topic's folder can't be listed: {error}");
                Self::new(Reason::StoreUnavailable, detail).file(folder.display().to_string())
            }
            FeedError::Thread(error) => {
                Self::new(Reason::InternalError, format!("no thread for the control topic: {error}"))
            }
        }
    }
}

/// A setting by the name that an operator looks for.
fn name(setting: Setting) -> &'static str {
    match setting {
        Setting::BootstrapServers => "KAFKA_BOOTSTRAP_SERVERS",
        Setting::SecurityProtocol => "KAFKA_SECURITY_PROTOCOL",
        Setting::SaslMechanism => "KAFKA_SASL_MECHANISM",
        Setting::Username => "KAFKA_SASL_USERNAME",
        Setting::Password => "KAFKA_SASL_PASSWORD",
        Setting::IamRegion => "KAFKA_AWS_REGION",
        Setting::Stream => "wiring.control_bus: stream",
        Setting::StreamRegion => "region",
        Setting::Endpoint => "endpoint_url",
        Setting::Topic | Setting::Group => setting.words(),
    }
}

/// A setting that is not there: in words, and by its name where that is another.
fn missing(setting: Setting) -> String {
    let (words, name) = (setting.words(), name(setting));
    if words == name { words.to_owned() } else { format!("{words} ({name})") }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io;

    use wsp::feed::{Access, SaslMechanism, SecurityProtocol};

    use super::*;

    #[allow(clippy::unnecessary_box_returns, reason = "the error's variant holds a box")]
    fn kafka(mechanism: SaslMechanism) -> Box<Access> {
        let (servers, group) = ("a.example:9092".to_owned(), "g".to_owned());
        Box::new(Access::Kafka { servers, group, security: SecurityProtocol::SaslSsl, mechanism })
    }

    fn refusal(error: FeedError<Refusal>) -> String {
        Refusal::from(error).to_string()
    }

    #[test]
    fn an_unreachable_topic_names_the_settings_that_an_operator_compares() {
        let unreachable =
            |access| refusal(FeedError::Unreachable { log: "t".to_owned(), why: "no".to_owned(), access });
        assert_eq!(
            unreachable(kafka(SaslMechanism::Plain)),
            "CONTROL_TOPIC_UNREACHABLE in t: no; check KAFKA_BOOTSTRAP_SERVERS (a.example:9092) and \
             KAFKA_SECURITY_PROTOCOL (SASL_SSL), KAFKA_SASL_MECHANISM (PLAIN), KAFKA_SASL_USERNAME and \
             KAFKA_SASL_PASSWORD; the topic and the consumer group g have to be open to us"
        );
        let by_iam = unreachable(kafka(SaslMechanism::OauthBearer));
        assert!(by_iam.contains(
            ", KAFKA_AWS_REGION and the AWS credentials (they have to allow kafka-cluster:Connect); the topic"
        ));
        let (stream, region, endpoint) = ("s".to_owned(), Some("eu-west-2".to_owned()), None);
        let access = Box::new(Access::Kinesis { stream, region, endpoint, calls: "PutRecord" });
        assert_eq!(
            unreachable(access),
            "CONTROL_TOPIC_UNREACHABLE in t: no; check wiring.control_bus: stream (s), region (eu-west-2), endpoint_url \
             (AWS), and the AWS credentials: they have to allow PutRecord, and the stream's key, if it has one"
        );
    }

    #[test]
    fn a_ready_that_is_not_accepted_says_what_became_of_it() {
        for (fate, words) in [
            (Fate::NotPublished, "no; the READY was not published; check"),
            (Fate::Unknown, "no; the READY may have been published all the same; check"),
        ] {
            let (log, why, access) = ("t".to_owned(), "no".to_owned(), kafka(SaslMechanism::Plain));
            let said = refusal(FeedError::NotAccepted { log, why, fate, access });
            assert!(said.starts_with("CONTROL_TOPIC_UNREACHABLE in t: ") && said.contains(words), "{said}");
        }
    }

    #[test]
    fn every_other_fault_has_its_reason() {
        let all = [Setting::BootstrapServers, Setting::Topic, Setting::Group, Setting::Username, Setting::IamRegion];
        for (error, said) in [
            (
                FeedError::Missing(all.to_vec()),
                "CONTROL_TOPIC_UNREACHABLE: not configured: bootstrap servers (KAFKA_BOOTSTRAP_SERVERS), the topic, the consumer \
                 group, the user name (KAFKA_SASL_USERNAME), the region of the IAM login (KAFKA_AWS_REGION)",
            ),
            (
                FeedError::Missing(vec![Setting::Stream]),
                "CONTROL_BUS_STREAM_MISSING: wiring.control_bus.stream: it is missing",
            ),
            (FeedError::Positions(Refusal::new(Reason::CheckpointSaveFailed, "away")), "CHECKPOINT_SAVE_FAILED: away"),
            (
                FeedError::Folder { folder: "f".into(), error: io::Error::other("no") },
                "STORE_UNAVAILABLE in f: the control topic's folder can't be listed: no",
            ),
            (FeedError::Thread(io::Error::other("no")), "INTERNAL_ERROR: no thread for the control topic: no"),
        ] {
            assert_eq!(refusal(error), said);
        }
        let error: FeedError<Infallible> = FeedError::Missing(vec![Setting::Stream]);
        assert_eq!(Refusal::from(error).reason, Reason::ControlBusStreamMissing);
    }
}
