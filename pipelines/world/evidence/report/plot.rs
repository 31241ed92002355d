//! One chart: curves or stacked areas over buckets of time, as inline SVG between axes of plain HTML.
//!
//! ```text
//! Plot { lines } ──► figure: caption, legend, y labels · svg · x labels, and the numbers as a table
//! ```
//!
//! The SVG is stretched to the width there is, so texts stand outside of it and keep their size.

use std::fmt::Write;

use super::scale::{Scale, Tick};
use super::text::Escaped;

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
    /// The chart as HTML.
    pub(super) fn figure(&self) -> String {
        let mut out = String::new();
        let (id, title) = (self.id, Escaped(self.title));
        let _ = write!(
            out,
            "<figure class=\"chart\" id=\"{id}\"><figcaption><h3>{title}</h3><p>{}</p>",
            Escaped(&self.subtitle)
        );
        if self.lines.len() > 1 {
            out.push_str("<ul class=\"legend\">");
            for line in &self.lines {
                let _ = write!(out, "<li><i class=\"{}\"></i>{}</li>", line.class, Escaped(line.name));
            }
            out.push_str("</ul>");
        }
        out.push_str("</figcaption><div class=\"plot\"><div class=\"y\" aria-hidden=\"true\">");
        let ticks = self.scale.ticks(self.value);
        for tick in &ticks {
            let _ = write!(out, "<span style=\"bottom:{:.1}%\">{}</span>", tick.at * 100.0, Escaped(&tick.label));
        }
        let _ = write!(
            out,
            "</div><svg viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\" role=\"img\" \
             aria-labelledby=\"{id}-t {id}-d\"><title id=\"{id}-t\">{title}</title><desc id=\"{id}-d\">{}</desc>",
            Escaped(&self.summary)
        );
        for tick in &ticks {
            let _ = write!(out, "<path class=\"grid\" d=\"M0 {0:.0}H1000\"/>", 1000.0 - tick.at * 1000.0);
        }
        self.shapes(&mut out);
        self.pointer_targets(&mut out);
        out.push_str("</svg><div class=\"x\" aria-hidden=\"true\">");
        for tick in &self.x {
            let edge = if tick.at < 0.04 {
                " class=\"first\""
            } else if tick.at > 0.94 {
                " class=\"last\""
            } else {
                ""
            };
            let _ = write!(out, "<span{edge} style=\"left:{:.1}%\">{}</span>", tick.at * 100.0, Escaped(&tick.label));
        }
        out.push_str("</div></div>");
        self.table(&mut out);
        out.push_str("</figure>\n");
        out
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

    fn shapes(&self, out: &mut String) {
        match self.kind {
            Kind::Curves => {
                for line in &self.lines {
                    let tops: Vec<_> = line.values.iter().map(|value| value.map(|value| self.y(value))).collect();
                    let _ = write!(out, "<path class=\"curve {}\" d=\"{}\"/>", line.class, self.steps(&tops));
                }
            }
            Kind::Stack => {
                let mut floor = vec![0.0; self.buckets()];
                for line in &self.lines {
                    let below: Vec<_> = floor.iter().map(|value| self.y(*value)).collect();
                    for (value, more) in floor.iter_mut().zip(&line.values) {
                        *value += more.unwrap_or(0.0);
                    }
                    let above: Vec<_> = floor.iter().map(|value| self.y(*value)).collect();
                    let _ = write!(out, "<path class=\"area {}\" d=\"{}\"/>", line.class, self.band(&above, &below));
                }
            }
        }
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
    fn pointer_targets(&self, out: &mut String) {
        for (from, to) in self.groups() {
            let (left, right) = (self.left(from), self.left(to));
            let _ = write!(
                out,
                "<rect class=\"hit\" x=\"{left:.1}\" y=\"0\" width=\"{:.1}\" height=\"1000\"><title>{}",
                right - left,
                Escaped(&(self.bucket)(from))
            );
            for line in &self.lines {
                let value = self.grouped(line, from, to).map_or_else(|| "none".to_owned(), self.value);
                let _ = write!(out, "\n{}: {}", Escaped(line.name), Escaped(&value));
            }
            out.push_str("</title></rect>");
        }
    }

    fn table(&self, out: &mut String) {
        let _ = write!(
            out,
            "<details><summary>Figures</summary><div class=\"scroll\" tabindex=\"0\" role=\"region\" \
             aria-label=\"{} in figures\"><table><thead><tr><th scope=\"col\">{}</th>",
            Escaped(self.title),
            Escaped(self.over)
        );
        for line in &self.lines {
            let _ = write!(out, "<th scope=\"col\" class=\"n\">{}</th>", Escaped(line.name));
        }
        out.push_str("</tr></thead><tbody>");
        for (from, to) in self.groups() {
            let _ = write!(out, "<tr><th scope=\"row\">{}</th>", Escaped(&(self.bucket)(from)));
            for line in &self.lines {
                let value = self.grouped(line, from, to).map_or_else(|| "–".to_owned(), self.value);
                let _ = write!(out, "<td class=\"n\">{}</td>", Escaped(&value));
            }
            out.push_str("</tr>");
        }
        out.push_str("</tbody></table></div></details>");
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
