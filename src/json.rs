//! The one lexer of JSON (RFC 8259), for readers that must not build a tree or convert a number.
//!
//! ```text
//! text ──Lexer──► object · array · string · scalar     checked and borrowed; the caller visits each value
//!             └─► single tokens                        for callers that track the grammar's state themselves
//! ```
//!
//! The lexer is strict: no other white space, comments, trailing commas or `NaN`. Nesting is bounded, so that hostile
//! text can't exhaust the stack. The lexer leaves open what JSON readers treat differently: the caller gets all keys in order,
//! duplicates included, and each number as its digits. Only unescaping a string that has escapes allocates.

use std::borrow::Cow;

/// Why a text is not what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct Fault {
    /// What is wrong.
    pub what: &'static str,
    /// Where.
    pub at: usize,
}

/// A value that is neither object, array nor string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number of any length without point and exponent, as its digits.
    Integer(&'a str),
    /// Any other number, as its text.
    Float(&'a str),
}

/// One token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token<'a> {
    /// One of `{`, `}`, `[`, `]`, `,` and `:`.
    Mark(u8),
    /// A string: a key or a value.
    Text(Text<'a>),
    /// Any other value.
    Scalar(Scalar<'a>),
}

/// The text between a string's quotes. Its escapes are valid, but may be half a surrogate pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<'a> {
    raw: &'a str,
    at: usize,
    is_escaped: bool,
}

/// A position in a text.
#[derive(Debug, Clone)]
pub struct Lexer<'a> {
    text: &'a str,
    at: usize,
    /// How many more levels may be opened.
    depth: u32,
}

impl<'a> Lexer<'a> {
    /// At the beginning of `text`, whose objects and arrays are nested at most `depth` deep.
    #[must_use]
    pub fn new(text: &'a str, depth: u32) -> Self {
        Self { text, at: 0, depth }
    }

    /// The same for bytes, which have to be UTF-8.
    ///
    /// # Errors
    ///
    /// If they are not.
    pub fn of_bytes(bytes: &'a [u8], depth: u32) -> Result<Self, Fault> {
        let text = std::str::from_utf8(bytes);
        let text = text.map_err(|error| Fault { what: "invalid UTF-8", at: error.valid_up_to() })?;
        Ok(Self::new(text, depth))
    }

