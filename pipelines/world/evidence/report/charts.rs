//! The run over time: rate, latency, lag, retries by the wall clock; events of each output by event time.

use maud::{Markup, html};

use super::charted::Charted;
use super::plot::{Kind, Line, Plot};
use super::scale::{Scale, calendar_ticks, elapsed_ticks};
use super::text::{count, moment, short, span};
use crate::evidence::{Spread, WallSeries};
use crate::model::{Micros, OutputId};

/// One colour an output or decision; those that come after share the last.
const CLASSES: [&str; 6] = ["c1", "c2", "c3", "c4", "c5", "c6"];

/// Buckets that are drawn, at most: as many as there is room for.
const DRAWN: usize = 150;

/// The wall-time axis of a run: its buckets, the last of which may be cut by the run's end.
struct Wall {
    series: WallSeries,
    /// Microseconds from the start to the right edge.
    length: f64,
    /// Width of the last bucket as a share of the others'.
    last: f64,
}

impl Wall {
    fn new(charted: &Charted) -> Self {
        let series = drawn(&charted.series.wall, charted.micros());
        let (n, width) = (series.admitted.len().max(1) as f64, series.bucket_us.max(1) as f64);
        // A sliver at the end would show a rate of its own; it is drawn as half a bucket at least.
        let last = ((charted.micros() - (n - 1.0) * width) / width).clamp(0.5, 1.0);
        Self { series, length: (n - 1.0 + last) * width, last }
    }

    /// Seconds that bucket `i` stands for.
    fn seconds(&self, i: usize) -> f64 {
        let part = if i + 1 == self.series.admitted.len() { self.last } else { 1.0 };
        self.series.bucket_us as f64 * part / 1e6
    }

    fn rates(&self, counts: &[u64]) -> Vec<Option<f64>> {
        counts.iter().enumerate().map(|(i, n)| Some(*n as f64 / self.seconds(i))).collect()
    }

    fn plot<'p>(&self, id: &'p str, title: &'p str, lines: Vec<Line<'p>>, scale: Scale) -> Plot<'p> {
        let width = self.series.bucket_us as f64;
        Plot {
            id,
            title,
            subtitle: String::new(),
            summary: String::new(),
            kind: Kind::Curves,
            lines,
            scale,
            x: elapsed_ticks(self.length),
            last: self.last,
            value: span,
            bucket: Box::new(move |i| span(i as f64 * width)),
            over: "from",
        }
    }
}

/// The same series in as many buckets as are drawn. Where the run went on for `elapsed` microseconds without an answer, the
/// buckets at the end are empty.
fn drawn(series: &WallSeries, elapsed: f64) -> WallSeries {
    let past = (elapsed / series.bucket_us.max(1) as f64) as usize;
    let recorded = series.admitted.len().max(past);
    let size = recorded.div_ceil(DRAWN).max(1);
    let n = recorded.div_ceil(size);
    let sums = |counts: &[u64]| {
        let mut sums: Vec<u64> = counts.chunks(size).map(|counts| counts.iter().sum()).collect();
        sums.resize(n, 0);
        sums
    };
    let each = |times: &[Option<u64>], of: fn(&[Option<u64>]) -> Option<u64>| {
        let mut all: Vec<_> = times.chunks(size).map(of).collect();
        all.resize(n, None);
        all
    };
    // Quantiles of neighbouring buckets don't add up. The highest of them is an upper bound.
    let worst = |times: &[Option<u64>]| each(times, |times| times.iter().flatten().max().copied());
    let middle = |times: &[Option<u64>]| {
        each(times, |times| {
            let mut sorted: Vec<u64> = times.iter().flatten().copied().collect();
            sorted.sort_unstable();
            sorted.get(sorted.len() / 2).copied()
        })
    };
    WallSeries {
        bucket_us: series.bucket_us * size as u64,
        admitted: sums(&series.admitted),
        duplicates: sums(&series.duplicates),
        quarantined: sums(&series.quarantined),
        retries: sums(&series.retries),
        latency_p50_us: middle(&series.latency_p50_us),
        latency_p99_us: worst(&series.latency_p99_us),
        lag_p50_us: middle(&series.lag_p50_us),
        lag_p99_us: worst(&series.lag_p99_us),
    }
}

/// All charts of a run.
#[must_use]
pub fn charts(charted: &Charted) -> Markup {
    html! {
        (over_time(charted))
        (over_event_time(charted))
    }
}

