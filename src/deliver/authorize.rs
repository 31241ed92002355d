//! Credentials that differ from one attempt to the next: tokens that expire, signatures of a moment.
//!
//! ```text
//! item ──► Authorize ──header lines──► request ──401──► refused? ──other lines──► once more
//! ```

use std::fmt;

use bytes::Bytes;
use futures::future::BoxFuture;

/// What of a request its authorization may depend on, besides what all requests have in common.
#[derive(Debug, Clone, Copy)]
pub struct Unsigned<'a> {
    /// The item's own method and path, if they are not those of all requests.
    pub request_line: Option<&'a [u8]>,
    /// The item's own header lines, each ended by CRLF.
    pub head: &'a [u8],
    /// The body.
    pub body: &'a [u8],
}

/// Makes the header lines that tell the gate who we are, for each attempt anew.
pub trait Authorize: fmt::Debug + Send + Sync + 'static {
    /// Header lines, each ended by CRLF. It is part of the attempt's time.
    ///
    /// # Errors
    ///
    /// Why there are none, for a person; the attempt counts as one without a connection.
    fn authorize<'a>(&'a self, request: Unsigned<'a>) -> BoxFuture<'a, Result<Bytes, String>>;

    /// The gate answered 401 to a request with these lines; says whether others may be accepted, so that the request is sent
    /// once more at once.
    fn refused(&self, lines: &Bytes) -> bool {
        let _ = lines;
        false
    }
}
