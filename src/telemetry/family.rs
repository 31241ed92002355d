//! A metric and its figures at one moment.

use super::histogram::HistogramCounts;

/// How a metric moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only up, from zero at the start of the process.
    Counter,
    /// Up and down.
    Gauge,
    /// Counts by size, in seconds; only up.
    Histogram,
}

impl Kind {
    /// The word of the Prometheus text format.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// A metric. A producer has a list of its own.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name, with its unit as the last word, and `_total` behind it where it only counts up.
    pub name: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// The names of its labels. Each takes few values, bounded by what the process was configured with.
    pub labels: &'static [&'static str],
    /// What it says, in a sentence.
    pub help: &'static str,
}

/// A producer's list of metrics: of each its name, kind, labels and meaning. Makes a `static` of each, and `ALL`, which lists
/// them in this order.
///
/// ```
/// wsp::metrics! {
///     SENT: "shop_sent_orders_total", Counter, ["region"], "Orders that the intake accepted.";
///     WAITING: "shop_waiting_orders", Gauge, [], "Orders without an answer.";
/// }
/// assert_eq!(ALL.iter().map(|metric| metric.unit()).collect::<Vec<_>>(), ["orders", "orders"]);
/// # assert_eq!((SENT.labels.len(), WAITING.labels.len()), (1, 0));
/// ```
#[macro_export]
macro_rules! metrics {
    ($($name:ident: $text:literal, $kind:ident, [$($label:literal),*], $help:literal;)+) => {
        $(
            #[doc = $help]
            pub static $name: $crate::telemetry::Metric = $crate::telemetry::Metric {
                name: $text,
                kind: $crate::telemetry::Kind::$kind,
                labels: &[$($label),*],
                help: $help,
            };
        )+

        /// All of them, in their order.
        pub static ALL: &[&$crate::telemetry::Metric] = &[$(&$name,)+];
    };
}

impl Metric {
    /// Its unit: the last word of the name, `_total` aside.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        let name = self.name.strip_suffix("_total").unwrap_or(self.name);
        name.rsplit('_').next().unwrap_or(name)
    }
}

/// A metric with its figures.
#[derive(Debug, Clone)]
pub struct Family {
    /// Which.
    pub metric: &'static Metric,
    /// One a combination of labels.
    pub samples: Vec<Sample>,
}

/// One figure of a metric.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The values of the metric's labels, in their order.
    pub labels: Vec<String>,
    /// The figure.
    pub value: Value,
}

/// A figure. Which of the two it is follows from the metric's kind.
#[derive(Debug, Clone)]
pub enum Value {
    /// Of a counter or gauge.
    Number(f64),
    /// Of a histogram.
    Histogram(HistogramCounts),
}

impl Family {
    /// A metric without labels.
    #[must_use]
    pub fn single(metric: &'static Metric, number: f64) -> Self {
        Self { metric, samples: vec![Sample { labels: Vec::new(), value: Value::Number(number) }] }
    }

    /// A metric with labels, each sample its labels' values and its number.
    #[must_use]
    pub fn labelled(metric: &'static Metric, samples: impl IntoIterator<Item = (Vec<String>, f64)>) -> Self {
        let sample = |(labels, number)| Sample { labels, value: Value::Number(number) };
        Self { metric, samples: samples.into_iter().map(sample).collect() }
    }

    /// A histogram without labels.
    #[must_use]
    pub fn histogram(metric: &'static Metric, counts: HistogramCounts) -> Self {
        Self { metric, samples: vec![Sample { labels: Vec::new(), value: Value::Histogram(counts) }] }
    }
}
