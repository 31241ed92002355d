//! A body in chunks (RFC 9112, 7.1): their sizes, extensions and trailers, of which the data is kept.
//!
//! ```text
//! size [; extension] CRLF data CRLF … 0 CRLF [trailer CRLF …] CRLF
//! ```

use bytes::{Buf, BytesMut};

use super::bad::{BODY_LIMIT, BadAnswer};

/// The most that extensions and trailers may take together, in bytes: they are read past.
const ASIDE_LIMIT: usize = 16 << 10;

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The first digit of a size.
    Size,
    /// More digits, or what ends them.
    MoreSize,
    /// White space behind a size.
    Space,
    /// The rest of a line that says nothing to us.
    Extension,
    SizeEnd,
    Data,
    DataReturn,
    DataEnd,
    /// A trailer, or the end.
    Trailer,
    MoreTrailer,
    TrailerEnd,
    End,
    /// The body is whole.
    Over,
}

/// What has been read of such a body.
#[derive(Debug)]
pub(super) struct Chunks {
    next: Next,
    /// What is missing of the chunk at hand, in bytes.
    left: u64,
    aside: usize,
    body: BytesMut,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    More,
    Whole,
    /// There is more than [`BODY_LIMIT`], which the body now has.
    Cut,
}

impl Chunks {
    pub(super) fn new() -> Self {
        Self { next: Next::Size, left: 0, aside: 0, body: BytesMut::new() }
    }

    pub(super) fn into_body(self) -> BytesMut {
        self.body
    }

    /// Takes from `buffer` what belongs to the body. What it comes to does not depend on how the bytes are dealt out.
    pub(super) fn read(&mut self, buffer: &mut BytesMut) -> Result<Progress, BadAnswer> {
        while self.next != Next::Over {
            if self.next == Next::Data {
                let room = BODY_LIMIT - self.body.len();
                if room == 0 {
                    return Ok(Progress::Cut);
                }
                let have = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len()).min(room);
                self.body.extend_from_slice(&buffer[..have]);
                buffer.advance(have);
                self.left -= have as u64;
                if self.left == 0 {
                    self.next = Next::DataReturn;
                } else if buffer.is_empty() && have < room {
                    return Ok(Progress::More);
                }
                continue;
            }
            let Some(&byte) = buffer.first() else { return Ok(Progress::More) };
            buffer.advance(1);
            self.next = self.after(byte)?;
        }
        Ok(Progress::Whole)
    }

    /// What comes after a byte that is not data.
    fn after(&mut self, byte: u8) -> Result<Next, BadAnswer> {
        let next = match (self.next, byte) {
            (Next::Size, _) => {
                self.left = digit(byte)?;
                Next::MoreSize
            }
            (Next::MoreSize | Next::Space | Next::Extension, b'\r') => Next::SizeEnd,
            (Next::MoreSize | Next::Space, b';') => Next::Extension,
            (Next::MoreSize | Next::Space, b' ' | b'\t') => self.aside(Next::Space)?,
            (Next::MoreSize, _) => {
                let size = self.left.checked_mul(16).ok_or(BadAnswer::Chunk)?;
                self.left = size + digit(byte)?;
                Next::MoreSize
            }
            (Next::SizeEnd, b'\n') if self.left == 0 => Next::Trailer,
            (Next::SizeEnd, b'\n') => Next::Data,
            (Next::DataReturn, b'\r') => Next::DataEnd,
            (Next::DataEnd, b'\n') => Next::Size,
            (Next::Trailer, b'\r') => Next::End,
            (Next::MoreTrailer, b'\r') => Next::TrailerEnd,
            (Next::TrailerEnd, b'\n') => Next::Trailer,
            (Next::End, b'\n') => Next::Over,
            // A line ends with both of its characters, or somebody else may see another line in it.
            (Next::Extension, byte) if byte != b'\n' => self.aside(Next::Extension)?,
            (Next::Trailer | Next::MoreTrailer, byte) if byte != b'\n' => self.aside(Next::MoreTrailer)?,
            _ => return Err(BadAnswer::Chunk),
        };
        Ok(next)
    }

    fn aside(&mut self, next: Next) -> Result<Next, BadAnswer> {
        self.aside += 1;
        if self.aside > ASIDE_LIMIT { Err(BadAnswer::Chunk) } else { Ok(next) }
    }
}

