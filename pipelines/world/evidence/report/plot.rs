//! One chart: curves or stacked areas over buckets of time, as inline SVG between axes.
//!
//! ```text
//! Plot { lines } ──► figure: caption, legend, y labels · picture · x labels, and the numbers as a table
//! ```
//!
//! The picture is stretched to the width there is. Texts stand in SVGs of their own, which are not, and keep their size.

use std::fmt::Write;

use maud::{Markup, html};

use super::scale::{Scale, Tick};

/// Rows of a chart's table and columns that answer to a pointer, at most.
const FIGURES: usize = 60;

/// What is drawn.
pub(super) struct Plot<'a> {
    /// A word for links, unique on the page.
    pub(super) id: &'a str,
    pub(super) title: &'a str,
    pub(super) subtitle: String,
    /// What is read off it, for those who don't see it.
    pub(super) summary: String,
    pub(super) kind: Kind,
    pub(super) lines: Vec<Line<'a>>,
    pub(super) scale: Scale,
    pub(super) x: Vec<Tick>,
    /// Width of the last bucket as a share of the others'.
    pub(super) last: f64,
    /// How a value is written.
    pub(super) value: fn(f64) -> String,
    /// How a bucket is called in the table.
    pub(super) bucket: Box<dyn Fn(usize) -> String + 'a>,
    /// The table's heading over the buckets.
    pub(super) over: &'a str,
}

/// How lines are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Each on its own.
    Curves,
    /// Areas, one on the other.
    Stack,
}

/// One line of a chart.
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    /// The colour's class, `c1` to `c5`.
    pub(super) class: &'static str,
    pub(super) values: Vec<Option<f64>>,
}

