//! The Kafka feed on Apache Kafka.

use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use wsp::clock::SystemClock;
use wsp_world::model::{Reason, Refusal, Secret};
use wsp_world::ready::{FeedCounts, Incoming, KafkaFeed, KafkaOptions, SaslMechanism, SecurityProtocol, Settlement};

use crate::servers::kafka::{IAM, Kafka, PASSWORD, USER};

const GOLDEN: &str = include_str!("../golden/ready/message.json");
const TOPIC: &str = "fp.bus.control.v1";
const WAIT: Duration = Duration::from_mins(1);

/// One broker at a time is enough for a small machine.
async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// A group and a topic that no other test has.
fn names(test: &str) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let unique = folder.path().file_name().unwrap().to_string_lossy().replace(|c: char| !c.is_ascii_alphanumeric(), "");
    (format!("wsp-{test}-{unique}"), format!("{TOPIC}.{test}.{unique}"))
}

/// A READY on `topic` whose message id is told apart by `digit`.
fn ready(topic: &str, digit: char) -> Vec<u8> {
    let golden: serde_json::Value = serde_json::from_str(GOLDEN).unwrap();
    let id = golden["message_id"].as_str().unwrap();
    GOLDEN.replace(id, &digit.to_string().repeat(64)).replace(TOPIC, topic).into_bytes()
}

fn digit(incoming: &Incoming) -> char {
    incoming.message.payload.message_id.as_str().chars().next().unwrap()
}

fn partition(incoming: &Incoming) -> i32 {
    incoming.source.partition.as_ref().unwrap().to_string().parse().unwrap()
}

/// Settings under which a consumer that doesn't poll loses its group within six seconds.
fn impatient(bootstrap: &str, group: &str, topic: &str) -> KafkaOptions {
    KafkaOptions {
        defer_pause: Duration::from_millis(200),
        metadata_interval: Duration::from_secs(1),
        max_poll_interval: Duration::from_secs(6),
        session_timeout: Duration::from_secs(6),
        ..KafkaOptions::new(bootstrap, topic, group)
    }
}

fn open(options: KafkaOptions) -> KafkaFeed {
    KafkaFeed::open(options, SystemClock::new()).unwrap()
}

async fn take(feed: &mut KafkaFeed) -> Incoming {
    tokio::time::timeout(WAIT, feed.next()).await.expect("a READY").unwrap().unwrap()
}

/// The next item, which is an error, as the program reports it.
async fn refused(feed: &mut KafkaFeed) -> Refusal {
    tokio::time::timeout(WAIT, feed.next()).await.unwrap().unwrap().unwrap_err().into()
}

async fn leave(feed: KafkaFeed) {
    let closed = feed.closed();
    drop(feed);
    tokio::time::timeout(WAIT, closed).await.expect("it leaves");
}

#[tokio::test]
#[ignore = "needs Apache Kafka"]
async fn from_no_topic_to_a_restart() {
    let _turn = turn().await;
    let kafka = Kafka::any();
    let (group, topic) = names("flow");
    let options = impatient(&kafka.bootstrap, &group, &topic);
    let mut feed = open(options.clone());
    assert_eq!(feed.probe().look(WAIT).await.unwrap(), 0);
    assert!(tokio::time::timeout(Duration::from_secs(3), feed.next()).await.is_err(), "no topic is no error");
    kafka.create(&topic, 3).await;
    kafka.publish(&topic, 0, None);
    kafka.publish(&topic, 0, Some(b"\xff garbage"));
    kafka.publish(&topic, 0, Some(&ready(&topic, 'a')));
    kafka.publish(&topic, 0, Some(&ready(TOPIC, 'b')));
    kafka.publish(&topic, 0, Some(&ready(&topic, 'a')));
    kafka.publish(&topic, 2, Some(&vec![b' '; 512 * 1024]));
    kafka.publish(&topic, 2, Some(&ready(&topic, 'c')));
    let mut seen = Vec::new();
    let mut deferred = false;
    while seen.len() < 3 {
        let incoming = take(&mut feed).await;
        if digit(&incoming) == 'c' && !std::mem::replace(&mut deferred, true) {
            incoming.settle(Settlement::Deferred);
            continue;
        }
        seen.push((incoming.source.name.clone(), digit(&incoming)));
        incoming.settle(Settlement::Verdict);
    }
    seen.sort_unstable();
    let expected = [("0/2", 'a'), ("0/4", 'a'), ("2/1", 'c')];
    assert_eq!(seen, expected.map(|(place, digit)| (format!("{topic}/{place}"), digit)));
    assert_eq!(feed.probe().look(WAIT).await.unwrap(), 3);
    assert_eq!(feed.counts(), FeedCounts { given: 4, other: 2, invalid: 2 });
    leave(feed).await;
    assert_eq!(kafka.committed(&group, &topic, 0), Some(5));
    assert_eq!(kafka.committed(&group, &topic, 2), Some(2));
    let mut again = open(KafkaOptions { once: true, ..options });
    assert!(tokio::time::timeout(WAIT, again.next()).await.unwrap().is_none());
    assert_eq!(again.counts(), FeedCounts::default());
    leave(again).await;
}

