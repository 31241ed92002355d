//! The position of an output.

use serde::{Deserialize, Serialize};

use crate::model::{Digested, Hex64, OutputId};

/// The position of one output within one scope: the last row that IG answered, with all before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The output.
    pub output_id: OutputId,
    /// Full path or URI of the file, spelt as the run's view spells it.
    pub last_file: String,
    /// 0-based row in that file.
    pub last_row_index: u64,
    /// That row's event time, canonical text.
    pub last_ts_utc: Option<String>,
    /// That row's event id. It is kept beside the cursor, so it is unknown where another producer or a person moved
    /// the cursor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event_id: Option<Hex64>,
    /// What the output's events up to that row are digested to. It is kept with the event id, and unknown where that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digested: Option<Digested>,
}

impl Cursor {
    /// Whether `new` is before this one, as far as can be told without the view's list of files: within one file.
    pub(super) fn is_passed_by(&self, new: &Cursor) -> bool {
        self.output_id == new.output_id && self.last_file == new.last_file && self.last_row_index > new.last_row_index
    }
}
