//! Writes one stream view: rows in, Parquet parts and the figures for its receipt out.
//!
//! ```text
//! rows ──► View::push ──batches──► part-000000.parquet, part-000001.parquet, … ──► View::finish ──► ViewStats
//! ```

use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use wsp::random::Random;
use wsp_world::model::Micros;

use super::columns::Table;
use super::documents::ViewStats;
use super::rows::{Arrival, FlowEvent};
use super::spec::WorldError;

/// A row with its time and its unique key.
pub(super) trait Timed: Copy {
    fn ts(&self) -> Micros;
    fn key(&self) -> [u64; 2];
}

impl Timed for Arrival {
    fn ts(&self) -> Micros {
        self.ts
    }

    fn key(&self) -> [u64; 2] {
        [self.merchant_id, self.seq.cast_unsigned()]
    }
}

impl Timed for FlowEvent {
    fn ts(&self) -> Micros {
        self.ts
    }

    fn key(&self) -> [u64; 2] {
        [self.flow_id.cast_unsigned(), self.seq.cast_unsigned()]
    }
}

/// How a view is cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) rows: u64,
    pub(super) parts: u64,
    pub(super) row_group_rows: usize,
}

/// A view being written.
pub(super) struct View<R> {
    folder: PathBuf,
    table: Table<R>,
    layout: Layout,
    properties: WriterProperties,
    part: u64,
    writer: Option<ArrowWriter<File>>,
    stats: ViewStats,
}

impl<R: Timed> View<R> {
    /// A view of `layout.rows` rows in `layout.parts` parts, in an existing folder.
    pub(super) fn new(folder: &Path, table: Table<R>, layout: Layout) -> Self {
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_row_count(Some(layout.row_group_rows))
            .set_created_by("world-streamer-producer reference world".to_owned());
        for column in table.unique_columns() {
            properties = properties.set_column_dictionary_enabled(ColumnPath::from(column), false);
        }
        // More parts than rows would leave empty ones.
        let layout = Layout { parts: layout.parts.clamp(1, layout.rows.max(1)), ..layout };
        Self {
            folder: folder.to_owned(),
            table,
            layout,
            properties: properties.build(),
            part: 0,
            writer: None,
            stats: ViewStats::default(),
        }
    }

    /// Adds rows, in order of time.
    pub(super) fn push(&mut self, mut rows: &[R]) -> Result<(), WorldError> {
        while !rows.is_empty() {
            let end = self.end_of_part();
            let room = usize::try_from(end - self.stats.rows).unwrap_or(usize::MAX);
            let (now, later) = rows.split_at(rows.len().min(room).min(self.table.max_rows()));
            let batch = self.table.batch(now).map_err(|error| WorldError::Parquet(error.into()))?;
            self.writer()?.write(&batch)?;
            self.count(now);
            if self.stats.rows == end {
                self.close_part()?;
            }
            rows = later;
        }
        Ok(())
    }

    /// Closes the last part.
    pub(super) fn finish(mut self) -> Result<ViewStats, WorldError> {
        self.close_part()?;
        Ok(self.stats)
    }

    /// The number of rows in the parts up to and including the current one.
    fn end_of_part(&self) -> u64 {
        let end = u128::from(self.layout.rows) * u128::from(self.part + 1) / u128::from(self.layout.parts);
        (end as u64).max(self.stats.rows + 1)
    }

    fn writer(&mut self) -> Result<&mut ArrowWriter<File>, WorldError> {
        let writer = if let Some(writer) = self.writer.take() {
            writer
        } else {
            let file = File::create(self.folder.join(format!("part-{:06}.parquet", self.part)))?;
            ArrowWriter::try_new(file, self.table.schema().clone(), Some(self.properties.clone()))?
        };
        Ok(self.writer.insert(writer))
    }

    fn close_part(&mut self) -> Result<(), WorldError> {
        if let Some(writer) = self.writer.take() {
            writer.close()?;
            self.part += 1;
        }
        Ok(())
    }

    fn count(&mut self, rows: &[R]) {
        let stats = &mut self.stats;
        stats.rows += rows.len() as u64;
        if stats.first.is_none() {
            stats.first = rows.first().map(Timed::ts);
        }
        stats.last = rows.last().map(Timed::ts).or(stats.last);
        for row in rows {
            let [one, two] = row.key();
            let hash = Random::of(&[row.ts().0.cast_unsigned(), one, two]).next();
            stats.hash_sum += u128::from(hash);
            stats.hash_sum2 += u128::from(hash % 1_000_000_007);
        }
    }
}
