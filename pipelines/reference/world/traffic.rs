//! Arrivals and the events of their flows: pure, streaming, the same for the same seed on every machine.
//!
//! ```text
//! seed ──► slices of time (daily rhythm, bursts) ──► arrivals sorted within each ──► Row::Arrival
//!                                                         └── heap of flow events ──► Row::Event
//! ```
//!
//! It holds one slice of arrivals and the pending flow events. It uses no function whose last bit depends on the machine's
//! maths library: weights are integers, and floats come from the four basic operations.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use wsp::random::Random;
use wsp_world::model::Micros;

use super::merchants::Merchants;
use super::rows::{Arrival, FlowEvent, Row};
use super::values;

/// A pending event, ordered by time and then by its flow's place.
#[derive(Debug, Clone, Copy)]
struct Due {
    at: (i64, u64, u8),
    flow: Flow,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

/// What the events of a flow share.
#[derive(Debug, Clone, Copy)]
struct Flow {
    id: i64,
    amount: f64,
    fraud: bool,
    campaign: Option<&'static str>,
}

const HOUR: i64 = 3_600_000_000;
const MINUTE: i64 = 60_000_000;
/// Arrivals that one slice holds at most, on average.
const SLICE: u64 = 50_000;
/// Weight of each hour of the day.
const RHYTHM: [u64; 24] =
    [20, 14, 10, 8, 8, 12, 24, 45, 70, 85, 92, 98, 110, 104, 96, 94, 98, 112, 120, 108, 88, 66, 46, 30];

const ARRIVALS: u64 = 1;
const FLOW_SIZES: u64 = 2;
const BURSTS: u64 = 3;
const FLOW_IDS: u64 = 5;
const EVENTS: u64 = 6;

/// How many events flow `i` has where `left` rows remain, so that the total is met exactly.
///
/// An arrival takes three rows and one to four events; the rest has to be zero, or four rows or more.
fn flow_size(seed: u64, i: u64, left: u64) -> u64 {
    let roll = Random::of(&[seed, FLOW_SIZES, i]).below(100);
    let wish = match roll {
        0..8 => 1,
        8..80 => 2,
        80..94 => 3,
        _ => 4,
    };
    match left {
        0..8 => left.saturating_sub(3),
        8..11 => wish.min(left - 7),
        _ => wish,
    }
}

/// How many arrivals make `events` rows (at least 4).
pub(super) fn arrivals(seed: u64, events: u64) -> u64 {
    let (mut left, mut count) = (events, 0);
    while left > 0 {
        left -= 3 + flow_size(seed, count, left);
        count += 1;
    }
    count
}

/// The rows of a world in order of time: arrivals among themselves, and flow events among themselves.
#[derive(Debug)]
pub(super) struct Traffic {
    seed: u64,
    start: i64,
    span: i64,
    slices: u64,
    arrivals: u64,
    /// Sum of the weights of all slices, of those before `slice`, and how many arrivals these got.
    total_weight: u64,
    weight: u64,
    slice: u64,
    given: u64,
    left: u64,
    pending: std::vec::IntoIter<Arrival>,
    next: Option<Arrival>,
    order: u64,
    due: BinaryHeap<Reverse<Due>>,
    merchants: Merchants,
}

impl Traffic {
    /// `events` rows (at least 4) over `span` microseconds from `start` on; `arrivals` is [`arrivals`] of the same.
    pub(super) fn new(seed: u64, events: u64, arrivals: u64, merchants: Merchants, start: Micros, span: i64) -> Self {
        let slices = (span / MINUTE).max(1).cast_unsigned().max(arrivals / SLICE);
        let mut traffic = Self {
            seed,
            start: start.0,
            span,
            slices,
            arrivals,
            total_weight: 0,
            weight: 0,
            slice: 0,
            given: 0,
            left: events,
            pending: Vec::new().into_iter(),
            next: None,
            order: 0,
            due: BinaryHeap::new(),
            merchants,
        };
        traffic.total_weight = (0..slices).map(|slice| traffic.weight_of(slice)).sum();
        traffic
    }

    /// Where slice `slice` begins, in microseconds since the start.
    fn begin(&self, slice: u64) -> i64 {
        (i128::from(self.span) * i128::from(slice) / i128::from(self.slices)) as i64
    }

    /// The hour's weight, and in one slice of fifty a burst.
    fn weight_of(&self, slice: u64) -> u64 {
        let hour = (self.start + self.begin(slice)).div_euclid(HOUR).rem_euclid(24);
        let mut random = Random::of(&[self.seed, BURSTS, slice]);
        let burst = if random.chance(1, 50) { 4 + random.below(12) } else { 1 };
        RHYTHM[usize::try_from(hour).unwrap_or_default()] * burst
    }