#[tokio::test]
#[ignore = "needs Apache Kafka; takes half a minute"]
async fn a_long_run_keeps_the_group() {
    let _turn = turn().await;
    let kafka = Kafka::any();
    let (group, topic) = names("long");
    kafka.create(&topic, 1).await;
    for digit in ['a', 'b', 'c', 'd'] {
        kafka.publish(&topic, 0, Some(&ready(&topic, digit)));
    }
    let mut feed = open(impatient(&kafka.bootstrap, &group, &topic));
    let run = take(&mut feed).await;
    let member = kafka.members(&group);
    assert_eq!(member.len(), 1);
    for _ in 0..15 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(kafka.members(&group), member, "a member that stops polling is put out, and joins as another");
    }
    run.settle(Settlement::Verdict);
    for expected in ['b', 'c', 'd'] {
        let incoming = take(&mut feed).await;
        assert_eq!(digit(&incoming), expected, "nothing came twice");
        incoming.settle(Settlement::Verdict);
    }
    leave(feed).await;
    assert_eq!(kafka.committed(&group, &topic, 0), Some(4));
}

#[tokio::test]
#[ignore = "needs Apache Kafka"]
async fn a_rebalance_in_the_middle_moves_only_what_it_has_to() {
    let _turn = turn().await;
    let kafka = Kafka::any();
    let (group, topic) = names("rebalance");
    kafka.create(&topic, 2).await;
    kafka.publish(&topic, 0, Some(&ready(&topic, 'a')));
    kafka.publish(&topic, 1, Some(&ready(&topic, 'b')));
    let options = impatient(&kafka.bootstrap, &group, &topic);
    let mut first = open(options.clone());
    let out = [take(&mut first).await, take(&mut first).await];
    let mut second = open(options.clone());
    let moved = take(&mut second).await;
    let (partition, late) = (partition(&moved), digit(&moved));
    for incoming in out {
        incoming.settle(Settlement::Verdict);
    }
    let kept = 1 - partition;
    leave(first).await;
    assert_eq!(kafka.committed(&group, &topic, kept), Some(1), "the partition that stayed");
    assert_eq!(kafka.committed(&group, &topic, partition).unwrap_or(0), 0, "the late verdict committed nothing");
    moved.settle(Settlement::Verdict);
    kafka.publish(&topic, kept, Some(&ready(&topic, 'c')));
    let incoming = take(&mut second).await;
    assert_eq!(digit(&incoming), 'c', "the second takes over from the first, after {late}");
    incoming.settle(Settlement::Verdict);
    leave(second).await;
    assert_eq!(kafka.committed(&group, &topic, partition), Some(1));
    assert_eq!(kafka.committed(&group, &topic, kept), Some(2));
}

