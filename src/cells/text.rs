//! Writes single values as JSON, shared by several column types.

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

/// Whether a byte can't stand in a JSON string as it is. Not ASCII is fine: the text is UTF-8.
fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Whether all of a block can be copied into a JSON string. No branch inside, so that it becomes vector code.
fn is_plain_block<const N: usize>(block: &[u8; N]) -> bool {
    !block.iter().fold(false, |found, byte| found | is_special(*byte))
}

/// Whether all of `bytes` can be copied into a JSON string. The last block may overlap the one before it.
fn is_plain(bytes: &[u8]) -> bool {
    if let Some(last) = bytes.last_chunk::<16>() {
        bytes.as_chunks::<16>().0.iter().all(is_plain_block) && is_plain_block(last)
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        is_plain_block(first) & is_plain_block(last)
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        is_plain_block(first) & is_plain_block(last)
    } else {
        !bytes.iter().any(|byte| is_special(*byte))
    }
}

/// Appends an integer.
#[inline]
pub fn signed(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    unsigned(value.unsigned_abs(), out);
}

/// Appends an integer, eight digits at once.
#[inline]
pub fn unsigned(value: u64, out: &mut Vec<u8>) {
    const EIGHT: u64 = 100_000_000;
    if value < EIGHT {
        first_digits(value, out);
        return;
    }
    let (upper, lower) = (value / EIGHT, value % EIGHT);
    if upper < EIGHT {
        first_digits(upper, out);
    } else {
        first_digits(upper / EIGHT, out);
        out.extend_from_slice(&(digits(upper % EIGHT) | ZEROS).to_le_bytes());
    }
    out.extend_from_slice(&(digits(lower) | ZEROS).to_le_bytes());
}

/// `00000000`.
const ZEROS: u64 = 0x3030_3030_3030_3030;

/// Appends a number below 10^8 without zeros before it.
#[inline]
fn first_digits(value: u64, out: &mut Vec<u8>) {
    let digits = digits(value);
    let zeros = (digits.trailing_zeros() / 8).min(7);
    let end = out.len() + 8 - zeros as usize;
    out.extend_from_slice(&((digits | ZEROS) >> (8 * zeros)).to_le_bytes());
    out.truncate(end);
}

/// The eight digits of a number below 10^8, a byte each, the first one lowest. Halves are taken apart side by side: a
/// factor and a shift stand for each division and are exact at these sizes.
#[inline]
fn digits(value: u64) -> u64 {
    let fours = (value / 10_000) | ((value % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let twos = hundreds | ((fours - 100 * hundreds) << 16);
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | ((twos - 10 * tens) << 8)
}

/// Appends `text` as a JSON string, quotes included.
#[inline]
pub fn string(text: &str, out: &mut Vec<u8>) {
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
pub fn key(name: &str, first: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + 4);
    if !first {
        out.push(b',');
    }
    string(name, &mut out);
    out.push(b':');
    out
}

/// Appends `digits` (a decimal integer) times 10^-scale with at least one digit after the point.
pub fn decimal(digits: &str, scale: i8, out: &mut Vec<u8>) {
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
pub fn time_of_day(micros: i64, out: &mut Vec<u8>) -> bool {
    if !(0..86_400_000_000).contains(&micros) {
        return false;
    }
    // The clock part of the instant that much after the epoch.
    let text = crate::time::Micros(micros).write();
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
        fn integers_are_written_as_they_are(value in any::<u64>(), shift in 0_u32..64, power in 0_u32..20) {
            let near = 10_u64.saturating_pow(power);
            for value in [value >> shift, near, near - 1, near.saturating_add(1)] {
                prop_assert_eq!(written(|out| unsigned(value, out)), value.to_string());
                let value = value.cast_signed();
                prop_assert_eq!(written(|out| signed(value, out)), value.to_string());
            }
        }

        #[test]
        fn any_text_reads_back(text in "(\\PC|[\\x00-\\x1f\"\\\\]){0,80}") {
            let json = written(|out| string(&text, out));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}
