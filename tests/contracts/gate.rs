//! What every way to a gate owes the stage that pushes, held against each: the gate in memory, and HTTP before both of
//! IG's fronts, with connections that stay and connections that close.

use std::pin::pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::poll;
use serde_json::Value;
use wsp::clock::SystemClock;
use wsp::deliver::{Answer, Attempt, Gate, GateConnection, HttpGate, Item, PushStats, Takes, Verdict};
use wsp::stop::Stop;
use wsp_reference::gate::{GateOptions, GateServer, GateStyle};
use wsp_replay::{Columns, InputSpec, Live, Options, Replay, StatePlace, Target};
use wsp_world::ig::judge::judge;
use wsp_world::ig::memory::MemoryGate;
use wsp_world::ig::{IgProbe, Lookup, parse_ig_endpoint};
use wsp_world::model::{Decision, Event, Hex64, Micros, Position, Secret};

use crate::kit;

/// The golden run's events, as they are framed.
fn events() -> Vec<Event> {
    let event = |(seq, body): (u64, Value)| {
        let id = body["event_id"].as_str().unwrap();
        let mut event_id = [0; 32];
        for (byte, at) in event_id.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&id[at..at + 2], 16).unwrap();
        }
        let position = Position { rank: 0, file: 0, row: seq, seq };
        Event { position, ts: Micros(0), order_key: seq, event_id, body: Bytes::from(body.to_string()), due: None }
    };
    (0..).zip(kit::canonical()).map(event).collect()
}

/// Keeps the events that come to it.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<wsp_replay::Event>>>);

impl Gate for Kept {
    type Connection = Self;

    fn connection(&self) -> Self {
        self.clone()
    }
}

impl GateConnection for Kept {}

impl Takes<wsp_replay::Event> for Kept {
    async fn push(&mut self, event: &wsp_replay::Event) -> Attempt {
        self.0.lock().unwrap().push(event.clone());
        Attempt::Answered(Answer::new(200, ""))
    }
}

/// The same bodies as the second producer makes events of them: out of a file, with an id in a header of its own.
async fn replayed_events() -> Vec<wsp_replay::Event> {
    let folder = tempfile::tempdir().unwrap();
    let lines: Vec<String> = kit::canonical().iter().map(ToString::to_string).collect();
    std::fs::write(folder.path().join("events.jsonl"), lines.join("\n")).unwrap();
    let name = |name: &str| vec![name.to_owned()];
    let columns = Columns { time: name("ts_utc"), id: name("event_id"), ..Columns::default() };
    let input = InputSpec::plain(folder.path().join("events.jsonl").to_str().unwrap());
    let target = Target::new("http://127.0.0.1:1", "POST", &[], &[]).unwrap();
    let state = Some(StatePlace::Folder(folder.path().join("state")));
    let options = Options { state, ..Options::new(vec![input], columns, target) };
    let (clock, stop) = (SystemClock::new(), Stop::new());
    let start = Replay::new(options).unwrap().start(clock).await.unwrap();
    let kept = Kept::default();
    let outcome = start.run_through(kept.clone(), clock, stop, Live::default(), PushStats::new()).await;
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    let events = std::mem::take(&mut *kept.0.lock().unwrap());
    assert!(events.len() > 7 && events[0].head().starts_with(b"idempotency-key: "), "{events:?}");
    events
}

async fn decision<T: Item>(connection: &mut impl Takes<T>, event: &T) -> Decision {
    let attempt = connection.push(event).await;
    match judge(&attempt) {
        Verdict::Decided(decided) => (&decided).into(),
        other => panic!("{attempt:?}: {other:?}"),
    }
}

