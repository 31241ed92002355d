//! Percent-encoding (RFC 3986, 2.1), read strictly.

/// The text behind `text`. `None` where a `%` is not followed by two hex digits, or the bytes are no UTF-8.
#[must_use]
pub fn decode(text: &str) -> Option<String> {
    let escaped = |rest: &str| rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    if !text.split('%').skip(1).all(escaped) {
        return None;
    }
    percent_encoding::percent_decode_str(text).decode_utf8().ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_escapes_are_read() {
        for (text, expected) in [
            ("", Some("")),
            ("a+b c", Some("a+b c")),
            ("p%40ss%2fw%C3%A9", Some("p@ss/wé")),
            ("100%25", Some("100%")),
            ("100%", None),
            ("%4", None),
            ("%+1", None),
            ("%4g", None),
            ("%ff", None),
            ("%%40", None),
        ] {
            assert_eq!(decode(text).as_deref(), expected, "{text}");
        }
    }
}
