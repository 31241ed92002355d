//! What kind of world to make, and why none was.

use std::io;
use std::path::PathBuf;

use wsp_world::model::IdentityError;

/// What kind of world to make.
#[derive(Debug, Clone, PartialEq)]
pub struct WorldSpec {
    /// Events over the four outputs of a run, at least 4. The baseline outputs come on top.
    pub events: u64,
    /// How long the world lasts, in days (more than 0, at most 3,660). Late events of flows may lie after its end.
    pub days: f64,
    /// Files a view is cut into (fewer where it has fewer rows).
    pub parts: u32,
    /// Rows of a row group.
    pub row_group_rows: usize,
    /// Seed of everything, up to 2^63 - 1 (its column is signed).
    pub seed: u64,
    /// The scenario.
    pub scenario_id: String,
    /// First instant, RFC 3339. It is also the creation time in all documents: no clock is read.
    pub start: String,
    /// Write the two baseline outputs as well.
    pub baseline: bool,
    /// How even merchants are: visits of the `n`-th are proportional to 1 / (n + this). Of a million events' arrivals the
    /// most popular has a tenth with 0, and 1 in 300 with 70, as in a real world of 4,050 merchants; with 1,000,000 all are
    /// nearly equal.
    pub evenness: u32,
}

impl WorldSpec {
    /// `events` events over two days from 2026 on, one part a view.
    #[must_use]
    pub fn new(events: u64) -> Self {
        Self {
            events,
            days: 2.0,
            parts: 1,
            row_group_rows: 122_880,
            seed: 42,
            scenario_id: "baseline_v1".to_owned(),
            start: "2026-01-01T00:00:00Z".to_owned(),
            baseline: false,
            evenness: 0,
        }
    }
}

/// Why no world was made.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// The spec asks for something impossible.
    #[error("no such world: {0}")]
    Spec(String),
    /// An identity of the spec is invalid.
    #[error("no such world: {0}")]
    Identity(#[source] IdentityError),
    /// There is a world already.
    #[error("{0} holds a world already")]
    Exists(PathBuf),
    /// Writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Parquet failed.
    #[error(transparent)]
    Parquet(#[from] parquet::errors::ParquetError),
}
