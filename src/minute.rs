//! Reads and writes consecutive times, most of them in the same minute as the one before: only the part after the
//! minute is parsed and printed.
//!
//! ```text
//! 2026-01-01T09:41 │ :07.250000Z
//!    kept          │  read, written
//! ```

use crate::time::{Micros, TEXT_LEN};

const MINUTE: i64 = 60_000_000;
/// Length of a text up to its minute.
const TO_MINUTE: usize = 16;

/// Two decimal digits for each number below 100.
const PAIRS: [[u8; 2]; 100] = {
    let mut table = [[0; 2]; 100];
    let mut i = 0;
    while i < 100 {
        table[i] = [b'0' + (i / 10) as u8, b'0' + (i % 10) as u8];
        i += 1;
    }
    table
};

/// Reads texts of times as [`Micros::parse`] does.
#[derive(Debug, Clone, Default)]
pub struct TimeReader {
    /// The last text up to its minute, and when that began.
    minute: Option<([u8; TO_MINUTE], i64)>,
}

impl TimeReader {
    /// The same as [`Micros::parse`] of this text.
    #[must_use]
    pub fn parse(&mut self, text: &[u8]) -> Option<Micros> {
        let full: Option<&[u8; TEXT_LEN]> = text.try_into().ok().filter(|text: &&[u8; TEXT_LEN]| text[26] == b'Z');
        if let (Some(full), Some((kept, start))) = (full, &self.minute)
            && full.first_chunk() == Some(kept)
            && let Some(within) = within_minute(full)
        {
            return Some(Micros(start + within));
        }
        let time = Micros::parse(text)?;
        // A readable text of this length with this end has six digits of fraction and no offset.
        let kept = full.and_then(|text| text.first_chunk::<TO_MINUTE>());
        self.minute = kept.map(|kept| (*kept, time.0 - time.0.rem_euclid(MINUTE)));
        Some(time)
    }
}

/// Microseconds since the minute began, out of `:SS.ffffff`.
fn within_minute(text: &[u8; TEXT_LEN]) -> Option<i64> {
    let digit = |i: usize| u32::from(text[i].wrapping_sub(b'0'));
    let places = [17, 18, 20, 21, 22, 23, 24, 25];
    let are_digits = places.iter().fold(true, |are, i| are & (digit(*i) < 10));
    let seconds = digit(17) * 10 + digit(18);
    let marks = text[16] == b':' && text[19] == b'.';
    (are_digits & marks && seconds < 60).then(|| {
        let micros = [20, 21, 22, 23, 24, 25].iter().fold(0, |micros, i| micros * 10 + digit(*i));
        i64::from(seconds * 1_000_000 + micros)
    })
}

/// Writes times as [`Micros::write`] does.
#[derive(Debug, Clone)]
pub struct TimeWriter {
    /// The minute of `text`, counted from the epoch.
    minute: i64,
    text: [u8; TEXT_LEN],
}

impl Default for TimeWriter {
    fn default() -> Self {
        Self { minute: 0, text: Micros(0).write() }
    }
}

impl TimeWriter {
    /// The same as [`Micros::write`] of this time.
    #[must_use]
    pub fn write(&mut self, time: Micros) -> &[u8; TEXT_LEN] {
        let (minute, within) = (time.0.div_euclid(MINUTE), time.0.rem_euclid(MINUTE) as u32);
        if minute != self.minute {
            self.text = time.write();
            self.minute = minute;
            return &self.text;
        }
        let (seconds, micros) = (within / 1_000_000, within % 1_000_000);
        let pairs = [(17, seconds), (20, micros / 10_000), (22, micros / 100 % 100), (24, micros % 100)];
        for (at, pair) in pairs {
            self.text[at..at + 2].copy_from_slice(&PAIRS[pair as usize]);
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Times that stay near each other, before the epoch too.
    fn times() -> impl Strategy<Value = Vec<i64>> {
        let steps = proptest::collection::vec(prop_oneof![0_i64..5, -MINUTE..MINUTE], 1..60);
        (prop_oneof![-MINUTE..MINUTE, -62_000_000_000_000_000_i64..250_000_000_000_000_000], steps).prop_map(
            |(start, steps)| {
                let step = |at: &mut i64, step| {
                    *at += step;
                    Some(*at)
                };
                steps.into_iter().scan(start, step).collect()
            },
        )
    }

    proptest! {
        #[test]
        fn times_in_turn_are_written_as_each_alone(times in times()) {
            let mut writer = TimeWriter::default();
            for time in times.into_iter().map(Micros) {
                prop_assert_eq!(*writer.write(time), time.write());
            }
        }

        /// Texts as they are written, and spoilt in one place.
        #[test]
        fn texts_in_turn_are_read_as_each_alone(
            times in times(),
            spoils in proptest::collection::vec((0_usize..120, prop_oneof![any::<u8>(), 0x2f_u8..0x3b]), 60),
            cuts in proptest::collection::vec(0_usize..60, 60),
        ) {
            let mut reader = TimeReader::default();
            for ((time, (at, byte)), cut) in times.into_iter().zip(spoils).zip(cuts) {
                let mut text = Micros(time).write().to_vec();
                if let Some(place) = text.get_mut(at) {
                    *place = byte;
                }
                text.truncate(if cut < 8 { 18 + cut } else { text.len() });
                prop_assert_eq!(reader.parse(&text), Micros::parse(&text), "{:?}", String::from_utf8_lossy(&text));
            }
        }
    }

    #[test]
    fn separators_of_the_minute_before_are_no_others() {
        let mut reader = TimeReader::default();
        for text in ["2026-01-01T00:00:01.000000Z", "2026-01-01 00:00:02.000000Z", "2026-01-01T00:00:60.000000Z"] {
            assert_eq!(reader.parse(text.as_bytes()), Micros::parse(text.as_bytes()), "{text}");
        }
    }
}
