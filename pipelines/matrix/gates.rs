//! The sending side of the matrix: shut for doctored READYs, counted for the real one.

use wsp::deliver::{Answer, Attempt, Gate, GateConnection, Takes};
use wsp::stop::Stop;
use wsp::telemetry::Counter;
use wsp_world::model::Event;

/// A gate without an address: nothing leaves the process through it. It counts attempts and rejects each for good.
#[derive(Debug, Clone, Default)]
pub(super) struct ShutGate {
    attempts: Counter,
}

impl ShutGate {
    /// Attempts so far.
    pub(super) fn attempts(&self) -> u64 {
        self.attempts.get()
    }
}

impl Gate for ShutGate {
    type Connection = Self;

    fn connection(&self) -> Self {
        self.clone()
    }
}

impl GateConnection for ShutGate {}

impl Takes<Event> for ShutGate {
    async fn push(&mut self, _: &Event) -> Attempt {
        self.attempts.add(1);
        Attempt::Answered(Answer::new(403, br#"{"error":"SHUT"}"#.as_slice()))
    }
}

/// A gate that counts its attempts and may request a stop.
#[derive(Debug, Clone)]
pub(super) struct CountedGate<G> {
    gate: G,
    attempts: Counter,
    stop: Option<(u64, Stop)>,
}

impl<G> CountedGate<G> {
    /// Counts.
    pub(super) fn new(gate: G) -> Self {
        Self { gate, attempts: Counter::new(), stop: None }
    }

    /// Requests `stop` after so many attempts.
    pub(super) fn stopping(mut self, after: u64, stop: &Stop) -> Self {
        self.stop = Some((after, stop.clone()));
        self
    }

    /// What was tried.
    pub(super) fn attempts(&self) -> u64 {
        self.attempts.get()
    }
}

impl<G: Gate<Connection: Takes<Event>>> Gate for CountedGate<G> {
    type Connection = CountedGate<G::Connection>;

    fn connection(&self) -> Self::Connection {
        CountedGate { gate: self.gate.connection(), attempts: self.attempts.clone(), stop: self.stop.clone() }
    }
}

impl<C: GateConnection> GateConnection for CountedGate<C> {
    fn rest(&mut self) -> impl Future<Output = ()> + Send {
        self.gate.rest()
    }

    fn sent_again(&self) -> bool {
        self.gate.sent_again()
    }

    fn close(&mut self) {
        self.gate.close();
    }

    fn ask(&mut self) -> impl Future<Output = Result<(), String>> + Send {
        self.gate.ask()
    }
}

impl<C: Takes<Event>> Takes<Event> for CountedGate<C> {
    async fn push(&mut self, event: &Event) -> Attempt {
        let attempt = self.gate.push(event).await;
        self.attempts.add(1);
        if let Some((after, stop)) = &self.stop
            && self.attempts.get() >= *after
        {
            stop.request();
        }
        attempt
    }
}
