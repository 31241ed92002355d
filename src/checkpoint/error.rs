//! What goes wrong with checkpoints, whatever a producer calls it.

use thiserror::Error;

/// Why a checkpoint was not opened, read or saved. A producer's own error is made from it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{detail}")]
pub struct CheckpointError {
    /// Of what kind it is.
    pub fault: CheckpointFault,
    /// What happened.
    pub detail: String,
    /// The file or folder that it happened to, where it was one.
    pub file: Option<String>,
    /// The field in it, where one is to blame.
    pub field: Option<String>,
}

/// Kinds of faults, by what is to be done about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointFault {
    /// Another producer holds the scope.
    Busy,
    /// Another producer has taken the scope since this one opened it: nothing was saved.
    Lost,
    /// What is kept can't be read.
    Unreadable,
    /// What is kept belongs to another scope.
    Foreign,
    /// The store can't be reached now.
    Unavailable,
    /// What was to be kept is not durable.
    NotSaved,
    /// A fault of this program.
    Internal,
}

impl CheckpointError {
    /// An error that names no file.
    #[must_use]
    pub fn new(fault: CheckpointFault, detail: impl Into<String>) -> Self {
        Self { fault, detail: detail.into(), file: None, field: None }
    }

    /// The same error, of this file or folder.
    #[must_use]
    pub fn file(mut self, file: impl Into<String>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// The same error, of this field.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
}