/// The value of a hexadecimal digit.
fn digit(byte: u8) -> Result<u64, BadAnswer> {
    char::from(byte).to_digit(16).map(u64::from).ok_or(BadAnswer::Chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(Progress, String, String), BadAnswer> {
        let (mut chunks, mut buffer) = (Chunks::new(), BytesMut::from(text));
        let progress = chunks.read(&mut buffer)?;
        let text = |bytes: BytesMut| String::from_utf8(bytes.to_vec()).unwrap();
        Ok((progress, text(chunks.into_body()), text(buffer)))
    }

    #[test]
    fn the_data_is_kept_and_the_rest_read_past() {
        for (text, body, behind) in [
            ("0\r\n\r\n", "", ""),
            ("5\r\nhello\r\n0\r\n\r\nHTTP", "hello", "HTTP"),
            ("5;a=\"b\"\r\nhello\r\n1 \t;x\r\n!\r\n000\r\n\r\n", "hello!", ""),
            ("A\r\n0\r\n\r\n56789\r\n0\r\nX-Trailer: 1\r\nY:\r\n\r\n", "0\r\n\r\n56789", ""),
            ("000000000000000000000000000a\r\n0123456789\r\n0\r\n\r\n", "0123456789", ""),
        ] {
            assert_eq!(read(text), Ok((Progress::Whole, body.into(), behind.into())), "{text:?}");
        }
        for text in ["", "5", "5\r\nhel", "5\r\nhello\r\n", "0\r\n", "0\r\nX: 1\r\n"] {
            assert_eq!(read(text).unwrap().0, Progress::More, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for text in [
            "\r\n",
            "g\r\n",
            "-1\r\n",
            ";a\r\n",
            "5\nhello",
            "5\r\rhello",
            "5\r\nhello!\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5 5\r\nhello",
            "5;a\nhello",
            "10000000000000000\r\n",
            "0\r\n\n",
            "0\r\nX: 1\n\r\n",
        ] {
            assert_eq!(read(text), Err(BadAnswer::Chunk), "{text:?}");
        }
        let long = "x".repeat(ASIDE_LIMIT + 1);
        for text in [format!("5;{long}"), format!("0\r\n{long}")] {
            assert_eq!(read(&text), Err(BadAnswer::Chunk));
        }
        // Of one answer all that stands aside counts, and as much as the limit is read past.
        let half = "x".repeat(ASIDE_LIMIT / 2);
        let aside = |more: &str| read(&format!("1;{half}\r\n!\r\n0;{half}{more}\r\n\r\n"));
        assert_eq!(aside(""), Ok((Progress::Whole, "!".into(), String::new())));
        assert_eq!(aside("x"), Err(BadAnswer::Chunk));
    }

    #[test]
    fn the_body_is_cut_at_its_bound() {
        let full = format!("{:x}\r\n{}\r\n", BODY_LIMIT, "x".repeat(BODY_LIMIT));
        let (progress, body, _) = read(&format!("{full}0\r\n\r\n")).unwrap();
        assert_eq!((progress, body.len()), (Progress::Whole, BODY_LIMIT));
        let (progress, body, _) = read(&format!("{full}1\r\n")).unwrap();
        assert_eq!((progress, body.len()), (Progress::Cut, BODY_LIMIT));
        let (progress, body, _) = read(&format!("{:x}\r\n{}", u64::MAX, "x".repeat(BODY_LIMIT))).unwrap();
        assert_eq!((progress, body.len()), (Progress::Cut, BODY_LIMIT));
    }
}
