//! What is saved of one output of a line: rows up to a position, and rows beyond it.
//!
//! ```text
//! position ──covered──► rows up to it ─┐
//! runs of rows beyond ─────────────────┴─► kept
//! ```

use std::collections::BTreeSet;

use wsp_world::checkpoint::Beyond;

/// An output of a line.
pub(super) struct Output {
    pub(super) id: String,
    files: Vec<String>,
    /// File, row and number of each row, in the output's order.
    pub(super) rows: Vec<(usize, u64, usize)>,
    /// Rows covered by the saved position.
    pub(super) saved: usize,
    /// Numbers of the rows that are saved beyond a position; some may be covered by now.
    pub(super) beyond: BTreeSet<usize>,
}

impl Output {
    pub(super) fn new(id: String, files: Vec<String>, rows: Vec<(usize, u64, usize)>) -> Self {
        Self { id, files, rows, saved: 0, beyond: BTreeSet::new() }
    }

    /// How many rows lie up to and with a place; `None` where it is none of this output's.
    pub(super) fn covered(&self, file: &str, row: u64) -> Option<usize> {
        let file = self.files.iter().position(|name| *name == file)?;
        let at = self.rows.binary_search_by_key(&(file, row), |(file, row, _)| (*file, *row));
        at.ok().map(|at| at + 1)
    }

    /// Takes rows saved beyond; says whether they stand beside a position that is saved, or was. `None` where a place is
    /// none of this output's.
    pub(super) fn take_beyond(&mut self, beyond: &Beyond) -> Option<bool> {
        for answered in &beyond.files {
            for (first, last) in &answered.rows {
                let (first, last) = (self.covered(&answered.file, *first)?, self.covered(&answered.file, *last)?);
                self.beyond.extend(self.rows[first - 1..last].iter().map(|(.., n)| *n));
            }
        }
        match &beyond.cursor {
            Some(place) => Some(self.covered(&place.file, place.row)? <= self.saved),
            None => Some(true),
        }
    }

    /// Numbers of the rows that are kept.
    pub(super) fn kept(&self) -> impl Iterator<Item = usize> {
        self.rows[..self.saved].iter().map(|(.., n)| *n).chain(self.beyond.iter().copied())
    }

    /// Numbers of those beyond the position.
    pub(super) fn kept_beyond(&self) -> impl Iterator<Item = usize> {
        self.rows[self.saved..].iter().map(|(.., n)| *n).filter(|n| self.beyond.contains(n))
    }
}
