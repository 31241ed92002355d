//! Plans requests for byte ranges: few requests, each of a bounded size.
//!
//! ```text
//! asked    ▒▒▒ ▒▒▒▒▒        ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒
//! spans    ━━━━━━━━━        ━━━━━━━━━━━━━━━━━━━━━━   one buffer each: neighbours with a small gap, or one large range
//! pieces   └───────┘        └────────┘└──────────┘   one request each
//! ```

use std::ops::Range;

/// Bytes between two ranges that are cheaper to read along than to ask around.
pub(super) const GAP: u64 = 128 << 10;

/// The most one request asks for, in bytes. Small enough to come whole within a timeout on a slow line
/// and to spread a row group over several connections, large enough to make a request's latency small.
pub(super) const PIECE: u64 = 8 << 20;

/// The spans that cover `asked`, ascending, no two with a byte in common. Ranges are joined over up to `gap`
/// bytes as long as the span has no more than `most`: a row group in one buffer would stay in memory until its last
/// column is decoded. Ranges with bytes in common always share a span; empty ones need none.
pub(super) fn spans(asked: &[Range<u64>], gap: u64, most: u64) -> Vec<Range<u64>> {
    let mut sorted: Vec<_> = asked.iter().filter(|range| !range.is_empty()).cloned().collect();
    sorted.sort_unstable_by_key(|range| range.start);
    let mut spans: Vec<Range<u64>> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match spans.last_mut() {
            Some(last) if range.start < last.end || joins(last, &range, gap, most) => {
                last.end = last.end.max(range.end);
            }
            _ => spans.push(range),
        }
    }
    spans
}

fn joins(span: &Range<u64>, next: &Range<u64>, gap: u64, most: u64) -> bool {
    next.start - span.end <= gap && next.end - span.start <= most
}

/// Cuts a span into as few pieces of about the same size as a limit of `most` bytes (at least 1) allows.
pub(super) fn pieces(span: &Range<u64>, most: u64) -> Vec<Range<u64>> {
    let length = span.end.saturating_sub(span.start);
    let count = length.div_ceil(most.max(1));
    (0..count)
        .map(|i| {
            let cut = |i: u64| span.start + (u128::from(length) * u128::from(i) / u128::from(count)) as u64;
            cut(i)..cut(i + 1)
        })
        .collect()
}

/// Where an asked range lies: the span's index and the bytes within it. `None` for an empty range.
pub(super) fn place(range: &Range<u64>, spans: &[Range<u64>]) -> Option<(usize, Range<usize>)> {
    if range.is_empty() {
        return None;
    }
    let index = spans.partition_point(|span| span.end < range.end);
    let span = spans.get(index).filter(|span| span.start <= range.start)?;
    Some((index, (range.start - span.start) as usize..(range.end - span.start) as usize))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_are_joined_and_strangers_are_not() {
        assert_eq!(spans(&[100..110, 0..10, 15..20, 9..12, 5..5], 5, 99), [0..20, 100..110]);
        assert_eq!(spans(&[0..10, 16..20], 5, 99), [0..10, 16..20]);
        assert_eq!(spans(&[], 5, 99), []);
        assert_eq!(spans(&[0..100, 10..20], 0, 50), std::iter::once(0..100).collect::<Vec<_>>());
        assert_eq!(spans(&[0..30, 30..50, 50..51], 5, 50), [0..50, 50..51]);
    }

    #[test]
    fn pieces_are_even() {
        assert_eq!(pieces(&(0..10), 10), std::iter::once(0..10).collect::<Vec<_>>());
        assert_eq!(pieces(&(0..11), 10), [0..5, 5..11]);
        assert_eq!(pieces(&(7..7), 10), []);
    }

    proptest! {
        #[test]
        fn every_asked_byte_lies_where_it_is_said_to(
            asked in prop::collection::vec((0_u64..5_000, 0_u64..500), 0..30), gap in 0_u64..300, most in 1_u64..2_000
        ) {
            let asked: Vec<_> = asked.into_iter().map(|(start, length)| start..start + length).collect();
            let spans = spans(&asked, gap, most);
            for pair in spans.windows(2) {
                prop_assert!(pair[0].end <= pair[1].start);
                prop_assert!(pair[0].end + gap < pair[1].start || pair[1].end - pair[0].start > most);
            }
            for range in &asked {
                match place(range, &spans) {
                    None => prop_assert!(range.is_empty()),
                    Some((index, within)) => {
                        let span = &spans[index];
                        prop_assert_eq!(span.start + within.start as u64, range.start);
                        prop_assert_eq!(span.start + within.end as u64, range.end);
                        prop_assert!(range.end <= span.end);
                    }
                }
            }
            // What is read beyond the asked bytes lies in gaps of at most `gap`.
            let needed: u64 = asked.iter().map(|range| range.end - range.start).sum();
            let read: u64 = spans.iter().map(|span| span.end - span.start).sum();
            prop_assert!(read <= needed + gap * asked.len() as u64);
        }

        #[test]
        fn pieces_tile_their_span(start in 0_u64..1_000, length in 0_u64..10_000, most in 1_u64..1_000) {
            let span = start..start + length;
            let pieces = pieces(&span, most);
            prop_assert_eq!(pieces.len() as u64, length.div_ceil(most));
            let mut at = span.start;
            for piece in pieces {
                prop_assert_eq!(piece.start, at);
                prop_assert!(piece.end > piece.start && piece.end - piece.start <= most);
                at = piece.end;
            }
            prop_assert_eq!(at, span.end);
        }
    }
}
