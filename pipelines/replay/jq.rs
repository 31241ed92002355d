//! `--jq`: a filter makes none, one or many bodies of a row.
//!
//! ```text
//! row as JSON ──read, numbers as they stand──► filter ──► values ──► bodies
//! ```
//!
//! Integers of any size are exact, also in calculations. Other numbers keep their text unless the filter calculates with them,
//! which it does in doubles. A value that JSON can't carry is refused.

use std::fmt;

use jaq_core::data::JustLut;
use jaq_core::load::{self, Arena, File, Loader};
use jaq_core::native::{bome, run};
use jaq_core::{Compiler, Ctx, RunPtr, Vars};
use jaq_json::{Num, Val, read};
use serde_json::value::RawValue;
use wsp::cells::text;
use wsp::strict::excerpt;

use super::error::Error;
use super::files::MAX_RECORD;

/// A row makes no more bodies than these: a filter may be endless.
const MAX_BODIES: usize = 65_536;
/// Deeper values are refused.
const MAX_DEPTH: u32 = 128;
/// How much of an error's text is repeated, in bytes.
const QUOTE: usize = 300;
/// Functions whose results depend on time or machine. The bodies of a row have to be the same on each start.
const REFUSED: [&str; 4] = ["env", "now", "localtime", "strflocaltime"];

type Data = JustLut<Val>;

/// A compiled filter.
pub struct Filter {
    text: String,
    compiled: jaq_core::Filter<Data>,
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Filter").field(&self.text).finish()
    }
}

/// What a filter made of a row.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Bodies {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(from, to)| &self.bytes[from..*to])
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    ///
    /// If it is none.
    pub fn new(text: &str) -> Result<Self, Error> {
        let refused = |what: String| Error::flag("--jq", what);
        let halt: RunPtr<Data> = |_| bome(Err(jaq_core::Error::str("halt: a filter can't end the replay")));
        let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        let funs = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
        let funs = funs.filter(|(name, ..)| !REFUSED.contains(name));
        let funs = funs
            .map(|(name, args, fun)| if name == "halt" { run::<Data>((name, args, halt)) } else { (name, args, fun) });
        let arena = Arena::default();
        let modules = Loader::new(defs).load(&arena, File { code: text, path: () });
        let modules = modules.map_err(|errors| refused(load_errors(&errors)))?;
        let compiled = Compiler::default().with_funs(funs).compile(modules);
        let compiled = compiled.map_err(|errors| {
            let names = errors.iter().flat_map(|(_, errors)| errors).map(|(name, kind)| {
                let why = if REFUSED.contains(name) { "; a row has to make the same bodies on each start" } else { "" };
                format!("there is no {} {name}{why}", kind.as_str())
            });
            refused(names.collect::<Vec<_>>().join(", "))
        })?;
        Ok(Self { text: text.to_owned(), compiled })
    }

    /// The filter as it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Makes bodies of a row.
    pub(super) fn run(&self, row: &[u8], bodies: &mut Bodies) -> Result<(), String> {
        bodies.clear();
        let row = read::parse_single(row).map_err(|error| format!("the row can't be read as JSON: {error}"))?;
        let ctx = Ctx::<Data>::new(&self.compiled.lut, Vars::new([]));
        for value in self.compiled.id.run((ctx, row)) {
            let value = value.map_err(|error| match error.get_err() {
                Ok(error) => excerpt(&error.to_string(), QUOTE).into_owned(),
                Err(_) => "it broke off".to_owned(),
            })?;
            write(&value, 0, &mut bodies.bytes)?;
            bodies.ends.push(bodies.bytes.len());
            if bodies.bytes.len() > MAX_RECORD || bodies.len() > MAX_BODIES {
                let most = MAX_RECORD >> 20;
                return Err(format!(
                    "the row makes more than {most} MiB or {MAX_BODIES} bodies; is the filter endless?"
                ));
            }
        }
        Ok(())
    }
}

