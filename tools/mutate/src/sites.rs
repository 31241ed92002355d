//! The places where a rule can be inverted, and the text with all inversions behind the switch.
//!
//! ```text
//! a < b  ──►  (if crate::mutant::is(7) { a <= b } else if crate::mutant::is(8) { a >= b } else { a < b })
//! x.sync()?;  ──►  if !crate::mutant::is(9) { x.sync()?; }
//! ```
//!
//! Text is put before and behind an expression and nothing else is touched, so lines stay where they are.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::hash::Hasher;
use std::ops::{Range, RangeInclusive};
use std::path::Path;

use quote::ToTokens;
use syn::spanned::Spanned;

use crate::copy::Texts;
use crate::process::{SWITCH, TRACE};
use crate::rooms::Room;
use crate::rules;
use crate::visit::Finder;

/// An inversion.
#[derive(Debug, Clone)]
pub struct Mutant {
    pub number: usize,
    pub room: &'static str,
    pub file: String,
    pub line: usize,
    last_line: usize,
    /// What it replaces or stands before: bytes of the source.
    range: Range<usize>,
    change: Change,
    /// For people.
    what: String,
    /// The same from run to run, while file and rule stay.
    pub key: String,
}

/// How a source is changed.
#[derive(Debug, Clone)]
pub enum Change {
    /// An expression becomes this one.
    Becomes(String),
    /// A statement is left out.
    LeftOut,
    /// A function returns this at once; the range is its opening brace.
    Returns(String),
    /// The text becomes this one, in which the switch stands.
    Rewritten(String),
}

/// Where a mutant's own text is in the changed source.
#[derive(Debug)]
pub struct Place {
    pub number: usize,
    pub range: Range<usize>,
}

impl Mutant {
    /// An inversion of what is at `spanned`.
    pub fn new(room: &'static str, file: &str, spanned: &impl Spanned, change: Change, was: &impl ToTokens) -> Self {
        let span = spanned.span();
        let was = was.to_token_stream().to_string();
        let what = match &change {
            Change::Becomes(text) => format!("{} → {}", short(&was), short(text)),
            Change::Returns(text) => format!("{was} returns {text} at once"),
            Change::LeftOut | Change::Rewritten(_) => format!("without {}", short(&was)),
        };
        let (line, last_line) = (span.start().line, span.end().line);
        Self {
            number: 0,
            room,
            file: file.to_owned(),
            line,
            last_line,
            range: span.byte_range(),
            change,
            what,
            key: String::new(),
        }
    }

    /// A rule with a name, whose text is at `at`.
    fn named(room: &'static str, rule: &rules::Rule, source: &str, at: usize) -> Self {
        let line = 1 + source[..at].matches('\n').count();
        Self {
            number: 0,
            room,
            file: rule.file.to_owned(),
            line,
            last_line: line + rule.was.matches('\n').count(),
            range: at..at + rule.was.len(),
            change: Change::Rewritten(rule.becomes.to_owned()),
            what: rule.name.to_owned(),
            key: rule.name.to_owned(),
        }
    }

    /// Whether an error in these lines of its file may be its own.
    pub fn is_within(&self, lines: &RangeInclusive<usize>) -> bool {
        self.line <= *lines.end() && *lines.start() <= self.last_line
    }

    fn is_statement(&self) -> bool {
        matches!(self.change, Change::LeftOut)
    }

    fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(&self.change) == std::mem::discriminant(&other.change)
    }

    fn branch(&self) -> String {
        // The switch is the stages'; other packages reach it there.
        let is = if self.file.starts_with("pipelines/") { "wsp::mutant::is" } else { "crate::mutant::is" };
        let number = self.number;
        match &self.change {
            Change::Becomes(text) => format!("if {is}({number}) {{ {text} }} else "),
            Change::Returns(text) => format!(" if {is}({number}) {{ return {text}; }}"),
            Change::LeftOut => format!("if !{is}({number}) {{ "),
            Change::Rewritten(text) => text.replace("ON()", &format!("{is}({number})")),
        }
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// As much of an expression as fits on a line.
fn short(text: &str) -> String {
    let text: Vec<&str> = text.split_whitespace().collect();
    let text = text.join(" ");
    if text.chars().count() <= 90 { text } else { text.chars().take(89).chain(['…']).collect() }
}

/// All mutants of a room.
pub fn of_room(room: &'static Room) -> Result<Vec<Mutant>, String> {
    if room.path.is_empty() {
        return rules::of(room.name).iter().map(|rule| of_rule(room.name, rule)).collect();
    }
    let mut files = Vec::new();
    list(room.path, &mut files)?;
    files.sort();
    let mut mutants = Vec::new();
    for file in files {
        let source = fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
        let parsed = syn::parse_file(&source).map_err(|error| format!("{file}: {error}"))?;
        mutants.extend(Finder::find(room.name, &file, &parsed));
    }
    let mut equal: BTreeMap<String, usize> = BTreeMap::new();
    for mutant in &mut mutants {
        let text = format!("{}: {}", mutant.file, mutant.what);
        let count = equal.entry(text.clone()).or_default();
        *count += 1;
        mutant.key = format!("{text} #{count}");
    }
    Ok(mutants)
}

fn of_rule(room: &'static str, rule: &rules::Rule) -> Result<Mutant, String> {
    let source = fs::read_to_string(rule.file).map_err(|error| format!("{}: {error}", rule.file))?;
    let mut found = source.match_indices(rule.was);
    match (found.next(), found.next()) {
        (Some((at, _)), None) => Ok(Mutant::named(room, rule, &source, at)),
        (None, _) => Err(format!("{}: the text of `{}` is not there", rule.file, rule.name)),
        (Some(_), Some(_)) => Err(format!("{}: the text of `{}` is there twice", rule.file, rule.name)),
    }
}

/// The source files below a folder, without tests and without what stands in for a service in tests.
fn list(path: &str, files: &mut Vec<String>) -> Result<(), String> {
    for entry in fs::read_dir(path).map_err(|error| format!("{path}: {error}"))? {
        let entry = entry.map_err(|error| error.to_string())?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let below = format!("{path}/{name}");
        let doubles = ["testing.rs", "contract.rs", "double.rs", "memory.rs"];
        if name.contains("tests") || doubles.contains(&name.as_str()) {
            continue;
        }
        if entry.path().is_dir() {
            list(&below, files)?;
        } else if Path::new(&name).extension().is_some_and(|extension| extension == "rs") {
            files.push(below);
        }
    }
    Ok(())
}

/// `most` of the mutants (0: all), the same ones from run to run and after changes elsewhere.
pub fn sample(mutants: Vec<Mutant>, most: usize) -> Vec<Mutant> {
    if most == 0 || mutants.len() <= most || !rules::of(mutants[0].room).is_empty() {
        return mutants;
    }
    let mut order: Vec<(u64, usize)> =
        mutants.iter().enumerate().map(|(number, mutant)| (hash(&mutant.key), number)).collect();
    order.sort_unstable();
    let mut chosen: Vec<usize> = order.into_iter().take(most).map(|(_, number)| number).collect();
    chosen.sort_unstable();
    chosen.into_iter().map(|number| mutants[number].clone()).collect()
}

/// The mutants of all rooms in turns, each room's in the order in which a sample takes them: wherever judging is
/// interrupted, what is judged is a sample of every room.
pub fn in_turns(mutants: &[Mutant]) -> Vec<&Mutant> {
    let mut rooms: BTreeMap<&str, Vec<&Mutant>> = BTreeMap::new();
    mutants.iter().for_each(|mutant| rooms.entry(mutant.room).or_default().push(mutant));
    let mut turns: Vec<(usize, &Mutant)> = Vec::new();
    for mut of_room in rooms.into_values() {
        of_room.sort_by_key(|mutant| hash(&mutant.key));
        turns.extend(of_room.into_iter().enumerate());
    }
    turns.sort_by_key(|(turn, _)| *turn);
    turns.into_iter().map(|(_, mutant)| mutant).collect()
}

fn hash(text: &str) -> u64 {
    // Its keys are fixed.
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}

/// The module that knows which mutant is switched on, and its place in the stages' library.
pub fn switch(mutants: usize) -> Result<Texts, String> {
    let module = include_str!("switch.rs.txt").replace("SWITCH", SWITCH).replace("TRACE", TRACE);
    let module = module.replace("COUNT", &(mutants.max(1) * 4 + 10_000).to_string());
    // What a mutant makes of a constant is for the tests to find.
    let allowed = "#![allow(warnings, arithmetic_overflow, overflowing_literals, unconditional_panic)]\n";
    let mut texts = Texts::from([("src/mutant.rs".to_owned(), module)]);
    for (file, more) in
        [("src/lib.rs", "\npub mod mutant;\n"), ("pipelines/world/lib.rs", ""), ("pipelines/observe/lib.rs", "")]
    {
        let library = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
        texts.insert(file.to_owned(), format!("{allowed}{library}{more}"));
    }
    Ok(texts)
}

/// An insertion into a source: before `at`, in `order` among those there; what it replaces; whose own text it is.
struct Insertion {
    at: usize,
    order: usize,
    replaces: usize,
    parts: Vec<(usize, String)>,
}

/// `source` with `mutants` in it, each behind its switch, and where they are.
pub fn with_mutants<'a>(source: &str, mutants: impl Iterator<Item = &'a Mutant>) -> (String, Vec<Place>) {
    // By range: one expression may have several.
    let mut places: Vec<(Range<usize>, Vec<&Mutant>)> = Vec::new();
    for mutant in mutants {
        match places.iter_mut().find(|(range, of)| *range == mutant.range && of[0].is_like(mutant)) {
            Some((_, of)) => of.push(mutant),
            None => places.push((mutant.range.clone(), vec![mutant])),
        }
    }
    // Outer ones begin before inner ones and end behind them.
    places.sort_by_key(|(range, of)| (range.start, Reverse(range.end), !of[0].is_statement()));
    let mut insertions = Vec::new();
    let count = places.len();
    for (order, (range, of)) in places.iter().enumerate() {
        let branches = || of.iter().map(|mutant| (mutant.number, mutant.branch()));
        let mut insert = |at, order, replaces, parts| insertions.push(Insertion { at, order, replaces, parts });
        match &of[0].change {
            Change::Becomes(_) => {
                let open = std::iter::once((0, "(".to_owned())).chain(branches());
                insert(range.start, count + order, 0, open.chain([(0, "{ ".to_owned())]).collect());
                insert(range.end, count - order, 0, vec![(0, " })".to_owned())]);
            }
            Change::LeftOut => {
                insert(range.start, count + order, 0, branches().collect());
                insert(range.end, count - order, 0, vec![(0, " }".to_owned())]);
            }
            Change::Returns(_) => insert(range.start + 1, count + order, 0, branches().collect()),
            Change::Rewritten(_) => insert(range.start, count + order, range.len(), branches().collect()),
        }
    }
    insertions.sort_by_key(|insertion| (insertion.at, insertion.order));
    let (mut text, mut from, mut found) = (String::new(), 0, Vec::new());
    for Insertion { at, replaces, parts, .. } in insertions {
        text.push_str(&source[from..at]);
        for (number, part) in parts {
            found.push(Place { number, range: text.len()..text.len() + part.len() });
            text.push_str(&part);
        }
        from = at + replaces;
    }
    text.push_str(&source[from..]);
    (text, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutants(source: &str) -> Vec<Mutant> {
        let mut mutants = Finder::find("merge", "a.rs", &syn::parse_file(source).unwrap());
        mutants.iter_mut().enumerate().for_each(|(number, mutant)| mutant.number = number + 1);
        mutants
    }

    #[test]
    fn each_inversion_is_behind_its_switch() {
        let source = "fn f(a: u8, b: u8) -> bool { a < b }";
        let (text, places) = with_mutants(source, mutants(source).iter());
        let is = |number| format!("crate::mutant::is({number})");
        let (one, two, three, four) = (is(1), is(2), is(3), is(4));
        assert_eq!(
            text,
            format!(
                "fn f(a: u8, b: u8) -> bool {{ if {one} {{ return true; }} if {two} {{ return false; }} \
                 (if {three} {{ (a) <= (b) }} else if {four} {{ (a) >= (b) }} else {{ a < b }}) }}"
            )
        );
        let own = places.iter().find(|place| place.number == 4).unwrap();
        assert!(text[own.range.clone()].contains("(a) >= (b)"));
    }

    #[test]
    fn tests_and_how_things_are_shown_are_left_alone() {
        for source in [
            "#[cfg(test)] mod tests { fn f() -> bool { 1 < 2 } }",
            "impl fmt::Display for A { fn fmt(&self) -> bool { 1 < 2 } }",
            "const A: bool = 1 < 2;",
            "const fn f() -> bool { 1 < 2 }",
        ] {
            assert_eq!(mutants(source).len(), 0, "{source}");
        }
        assert!(mutants("fn f() { x.sync()?; }").iter().any(|mutant| mutant.what == "without x . sync () ? ;"));
    }
}
