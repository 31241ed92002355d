//! What an attempt's failure means: one table decides between giving up, a retry and a regular
//! answer ("no such object", "another version").

use std::error::Error;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::super::StoreError;
use crate::aws::{causes, lacks_credentials, shortened};

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// There is no such object.
    Missing,
    /// It is there in another version, or at all.
    Precondition,
    /// Another writer was at it at the same moment; nothing was written.
    Conflict,
    /// The asked range lies beyond its end.
    Range,
    /// It is larger than was allowed: so many bytes at least.
    TooLarge(u64),
    /// May pass. A write may have taken place all the same.
    Passing,
    /// Stays.
    Lasting,
}

/// A failed attempt.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    /// What happened, without the object's name, keys and signatures.
    pub(super) text: String,
}

impl Failure {
    pub(super) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// What the SDK says, told by status and code. The server's own message is left out, for some servers
    /// repeat the access key in it.
    pub(super) fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        match error {
            SdkError::ServiceError(_) => {
                let code = error.code();
                let kind = status.map_or(Kind::Passing, |status| kind_of(status, code));
                let status = status.map_or_else(|| "without a status".to_owned(), |status| status.to_string());
                let code = code.map(|code| format!(" {}", shortened(code))).unwrap_or_default();
                let hint = hint(&status, code.trim()).map(|hint| format!(" ({hint})")).unwrap_or_default();
                Self::new(kind, format!("the server answered {status}{code}{hint}"))
            }
            SdkError::ResponseError(_) => {
                let status = status.map(|status| format!(" {status}")).unwrap_or_default();
                Self::new(Kind::Passing, format!("the server's answer{status} can't be read: {}", causes(error)))
            }
            SdkError::TimeoutError(_) => Self::new(Kind::Passing, "the request timed out"),
            SdkError::DispatchFailure(dispatch) => {
                let lasting = dispatch.is_user() || lacks_credentials(error);
                let kind = if lasting { Kind::Lasting } else { Kind::Passing };
                Self::new(kind, format!("the request failed: {}", causes(error)))
            }
            _ => Self::new(Kind::Lasting, format!("the request can't be made: {}", causes(error))),
        }
    }

    /// An answer's body that ended early or broke off.
    pub(super) fn broken_body(error: &(dyn Error + 'static)) -> Self {
        Self::new(Kind::Passing, format!("the answer broke off: {}", causes(error)))
    }

    /// The same with more words.
    #[must_use]
    pub(super) fn with(mut self, words: &str) -> Self {
        self.text = format!("{} {words}", self.text);
        self
    }

    /// The port's error, for the object of this full name; `doing` says what was tried.
    pub(super) fn refused(&self, object: String, doing: &str) -> StoreError {
        StoreError::Io { object, message: format!("{doing}: {}", self.text) }
    }

    /// Whether another attempt may fare better.
    pub(super) fn is_worth_another(&self) -> bool {
        matches!(self.kind, Kind::Passing | Kind::Conflict)
    }
}

/// The table.
fn kind_of(status: u16, code: Option<&str>) -> Kind {
    match (status, code) {
        (_, Some("NoSuchBucket")) => Kind::Lasting,
        (_, Some("SlowDown" | "RequestTimeout" | "InternalError" | "ServiceUnavailable" | "ThrottlingException")) => {
            Kind::Passing
        }
        (404, _) => Kind::Missing,
        (409, _) => Kind::Conflict,
        (412, _) => Kind::Precondition,
        (416, _) => Kind::Range,
        (408 | 429 | 500 | 502 | 503 | 504, _) => Kind::Passing,
        _ => Kind::Lasting,
    }
}

/// What an operator does about some answers.
fn hint(status: &str, code: &str) -> Option<&'static str> {
    match (status, code) {
        ("301" | "307", _)
        | (_, "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraint") => {
            Some("is the region right?")
        }
        (_, "NoSuchBucket") => Some("is the root right?"),
        (_, "SignatureDoesNotMatch" | "InvalidAccessKeyId" | "InvalidToken") => Some("are the credentials right?"),
        (_, "ExpiredToken") => Some("the credentials have expired"),
        (_, "RequestTimeTooSkewed") => Some("is this machine's clock right?"),
        ("501", _) => Some("the server has to know conditional requests"),
        ("403", _) => Some("may these credentials do this here?"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_mean_what_the_table_says() {
        for (status, code, kind) in [
            (404, Some("NoSuchKey"), Kind::Missing),
            (404, None, Kind::Missing),
            (404, Some("NoSuchBucket"), Kind::Lasting),
            (412, Some("PreconditionFailed"), Kind::Precondition),
            (409, Some("ConditionalRequestConflict"), Kind::Conflict),
            (416, Some("InvalidRange"), Kind::Range),
            (400, Some("RequestTimeout"), Kind::Passing),
            (429, None, Kind::Passing),
            (500, Some("InternalError"), Kind::Passing),
            (503, Some("SlowDown"), Kind::Passing),
            (501, Some("NotImplemented"), Kind::Lasting),
            (403, Some("AccessDenied"), Kind::Lasting),
            (301, Some("PermanentRedirect"), Kind::Lasting),
            (400, Some("ExpiredToken"), Kind::Lasting),
        ] {
            assert_eq!(kind_of(status, code), kind, "{status} {code:?}");
        }
    }

    #[test]
    fn only_what_may_pass_is_worth_another_attempt() {
        let worth = |kind| Failure::new(kind, "").is_worth_another();
        assert!(worth(Kind::Passing) && worth(Kind::Conflict));
        for kind in [Kind::Missing, Kind::Precondition, Kind::Range, Kind::TooLarge(1), Kind::Lasting] {
            assert!(!worth(kind), "{kind:?}");
        }
    }
}
