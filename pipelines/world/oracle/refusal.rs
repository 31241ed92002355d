//! The platform's reasons for what the reader of Parquet objects fails with.

use wsp::parquet_read::{ReadError, ReadFault, RowsError};

use crate::model::{Reason, Refusal};

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        let ReadError { fault, object, row, column, detail } = error;
        let reason = match fault {
            ReadFault::Unreadable => Reason::StreamViewUnreadable,
            ReadFault::Changed => Reason::StreamViewChanged,
            ReadFault::Outside => Reason::RefOutsideRoot,
            ReadFault::Unavailable => Reason::StoreUnavailable,
            ReadFault::NoTime => Reason::TsUtcInvalid,
            ReadFault::OutOfOrder => Reason::StreamViewOrderViolation,
            // Only a checkpoint names a row to begin at.
            ReadFault::NoSuchRow => Reason::CheckpointForeign,
            ReadFault::Internal => Reason::InternalError,
        };
        let refusal = Self::new(reason, detail);
        let refusal = object.into_iter().fold(refusal, Self::file);
        let refusal = row.into_iter().fold(refusal, Self::row);
        column.into_iter().fold(refusal, Self::field)
    }
}

impl<E: Into<Refusal>> From<RowsError<E>> for Refusal {
    fn from(error: RowsError<E>) -> Self {
        match error {
            RowsError::Read(error) => error.into(),
            RowsError::Filter { object, row, error } => error.into().file(object).row(row),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_its_reason_and_keeps_its_place() {
        for (fault, reason) in [
            (ReadFault::Unreadable, Reason::StreamViewUnreadable),
            (ReadFault::Changed, Reason::StreamViewChanged),
            (ReadFault::Outside, Reason::RefOutsideRoot),
            (ReadFault::Unavailable, Reason::StoreUnavailable),
            (ReadFault::NoTime, Reason::TsUtcInvalid),
            (ReadFault::OutOfOrder, Reason::StreamViewOrderViolation),
            (ReadFault::NoSuchRow, Reason::CheckpointForeign),
            (ReadFault::Internal, Reason::InternalError),
        ] {
            let (object, column) = (Some("a.parquet".to_owned()), Some("ts_utc".to_owned()));
            let error = ReadError { fault, object, row: Some(7), column, detail: "no".to_owned() };
            let expected = Refusal::new(reason, "no").file("a.parquet").row(7).field("ts_utc");
            assert_eq!(Refusal::from(error.clone()), expected);
            assert_eq!(Refusal::from(RowsError::<Refusal>::Read(error)), expected);
            let error = ReadError { fault, object: None, row: None, column: None, detail: "no".to_owned() };
            assert_eq!(Refusal::from(error), Refusal::new(reason, "no"));
        }
    }

    #[test]
    fn what_a_filter_says_gets_file_and_row() {
        let error = Refusal::new(Reason::PrimaryKeyMissing, "no key").field("id");
        let refusal = Refusal::from(RowsError::Filter { object: "a.parquet".to_owned(), row: 7, error });
        assert_eq!(refusal, Refusal::new(Reason::PrimaryKeyMissing, "no key").file("a.parquet").row(7).field("id"));
    }
}