    /// The arrivals of the next slice, in order; empty where it has none.
    fn next_slice(&mut self) {
        self.weight += self.weight_of(self.slice);
        let due = u128::from(self.arrivals) * u128::from(self.weight) / u128::from(self.total_weight.max(1));
        let (from, to) = (self.begin(self.slice), self.begin(self.slice + 1));
        self.slice += 1;
        let mut arrivals: Vec<Arrival> = Vec::with_capacity((due as u64 - self.given) as usize);
        let mut last = from;
        while self.given < due as u64 {
            let mut random = Random::of(&[self.seed, ARRIVALS, self.given]);
            let width = (to - from).cast_unsigned();
            // A twentieth shares its instant with another; some come on the full second, as batch jobs do.
            let at = match random.below(100) {
                0..5 => last,
                5..7 => {
                    let second = (self.start + from + random.below(width).cast_signed()).div_euclid(1_000_000);
                    (second * 1_000_000 - self.start).max(from)
                }
                _ => from + random.below(width).cast_signed(),
            };
            // The first three stand at the very beginning, one a microsecond after the others.
            let at = match self.given {
                0 | 1 => 0,
                2 => 1.min(self.span - 1),
                _ => at,
            };
            last = at;
            let events = flow_size(self.seed, self.given, self.left);
            self.left -= 3 + events;
            arrivals.push(self.arrival(&mut random, at, events as u8));
            self.given += 1;
        }
        arrivals.sort_by_key(|arrival| arrival.ts);
        for arrival in &mut arrivals {
            arrival.seq = self.merchants.visit(&mut arrival.merchant_id);
        }
        self.pending = arrivals.into_iter();
    }

    /// An arrival; its merchant is an index until the slice is sorted.
    fn arrival(&mut self, random: &mut Random, at: i64, events: u8) -> Arrival {
        let merchant = self.merchants.pick(random);
        let home = values::home(merchant);
        let virtual_merchant = merchant % 9 == 4;
        let fraud = random.chance(3, 100);
        let campaign = if fraud && random.chance(2, 3) { Some(values::campaign(random)) } else { None };
        let person = random.below(9_999_991).cast_signed() + 1;
        let entity = |random: &mut Random| random.below(9_999_991).cast_signed() + 1;
        // The first arrivals show each awkward value once, so that small worlds have them all.
        let (text, float) = values::sample(self.given);
        let zone = if random.chance(1, 50) { values::text(random) } else { home.name };
        let lambda = if random.chance(1, 50) { values::float(random) } else { random.unit() * 5.0 };
        let amount = if random.chance(1, 50) { values::float(random) } else { values::price(random) };
        Arrival {
            ts: Micros(self.start + at),
            merchant_id: merchant,
            seq: 0,
            bucket: at / HOUR,
            zone: text.unwrap_or(zone),
            card_present: random.chance(3, 5),
            primary: home,
            settlement: random.chance(4, 5).then(|| values::home(merchant + 3)),
            operational: random.chance(1, 5).then_some(values::UTC),
            site_id: (!virtual_merchant).then(|| random.next() >> random.below(60)),
            edge_id: virtual_merchant.then(|| if random.chance(1, 64) { u64::MAX } else { random.next() }),
            lambda: float.unwrap_or(lambda),
            party_id: person,
            account_id: entity(random),
            instrument_id: entity(random),
            device_id: entity(random),
            ip_id: if random.chance(1, 100) { -entity(random) } else { entity(random) },
            session_id: match random.below(200) {
                0 => i64::MIN,
                1 => i64::MAX,
                2 => -1,
                _ => random.next().cast_signed(),
            },
            flow_id: self.flow_id(),
            amount: float.unwrap_or(amount),
            fraud,
            campaign,
            events,
        }
    }