#[tokio::test]
#[ignore = "needs Apache Kafka; takes half a minute"]
async fn a_broker_that_restarts_in_the_middle_is_waited_for() {
    let _turn = turn().await;
    let mut kafka = Kafka::own();
    let (group, topic) = names("restart");
    kafka.create(&topic, 1).await;
    kafka.publish(&topic, 0, Some(&ready(&topic, 'a')));
    let mut feed = open(impatient(&kafka.bootstrap, &group, &topic));
    let run = take(&mut feed).await;
    kafka.stop();
    tokio::time::sleep(Duration::from_secs(10)).await;
    kafka.start();
    // Longer than the session: the group may have been formed anew meanwhile, and the message come again.
    tokio::time::sleep(Duration::from_secs(10)).await;
    run.settle(Settlement::Verdict);
    kafka.publish(&topic, 0, Some(&ready(&topic, 'b')));
    let incoming = take(&mut feed).await;
    assert_eq!(digit(&incoming), 'b', "the message whose run went on did not come twice");
    incoming.settle(Settlement::Verdict);
    leave(feed).await;
    assert_eq!(kafka.committed(&group, &topic, 0), Some(2));
}

#[tokio::test]
#[ignore = "needs Apache Kafka"]
async fn a_feed_leaves_although_the_broker_is_gone() {
    let _turn = turn().await;
    let mut kafka = Kafka::own();
    let (group, topic) = names("gone");
    kafka.create(&topic, 1).await;
    kafka.publish(&topic, 0, Some(&ready(&topic, 'a')));
    let mut feed = open(impatient(&kafka.bootstrap, &group, &topic));
    let run = take(&mut feed).await;
    kafka.stop();
    run.settle(Settlement::Verdict);
    leave(feed).await;
    kafka.start();
    kafka.publish(&topic, 0, Some(&ready(&topic, 'b')));
    let mut again = open(impatient(&kafka.bootstrap, &group, &topic));
    let mut next = take(&mut again).await;
    // The first feed is given up, not ended: it may still commit once the broker is back.
    if digit(&next) == 'a' {
        next.settle(Settlement::Verdict);
        next = take(&mut again).await;
    }
    assert_eq!(digit(&next), 'b', "nothing is lost, nothing comes twice");
    next.settle(Settlement::Verdict);
    leave(again).await;
}

#[tokio::test]
#[ignore = "needs Apache Kafka"]
async fn login_over_tls_by_every_mechanism() {
    let _turn = turn().await;
    let kafka = Kafka::own();
    let (group, topic) = names("login");
    kafka.create(&topic, 1).await;
    kafka.publish(&topic, 0, Some(&ready(&topic, 'a')));
    let (bootstrap, certificate) = kafka.secured();
    let options = KafkaOptions {
        security: SecurityProtocol::SaslSsl,
        username: Some(USER.to_owned()),
        password: Some(Secret::new(PASSWORD)),
        ca_location: Some(certificate),
        once: true,
        ..impatient(&format!("SASL_SSL://{bootstrap}"), &group, &topic)
    };
    for mechanism in [SaslMechanism::Plain, SaslMechanism::ScramSha256, SaslMechanism::ScramSha512] {
        let mut feed = open(KafkaOptions { mechanism, ..options.clone() });
        assert_eq!(digit(&take(&mut feed).await), 'a');
        leave(feed).await;
        let wrong = Some(Secret::new("not-the-password"));
        for once in [true, false] {
            let mut feed = open(KafkaOptions { mechanism, password: wrong.clone(), once, ..options.clone() });
            let refusal = refused(&mut feed).await;
            assert_eq!(refusal.reason, Reason::ControlTopicUnreachable);
            let text = refusal.to_string();
            assert!(text.contains("KAFKA_SASL_PASSWORD") && !text.contains("not-the-password"), "{text}");
            assert!(feed.next().await.is_none());
            leave(feed).await;
        }
    }
    let mut feed = open(KafkaOptions { ca_location: None, ..options });
    let refusal = refused(&mut feed).await;
    assert_eq!(refusal.reason, Reason::ControlTopicUnreachable, "an unknown certificate is not trusted");
    assert!(refusal.detail.to_lowercase().contains("certificate"), "{refusal}");
}