impl Plot<'_> {
    /// The chart as HTML. Nothing in it has a `style`, which a page's Content-Security-Policy would forbid.
    pub(super) fn figure(&self) -> Markup {
        let id = self.id;
        let ticks = self.scale.ticks(self.value);
        html! {
            figure.chart id=(id) {
                figcaption {
                    h3 { (self.title) }
                    p { (self.subtitle) }
                    @if self.lines.len() > 1 {
                        ul.legend {
                            @for line in &self.lines { li { i class=(line.class) {} (line.name) } }
                        }
                    }
                }
                div.plot {
                    svg.y aria-hidden="true" {
                        @for tick in &ticks {
                            text x="100%" y=(percent(1.0 - tick.at)) dx="-.7em" { (tick.label) }
                        }
                    }
                    svg viewBox="0 0 1000 1000" preserveAspectRatio="none" role="img"
                        aria-labelledby={ (id) "-t " (id) "-d" } {
                        title id={ (id) "-t" } { (self.title) }
                        desc id={ (id) "-d" } { (self.summary) }
                        @for tick in &ticks {
                            path.grid d=(format_args!("M0 {:.0}H1000", 1000.0 - tick.at * 1000.0)) {}
                        }
                        (self.shapes())
                        (self.pointer_targets())
                    }
                    svg.x aria-hidden="true" {
                        @for tick in &self.x {
                            text class=[edge(tick)] x=(percent(tick.at)) y="1.4em" { (tick.label) }
                        }
                    }
                }
                (self.table())
            }
            "\n"
        }
    }

    fn buckets(&self) -> usize {
        self.lines.iter().map(|line| line.values.len()).max().unwrap_or(0)
    }

    /// Where bucket `i` begins, 0 to 1000; one past the last is the right edge.
    fn left(&self, i: usize) -> f64 {
        let n = self.buckets();
        let total = (n.max(1) - 1) as f64 + self.last;
        if i >= n { 1000.0 } else { i as f64 / total * 1000.0 }
    }

    fn shapes(&self) -> Markup {
        let mut floor = vec![0.0; self.buckets()];
        html! {
            @for line in &self.lines {
                @match self.kind {
                    Kind::Curves => { path class={ "curve " (line.class) } d=(self.curve(line)) {} }
                    Kind::Stack => { path class={ "area " (line.class) } d=(self.layer(line, &mut floor)) {} }
                }
            }
        }
    }

    fn curve(&self, line: &Line<'_>) -> String {
        let tops: Vec<_> = line.values.iter().map(|value| value.map(|value| self.y(value))).collect();
        self.steps(&tops)
    }

    /// A line's area, on top of `floor`, which it raises.
    fn layer(&self, line: &Line<'_>, floor: &mut [f64]) -> String {
        let below: Vec<_> = floor.iter().map(|value| self.y(*value)).collect();
        for (value, more) in floor.iter_mut().zip(&line.values) {
            *value += more.unwrap_or(0.0);
        }
        let above: Vec<_> = floor.iter().map(|value| self.y(*value)).collect();
        self.band(&above, &below)
    }

    fn y(&self, value: f64) -> f64 {
        1000.0 - self.scale.place(value) * 1000.0
    }

    /// A level a bucket; a gap where there is none.
    fn steps(&self, tops: &[Option<f64>]) -> String {
        let mut path = String::new();
        let mut drawing = false;
        for (i, top) in tops.iter().enumerate() {
            if let Some(top) = top {
                let (from, to) = (self.left(i), self.left(i + 1));
                let _ = if drawing {
                    write!(path, "V{top:.1}H{to:.1}")
                } else {
                    write!(path, "M{from:.1} {top:.1}H{to:.1}")
                };
            }
            drawing = top.is_some();
        }
        path
    }

    /// The area between two levels a bucket.
    fn band(&self, above: &[f64], below: &[f64]) -> String {
        let mut path = String::from("M0 1000");
        for (i, top) in above.iter().enumerate() {
            let _ = write!(path, "V{top:.1}H{:.1}", self.left(i + 1));
        }
        for (i, bottom) in below.iter().enumerate().rev() {
            let _ = write!(path, "V{bottom:.1}H{:.1}", self.left(i));
        }
        path.push('Z');
        path
    }

    /// Unseen columns whose titles a pointer brings up.
    fn pointer_targets(&self) -> Markup {
        html! {
            @for (from, to) in self.groups() {
                @let (left, right) = (self.left(from), self.left(to));
                rect.hit x=(format_args!("{left:.1}")) y="0" width=(format_args!("{:.1}", right - left)) height="1000" {
                    title {
                        ((self.bucket)(from))
                        @for line in &self.lines {
                            "\n" (line.name) ": " (self.words(line, from, to, "none"))
                        }
                    }
                }
            }
        }
    }

    fn table(&self) -> Markup {
        html! {
            details {
                summary { "Figures" }
                div.scroll tabindex="0" role="region" aria-label={ (self.title) " in figures" } {
                    table {
                        thead {
                            tr {
                                th scope="col" { (self.over) }
                                @for line in &self.lines { th.n scope="col" { (line.name) } }
                            }
                        }
                        tbody {
                            @for (from, to) in self.groups() {
                                tr {
                                    th scope="row" { ((self.bucket)(from)) }
                                    @for line in &self.lines { td.n { (self.words(line, from, to, "–")) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// A line's value over some buckets, in words.
    fn words(&self, line: &Line<'_>, from: usize, to: usize, none: &str) -> String {
        self.grouped(line, from, to).map_or_else(|| none.to_owned(), self.value)
    }

    /// The buckets, several together where there are many.
    fn groups(&self) -> Vec<(usize, usize)> {
        let n = self.buckets();
        let size = n.div_ceil(FIGURES).max(1);
        (0..n).step_by(size).map(|from| (from, (from + size).min(n))).collect()
    }

    /// Of curves the highest, of areas the mean.
    fn grouped(&self, line: &Line<'_>, from: usize, to: usize) -> Option<f64> {
        let values = line.values.get(from..to.min(line.values.len()))?.iter().flatten().copied();
        match self.kind {
            Kind::Curves => values.reduce(f64::max),
            Kind::Stack => Some(values.sum::<f64>() / (to - from).max(1) as f64),
        }
    }
}

/// A label at either end of an axis stays within it.
fn edge(tick: &Tick) -> Option<&'static str> {
    match tick.at {
        at if at < 0.04 => Some("first"),
        at if at > 0.94 => Some("last"),
        _ => None,
    }
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}