    /// The id of a flow, unique: a number through invertible steps over all 64 bits.
    fn flow_id(&self) -> i64 {
        let mut z = self.given.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ Random::of(&[self.seed, FLOW_IDS]).next();
        z = (z ^ (z >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        (z ^ (z >> 32)).cast_signed()
    }

    /// Puts the events of an arrival's flow on the heap.
    fn unfold(&mut self, arrival: &Arrival) {
        let Arrival { flow_id, amount, fraud, campaign, .. } = *arrival;
        let flow = Flow { id: flow_id, amount, fraud, campaign };
        let mut random = Random::of(&[self.seed, EVENTS, flow_id.cast_unsigned()]);
        let mut ts = arrival.ts.0;
        for seq in 0..arrival.events {
            if seq > 0 {
                ts += match random.below(100) {
                    0..4 => 0,
                    4..97 => random.below(2_500_000).cast_signed(),
                    97..99 => random.below(600_000_000).cast_signed(),
                    _ => random.below(4 * 3_600_000_000).cast_signed(),
                };
            }
            self.due.push(Reverse(Due { at: (ts, self.order, seq), flow }));
        }
        self.order += 1;
    }

    fn pull(&mut self) -> Option<Arrival> {
        loop {
            if let Some(arrival) = self.pending.next() {
                return Some(arrival);
            }
            if self.slice == self.slices {
                return None;
            }
            self.next_slice();
        }
    }
}

impl Iterator for Traffic {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        if self.next.is_none() {
            self.next = self.pull();
        }
        let horizon = self.next.as_ref().map_or(i64::MAX, |arrival| arrival.ts.0);
        if self.due.peek().is_some_and(|Reverse(due)| due.at.0 < horizon) {
            let Reverse(Due { at: (ts, _, seq), flow }) = self.due.pop()?;
            let Flow { id: flow_id, amount, fraud, campaign } = flow;
            let kind = values::KINDS[usize::from(seq)];
            return Some(Row::Event(FlowEvent {
                ts: Micros(ts),
                flow_id,
                seq: i64::from(seq),
                kind,
                amount,
                fraud,
                campaign,
            }));
        }
        let arrival = self.next.take()?;
        self.unfold(&arrival);
        Some(Row::Arrival(arrival))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{HashMap, HashSet};

    fn traffic(seed: u64, events: u64, span: i64) -> Vec<Row> {
        let start = Micros::parse(b"2026-01-01T00:00:00Z").unwrap();
        let arrivals = arrivals(seed, events);
        Traffic::new(seed, events, arrivals, Merchants::new(seed, arrivals, 0), start, span).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_total_is_exact_and_the_order_holds(seed: u64, events in 4_u64..3_000, span in 1_i64..4 * 24 * HOUR) {
            let (mut rows, mut last, mut flows) = (0, [Micros(i64::MIN); 2], HashMap::new());
            let mut keys = HashSet::new();
            for row in traffic(seed, events, span) {
                let (which, ts) = match &row {
                    Row::Arrival(arrival) => {
                        prop_assert!(flows.insert(arrival.flow_id, (arrival.ts, 0)).is_none(), "a flow id twice");
                        prop_assert!(keys.insert((arrival.merchant_id, arrival.seq)));
                        rows += 3;
                        (0, arrival.ts)
                    }
                    Row::Event(event) => {
                        let (before, seq) = flows.get_mut(&event.flow_id).expect("an anchor before its events");
                        prop_assert!(*before <= event.ts && *seq == event.seq);
                        (*before, *seq) = (event.ts, *seq + 1);
                        rows += 1;
                        (1, event.ts)
                    }
                };
                prop_assert!(last[which] <= ts);
                last[which] = ts;
            }
            prop_assert_eq!(rows, events);
            prop_assert!(flows.values().all(|(_, events)| (1..=4).contains(events)));
        }
    }

    #[test]
    fn traffic_has_a_rhythm_bursts_ties_and_favourites() {
        let rows = traffic(5, 200_000, 2 * 24 * HOUR);
        let arrivals: Vec<&Arrival> = rows
            .iter()
            .filter_map(|row| match row {
                Row::Arrival(arrival) => Some(arrival),
                Row::Event(_) => None,
            })
            .collect();
        let hour = |hour: i64| arrivals.iter().filter(|arrival| arrival.ts.0.div_euclid(HOUR) % 24 == hour).count();
        assert!(hour(18) > 4 * hour(3));
        assert!(arrivals.windows(2).filter(|pair| pair[0].ts == pair[1].ts).count() > arrivals.len() / 50);
        let top = arrivals.iter().filter(|arrival| arrival.merchant_id == u64::MAX).count();
        assert!(top > arrivals.len() / 20 && top < arrivals.len() / 3);
        let mut minutes: HashMap<i64, u32> = HashMap::new();
        for arrival in &arrivals {
            *minutes.entry(arrival.ts.0 / MINUTE).or_default() += 1;
        }
        let busiest = minutes.values().max().copied().unwrap_or_default() as usize;
        assert!(busiest * minutes.len() > 4 * arrivals.len());
        assert!(arrivals.iter().any(|arrival| arrival.flow_id < 0 && arrival.edge_id.is_some()));
    }
}