/// The credentials of the IAM login come from the process's environment, so the test runs itself with one.
fn in_environment(test: &str, environment: &[(&str, &str)]) -> bool {
    if std::env::var_os("WSP_LIVE_INNER").is_some() {
        return true;
    }
    let mut inner = std::process::Command::new(std::env::current_exe().unwrap());
    inner.args(["--exact", test, "--ignored", "--nocapture"]).envs(environment.iter().copied());
    assert!(inner.env("WSP_LIVE_INNER", "1").status().unwrap().success());
    false
}

#[tokio::test]
#[ignore = "needs Apache Kafka; takes a minute"]
async fn the_iam_login_of_msk_is_signed_and_renewed() {
    if !in_environment("kafka::the_iam_login_of_msk_is_signed_and_renewed", &IAM) {
        return;
    }
    let kafka = Kafka::own_with_iam();
    let (group, topic) = names("iam");
    kafka.create(&topic, 1).await;
    let (bootstrap, certificate) = kafka.secured();
    let options = KafkaOptions {
        security: SecurityProtocol::SaslSsl,
        mechanism: SaslMechanism::OauthBearer,
        aws_region: Some("eu-west-2".to_owned()),
        token_lifetime: Duration::from_secs(15),
        ca_location: Some(certificate),
        ..impatient(&bootstrap, &group, &topic)
    };
    let mut feed = open(options.clone());
    for round in ['a', 'b', 'c', 'd', 'e'] {
        kafka.publish(&topic, 0, Some(&ready(&topic, round)));
        let incoming = take(&mut feed).await;
        assert_eq!(digit(&incoming), round, "nothing came twice");
        incoming.settle(Settlement::Verdict);
        assert_eq!(feed.probe().look(WAIT).await.unwrap(), 1);
        tokio::time::sleep(Duration::from_secs(9)).await;
    }
    leave(feed).await;
    assert_eq!(kafka.committed(&group, &topic, 0), Some(5));
    let tokens: std::collections::BTreeSet<_> = kafka.iam_logins().into_iter().collect();
    assert!((3..=8).contains(&tokens.len()), "{} tokens in 45 s, each good for 15 s", tokens.len());

    // One pass, which asks before it polls.
    let mut once = open(KafkaOptions { once: true, ..options.clone() });
    assert!(tokio::time::timeout(WAIT, once.next()).await.unwrap().is_none());
    leave(once).await;

    // Signed for another region, so refused; the error says what to compare, and no key.
    for once in [true, false] {
        let mut feed = open(KafkaOptions { aws_region: Some("us-west-2".to_owned()), once, ..options.clone() });
        let refusal = refused(&mut feed).await;
        assert_eq!(refusal.reason, Reason::ControlTopicUnreachable);
        let text = refusal.to_string();
        assert!(text.contains("KAFKA_AWS_REGION") && !text.contains("wsp-live-secret"), "{text}");
        assert!(feed.next().await.is_none());
        leave(feed).await;
    }
}

#[tokio::test]
#[ignore = "needs Apache Kafka; takes half a minute"]
async fn a_login_that_is_refused_in_mid_service_ends_the_feed_after_a_while() {
    let _turn = turn().await;
    let mut kafka = Kafka::own();
    let (group, topic) = names("revoked");
    kafka.create(&topic, 1).await;
    kafka.publish(&topic, 0, Some(&ready(&topic, 'a')));
    let (bootstrap, certificate) = kafka.secured();
    let mut feed = open(KafkaOptions {
        security: SecurityProtocol::SaslSsl,
        username: Some(USER.to_owned()),
        password: Some(Secret::new(PASSWORD)),
        ca_location: Some(certificate),
        lost_after: Duration::from_secs(8),
        ..impatient(&bootstrap, &group, &topic)
    });
    take(&mut feed).await.settle(Settlement::Verdict);
    // The broker comes back with another password.
    kafka.stop();
    kafka.change_password();
    kafka.start();
    let refusal = refused(&mut feed).await;
    assert_eq!(refusal.reason, Reason::ControlTopicUnreachable);
    assert!(refusal.detail.contains("lost: ") && refusal.detail.contains("KAFKA_SASL_PASSWORD"), "{refusal}");
    assert!(feed.next().await.is_none());
    leave(feed).await;
}
