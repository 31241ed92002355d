//! What framing and lanes have to know about one output.

use crate::model::OutputId;

/// What the framer has to know about one output.
#[derive(Debug, Clone)]
pub struct OutputFrame {
    /// The output.
    pub output_id: OutputId,
    /// The catalogue's `primary_key` columns, in order.
    pub primary_key: Vec<String>,
    /// The column that events are kept in line by; the event id where there is none.
    pub order_key: Option<String>,
    /// Full names of the output's files, by [`Position::file`](crate::model::Position::file), for refusals.
    pub files: Vec<String>,
}
