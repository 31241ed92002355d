//! Method and URL of a request with columns of the row in them.
//!
//! ```text
//! --method '{op}' --to 'https://x/{shop}/orders' ──► method · path ──row──► "PUT /s%2F1/orders"
//! ```
//!
//! Values are percent-encoded, so they never add a segment, a parameter or a line. The origin has no columns: a row must not
//! decide which host gets it.

use super::rows::CellFault;
use super::template::{Part, columns, parts};

/// Methods that carry an event.
pub(super) const METHODS: [&str; 4] = ["POST", "PUT", "PATCH", "DELETE"];

/// A request line in the making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestLine {
    method: Vec<Part>,
    /// Path and query.
    target: Vec<Part>,
}

impl RequestLine {
    /// Of a method and of what stands behind the origin in a URL.
    ///
    /// # Errors
    ///
    /// The flag and what is wrong.
    pub(super) fn new(method: &str, target: &str) -> Result<Self, (&'static str, String)> {
        let method = parts(method).map_err(|what| ("--method", what.to_owned()))?;
        if method.iter().any(|part| matches!(part, Part::Text(_))) && method.len() > 1 {
            return Err(("--method", "a method is one column, or one of POST, PUT, PATCH and DELETE".to_owned()));
        }
        if let [Part::Text(method)] = &method[..]
            && !METHODS.contains(&method.as_str())
        {
            return Err(("--method", format!("{method}: an event goes by POST, PUT, PATCH or DELETE")));
        }
        let target = parts(target).map_err(|what| ("--to", what.to_owned()))?;
        let is_sent =
            |byte: u8| matches!(byte, b'!'..=b'~') && !matches!(byte, b'"' | b'<' | b'>' | b'#' | b'{' | b'}');
        let texts = target.iter().filter_map(|part| if let Part::Text(text) = part { Some(text) } else { None });
        if !texts.into_iter().all(|text| text.bytes().all(is_sent)) {
            return Err(("--to", "its path or query holds what no request carries; encode it".to_owned()));
        }
        Ok(Self { method, target })
    }

    /// The columns in it, in their order.
    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        columns(&self.method).chain(columns(&self.target))
    }

    /// Appends method and target; `column` appends the value of the next column as it stands.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        mut column: impl FnMut(&str, &mut Vec<u8>) -> Result<(), CellFault>,
    ) -> Result<(), CellFault> {
        let from = out.len();
        for part in &self.method {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Column(name) => {
                    column(name, out)?;
                    check_method(name, &out[from..])?;
                }
            }
        }
        out.push(b' ');
        let (from, mut in_query) = (out.len(), false);
        let mut value = Vec::new();
        for part in &self.target {
            match part {
                Part::Text(text) => {
                    in_query |= text.contains('?');
                    out.extend_from_slice(text.as_bytes());
                }
                Part::Column(name) => {
                    value.clear();
                    column(name, &mut value)?;
                    if value.is_empty() && !in_query {
                        return Err(CellFault::new(name, "empty; the path of --to needs a value"));
                    }
                    encode(&value, out);
                    if !in_query && has_dot_segment(&out[from..]) {
                        let what = "\".\" or \"..\" as a segment of the path, which would name another place";
                        return Err(CellFault::new(name, what));
                    }
                }
            }
        }
        Ok(())
    }
}

fn check_method(name: &str, method: &[u8]) -> Result<(), CellFault> {
    if METHODS.iter().any(|known| known.as_bytes() == method) {
        return Ok(());
    }
    let shown = String::from_utf8_lossy(method);
    let shown = wsp::strict::excerpt(&shown, 60).into_owned();
    Err(CellFault::new(name, format!("{shown:?} is no method for an event: POST, PUT, PATCH or DELETE")))
}

/// Whether the last segment of a path, as far as it is written, goes up or stays.
fn has_dot_segment(path: &[u8]) -> bool {
    let segment = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    matches!(segment, b"." | b"..")
}

/// Writes what is not unreserved (RFC 3986, 2.3) as `%XX`.
fn encode(value: &[u8], out: &mut Vec<u8>) {
    for byte in value {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(*byte);
        } else {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
}

/// Whether a text is a request line as [`RequestLine::write`] makes them: of a dead letter.
pub(super) fn is_request_line(text: &str) -> bool {
    let Some((method, target)) = text.split_once(' ') else { return false };
    let path = target.split('?').next().unwrap_or_default();
    METHODS.contains(&method)
        && target.starts_with('/')
        && target.bytes().all(|byte| matches!(byte, b'!'..=b'~'))
        && !path.split('/').any(|segment| matches!(segment, "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request line of a row whose columns all have this value.
    fn written(method: &str, target: &str, value: &str) -> Result<String, String> {
        let line = RequestLine::new(method, target).map_err(|(flag, what)| format!("{flag}: {what}"))?;
        let mut out = b"body".to_vec();
        let written = line.write(&mut out, |_, out| {
            out.extend_from_slice(value.as_bytes());
            Ok(())
        });
        written.map_err(|fault| format!("{}: {}", fault.column, fault.what))?;
        let line = String::from_utf8(out.split_off(4)).unwrap();
        assert!(is_request_line(&line), "{line}");
        Ok(line)
    }

    #[test]
    fn values_are_encoded_and_never_change_the_form_of_a_url() {
        for (target, value, expected) in [
            ("/{shop}/orders", "s-1", "PUT /s-1/orders"),
            ("/{shop}/orders", "a/b c?d#e%\r\nü", "PUT /a%2Fb%20c%3Fd%23e%25%0D%0A%C3%BC/orders"),
            ("/v.{shop}", ".", "PUT /v.."),
            ("/x?shop={shop}&b=1", "", "PUT /x?shop=&b=1"),
            ("/x?up={shop}", "..", "PUT /x?up=.."),
            ("/{shop}", "...", "PUT /..."),
        ] {
            assert_eq!(written("PUT", target, value).unwrap(), expected, "{target} {value:?}");
        }
        for (target, value, words) in [
            ("/{shop}/orders", "..", "shop: \".\" or \"..\""),
            ("/{shop}", ".", "shop: \".\" or \"..\""),
            ("/.{shop}/x", ".", "shop: \".\" or \"..\""),
            ("/{shop}/orders", "", "shop: empty"),
        ] {
            let fault = written("PUT", target, value).unwrap_err();
            assert!(fault.contains(words), "{target} {value:?}: {fault}");
        }
    }

    #[test]
    fn a_column_may_be_the_method() {
        assert_eq!(written("{op}", "/x", "DELETE").unwrap(), "DELETE /x");
        for value in ["delete", "GET", "PUT /y HTTP/1.1\r\nHost: z\r\n", ""] {
            let fault = written("{op}", "/x", value).unwrap_err();
            assert!(fault.starts_with("op: ") && fault.contains("is no method"), "{fault}");
        }
        for (method, target, words) in [
            ("P{op}", "/x", "--method: a method is one column"),
            ("GET", "/{x}", "--method: GET"),
            ("PUT", "/{}", "--to: {} names no column"),
            ("PUT", "/ü{x}", "--to: its path"),
            ("PUT", "/{{a}}{x}", "--to: its path"),
        ] {
            let fault = written(method, target, "1").unwrap_err();
            assert!(fault.contains(words), "{method} {target}: {fault}");
        }
    }

    #[test]
    fn a_line_of_a_letter_is_checked() {
        for text in ["", "PUT", "GET /", "PUT x", "PUT /a b", "PUT /\r\nx", "PUT /../a", "PUT /a/.", "PUT http://x/"] {
            assert!(!is_request_line(text), "{text:?}");
        }
    }
}
