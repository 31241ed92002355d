//! A view's rows as batches of its output, from any row on, and the memory for them.
//!
//! ```text
//! View ──Parts──► the reader of the stages ──Rows──► RowBatch, with the output's rank
//!                                         └─RowsError──► Refusal
//! ```

use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use wsp::parquet_read::{PartRows, Parts, memory_wish};

use super::view_files::{TIME_COLUMN, View, columns_to_read};
use super::{Resume, RowFilter, Scan};
use crate::model::{Refusal, RowBatch};

impl View {
    /// The rows that `scan` asks for, in order; [`RowBatch::position`] counts `seq` from the first of
    /// them.
    ///
    /// # Errors
    ///
    /// `CHECKPOINT_FOREIGN` for a resume beyond the view; `TS_UTC_INVALID` and
    /// `STREAM_VIEW_ORDER_VIOLATION` with file and row; `STREAM_VIEW_UNREADABLE`,
    /// `STREAM_VIEW_CHANGED`, `STORE_UNAVAILABLE` with the file.
    pub fn batches(&self, scan: Scan) -> impl Stream<Item = Result<RowBatch, Refusal>> + Send + use<> {
        self.batches_where(scan, None)
    }

    /// Of the rows that `scan` asks for those that `filter` picks, all of them where there is none: see [`Parts::batches`].
    ///
    /// # Errors
    ///
    /// As [`View::batches`], for every row whether picked or not: a view that one lane refuses is refused by all
    /// of them, though a fault in a column that the filter doesn't see is found by the row's own lane. And what the
    /// filter refuses a row for.
    pub fn batches_where(
        &self,
        scan: Scan,
        filter: Option<RowFilter>,
    ) -> impl Stream<Item = Result<RowBatch, Refusal>> + Send + use<> {
        let part = |part: &super::ViewPart| PartRows { object: part.file.clone(), rows: part.rows };
        let parts = Parts {
            store: self.store.clone(),
            list: self.parts.iter().map(part).collect(),
            time_column: TIME_COLUMN.into(),
            columns: columns_to_read,
        };
        let (rank, output_id) = (self.rank, self.output_id.clone());
        Arc::new(parts).batches(scan, filter).map(move |rows| match rows {
            Ok(rows) => Ok(RowBatch::of(rank, rows)),
            Err(error) => {
                let refusal = Refusal::from(error);
                // A fault that lies in no part is one of the output as a whole.
                Err(match refusal.place.file {
                    Some(_) => refusal,
                    None => Refusal { detail: format!("{output_id}: {}", refusal.detail), ..refusal },
                })
            }
        })
    }

    /// The memory, in bytes, with which rows from `from` on are read as fast as can be.
    #[must_use]
    pub fn memory_wish(&self, from: Resume) -> u64 {
        memory_wish(self.parts.iter().skip(from.file).flat_map(|part| &part.row_groups))
    }
}

#[cfg(test)]
mod tests {
    use arrow_schema::Schema;
    use futures::FutureExt as _;
    use wsp::store::{MemoryStore, ObjectMeta, Version};

    use super::*;
    use crate::model::Reason;
    use crate::oracle::{RowGroup, ViewFile, ViewPart};

    /// A view of parts with one row group each, of which so many bytes are read.
    fn view(sizes: &[u64]) -> View {
        let part = |(i, bytes): (usize, &u64)| {
            let key = format!("part-{i:06}.parquet").parse().unwrap();
            let file = ViewFile { key, meta: ObjectMeta { size: *bytes, version: Version("1".to_owned()) } };
            let row_groups = vec![RowGroup { rows: 10, bytes: *bytes, decoded: *bytes, span: None }];
            ViewPart { file, name: format!("part {i}"), rows: 10, row_groups, pins: Vec::new(), footer_sha256: [0; 32] }
        };
        View {
            rank: 3,
            output_id: "arrival_events_5B".parse().unwrap(),
            store: Arc::new(MemoryStore::new("mem://world")),
            parts: sizes.iter().enumerate().map(part).collect(),
            rows: 10 * sizes.len() as u64,
            schema: Arc::new(Schema::empty()),
        }
    }

    #[test]
    fn memory_is_wished_for_what_is_left_to_read() {
        let view = view(&[50, 10, 20]);
        let wish = |from| view.memory_wish(from);
        assert_eq!([wish(Resume::default()), wish(Resume::at(1, 5)), wish(Resume::at(3, 0))], [200, 80, 0]);
    }

    #[test]
    fn a_resume_beyond_the_view_names_its_part_or_its_output() {
        let first = |from| {
            let batches = view(&[1, 1]).batches(Scan::new().resume(from));
            Box::pin(batches).next().now_or_never().unwrap().unwrap().unwrap_err()
        };
        let of_a_part = first(Resume::at(0, 11));
        assert_eq!(of_a_part.place.file.as_deref(), Some("mem://world/part-000000.parquet"));
        let of_none = first(Resume::at(3, 0));
        assert_eq!(of_none.detail, "arrival_events_5B: row 0 of part 3 is asked for; there are 2 parts");
        assert_eq!([of_a_part.reason, of_none.reason], [Reason::CheckpointForeign; 2]);
    }
}