fn over_time(charted: &Charted) -> Markup {
    html! {
        section aria-labelledby="over-time" {
            h2 id="over-time" { "Over time" }
            @if charted.totals.answered == 0 {
                p.quiet { "No event was answered." }
            } @else {
                @let wall = Wall::new(charted);
                div.charts {
                    (rate(&wall, charted))
                    (latency(&wall, charted))
                    (lag(&wall, charted))
                    (retries(&wall, charted))
                }
            }
        }
        "\n"
    }
}

fn rate(wall: &Wall, charted: &Charted) -> Markup {
    let series = &wall.series;
    let decisions = [
        ("admitted", "c1", &series.admitted),
        ("duplicate", "c2", &series.duplicates),
        ("quarantined", "bad", &series.quarantined),
    ];
    let total = |i: usize| decisions.iter().map(|(.., counts)| counts[i]).sum::<u64>() as f64 / wall.seconds(i);
    let peak = (0..series.admitted.len()).map(total).fold(0.0, f64::max);
    // What never happened needs no colour; the first is always there.
    let shown = decisions.into_iter().filter(|(name, _, counts)| *name == "admitted" || counts.iter().any(|n| *n > 0));
    let lines = shown.map(|(name, class, counts)| Line { name, class, values: wall.rates(counts) }).collect();
    let totals = &charted.totals;
    let mean = totals.answered as f64 / (charted.micros() / 1e6);
    let mut plot = wall.plot("rate", "Rate and decisions", lines, Scale::linear(peak));
    plot.kind = Kind::Stack;
    plot.value = short;
    plot.subtitle = format!("events answered a second; {} on average, {} at most", short(mean), short(peak));
    plot.summary = format!(
        "{} events answered in {}: {} admitted, {} duplicates, {} quarantined.",
        count(totals.answered),
        span(charted.micros()),
        count(totals.admitted),
        count(totals.duplicates),
        count(totals.quarantined)
    );
    plot.figure()
}

fn latency(wall: &Wall, charted: &Charted) -> Markup {
    let lines = percentiles(&wall.series.latency_p50_us, &wall.series.latency_p99_us);
    let values = || lines.iter().flat_map(|line| line.values.iter().flatten().copied());
    let scale = Scale::log(values().fold(f64::MAX, f64::min), values().fold(0.0, f64::max));
    let mut plot = wall.plot("latency", "Latency", lines, scale);
    let all = spread(&charted.latency);
    plot.subtitle = String::from("first attempt to answer, by powers of ten");
    plot.summary = format!("Over the run half took at most {}, 99 in 100 {}, the longest {}.", all[0], all[1], all[2]);
    plot.figure()
}

fn lag(wall: &Wall, charted: &Charted) -> Markup {
    if charted.lag.max_us == 0 {
        let why = "Nothing was sent later than due, or nothing was due at a time: the run was not paced.";
        return quiet("lag", "Lag behind schedule", why);
    }
    let lines = percentiles(&wall.series.lag_p50_us, &wall.series.lag_p99_us);
    let largest = lines.iter().flat_map(|line| line.values.iter().flatten().copied()).fold(0.0, f64::max);
    let mut plot = wall.plot("lag", "Lag behind schedule", lines, Scale::linear(largest));
    plot.subtitle = String::from("due time to first attempt");
    let all = spread(&charted.lag);
    plot.summary =
        format!("Over the run half were at most {} late, 99 in 100 {}, the latest {}.", all[0], all[1], all[2]);
    plot.figure()
}

fn retries(wall: &Wall, charted: &Charted) -> Markup {
    let totals = &charted.totals;
    if totals.retries == 0 {
        return quiet("retries", "Retries", "Every event was answered at its first attempt.");
    }
    let lines = vec![Line { name: "retries", class: "c4", values: wall.rates(&wall.series.retries) }];
    let peak = lines[0].values.iter().flatten().copied().fold(0.0, f64::max);
    let mut plot = wall.plot("retries", "Retries", lines, Scale::linear(peak));
    plot.kind = Kind::Stack;
    plot.value = short;
    plot.subtitle = format!("a second, by when the event was answered; {} in all", count(totals.retries));
    plot.summary =
        format!("{} attempts beyond the first, of {} attempts in all.", count(totals.retries), count(totals.attempts));
    plot.figure()
}

fn spread(spread: &Spread) -> [String; 3] {
    [spread.p50_us, spread.p99_us, spread.max_us].map(|us| span(us as f64))
}

fn percentiles<'a>(p50: &[Option<u64>], p99: &[Option<u64>]) -> Vec<Line<'a>> {
    let values = |column: &[Option<u64>]| column.iter().map(|us| us.map(|us| us as f64)).collect();
    vec![
        Line { name: "99 in 100", class: "c3", values: values(p99) },
        Line { name: "half", class: "c1", values: values(p50) },
    ]
}

