//! `--plan`: reads all of it once, sends nothing, and says what a replay would do.
//!
//! ```text
//! the chain up to its events ──► counts, span, gaps, keys, the time it takes, the first requests, not packed
//! ```

use std::time::Duration;

use futures::StreamExt;
use wsp::byte_budget::ByteBudget;
use wsp::deliver::Item;
use wsp::pace::{RatePlan, Schedule};
use wsp::time::Micros;

use super::answered::Standing;
use super::batch::{Batch, Maker};
use super::batches::Desk;
use super::error::Error;
use super::event::Event;
use super::hot_keys::HotKeys;
use super::{Replay, producer};

/// Requests that are shown.
const REQUESTS: usize = 3;
/// Gaps and keys that are named.
const NAMED: usize = 5;

/// What is in an input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InputSurvey {
    /// Its name.
    pub name: String,
    /// Its files.
    pub files: usize,
    /// Events that would be sent.
    pub events: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// The first event time.
    pub first: Option<Micros>,
    /// The last.
    pub last: Option<Micros>,
}

/// A time without events.
#[derive(Debug, Clone, PartialEq)]
pub struct Gap {
    /// The event time before it.
    pub after: Micros,
    /// How long it is.
    pub seconds: f64,
}

/// What a replay would do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Survey {
    /// By input.
    pub inputs: Vec<InputSurvey>,
    /// Events that would be sent in a round.
    pub events: u64,
    /// Rounds.
    pub rounds: u32,
    /// From the first event time to the last, in seconds.
    pub span_seconds: f64,
    /// The longest times without events.
    pub gaps: Vec<Gap>,
    /// The keys of most events, with at least so many.
    pub hottest_keys: Vec<(String, u64)>,
    /// How long a replay takes by its speed-up and its steady rate, in seconds, if the receiver keeps up; `None` where nothing
    /// but the receiver bounds it, or a plan of rates does.
    pub seconds: Option<f64>,
    /// The first requests as they would be sent, without what is secret.
    pub requests: Vec<String>,
}

impl Replay {
    /// Reads all inputs, sends nothing, and says what a replay from the beginning would do.
    ///
    /// # Errors
    ///
    /// What would end the replay: a row that can't be read or sent.
    pub async fn survey(&self) -> Result<Survey, Error> {
        let keys = HotKeys::default();
        let standings = vec![Standing::default(); self.inputs.len()];
        let events = producer::events(self, &standings, ByteBudget::unlimited(), Some(keys.clone()), None);
        let mut events = std::pin::pin!(events);
        let mut seen = Seen::new(self);
        while let Some(chunk) = events.next().await.transpose()? {
            for event in &chunk {
                seen.note(event)?;
            }
        }
        seen.survey(&keys)
    }
}

/// What was seen so far.
struct Seen<'a> {
    replay: &'a Replay,
    survey: Survey,
    schedule: Schedule,
    first: Option<Micros>,
    last: Option<Micros>,
    gaps: Vec<(i64, Micros)>,
    /// When the last event is due, counted from the first.
    due: Option<Duration>,
    /// The first batches, where events go in batches.
    desk: Option<Desk>,
}

impl<'a> Seen<'a> {
    fn new(replay: &'a Replay) -> Self {
        let inputs = replay.inputs().map(|input| InputSurvey {
            name: input.name.clone(),
            files: input.files.len(),
            ..InputSurvey::default()
        });
        let survey = Survey { inputs: inputs.collect(), rounds: replay.options.rounds, ..Survey::default() };
        let desk = replay.options.batching.clone().map(|batching| {
            let maker = Maker { packing: None, ..replay.maker(batching.form, ByteBudget::unlimited()) };
            Desk::new(batching, replay.options.mode, maker)
        });
        let schedule = Schedule::new(replay.options.pacing);
        Self { replay, survey, schedule, first: None, last: None, gaps: Vec::new(), due: None, desk }
    }

    fn note(&mut self, event: &Event) -> Result<(), Error> {
        let ts = event.ts;
        let input = &mut self.survey.inputs[usize::from(event.position.input)];
        input.events += 1;
        input.bytes += event.body.len() as u64;
        (input.first, input.last) = (input.first.or(Some(ts)), Some(ts));
        self.survey.events += 1;
        self.first = self.first.or(Some(ts));
        if let Some(last) = self.last {
            let gap = ts.0 - last.0;
            let smallest = self.gaps.last().map_or(0, |(gap, _)| *gap);
            if gap > 0 && (self.gaps.len() < NAMED || gap > smallest) {
                let place = self.gaps.partition_point(|(other, _)| *other >= gap);
                self.gaps.insert(place, (gap, last));
                self.gaps.truncate(NAMED);
            }
        }
        self.last = Some(ts);
        self.due = self.schedule.due(ts, || (Duration::ZERO, ts));
        match &mut self.desk {
            Some(desk) if desk.ready.len() < REQUESTS => desk.add(event.clone(), Duration::ZERO)?,
            None if self.survey.requests.len() < REQUESTS => {
                let request = self.replay.options.sink.shown(event, event.head_and_key(), self.is_packed());
                self.survey.requests.push(request);
            }
            _ => {}
        }
        Ok(())
    }

    fn is_packed(&self) -> bool {
        self.replay.options.packing.is_some()
    }

    fn survey(mut self, keys: &HotKeys) -> Result<Survey, Error> {
        if let Some(mut desk) = self.desk.take() {
            desk.end_all()?;
            let sink = &self.replay.options.sink;
            let shown = |batch: &Batch| sink.shown(batch, (batch.head(), None), self.is_packed());
            self.survey.requests = desk.ready.iter().take(REQUESTS).map(shown).collect();
        }
        let Self { replay, survey, first, last, gaps, due, .. } = self;
        let rounds = f64::from(survey.rounds);
        let seconds = |micros: i64| micros as f64 / 1e6;
        let span_seconds = first.zip(last).map_or(0.0, |(first, last)| seconds(last.0 - first.0));
        let gaps = gaps.into_iter().map(|(gap, after)| Gap { after, seconds: seconds(gap) });
        // A plan of several rates takes as long as it takes; a steady one as long as its events need.
        let segments = replay.options.rate.as_ref().map(RatePlan::segments);
        let by_rate = match segments {
            Some([only]) => only.limit.map(|limit| survey.events as f64 * rounds / limit.eps()),
            Some(_) => {
                return Ok(Survey { span_seconds, gaps: gaps.collect(), hottest_keys: keys.hottest(NAMED), ..survey });
            }
            None => None,
        };
        let by_time = due.map(|due| due.as_secs_f64() * rounds);
        let both = by_rate.zip(by_time).map(|(rate, time)| rate.max(time));
        let seconds = both.or(by_rate).or(by_time);
        Ok(Survey { span_seconds, gaps: gaps.collect(), hottest_keys: keys.hottest(NAMED), seconds, ..survey })
    }
}
