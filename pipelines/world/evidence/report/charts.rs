//! The run over time: rate, latency, lag, retries by the wall clock; events of each output by event time.

use std::fmt::Write;

use super::elapsed;
use super::plot::{Kind, Line, Plot};
use super::scale::{Scale, calendar_ticks, elapsed_ticks};
use super::text::{count, moment, short, span};
use crate::evidence::{Summary, WallSeries};
use crate::model::Micros;

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
    fn new(summary: &Summary) -> Self {
        let series = drawn(&summary.series.wall);
        let (n, width) = (series.admitted.len().max(1) as f64, series.bucket_us.max(1) as f64);
        // A sliver at the end would show a rate of its own; it is drawn as half a bucket at least.
        let last = ((elapsed(summary) - (n - 1.0) * width) / width).clamp(0.5, 1.0);
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

/// The same series in as many buckets as are drawn.
fn drawn(series: &WallSeries) -> WallSeries {
    let size = series.admitted.len().div_ceil(DRAWN).max(1);
    let sums = |counts: &[u64]| counts.chunks(size).map(|counts| counts.iter().sum()).collect();
    // Of quantiles side by side none can be told over all; the worst is not better than the truth.
    let worst = |times: &[Option<u64>]| times.chunks(size).map(|times| times.iter().flatten().max().copied()).collect();
    let middle = |times: &[Option<u64>]| {
        let of = |times: &[Option<u64>]| {
            let mut told: Vec<u64> = times.iter().flatten().copied().collect();
            told.sort_unstable();
            told.get(told.len() / 2).copied()
        };
        times.chunks(size).map(of).collect()
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

pub(super) fn over_time(out: &mut String, summary: &Summary) {
    out.push_str("<section aria-labelledby=\"over-time\"><h2 id=\"over-time\">Over time</h2>\n");
    if summary.totals.answered == 0 {
        out.push_str("<p class=\"quiet\">No event was answered.</p></section>\n");
        return;
    }
    let wall = Wall::new(summary);
    out.push_str("<div class=\"charts\">\n");
    out.push_str(&rate(&wall, summary));
    out.push_str(&latency(&wall, summary));
    out.push_str(&lag(&wall, summary));
    out.push_str(&retries(&wall, summary));
    out.push_str("</div></section>\n");
}

fn rate(wall: &Wall, summary: &Summary) -> String {
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
    let mean = summary.totals.answered as f64 / (elapsed(summary) / 1e6);
    let mut plot = wall.plot("rate", "Rate and decisions", lines, Scale::linear(peak));
    plot.kind = Kind::Stack;
    plot.value = short;
    plot.subtitle = format!("events answered a second; {} on average, {} at most", short(mean), short(peak));
    plot.summary = format!(
        "{} events answered in {}: {} admitted, {} duplicates, {} quarantined.",
        count(summary.totals.answered),
        span(elapsed(summary)),
        count(summary.totals.admitted),
        count(summary.totals.duplicates),
        count(summary.totals.quarantined)
    );
    plot.figure()
}

fn latency(wall: &Wall, summary: &Summary) -> String {
    let lines = percentiles(&wall.series.latency_p50_us, &wall.series.latency_p99_us);
    let values = || lines.iter().flat_map(|line| line.values.iter().flatten().copied());
    let scale = Scale::log(values().fold(f64::MAX, f64::min), values().fold(0.0, f64::max));
    let mut plot = wall.plot("latency", "Latency", lines, scale);
    let spread = &summary.latency;
    let all = [spread.p50_us, spread.p99_us, spread.max_us].map(|us| span(us as f64));
    plot.subtitle = String::from("first attempt to answer, by powers of ten");
    plot.summary = format!("Over the run half took at most {}, 99 in 100 {}, the longest {}.", all[0], all[1], all[2]);
    plot.figure()
}

fn lag(wall: &Wall, summary: &Summary) -> String {
    let spread = &summary.lag;
    if spread.max_us == 0 {
        let why = "Nothing was sent later than due, or nothing was due at a time: the run was not paced.";
        return quiet("lag", "Lag behind schedule", why);
    }
    let lines = percentiles(&wall.series.lag_p50_us, &wall.series.lag_p99_us);
    let largest = lines.iter().flat_map(|line| line.values.iter().flatten().copied()).fold(0.0, f64::max);
    let mut plot = wall.plot("lag", "Lag behind schedule", lines, Scale::linear(largest));
    plot.subtitle = String::from("due time to first attempt");
    let all = [spread.p50_us, spread.p99_us, spread.max_us].map(|us| span(us as f64));
    plot.summary =
        format!("Over the run half were at most {} late, 99 in 100 {}, the latest {}.", all[0], all[1], all[2]);
    plot.figure()
}

fn retries(wall: &Wall, summary: &Summary) -> String {
    if summary.totals.retries == 0 {
        return quiet("retries", "Retries", "Every event was answered at its first attempt.");
    }
    let lines = vec![Line { name: "retries", class: "c4", values: wall.rates(&wall.series.retries) }];
    let peak = lines[0].values.iter().flatten().copied().fold(0.0, f64::max);
    let mut plot = wall.plot("retries", "Retries", lines, Scale::linear(peak));
    plot.kind = Kind::Stack;
    plot.value = short;
    plot.subtitle = format!("a second, by when the event was answered; {} in all", count(summary.totals.retries));
    plot.summary = format!(
        "{} attempts beyond the first, of {} attempts in all.",
        count(summary.totals.retries),
        count(summary.totals.attempts)
    );
    plot.figure()
}

fn percentiles<'a>(p50: &[Option<u64>], p99: &[Option<u64>]) -> Vec<Line<'a>> {
    let values = |column: &[Option<u64>]| column.iter().map(|us| us.map(|us| us as f64)).collect();
    vec![
        Line { name: "99 in 100", class: "c3", values: values(p99) },
        Line { name: "half", class: "c1", values: values(p50) },
    ]
}

fn quiet(id: &str, title: &str, words: &str) -> String {
    format!("<div class=\"chart\" id=\"{id}\"><h3>{title}</h3><p class=\"quiet\">{words}</p></div>\n")
}

pub(super) fn over_event_time(out: &mut String, summary: &Summary) {
    let series = &summary.series.event_time;
    let from = series.from_ts_utc.as_ref().and_then(|text| Micros::parse(text.as_bytes()));
    let Some(from) = from else { return };
    let names: Vec<&str> = summary.outputs.iter().map(|output| output.start.output_id.as_str()).collect();
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
            count(summary.totals.answered),
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
    let _ = write!(
        out,
        "<section aria-labelledby=\"over-event-time\"><h2 id=\"over-event-time\">Over event time</h2>\n{}</section>\n",
        plot.figure()
    );
}