    /// The number of bytes read so far.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    /// The text read since byte `from`.
    #[must_use]
    pub fn read_since(&self, from: usize) -> &'a str {
        &self.text[from..self.at]
    }

    /// A fault at this place.
    #[must_use]
    pub fn fault(&self, what: &'static str) -> Fault {
        Fault { what, at: self.at }
    }

    /// The next byte that is not white space, left where it is; 0 at the end.
    #[inline]
    pub fn peek(&mut self) -> u8 {
        while let Some(byte) = self.next_byte() {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return byte;
            }
            self.at += 1;
        }
        0
    }

    /// Checks that only white space is left.
    ///
    /// # Errors
    ///
    /// If anything else is left.
    pub fn end(&mut self) -> Result<(), Fault> {
        self.peek();
        if self.at == self.text.len() { Ok(()) } else { Err(self.fault("text after the value")) }
    }

    /// Reads an object. It calls `member` with each key; `member` has to read the key's value.
    ///
    /// # Errors
    ///
    /// If there is no object or it is nested too deeply; any error of `member`.
    #[inline]
    pub fn object(&mut self, mut member: impl FnMut(&mut Self, Text<'a>) -> Result<(), Fault>) -> Result<(), Fault> {
        self.open(b'{', "'{' was expected")?;
        if self.peek() != b'}' {
            loop {
                let key = self.string()?;
                self.expect(b':', "':' was expected")?;
                member(self, key)?;
                if self.peek() != b',' {
                    break;
                }
                self.at += 1;
            }
        }
        self.depth += 1;
        self.expect(b'}', "',' or '}' was expected")
    }

    /// Reads an array. It calls `item` before each item; `item` has to read it.
    ///
    /// # Errors
    ///
    /// If there is no array or it is nested too deeply; any error of `item`.
    #[inline]
    pub fn array(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), Fault>) -> Result<(), Fault> {
        self.open(b'[', "'[' was expected")?;
        if self.peek() != b']' {
            loop {
                item(self)?;
                if self.peek() != b',' {
                    break;
                }
                self.at += 1;
            }
        }
        self.depth += 1;
        self.expect(b']', "',' or ']' was expected")
    }

    /// Reads a string.
    ///
    /// # Errors
    ///
    /// If there is none, if it does not end, or if it holds a control character or an escape that JSON does not have.
    #[inline]
    pub fn string(&mut self) -> Result<Text<'a>, Fault> {
        self.expect(b'"', "a string was expected")?;
        let (from, mut is_escaped) = (self.at, false);
        loop {
            self.skip_plain();
            match self.next_byte() {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                Some(_) => return Err(self.fault("a control character in a string")),
                None => return Err(self.fault("a string without an end")),
            }
            is_escaped = true;
        }
        self.at += 1;
        Ok(Text { raw: &self.text[from..self.at - 1], at: from, is_escaped })
    }

    /// Reads a number, `true`, `false` or `null`.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn scalar(&mut self) -> Result<Scalar<'a>, Fault> {
        match self.peek() {
            b't' => self.word("true", Scalar::Bool(true)),
            b'f' => self.word("false", Scalar::Bool(false)),
            b'n' => self.word("null", Scalar::Null),
            _ => self.number(),
        }
    }

    /// Reads one token; `None` at the end.
    ///
    /// # Errors
    ///
    /// If the next byte begins none.
    pub fn token(&mut self) -> Result<Option<Token<'a>>, Fault> {
        Ok(Some(match self.peek() {
            0 if self.at == self.text.len() => return Ok(None),
            mark @ (b'{' | b'}' | b'[' | b']' | b',' | b':') => {
                self.at += 1;
                Token::Mark(mark)
            }
            b'"' => Token::Text(self.string()?),
            _ => Token::Scalar(self.scalar()?),
        }))
    }

    fn next_byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn expect(&mut self, byte: u8, otherwise: &'static str) -> Result<(), Fault> {
        if self.peek() != byte {
            return Err(self.fault(otherwise));
        }
        self.at += 1;
        Ok(())
    }

    fn open(&mut self, byte: u8, otherwise: &'static str) -> Result<(), Fault> {
        self.expect(byte, otherwise)?;
        self.depth = self.depth.checked_sub(1).ok_or_else(|| self.fault("nested too deeply"))?;
        Ok(())
    }

    /// Skips to the next quote, backslash or control character, eight bytes at a time: most of a body is strings.
    fn skip_plain(&mut self) {
        const ONES: u64 = u64::MAX / 255;
        // The high bit of each byte that is below `n`. Only the lowest bit that is set is reliable; only that one is used.
        let below = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word & (ONES * 0x80);
        let bytes = self.text.as_bytes();
        while let Some(Ok(chunk)) = bytes.get(self.at..self.at + 8).map(<[u8; 8]>::try_from) {
            let word = u64::from_le_bytes(chunk);
            let special = below(word ^ (ONES * u64::from(b'"')), 1)
                | below(word ^ (ONES * u64::from(b'\\')), 1)
                | below(word, 0x20);
            if special != 0 {
                self.at += special.trailing_zeros() as usize / 8;
                return;
            }
            self.at += 8;
        }
        while !matches!(bytes.get(self.at), None | Some(b'"' | b'\\' | 0..0x20)) {
            self.at += 1;
        }
    }

    /// Skips an escape. Unescaping finds halves of surrogate pairs.
    fn escape(&mut self) -> Result<(), Fault> {
        let behind = &self.text.as_bytes()[self.at + 1..];
        self.at += match behind {
            [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
            [b'u', digits @ ..] if digits.len() >= 4 && digits[..4].iter().all(u8::is_ascii_hexdigit) => 6,
            [b'u', ..] => return Err(self.fault("an escape without four hex digits")),
            _ => return Err(self.fault("an unknown escape")),
        };
        Ok(())
    }

    fn word(&mut self, word: &str, value: Scalar<'a>) -> Result<Scalar<'a>, Fault> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.fault("a value was expected"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn number(&mut self) -> Result<Scalar<'a>, Fault> {
        let from = self.at;
        self.at += usize::from(self.next_byte() == Some(b'-'));
        let first = self.next_byte();
        match self.digits() {
            0 => return Err(Fault { what: "a value was expected", at: from }),
            digits if digits > 1 && first == Some(b'0') => return Err(Fault { what: "a leading zero", at: from }),
            _ => {}
        }
        let whole = self.at;
        if self.next_byte() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return Err(self.fault("a number that ends in its point"));
            }
        }
        if let Some(b'e' | b'E') = self.next_byte() {
            self.at += 1;
            self.at += usize::from(matches!(self.next_byte(), Some(b'+' | b'-')));
            if self.digits() == 0 {
                return Err(self.fault("a number without its exponent"));
            }
        }
        let number = &self.text[from..self.at];
        Ok(if self.at == whole { Scalar::Integer(number) } else { Scalar::Float(number) })
    }

    fn digits(&mut self) -> usize {
        let from = self.at;
        while let Some(b'0'..=b'9') = self.next_byte() {
            self.at += 1;
        }
        self.at - from
    }
}

