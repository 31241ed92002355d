//! `--loop`: the same files again and again, each round later than the one before by the span of all events.
//!
//! ```text
//! inputs ──read once, times alone──► first .. last ──► Input { rounds, period }
//! ```

use std::sync::Arc;

use wsp::time::Micros;

use super::chain::{Chain, Span, Start};
use super::error::Error;
use super::files::Reading;
use super::input::Input;

/// The first and the last time of all inputs; `None` where there is no row.
fn ends(inputs: &[Arc<Input>], readings: &[Arc<Reading>], span: Span) -> Result<Option<(Micros, Micros)>, Error> {
    let mut ends = None;
    for ((input, reading), rank) in inputs.iter().zip(readings).zip(0..) {
        for rows in Chain::new(input.clone(), rank, reading.clone(), span, Start::default()) {
            let rows = rows?;
            let (Some(first), Some(last)) = (rows.times.first(), rows.times.last()) else { continue };
            let (from, to) = ends.unwrap_or((*first, *last));
            ends = Some((from.min(*first), to.max(*last)));
        }
    }
    Ok(ends)
}

/// The inputs for so many rounds.
///
/// # Errors
///
/// If a row can't be read, or the rounds end beyond the times there are.
pub(super) fn looped(
    inputs: &[Arc<Input>],
    rounds: u32,
    readings: &[Arc<Reading>],
    span: Span,
) -> Result<Vec<Arc<Input>>, Error> {
    let refused = |what: &str| Error::flag("--loop", format!("{rounds} rounds {what}"));
    if inputs.iter().any(|input| input.is_stdin()) {
        return Err(Error::flag("--loop", "standard input can't be read again; name a file"));
    }
    let (first, last) = ends(inputs, readings, span)?.unwrap_or_default();
    // One more, so that events of two rounds never have the same time and change places.
    let period = last.0 - first.0 + 1;
    let moved = period.checked_mul(i64::from(rounds) - 1).and_then(|shift| last.0.checked_add(shift));
    if moved.and_then(Micros::checked).is_none() {
        return Err(refused("end beyond the year 9999"));
    }
    if inputs.iter().any(|input| (input.files.len() as u64).saturating_mul(rounds.into()) > u64::from(u32::MAX)) {
        return Err(refused("of so many files are more than can be counted"));
    }
    Ok(inputs.iter().map(|input| Arc::new(Input { rounds, period, ..Input::clone(input) })).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::input::{InputSpec, resolve};
    use super::super::testing::reading;
    use super::*;

    const START: i64 = 1_767_225_600;

    fn inputs(dir: &tempfile::TempDir, files: &[(&str, &[i64])]) -> Vec<Arc<Input>> {
        for (name, seconds) in files {
            let line = |second: &i64| format!("{{\"t\":\"{}\"}}\n", Micros((START + second) * 1_000_000));
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, seconds.iter().map(line).collect::<String>()).unwrap();
        }
        let spec = |name: &str| InputSpec::plain(dir.path().join(name).to_str().unwrap());
        let mut names: Vec<&str> = files.iter().map(|(name, _)| name.split('/').next().unwrap()).collect();
        names.dedup();
        let specs: Vec<_> = names.into_iter().map(spec).collect();
        resolve(&specs, None, &wsp::store::StoreOptions::default()).unwrap().into_iter().map(Arc::new).collect()
    }

    fn readings(inputs: usize) -> Vec<Arc<Reading>> {
        std::iter::repeat_with(|| Arc::new(reading(&[]))).take(inputs).collect()
    }

    /// Seconds, files and rows of an input.
    fn read(input: &Arc<Input>, span: Span, start: Start) -> Vec<(i64, u32, u64)> {
        let chain = Chain::new(input.clone(), 0, Arc::new(reading(&[])), span, start);
        let rows = chain.map(Result::unwrap).flat_map(|rows| {
            let second = |time: &Micros| time.0 / 1_000_000 - START;
            let (file, first) = (rows.file, rows.first);
            rows.times.iter().map(second).zip(first..).map(|(s, row)| (s, file, row)).collect::<Vec<_>>()
        });
        rows.collect()
    }

    #[test]
    fn a_round_follows_the_one_before_by_the_span_of_all_inputs() {
        let dir = tempfile::tempdir().unwrap();
        let inputs = inputs(&dir, &[("a/1.jsonl", &[0, 4]), ("a/2.jsonl", &[5]), ("b/1.jsonl", &[2, 10])]);
        let readings = readings(2);
        let looped = looped(&inputs, 3, &readings, Span::default()).unwrap();
        let all =
            [(0, 0, 0), (4, 0, 1), (5, 1, 0), (10, 2, 0), (14, 2, 1), (15, 3, 0), (20, 4, 0), (24, 4, 1), (25, 5, 0)];
        assert_eq!(read(&looped[0], Span::default(), Start::default()), all);
        assert_eq!(read(&looped[1], Span::default(), Start::default()).last(), Some(&(30, 2, 1)));
        // A start goes on in the middle of any round.
        for (i, (second, file, row)) in all.iter().enumerate() {
            let after = Some(Micros((START + second) * 1_000_000));
            let start = Start { file: *file as usize, row: row + 1, after };
            assert_eq!(read(&looped[0], Span::default(), start), all[i + 1..], "from {i}");
        }
        assert_eq!((looped[0].file(4).within.as_str(), looped[0].round(4)), ("1.jsonl", 2));
    }

    #[test]
    fn each_round_is_within_the_times_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let inputs = inputs(&dir, &[("a/1.jsonl", &[0, 2, 4]), ("a/2.jsonl", &[6, 8])]);
        let second = |second: i64| Some(Micros((START + second) * 1_000_000));
        let span = Span { from: second(2), until: second(6) };
        let looped = looped(&inputs, 2, &readings(inputs.len()), span).unwrap();
        let all = [(2, 0, 1), (4, 0, 2), (4, 2, 1), (6, 2, 2)];
        assert_eq!(read(&looped[0], span, Start::default()), all);
    }

    #[test]
    fn rounds_without_an_end_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let inputs = inputs(&dir, &[("a/1.jsonl", &[0, 86_400])]);
        let refused = |rounds| looped(&inputs, rounds, &readings(inputs.len()), Span::default()).map(drop);
        assert!(refused(1000).is_ok());
        assert!(
            refused(u32::MAX).unwrap_err().to_string().contains("--loop: 4294967295 rounds end beyond the year 9999")
        );
    }
}
