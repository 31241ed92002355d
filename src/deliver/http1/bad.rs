//! Why bytes are no answer, and how much of one is read.

/// The most of an answer's body that is read, in bytes. What is longer is cut there.
pub const BODY_LIMIT: usize = 1 << 20;

/// Why bytes are no answer, or not a whole one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// The head can't be read.
    #[error("the answer is no HTTP/1: {0}")]
    Head(httparse::Error),
    /// The head is longer than 32 KiB.
    #[error("the answer's head is too long")]
    HeadTooLong,
    /// `Content-Length` is no number, or two that differ.
    #[error("the answer's Content-Length can't be read")]
    Length,
    /// `Transfer-Encoding` in an answer of HTTP/1.0, which has none (RFC 9112, 6.1).
    #[error("the answer has a Transfer-Encoding that its version does not know")]
    TransferEncoding,
    /// A chunk's size or its end can't be read, or what stands beside the data takes more than 16 KiB.
    #[error("the answer's chunks can't be read")]
    Chunk,
    /// The connection ended before the answer began.
    #[error("the connection was closed before an answer")]
    NoAnswer,
    /// The connection ended within the answer.
    #[error("the connection was closed within the answer")]
    Incomplete,
}
