//! A gate in memory, for tests and simulations: it dedupes, keeps a journal, and fails as it is told.
//!
//! ```text
//! push ──► Script (event, attempt) ──► Step ──► journal, answer
//! ```

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use wsp::clock::Clock;
use wsp::deliver::{Answer, Attempt, Gate, GateConnection, Takes};

use crate::model::{Decision, Event, Position};

/// How one attempt goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// How long the attempt lasts.
    pub delay: Duration,
    /// How it ends.
    pub ending: Ending,
}

/// How an attempt ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The gate does its work: ADMIT, DUPLICATE, or QUARANTINE for a known id with another body.
    Work,
    /// This answer, and nothing is admitted.
    Answer(Answer),
    /// The attempt comes to this without the gate having seen the event.
    Before(Attempt),
    /// The event is admitted, then the attempt comes to this.
    After(Attempt),
    /// The connection panics.
    Panic,
}

impl Step {
    /// The gate does its work within `delay`.
    #[must_use]
    pub fn work(delay: Duration) -> Self {
        Self { delay, ending: Ending::Work }
    }

    /// An answer of this status with this body, at once.
    #[must_use]
    pub fn answer(status: u16, body: &str) -> Self {
        let answer = Answer::new(status, Bytes::copy_from_slice(body.as_bytes()));
        Self { delay: Duration::ZERO, ending: Ending::Answer(answer) }
    }
}

type Script = dyn Fn(&Event, u32) -> Step + Send + Sync;
type Health = dyn Fn(Duration) -> Result<(), String> + Send + Sync;

/// What the gate has seen.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    /// The events admitted, in order, each once.
    pub admitted: Vec<(u64, Position)>,
    /// Attempts begun.
    pub attempts: u64,
    /// How often it was asked how it is.
    pub asked: u64,
    /// The most attempts that were on the way at one time.
    pub most_in_flight: usize,
    /// The most attempts of one order key that were on the way at one time.
    pub most_per_key: usize,
    bodies: HashMap<[u8; 32], Bytes>,
    tries: HashMap<[u8; 32], u32>,
    in_flight: HashMap<u64, usize>,
}

/// The gate. Clones share journal and script.
#[derive(Clone)]
pub struct MemoryGate<C> {
    clock: C,
    script: Arc<Script>,
    health: Arc<Health>,
    journal: Arc<Mutex<Journal>>,
}

impl<C: Clock> MemoryGate<C> {
    /// A gate that answers at once.
    #[must_use]
    pub fn new(clock: C) -> Self {
        Self::scripted(clock, |_, _| Step::work(Duration::ZERO))
    }

    /// A gate that asks `script` how the attempt of an event (1, 2, …) shall go.
    #[must_use]
    pub fn scripted(clock: C, script: impl Fn(&Event, u32) -> Step + Send + Sync + 'static) -> Self {
        Self { clock, script: Arc::new(script), health: Arc::new(|_| Ok(())), journal: Arc::default() }
    }

    /// The same, with `health` to say at which times it is up when it is asked; always unless told.
    #[must_use]
    pub fn health(mut self, health: impl Fn(Duration) -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.health = Arc::new(health);
        self
    }

    /// What it has seen so far.
    #[must_use]
    pub fn journal(&self) -> Journal {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C> fmt::Debug for MemoryGate<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryGate").finish_non_exhaustive()
    }
}

impl<C: Clock> Gate for MemoryGate<C> {
    type Connection = MemoryGate<C>;

    fn connection(&self) -> Self::Connection {
        self.clone()
    }
}

impl<C: Clock> GateConnection for MemoryGate<C> {
    async fn ask(&mut self) -> Result<(), String> {
        self.lock().asked += 1;
        (self.health)(self.clock.now())
    }
}

impl<C: Clock> Takes<Event> for MemoryGate<C> {
    #[allow(clippy::panic, reason = "a test asked for it")]
    async fn push(&mut self, event: &Event) -> Attempt {
        let nth = self.lock().begin(event);
        // The count goes down even if the attempt is dropped midway, as a connection would.
        let _on_the_way = OnTheWay { journal: self.journal.clone(), key: event.order_key };
        let step = (self.script)(event, nth);
        if !step.delay.is_zero() {
            self.clock.sleep_until(self.clock.now() + step.delay).await;
        }
        match step.ending {
            Ending::Work => {
                let decision = self.lock().admit(event);
                let body = format!(r#"{{"decision":"{}"}}"#, decision.as_str());
                Attempt::Answered(Answer::new(200, body))
            }
            Ending::Answer(answer) => Attempt::Answered(answer),
            Ending::Before(attempt) => attempt,
            Ending::After(attempt) => {
                self.lock().admit(event);
                attempt
            }
            Ending::Panic => panic!("the script wants a panic"),
        }
    }
}

impl Journal {
    fn begin(&mut self, event: &Event) -> u32 {
        self.attempts += 1;
        let per_key = self.in_flight.entry(event.order_key).or_default();
        *per_key += 1;
        self.most_per_key = self.most_per_key.max(*per_key);
        self.most_in_flight = self.most_in_flight.max(self.in_flight.values().sum());
        let tries = self.tries.entry(event.event_id).or_default();
        *tries += 1;
        *tries
    }

    fn admit(&mut self, event: &Event) -> Decision {
        match self.bodies.get(&event.event_id) {
            Some(body) if *body == event.body => Decision::Duplicate,
            Some(_) => Decision::Quarantine,
            None => {
                // A copy: the body's own memory is counted against the sender's budget as long as it is kept.
                self.bodies.insert(event.event_id, Bytes::copy_from_slice(&event.body));
                self.admitted.push((event.order_key, event.position));
                Decision::Admit
            }
        }
    }
}

struct OnTheWay {
    journal: Arc<Mutex<Journal>>,
    key: u64,
}

impl Drop for OnTheWay {
    fn drop(&mut self) {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = journal.in_flight.get_mut(&self.key) {
            *count -= 1;
        }
    }
}
