//! Headers of requests: fixed ones, and ones with columns of the row in them.
//!
//! ```text
//! 'X-Customer: c-{customer_id}' ──► name, text · column · text ──row──► "x-customer: c-7\r\n"
//! ```

use hyper::header::{HeaderName, HeaderValue};
use wsp::deliver::headers::{is_reserved, is_value};

use super::error::Error;

/// A header as `Name: value`, its value with columns in braces. `{{` and `}}` are the braces themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    name: HeaderName,
    parts: Vec<Part>,
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// As it stands there.
    Text(String),
    /// The value of this column.
    Column(String),
}

impl Template {
    /// Reads `Name: value`.
    ///
    /// # Errors
    ///
    /// If it is no header, or one that is the sender's own business.
    pub fn new(text: &str) -> Result<Self, Error> {
        let refused = |what: &str| Error::flag("--header", format!("{text:?}: {what}"));
        let (name, value) = text.split_once(':').ok_or_else(|| refused("not of the form 'Name: value'"))?;
        let name = header_name(name.trim()).map_err(|what| refused(&what))?;
        let parts = parts(value.trim()).map_err(refused)?;
        if !parts.iter().all(|part| {
            matches!(part, Part::Column(_)) || matches!(part, Part::Text(text) if is_value(text.as_bytes()))
        }) {
            return Err(refused("its value holds a control character or one beyond ASCII, which no header carries"));
        }
        Ok(Self { name, parts })
    }

    /// Its name.
    pub(super) fn name(&self) -> &HeaderName {
        &self.name
    }

    /// The columns in it, in their order.
    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        columns(&self.parts)
    }

    /// The value, if it is the same for all rows.
    pub(super) fn fixed(&self) -> Option<HeaderValue> {
        match &self.parts[..] {
            [] => Some(HeaderValue::from_static("")),
            [Part::Text(text)] => HeaderValue::from_str(text).ok(),
            _ => None,
        }
    }

    /// Appends the header as a line; `column` appends the value of the next column.
    pub(super) fn write<E>(
        &self,
        out: &mut Vec<u8>,
        mut column: impl FnMut(&str, &mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        out.extend_from_slice(self.name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Column(name) => column(name, out)?,
            }
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }
}

/// A header's name that may be set from outside.
pub(super) fn header_name(name: &str) -> Result<HeaderName, String> {
    let name: HeaderName = name.parse().map_err(|_| format!("{name:?} is no name of a header"))?;
    if is_reserved(&name) {
        return Err(format!("{name} frames the message or belongs to the connection; it can't be set"));
    }
    Ok(name)
}

/// The columns among `parts`, in their order.
pub(super) fn columns(parts: &[Part]) -> impl Iterator<Item = &str> {
    parts.iter().filter_map(|part| if let Part::Column(name) = part { Some(name.as_str()) } else { None })
}

/// Takes a text with columns in braces apart.
pub(super) fn parts(value: &str) -> Result<Vec<Part>, &'static str> {
    let (mut parts, mut text) = (Vec::new(), String::new());
    let mut chars = value.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '{' | '}' if chars.peek() == Some(&c) => {
                chars.next();
                text.push(c);
            }
            '{' => {
                let column: String = chars.by_ref().take_while(|c| *c != '}').collect();
                if column.is_empty() {
                    return Err("{} names no column; a brace itself is {{");
                }
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                }
                parts.push(Part::Column(column));
            }
            '}' => return Err("a } without its {; a brace itself is }}"),
            c => text.push(c),
        }
    }
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        let write = |name: &str, out: &mut Vec<u8>| {
            out.extend_from_slice(name.to_uppercase().as_bytes());
            Ok::<(), ()>(())
        };
        Template::new(text).unwrap().write(&mut out, write).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_stand_in_braces() {
        assert_eq!(written("X-Key: a-{shop}/{id}!"), "x-key: a-SHOP/ID!\r\n");
        assert_eq!(written("X-Key:{{{id}}}"), "x-key: {ID}\r\n");
        assert_eq!(Template::new("A: b c").unwrap().fixed().unwrap(), "b c");
        assert_eq!(Template::new("A:").unwrap().fixed().unwrap(), "");
        assert!(Template::new("A: {b}").unwrap().fixed().is_none());
    }

    #[test]
    fn what_is_no_header_of_ours_is_refused() {
        for (text, word) in [
            ("X-Key", "Name: value"),
            ("X Key: a", "no name"),
            ("Content-Length: 7", "frames"),
            ("Host: a", "frames"),
            ("A: {}", "names no column"),
            ("A: }", "without its"),
            ("A: ü", "beyond ASCII"),
            ("A: a\r\nB: c", "control"),
        ] {
            let error = Template::new(text).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("--header"), "{text}: {error}");
        }
    }
}
