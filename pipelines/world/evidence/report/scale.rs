//! From values to places on an axis, and the few values that are written beside it.

use super::text;
use crate::model::Micros;

/// A value that stands beside an axis: where (0 to 1), and what is written there.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tick {
    pub(super) at: f64,
    pub(super) label: String,
}

/// The axis of what is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scale {
    /// From zero to this.
    Linear(f64),
    /// From this to that, by powers of ten.
    Log(f64, f64),
}

impl Scale {
    /// From zero to something round above the largest value.
    pub(super) fn linear(largest: f64) -> Self {
        let step = round_step(largest / 4.0);
        Scale::Linear(step * (largest / step).ceil().max(1.0))
    }

    /// Whole decades around the values, which have to be above zero.
    pub(super) fn log(smallest: f64, largest: f64) -> Self {
        let low = smallest.max(1.0).log10().floor();
        let high = largest.max(1.0).log10().ceil().max(low + 1.0);
        Scale::Log(10_f64.powf(low), 10_f64.powf(high))
    }

    /// Where a value stands: 0 at the bottom, 1 at the top.
    pub(super) fn place(self, value: f64) -> f64 {
        match self {
            Scale::Linear(top) => (value / top).clamp(0.0, 1.0),
            Scale::Log(low, high) => {
                let (low, high) = (low.log10(), high.log10());
                ((value.max(1e-9).log10() - low) / (high - low)).clamp(0.0, 1.0)
            }
        }
    }

    /// The values to write, each by `label`.
    pub(super) fn ticks(self, label: fn(f64) -> String) -> Vec<Tick> {
        let values: Vec<f64> = match self {
            Scale::Linear(top) => {
                let step = round_step(top / 4.0);
                (0_u32..1000).map(|i| f64::from(i) * step).take_while(|value| *value <= top * 1.0001).collect()
            }
            Scale::Log(low, high) => std::iter::successors(Some(low), |value| Some(value * 10.0))
                .take_while(|v| *v <= high * 1.0001)
                .collect(),
        };
        values.into_iter().map(|value| Tick { at: self.place(value), label: label(value) }).collect()
    }
}

/// 1, 2 or 5 times a power of ten, at least `least`.
fn round_step(least: f64) -> f64 {
    if least <= 0.0 || !least.is_finite() {
        return 0.25;
    }
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|step| *step >= least * 0.9999).unwrap_or(power * 10.0)
}

/// Lengths of time that people count by, in seconds.
const STEPS: [f64; 28] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0,
    900.0, 1800.0, 3600.0, 7200.0, 10_800.0, 21_600.0, 43_200.0, 86_400.0, 172_800.0,
];

/// The step that leaves at most `ticks` of them in `us` microseconds.
fn time_step(us: f64, ticks: f64) -> f64 {
    let least = us / 1e6 / ticks;
    let step = STEPS.into_iter().find(|step| *step >= least);
    // Beyond some days by weeks, as many as it takes.
    step.unwrap_or_else(|| 604_800.0 * (least / 604_800.0).ceil()) * 1e6
}

/// Time from a run's start on, `us` microseconds of it.
pub(super) fn elapsed_ticks(us: f64) -> Vec<Tick> {
    let step = time_step(us, 5.0);
    let values = (0_u32..1000).map(|i| f64::from(i) * step).take_while(|value| *value <= us);
    values.map(|value| Tick { at: value / us, label: text::span(value) }).collect()
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Times of day and days, `us` microseconds from `from` on.
pub(super) fn calendar_ticks(from: Micros, us: f64) -> Vec<Tick> {
    let step = time_step(us, 4.0);
    let whole = step as i64;
    let first = from.0.div_euclid(whole) * whole + if from.0.rem_euclid(whole) == 0 { 0 } else { whole };
    let values = (0..).map(|i| first + i * whole).take_while(|at| (at - from.0) as f64 <= us);
    values
        .filter_map(|at| {
            let label = calendar(Micros::checked(at)?, step);
            Some(Tick { at: (at - from.0) as f64 / us, label })
        })
        .collect()
}

fn calendar(at: Micros, step: f64) -> String {
    let text = at.to_string();
    let month =
        text.get(5..7).and_then(|month| month.parse::<usize>().ok()).and_then(|n| MONTHS.get(n.wrapping_sub(1)));
    let day = text.get(8..10).unwrap_or_default().trim_start_matches('0');
    let date = format!("{day}\u{a0}{}", month.copied().unwrap_or_default());
    let (hours, seconds) = (text.get(11..16).unwrap_or_default(), text.get(11..19).unwrap_or_default());
    match step {
        s if s >= 86_400e6 => date,
        s if s >= 60e6 && hours == "00:00" => date,
        s if s >= 60e6 => hours.to_owned(),
        _ => seconds.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_value_has_its_place_and_ticks_are_few(largest in 0.001_f64..1e12, part in 0.0_f64..1.0) {
            let scales = [Scale::linear(largest), Scale::log(largest * part, largest)];
            for scale in scales {
                let ticks = scale.ticks(text::short);
                prop_assert!((2..=14).contains(&ticks.len()), "{scale:?} {ticks:?}");
                prop_assert!(ticks.iter().all(|tick| (0.0..=1.0).contains(&tick.at)));
                prop_assert!(scale.place(largest * part) <= scale.place(largest));
            }
            prop_assert!(Scale::linear(largest).place(largest) > 0.49, "half of the plot is used");
        }

        #[test]
        fn time_axes_are_not_crowded(us in 1e3_f64..1e14, from in 0_i64..4_000_000_000_000_000) {
            let (elapsed, calendar) = (elapsed_ticks(us), calendar_ticks(Micros(from), us));
            prop_assert!((1..=6).contains(&elapsed.len()), "{elapsed:?}");
            prop_assert!(calendar.len() <= 5, "{calendar:?}");
            prop_assert!(elapsed.iter().chain(&calendar).all(|tick| (0.0..=1.0).contains(&tick.at)));
        }
    }

    #[test]
    fn days_and_hours_are_told_apart() {
        let from = Micros::parse(b"2026-01-31T18:00:00Z").unwrap();
        let labels: Vec<_> = calendar_ticks(from, 24.0 * 3600e6).into_iter().map(|tick| tick.label).collect();
        assert_eq!(labels, ["18:00", "1\u{a0}Feb", "06:00", "12:00", "18:00"]);
    }
}