fn quiet(id: &str, title: &str, words: &str) -> Markup {
    html! {
        div.chart id=(id) {
            h3 { (title) }
            p.quiet { (words) }
        }
        "\n"
    }
}

fn over_event_time(charted: &Charted) -> Markup {
    let from = charted.series.event_time.from_ts_utc.as_ref().and_then(|text| Micros::parse(text.as_bytes()));
    let Some(from) = from else { return Markup::default() };
    html! {
        section aria-labelledby="over-event-time" {
            h2 id="over-event-time" { "Over event time" }
            (event_time(charted, from))
        }
        "\n"
    }
}

fn event_time(charted: &Charted, from: Micros) -> Markup {
    let series = &charted.series.event_time;
    let names: Vec<&str> = charted.outputs.iter().map(OutputId::as_str).collect();
    let recorded = series.outputs.iter().map(Vec::len).max().unwrap_or(0);
    let length = series.bucket_us as f64 * recorded as f64;
    let size = recorded.div_ceil(DRAWN).max(1);
    let buckets = recorded.div_ceil(size);
    let width = series.bucket_us * size as u64;
    // The last bucket may be made of fewer.
    let last = (recorded - (buckets.max(1) - 1) * size) as f64 / size as f64;
    let sums = |counts: &[u64]| counts.chunks(size).map(|counts| counts.iter().sum::<u64>()).collect::<Vec<_>>();
    let outputs: Vec<Vec<u64>> = series.outputs.iter().map(|counts| sums(counts)).collect();
    let values = |counts: &Vec<u64>| counts.iter().map(|n| Some(*n as f64)).collect();
    let lines = outputs.iter().zip(names.iter().copied()).enumerate();
    let lines = lines
        .map(|(rank, (counts, name))| Line { name, class: CLASSES[rank.min(5)], values: values(counts) })
        .collect();
    let total = |i: usize| outputs.iter().filter_map(|counts| counts.get(i)).sum::<u64>() as f64;
    let peak = (0..buckets).map(total).fold(0.0, f64::max);
    let plot = Plot {
        id: "event-time",
        title: "Events of each output",
        subtitle: format!("answered events per {} of event time", span(width as f64)),
        summary: format!(
            "{} events over {} of event time from {} on.",
            count(charted.totals.answered),
            span(length),
            moment(&from.to_string())
        ),
        kind: Kind::Stack,
        lines,
        scale: Scale::linear(peak),
        x: calendar_ticks(from, length),
        last,
        value: short,
        bucket: Box::new(move |i| {
            let at = from.0.saturating_add(i64::try_from(width.saturating_mul(i as u64)).unwrap_or(i64::MAX));
            Micros::checked(at).map(|at| moment(&at.to_string())).unwrap_or_default()
        }),
        over: "from",
    };
    plot.figure()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn series(admitted: Vec<u64>) -> WallSeries {
        let none = vec![None; admitted.len()];
        let zeros = vec![0; admitted.len()];
        WallSeries {
            bucket_us: 50_000,
            admitted,
            duplicates: zeros.clone(),
            quarantined: zeros.clone(),
            retries: zeros,
            latency_p50_us: none.clone(),
            latency_p99_us: none.clone(),
            lag_p50_us: none.clone(),
            lag_p99_us: none,
        }
    }

    proptest! {
        /// However long a run waits after its last answer, few buckets are drawn, and they reach up to now.
        #[test]
        fn a_wait_at_the_end_is_drawn_in_bounded_space(
            admitted in proptest::collection::vec(0_u64..1000, 1..600), waited in 0_u64..10_000_000_000_000,
        ) {
            let elapsed = (admitted.len() as u64 * 50_000 + waited) as f64;
            let sum: u64 = admitted.iter().sum();
            let drawn = drawn(&series(admitted), elapsed);
            let n = drawn.admitted.len();
            prop_assert!((1..=DRAWN).contains(&n));
            prop_assert!([&drawn.duplicates, &drawn.retries].iter().all(|column| column.len() == n));
            prop_assert!([&drawn.latency_p50_us, &drawn.lag_p99_us].iter().all(|column| column.len() == n));
            prop_assert_eq!(drawn.admitted.iter().sum::<u64>(), sum);
            let end = (n as u64 * drawn.bucket_us) as f64;
            prop_assert!(end > elapsed - drawn.bucket_us as f64 && end < elapsed + drawn.bucket_us as f64);
        }
    }

    #[test]
    fn buckets_without_an_answer_follow_the_last_one() {
        assert_eq!(drawn(&series(vec![5, 7]), 249_999.0).admitted, [5, 7, 0, 0]);
        assert_eq!(drawn(&series(vec![5, 7]), 60_000.0).admitted, [5, 7]);
    }
}
