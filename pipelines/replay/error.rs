//! Why a replay ends early: what, where (file, row, column, flag), and what to do.

use std::fmt;
use std::path::Path;

use wsp::ahead::AheadError;
use wsp::deliver::PushError;

/// Why a replay was refused or ended early.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A flag that can't be used as it is.
    #[error("{flag}: {what}")]
    Flag {
        /// The flag.
        flag: &'static str,
        /// What is wrong, and what to do.
        what: String,
    },
    /// An input that can't be used.
    #[error("input {input}: {what}")]
    Input {
        /// Its name.
        input: String,
        /// What is wrong, and what to do.
        what: String,
    },
    /// A file that can't be read as what it is taken for.
    #[error("{file}: {what}")]
    File {
        /// The file.
        file: String,
        /// What is wrong, and what to do.
        what: String,
    },
    /// A row that can't be sent, or not in this place.
    #[error("{0}")]
    Row(Box<RowFault>),
    /// An event that the receiver did not take.
    #[error("{0}")]
    Event(Box<EventFault>),
    /// The state of an earlier start does not fit, or can't be read or written.
    #[error("{path}: {what}")]
    State {
        /// The file or folder.
        path: String,
        /// What is wrong, and what to do.
        what: String,
    },
    /// Another process holds the state.
    #[error("{path}: {what}")]
    Held {
        /// The folder, or the flag where it is none.
        path: String,
        /// Who holds it, and what to do.
        what: String,
    },
    /// A stop was requested before the end.
    #[error("stopped: not all events are sent; the same command goes on from here")]
    Stopped,
    /// A fault of the program or of the machine.
    #[error("{0}")]
    Internal(String),
}

/// What is wrong with a row.
#[derive(Debug, Clone)]
pub struct RowFault {
    /// The file.
    pub file: String,
    /// The row, counted from 1 as people do; for JSON Lines the line.
    pub row: u64,
    /// The column, and the way inside it.
    pub column: Option<String>,
    /// What is wrong, and what to do.
    pub what: String,
}

impl fmt::Display for RowFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, row, column, what } = self;
        write!(f, "{file}, row {row}")?;
        if let Some(column) = column {
            write!(f, ", column {column}")?;
        }
        write!(f, ": {what}")
    }
}

/// What became of an event that ends the replay.
#[derive(Debug, Clone)]
pub struct EventFault {
    /// The file of its row.
    pub file: String,
    /// Its row, counted from 1.
    pub row: u64,
    /// Its id.
    pub id: String,
    /// What happened.
    pub what: String,
    /// What to do.
    pub next: &'static str,
}

impl fmt::Display for EventFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, row, id, what, next } = self;
        write!(f, "{file}, row {row}, id {id}: {what}; {next}")
    }
}

impl Error {
    /// Of a flag.
    pub fn flag(flag: &'static str, what: impl fmt::Display) -> Self {
        Self::Flag { flag, what: what.to_string() }
    }

    /// Of an input.
    pub(super) fn input(input: &str, what: impl fmt::Display) -> Self {
        Self::Input { input: input.to_owned(), what: what.to_string() }
    }

    /// Of a file.
    pub(super) fn file(file: &str, what: impl fmt::Display) -> Self {
        Self::File { file: file.to_owned(), what: what.to_string() }
    }

    /// Of a row, counted from 0.
    pub(super) fn row(file: &str, row: u64, column: Option<&str>, what: impl fmt::Display) -> Self {
        let column = column.map(str::to_owned);
        Self::Row(Box::new(RowFault { file: file.to_owned(), row: row + 1, column, what: what.to_string() }))
    }

    /// Of the state.
    pub(super) fn state(path: &Path, what: impl fmt::Display) -> Self {
        Self::State { path: path.display().to_string(), what: what.to_string() }
    }

    /// Whether it is about how the program was called, or about state that does not fit the call: nothing was sent then.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Flag { .. } | Self::Input { .. })
    }

    /// Whether somebody asked for it.
    #[must_use]
    pub fn is_stop(&self) -> bool {
        matches!(self, Self::Stopped)
    }
}

impl From<AheadError> for Error {
    fn from(error: AheadError) -> Self {
        Self::Internal(format!("reading the inputs: {error}"))
    }
}

impl From<PushError> for Error {
    fn from(error: PushError) -> Self {
        match error {
            PushError::Stopped(_) => Self::Stopped,
            PushError::Thread(_) | PushError::Panicked(_) | PushError::Ended => Self::Internal(error.to_string()),
        }
    }
}