impl<'a> Text<'a> {
    /// The text with its escapes.
    #[must_use]
    pub fn raw(self) -> &'a str {
        self.raw
    }

    /// The text without escapes; borrowed where it had none.
    ///
    /// # Errors
    ///
    /// If it has half a surrogate pair.
    #[inline]
    pub fn unescaped(self) -> Result<Cow<'a, str>, Fault> {
        if !self.is_escaped {
            return Ok(Cow::Borrowed(self.raw));
        }
        let mut out = String::with_capacity(self.raw.len());
        self.decode(|piece| out.push_str(piece)).map(|()| Cow::Owned(out))
    }

    /// Checks that it can be unescaped, without doing so.
    ///
    /// # Errors
    ///
    /// As [`unescaped`](Self::unescaped).
    #[inline]
    pub fn check(self) -> Result<(), Fault> {
        if self.is_escaped { self.decode(|_| ()) } else { Ok(()) }
    }

    fn decode(self, mut piece: impl FnMut(&str)) -> Result<(), Fault> {
        let mut rest = self.raw;
        while let Some(plain) = rest.find('\\') {
            piece(&rest[..plain]);
            let at = self.at + self.raw.len() - rest.len() + plain;
            let (c, length) = decoded(&rest[plain..]).ok_or(Fault { what: "half a surrogate pair", at })?;
            piece(c.encode_utf8(&mut [0; 4]));
            rest = &rest[plain + length..];
        }
        piece(rest);
        Ok(())
    }
}

/// The character of the escape at the beginning of `text`, and how long that is.
fn decoded(text: &str) -> Option<(char, usize)> {
    let c = match text.as_bytes().get(1)? {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return decoded_unit(text),
        other => char::from(*other),
    };
    Some((c, 2))
}

fn decoded_unit(text: &str) -> Option<(char, usize)> {
    let unit = |text: &str| u32::from_str_radix(text.get(2..6)?, 16).ok();
    let first = unit(text)?;
    if !(0xd800..0xdc00).contains(&first) {
        return Some((char::from_u32(first)?, 6));
    }
    let behind = &text[6..];
    let second = behind.starts_with("\\u").then(|| unit(behind)).flatten()?;
    let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
    Some((char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + low)?, 12))
}

#[cfg(test)]
mod tests;