/// Runs the suite on a gate that has seen none of these events.
async fn holds<T: Item + Clone>(gate: &impl Gate<Connection: Takes<T>>, events: &[T]) {
    let (mut one, mut other) = (gate.connection(), gate.connection());

    // Each event once, whichever connection it comes by.
    for event in &events[..3] {
        assert_eq!(decision(&mut one, event).await, Decision::Admit);
        assert_eq!(decision(&mut one, event).await, Decision::Duplicate);
        assert_eq!(decision(&mut other, event).await, Decision::Duplicate);
    }

    // The same id with another payload is no duplicate.
    let mut body: Value = serde_json::from_slice(events[0].body()).unwrap();
    body["payload"]["merchant_id"] = 1.into();
    let mut altered = events[0].clone();
    altered.set_body(Bytes::from(body.to_string()));
    assert_eq!(decision(&mut one, &altered).await, Decision::Quarantine);
    assert_eq!(decision(&mut one, &events[0]).await, Decision::Duplicate, "and changes nothing");

    // Connections don't wait for each other.
    let (first, second) = futures::join!(decision(&mut one, &events[3]), decision(&mut other, &events[4]));
    assert_eq!((first, second), (Decision::Admit, Decision::Admit));

    // An attempt that is given up midway may have reached the gate or not; the connection serves on, and its next answer
    // is the next event's own.
    {
        let given_up = pin!(one.push(&events[5]));
        let _ = poll!(given_up);
    }
    assert_eq!(decision(&mut one, &events[0]).await, Decision::Duplicate);
    assert_eq!(decision(&mut one, &events[6]).await, Decision::Admit);
    let again = decision(&mut one, &events[5]).await;
    assert!(matches!(again, Decision::Admit | Decision::Duplicate), "{again:?}");
    assert_eq!(decision(&mut other, &events[5]).await, Decision::Duplicate);
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    holds(&MemoryGate::new(SystemClock::new()), &events()).await;
}

/// What is asked beside the events: both fronts are read for what they are.
#[tokio::test]
async fn both_fronts_tell_how_they_are_and_what_they_know() {
    for (style, words) in [(GateStyle::Service, "GREEN"), (GateStyle::Edge, "ok")] {
        let options = GateOptions { style, ..GateOptions::new(Secret::new(kit::KEY)) };
        let server = GateServer::start(options).unwrap();
        let endpoint = parse_ig_endpoint(&server.base_url(), "X-IG-Api-Key", &Secret::new(kit::KEY)).unwrap();
        let gate = HttpGate::new(endpoint, SystemClock::new()).unwrap();
        let (mut connection, probe) = (gate.connection(), IgProbe::of(&gate));
        assert_eq!(connection.ask().await, Ok(()), "{style:?}");
        let health = probe.health().await.unwrap();
        assert!(health.is_good() && health.words() == words, "{style:?}: {health:?}");

        let event = &events()[0];
        let id = Hex64::of_digest(event.event_id);
        let known = |lookup: Lookup| match lookup {
            Lookup::Record(record) => record["event_id"].as_str().map(str::to_owned),
            Lookup::Unknown => Some("unknown".to_owned()),
            Lookup::Unsupported => None,
        };
        let before = known(probe.lookup(id.as_str()).await.unwrap());
        assert_eq!(decision(&mut connection, event).await, Decision::Admit);
        let after = known(probe.lookup(id.as_str()).await.unwrap());
        match style {
            GateStyle::Service => assert_eq!((before, after), (Some("unknown".into()), Some(id.to_string()))),
            GateStyle::Edge => assert_eq!((before, after), (None, None), "it proves nothing"),
        }
    }
}

#[tokio::test]
async fn http_keeps_the_contract_before_every_front() {
    for style in [GateStyle::Service, GateStyle::Edge] {
        for close_after_answer in [false, true] {
            let options = GateOptions { style, close_after_answer, ..GateOptions::new(Secret::new(kit::KEY)) };
            let server = GateServer::start(options).unwrap();
            let endpoint = parse_ig_endpoint(&server.base_url(), "X-IG-Api-Key", &Secret::new(kit::KEY)).unwrap();
            holds(&HttpGate::new(endpoint, SystemClock::new()).unwrap(), &events()).await;
            let stats = server.stats();
            assert_eq!((stats.admitted, stats.quarantined, stats.unreadable), (7, 1, 0), "{style:?}");
        }
    }
}

#[tokio::test]
async fn http_keeps_the_contract_for_events_of_a_replay() {
    let events = replayed_events().await;
    for close_after_answer in [false, true] {
        let options = GateOptions { close_after_answer, ..GateOptions::new(Secret::new(kit::KEY)) };
        let server = GateServer::start(options).unwrap();
        let endpoint = parse_ig_endpoint(&server.base_url(), "X-IG-Api-Key", &Secret::new(kit::KEY)).unwrap();
        holds(&HttpGate::new(endpoint, SystemClock::new()).unwrap(), &events).await;
        let stats = server.stats();
        assert_eq!((stats.admitted, stats.quarantined, stats.unreadable), (7, 1, 0));
    }
}
