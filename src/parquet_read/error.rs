//! Why rows can't be read: facts, which a producer turns into its own reasons.

use std::fmt;

/// What kind of fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFault {
    /// The object is not the Parquet that it should be.
    Unreadable,
    /// The object is another one than the one that was found first.
    Changed,
    /// A link leads out of the store's root.
    Outside,
    /// The store does not answer, or answers with an error.
    Unavailable,
    /// A row has no event time.
    NoTime,
    /// A row is earlier than the row before it.
    OutOfOrder,
    /// A row was asked for that is not there.
    NoSuchRow,
    /// A fault in this library, or in a filter.
    Internal,
}

impl ReadFault {
    fn words(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Changed => "changed",
            Self::Outside => "outside the root",
            Self::Unavailable => "unavailable",
            Self::NoTime => "no event time",
            Self::OutOfOrder => "out of order",
            Self::NoSuchRow => "no such row",
            Self::Internal => "internal error",
        }
    }
}

/// Why an object, or a row of it, can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadError {
    /// What kind of fault it is.
    pub fault: ReadFault,
    /// The object's full name, where the fault lies in one.
    pub object: Option<String>,
    /// The 0-based row of that object, where it lies in one.
    pub row: Option<u64>,
    /// The column, where it lies in one.
    pub column: Option<String>,
    /// What exactly, for a person.
    pub detail: String,
}

impl ReadError {
    pub(super) fn new(fault: ReadFault, detail: impl Into<String>) -> Self {
        Self { fault, object: None, row: None, column: None, detail: detail.into() }
    }

    pub(super) fn object(self, object: impl Into<String>) -> Self {
        Self { object: Some(object.into()), ..self }
    }

    pub(super) fn row(self, row: u64) -> Self {
        Self { row: Some(row), ..self }
    }

    pub(super) fn column(self, column: impl Into<String>) -> Self {
        Self { column: Some(column.into()), ..self }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fault, object, row, column, detail } = self;
        f.write_str(fault.words())?;
        if let Some(object) = object {
            write!(f, " in {object}")?;
        }
        if let Some(row) = row {
            write!(f, " at row {row}")?;
        }
        if let Some(column) = column {
            write!(f, ", {column}")?;
        }
        write!(f, ": {detail}")
    }
}

impl std::error::Error for ReadError {}

/// Why a stream of rows ends. `E` is what a filter fails with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowsError<E> {
    /// An object or a row can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The filter has no answer for a row.
    #[error("in {object} at row {row}: {error}")]
    Filter {
        /// The object's full name.
        object: String,
        /// The 0-based row of that object.
        row: u64,
        /// What the filter says.
        error: E,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_where_and_why() {
        let error = ReadError::new(ReadFault::NoTime, "null");
        assert_eq!(error.to_string(), "no event time: null");
        let error = error.object("a.parquet").row(7).column("ts");
        assert_eq!(error.to_string(), "no event time in a.parquet at row 7, ts: null");
        assert_eq!(RowsError::<String>::from(error.clone()).to_string(), error.to_string());
        let (object, row, error) = ("a.parquet".to_owned(), 7, "no key".to_owned());
        assert_eq!(RowsError::Filter { object, row, error }.to_string(), "in a.parquet at row 7: no key");
    }
}
