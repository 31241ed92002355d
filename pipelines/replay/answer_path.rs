//! A path into a JSON answer, and conditions on what is there.
//!
//! ```text
//! items[].*.status         of each item, the status of its only member
//! result.code = "ok"       holds where the value is this one
//! error != null            holds where there is another value; what is not there is null
//! ```

use std::str::FromStr;

use serde_json::Value;

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// The member of an object.
    Member(String),
    /// The item of an array, from 0.
    Item(usize),
    /// Each item of an array.
    Each,
    /// The only member of an object, whatever it is called.
    Only,
}

/// A path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerPath(Vec<Step>);

impl AnswerPath {
    /// The value at this path; `None` where there is none. A path with `[]` has many.
    fn one<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(value, |value, step| match step {
            Step::Member(name) => value.get(name),
            Step::Item(at) => value.get(at),
            Step::Only => only(value),
            Step::Each => None,
        })
    }

    /// The values of a path with one `[]`, one for each item, `None` for an item that has none; `None` where the list
    /// itself is not there. Each comes with its item.
    pub(super) fn each<'a>(&self, value: &'a Value) -> Option<Vec<(&'a Value, Option<&'a Value>)>> {
        let at = self.0.iter().position(|step| *step == Step::Each)?;
        let (before, behind) = (Self(self.0[..at].to_vec()), Self(self.0[at + 1..].to_vec()));
        let items = before.one(value)?.as_array()?;
        Some(items.iter().map(|item| (item, behind.one(item))).collect())
    }

    fn has_each(&self) -> bool {
        self.0.contains(&Step::Each)
    }

    /// A path with exactly one `[]`.
    ///
    /// # Errors
    ///
    /// If it is none.
    pub fn of_each(text: &str) -> Result<Self, String> {
        let path: Self = text.parse()?;
        let lists = path.0.iter().filter(|step| **step == Step::Each).count();
        if lists == 1 {
            Ok(path)
        } else {
            Err(format!("{text:?} has to have one [], the list with an item for each event, such as items[].status"))
        }
    }
}

fn only(value: &Value) -> Option<&Value> {
    let mut members = value.as_object()?.values();
    members.next().filter(|_| members.next().is_none())
}

impl FromStr for AnswerPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is no path such as error.code, items[0].status or items[].status");
        let (mut steps, mut rest) = (Vec::new(), text.trim());
        while !rest.is_empty() {
            if let Some(behind) = rest.strip_prefix('[') {
                let (inside, behind) = behind.split_once(']').ok_or_else(refused)?;
                steps.push(match inside {
                    "" => Step::Each,
                    digits => Step::Item(digits.parse().map_err(|_| refused())?),
                });
                rest = behind;
            } else {
                let behind = if steps.is_empty() { Some(rest) } else { rest.strip_prefix('.') };
                let (step, behind) = member(behind.ok_or_else(refused)?).ok_or_else(refused)?;
                steps.push(step);
                rest = behind;
            }
        }
        if steps.is_empty() { Err(refused()) } else { Ok(Self(steps)) }
    }
}

/// A member's name at the beginning of a text, bare or as a text of JSON, and what is behind it.
fn member(text: &str) -> Option<(Step, &str)> {
    if text.starts_with('"') {
        let mut texts = serde_json::Deserializer::from_str(text).into_iter::<String>();
        let name = texts.next()?.ok()?;
        return Some((Step::Member(name), &text[texts.byte_offset()..]));
    }
    let end = text.find(['.', '[']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let is_bare = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || "\"]{}=!,".contains(c));
    is_bare.then(|| (if name == "*" { Step::Only } else { Step::Member(name.to_owned()) }, rest))
}

/// What has to hold of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    path: AnswerPath,
    value: Value,
    /// The value has to be another one.
    differs: bool,
}

impl Condition {
    /// Whether it holds of an answer that is JSON.
    pub(super) fn holds(&self, answer: &Value) -> bool {
        let found = self.path.one(answer).unwrap_or(&Value::Null);
        is_same(found, &self.value) != self.differs
    }
}