fn load_errors(errors: &load::Errors<&str, ()>) -> String {
    let shown = |found: &str| {
        if found.is_empty() { "the end".to_owned() } else { format!("{:?}", excerpt(found, 40)) }
    };
    let texts = errors.iter().flat_map(|(_, error)| match error {
        load::Error::Io(errors) => errors.iter().map(|(path, what)| format!("{path}: {what}")).collect::<Vec<_>>(),
        load::Error::Lex(errors) => errors
            .iter()
            .map(|(expected, found)| format!("{} expected at {}", expected.as_str(), shown(found)))
            .collect(),
        load::Error::Parse(errors) => errors
            .iter()
            .map(|(expected, found)| format!("{} expected at {}", expected.as_str(), shown(found)))
            .collect(),
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// Appends a value as JSON.
fn write(value: &Val, depth: u32, out: &mut Vec<u8>) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("it makes a value nested more than {MAX_DEPTH} deep"));
    }
    match value {
        Val::Null => out.extend_from_slice(b"null"),
        Val::Bool(true) => out.extend_from_slice(b"true"),
        Val::Bool(false) => out.extend_from_slice(b"false"),
        Val::Num(number) => return write_number(number, out),
        Val::TStr(bytes) => return write_text(bytes, out),
        Val::BStr(_) => return Err("it makes bytes, which have no JSON".to_owned()),
        Val::Arr(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write(item, depth + 1, out)?;
            }
            out.push(b']');
        }
        Val::Obj(members) => {
            out.push(b'{');
            for (i, (key, member)) in members.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                let Val::TStr(key) = key else {
                    return Err("it makes an object with a key that is no text".to_owned());
                };
                write_text(key, out)?;
                out.push(b':');
                write(member, depth + 1, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn write_text(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it makes a text that is not UTF-8".to_owned())?;
    text::string(text, out);
    Ok(())
}

fn write_number(number: &Num, out: &mut Vec<u8>) -> Result<(), String> {
    match number {
        Num::Int(value) => text::signed(*value as i64, out),
        Num::BigInt(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Num::Float(value) if value.is_finite() => {
            serde_json::to_writer(out, value).map_err(|error| error.to_string())?;
        }
        Num::Float(value) => return Err(format!("it makes {value}, which has no JSON")),
        // It may be made of a text, which has more forms of numbers.
        Num::Dec(digits) if serde_json::from_str::<&RawValue>(digits).is_ok() => {
            out.extend_from_slice(digits.as_bytes());
        }
        Num::Dec(digits) => return Err(format!("it makes {}, which is no number of JSON", excerpt(digits, 60))),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(filter: &str, row: &str) -> Result<Vec<String>, String> {
        let mut bodies = Bodies::default();
        Filter::new(filter).map_err(|error| error.to_string())?.run(row.as_bytes(), &mut bodies)?;
        Ok(bodies.iter().map(|body| String::from_utf8(body.to_vec()).unwrap()).collect())
    }

    #[test]
    fn a_row_makes_none_one_or_many_bodies() {
        let row = r#"{"shop":"s1","items":[{"n":1},{"n":2}],"mail":"a@b"}"#;
        assert_eq!(bodies(".", row).unwrap(), [row]);
        assert_eq!(bodies("select(.shop == \"s2\")", row).unwrap(), Vec::<String>::new());
        let many = bodies(".shop as $s | .items[] | {$s, n}", row).unwrap();
        assert_eq!(many, [r#"{"s":"s1","n":1}"#, r#"{"s":"s1","n":2}"#]);
        assert_eq!(
            bodies(".mail |= sub(\"@.*\"; \"@*\") | del(.items)", row).unwrap(),
            [r#"{"shop":"s1","mail":"a@*"}"#]
        );
    }

    #[test]
    fn numbers_keep_every_digit() {
        let row = r#"{"a":9223372036854775807,"b":18446744073709551616,"c":1.10,"d":1e-400,"e":-0.0,"f":0.1000000000000000055511151231257827}"#;
        assert_eq!(bodies(".", row).unwrap(), [row]);
        assert_eq!(
            bodies("[.a + 1, .b * .b, .c]", row).unwrap(),
            ["[9223372036854775808,340282366920938463463374607431768211456,1.10]"]
        );
        assert_eq!(bodies("[.. | numbers] | map(tojson)", row).unwrap()[0].matches("1e-400").count(), 1);
    }

    #[test]
    fn texts_and_keys_are_written_as_json() {
        let row = r#"{"a":"\u00fc\n\"\\","b\"":"\ud83d\ude00","c":[],"d":{}}"#;
        assert_eq!(bodies(".", row).unwrap(), ["{\"a\":\"ü\\n\\\"\\\\\",\"b\\\"\":\"😀\",\"c\":[],\"d\":{}}"]);
        assert_eq!(bodies(".a", row).unwrap(), ["\"ü\\n\\\"\\\\\""]);
    }

    #[test]
    fn what_has_no_json_is_refused() {
        for (filter, words) in [
            ("nan", "NaN, which has no JSON"),
            ("1e999 * 1", "inf, which has no JSON"),
            ("{(1|tostring): 1, \"x\": infinite}", "which has no JSON"),
            ("\"+1.5\" | tonumber", ""),
            ("{(.a): 1}", "no text"),
            ("[limit(200; repeat(1))] | reduce .[] as $x (0; [.])", "nested more than 128"),
            ("repeat(1)", "is the filter endless?"),
            (".x.y.z", "cannot index"),
            ("error(\"no shop\")", "no shop"),
            ("halt", "can't end the replay"),
            ("\"a\" | tobytes", "bytes"),
        ] {
            let found = bodies(filter, r#"{"a":1,"x":7}"#);
            match found {
                Err(what) => assert!(what.contains(words), "{filter}: {what}"),
                // Whatever a text was read as, it is a number of JSON.
                Ok(found) => assert!(words.is_empty() && found == ["1.5"], "{filter}: {found:?}"),
            }
        }
        assert!(bodies(".", "{\"a\":").unwrap_err().contains("can't be read as JSON"));
    }

    #[test]
    fn a_filter_that_is_none_is_refused_before_a_row_is_read() {
        for (filter, words) in [
            (".a | nosuch", "there is no filter nosuch"),
            ("$x", "there is no variable $x"),
            (".a |", "expected at the end"),
            ("{a", "--jq"),
            ("\"\\q\"", "expected at"),
            ("now", "there is no filter now; a row has to make the same bodies on each start"),
            ("$ENV.HOME", "there is no variable $ENV"),
            ("include \"a\"; .", "--jq"),
        ] {
            let error = Filter::new(filter).map(drop).unwrap_err().to_string();
            assert!(error.starts_with("--jq: ") && error.contains(words), "{filter}: {error}");
        }
    }
}
