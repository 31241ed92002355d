//! JSON texts of single values that several column types share.

/// Two hex digits for each byte.
const HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = [digits[i >> 4], digits[i & 15]];
        i += 1;
    }
    table
};

/// A hash as 64 lower-case hex digits.
pub(super) fn hex(bytes: &[u8; 32]) -> [u8; 64] {
    let mut out = [0; 64];
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&HEX[usize::from(*byte)]);
    }
    out
}

/// Whether a byte can't stand in a JSON string as it is. Not ASCII is fine: the text is UTF-8.
pub(super) fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Whether all of `bytes` can be copied into a JSON string. Whole blocks without a branch inside,
/// so that the compiler makes vector code of it.
fn is_plain(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<16>();
    let special = |found: bool, byte: &u8| found | is_special(*byte);
    blocks.iter().all(|block| !block.iter().fold(false, special)) && !rest.iter().fold(false, special)
}

/// Appends `text` as a JSON string, quotes included.
pub(super) fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    if is_plain(text.as_bytes()) {
        out.extend_from_slice(text.as_bytes());
    } else {
        escaped(text.as_bytes(), out);
    }
    out.push(b'"');
}

#[cold]
fn escaped(mut bytes: &[u8], out: &mut Vec<u8>) {
    while let Some(at) = bytes.iter().position(|byte| is_special(*byte)) {
        out.extend_from_slice(&bytes[..at]);
        match bytes[at] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&HEX[usize::from(control)]);
            }
        }
        bytes = &bytes[at + 1..];
    }
    out.extend_from_slice(bytes);
}

/// `"name":`, with a comma before it where it is not the first key.
pub(super) fn key(name: &str, first: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + 4);
    if !first {
        out.push(b',');
    }
    string(name, &mut out);
    out.push(b':');
    out
}

/// Appends `digits` (a decimal integer) times 10^-scale with at least one digit after the point.
pub(super) fn decimal(digits: &str, scale: i8, out: &mut Vec<u8>) {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    out.extend_from_slice(sign.as_bytes());
    let places = usize::from(scale.unsigned_abs());
    if scale <= 0 {
        out.extend_from_slice(digits.as_bytes());
        if digits != "0" {
            out.resize(out.len() + places, b'0');
        }
        out.extend_from_slice(b".0");
    } else if digits.len() > places {
        let (whole, fraction) = digits.split_at(digits.len() - places);
        out.extend_from_slice(whole.as_bytes());
        out.push(b'.');
        out.extend_from_slice(fraction.as_bytes());
    } else {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + places - digits.len(), b'0');
        out.extend_from_slice(digits.as_bytes());
    }
}

/// Appends a time of day as `"HH:MM:SS.ffffff"`; `false` where it is not within a day.
pub(super) fn time_of_day(micros: i64, out: &mut Vec<u8>) -> bool {
    if !(0..86_400_000_000).contains(&micros) {
        return false;
    }
    // The clock part of the instant that much after the epoch.
    let text = crate::model::Micros(micros).write();
    out.push(b'"');
    out.extend_from_slice(&text[11..26]);
    out.push(b'"');
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn decimals_keep_every_digit_and_a_point() {
        for (digits, scale, expected) in [
            ("12", 0, "12.0"),
            ("-12345", 2, "-123.45"),
            ("1", 3, "0.001"),
            ("-5", 1, "-0.5"),
            ("0", 2, "0.00"),
            ("7", -2, "700.0"),
            ("0", -2, "0.0"),
            ("99999999999999999999999999999999999999", 38, "0.99999999999999999999999999999999999999"),
        ] {
            assert_eq!(written(|out| decimal(digits, scale, out)), expected);
        }
    }

    #[test]
    fn times_of_day_stay_within_the_day() {
        assert_eq!(written(|out| assert!(time_of_day(86_399_999_999, out))), "\"23:59:59.999999\"");
        assert!(!time_of_day(86_400_000_000, &mut Vec::new()));
        assert!(!time_of_day(-1, &mut Vec::new()));
    }

    proptest! {
        #[test]
        fn any_text_reads_back(text in "(\\PC|[\\x00-\\x1f\"\\\\]){0,80}") {
            let json = written(|out| string(&text, out));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}