/// Numbers are the same by their value.
fn is_same(left: &Value, right: &Value) -> bool {
    left == right || (left.is_number() && right.is_number() && left.as_f64() == right.as_f64())
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is no condition such as status = \"ok\" or error != null");
        let at = sign(text).ok_or_else(refused)?;
        let differs = text[..at].ends_with('!');
        let path = text[..at].strip_suffix('!').unwrap_or(&text[..at]);
        let path: AnswerPath = path.trim().parse()?;
        if path.has_each() {
            return Err(format!("{text:?}: a condition is about one value; name the item, such as items[0]"));
        }
        let value = text[at + 1..].trim();
        if value.is_empty() || value.starts_with('=') {
            return Err(refused());
        }
        // A bare word is a text.
        let value = serde_json::from_str(value).or_else(|_| {
            let is_word = value.chars().all(|c| c.is_alphanumeric() || "-_.:/".contains(c));
            if is_word { Ok(Value::String(value.to_owned())) } else { Err(refused()) }
        })?;
        if matches!(value, Value::Array(_) | Value::Object(_)) {
            return Err(format!("{text:?}: the value has to be a text, a number, true, false or null"));
        }
        Ok(Self { path, value, differs })
    }
}

/// Where the sign `=` is: the first that is in no quoted name.
fn sign(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    text.char_indices().find_map(|(at, c)| {
        let was_escaped = std::mem::take(&mut escaped);
        match c {
            '\\' if quoted && !was_escaped => escaped = true,
            '"' if !was_escaped => quoted = !quoted,
            '=' if !quoted => return Some(at),
            _ => {}
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_condition_compares_one_value() {
        let answer = json!({"result": "ok", "code": 2, "error": null, "a.b": {"c": [1, {"d": true}]}, "big": 9_007_199_254_740_993_u64});
        for (condition, holds) in [
            ("result = ok", true),
            ("result=\"ok\"", true),
            ("result = \"OK\"", false),
            ("result != ok", false),
            ("code = 2", true),
            ("code = 2.0", true),
            ("code = \"2\"", false),
            ("error = null", true),
            ("missing = null", true),
            ("missing != null", false),
            ("result != null", true),
            ("\"a.b\".c[1].d = true", true),
            ("\"a.b\".c[0] = 1", true),
            ("\"a.b\".c[7] = null", true),
            ("\"a.b\".*[0] = 1", true),
            ("big = 9007199254740993", true),
        ] {
            assert_eq!(condition.parse::<Condition>().unwrap().holds(&answer), holds, "{condition}");
        }
        assert!("[0].ok = true".parse::<Condition>().unwrap().holds(&json!([{"ok": true}])));
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for text in [
            "", "a", "a =", "= 1", "a == 1", "a = {", "a = [1]", "a = {}", "a..b = 1", "a[x] = 1", "a[ = 1", "a[] = 1",
            "a b = 1", "a = b c", ".a = 1", "a. = 1",
        ] {
            assert!(text.parse::<Condition>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_list_gives_a_value_for_each_item() {
        let answer = json!({"items": [{"index": {"status": 201}}, {"create": {"status": 409}}, {"x": 1, "y": 2}]});
        let path = AnswerPath::of_each("items[].*.status").unwrap();
        let found: Vec<_> = path.each(&answer).unwrap().into_iter().map(|(_, value)| value.cloned()).collect();
        assert_eq!(found, [Some(json!(201)), Some(json!(409)), None]);
        assert!(path.each(&json!({"items": 7})).is_none() && path.each(&json!([])).is_none());
        assert_eq!(AnswerPath::of_each("[]").unwrap().each(&json!([true])).unwrap().len(), 1);
        for text in ["items", "a[][]", "a[0]", ""] {
            assert!(AnswerPath::of_each(text).is_err(), "{text}");
        }
    }
}
