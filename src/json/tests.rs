use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// What the lexer makes of a text, as a tree: a number is its digits.
#[derive(Debug, Clone, PartialEq)]
enum Tree {
    Null,
    Bool(bool),
    Integer(String),
    Float(String),
    Text(String),
    Array(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

fn tree(lexer: &mut Lexer<'_>) -> Result<Tree, Fault> {
    match lexer.peek() {
        b'{' => {
            let mut members = Vec::new();
            lexer.object(|lexer, key| {
                members.push((key.unescaped()?.into_owned(), tree(lexer)?));
                Ok(())
            })?;
            Ok(Tree::Object(members))
        }
        b'[' => {
            let mut items = Vec::new();
            lexer.array(|lexer| {
                items.push(tree(lexer)?);
                Ok(())
            })?;
            Ok(Tree::Array(items))
        }
        b'"' => {
            let text = lexer.string()?;
            assert_eq!(text.check(), text.unescaped().map(drop));
            Ok(Tree::Text(text.unescaped()?.into_owned()))
        }
        _ => Ok(match lexer.scalar()? {
            Scalar::Null => Tree::Null,
            Scalar::Bool(value) => Tree::Bool(value),
            Scalar::Integer(digits) => Tree::Integer(digits.to_owned()),
            Scalar::Float(digits) => Tree::Float(digits.to_owned()),
        }),
    }
}

fn read(text: &[u8]) -> Result<Tree, Fault> {
    let mut lexer = Lexer::of_bytes(text, 100)?;
    let tree = tree(&mut lexer)?;
    lexer.end()?;
    Ok(tree)
}

/// The same of a value of `serde_json`, whose numbers are written as it writes them.
fn expected(value: &Value) -> Tree {
    match value {
        Value::Null => Tree::Null,
        Value::Bool(value) => Tree::Bool(*value),
        Value::Number(number) if number.is_f64() => Tree::Float(number.to_string()),
        Value::Number(number) => Tree::Integer(number.to_string()),
        Value::String(text) => Tree::Text(text.clone()),
        Value::Array(items) => Tree::Array(items.iter().map(expected).collect()),
        Value::Object(members) => {
            Tree::Object(members.iter().map(|(key, value)| (key.clone(), expected(value))).collect())
        }
    }
}

#[test]
fn what_is_no_json_is_refused_where_it_is() {
    for (text, what, at) in [
        ("", "a value was expected", 0),
        (" \n", "a value was expected", 2),
        ("{", "a string was expected", 1),
        ("[1,]", "a value was expected", 3),
        ("[1", "',' or ']' was expected", 2),
        ("{\"a\":1,}", "a string was expected", 7),
        ("{\"a\" 1}", "':' was expected", 5),
        ("{\"a\":1 \"b\":2}", "',' or '}' was expected", 7),
        ("{a:1}", "a string was expected", 1),
        ("01", "a leading zero", 0),
        ("-01", "a leading zero", 0),
        ("-", "a value was expected", 0),
        ("1.", "a number that ends in its point", 2),
        (".5", "a value was expected", 0),
        ("1e+", "a number without its exponent", 3),
        ("+1", "a value was expected", 0),
        ("NaN", "a value was expected", 0),
        ("-Infinity", "a value was expected", 0),
        ("tru", "a value was expected", 0),
        ("\"a", "a string without an end", 2),
        ("\"\\", "an unknown escape", 1),
        ("\"\\x\"", "an unknown escape", 1),
        ("\"\\u12g4\"", "an escape without four hex digits", 1),
        ("\"\\u12\u{e9}\"", "an escape without four hex digits", 1),
        ("\"\\u+123\"", "an escape without four hex digits", 1),
        ("\"ab\\ud800\"", "half a surrogate pair", 3),
        ("\"\\ud800\\u0041\"", "half a surrogate pair", 1),
        ("\"\\ud800\\ud800\"", "half a surrogate pair", 1),
        ("\"x\\n\\udc00\"", "half a surrogate pair", 4),
        ("\"12345678\n\"", "a control character in a string", 9),
        ("1 2", "text after the value", 2),
        ("\u{feff}1", "a value was expected", 0),
        ("\u{a0}1", "a value was expected", 0),
        ("/**/1", "a value was expected", 0),
        ("1\0", "text after the value", 1),
    ] {
        assert_eq!(read(text.as_bytes()), Err(Fault { what, at }), "{text:?}");
    }
    assert_eq!(read(b"[\"\xff\"]"), Err(Fault { what: "invalid UTF-8", at: 2 }));
}

#[test]
fn depth_is_bounded_and_freed_again() {
    let lex = |text: &str, depth| {
        let mut lexer = Lexer::new(text, depth);
        tree(&mut lexer).map(drop).map_err(|fault| fault.what)
    };
    assert_eq!(lex("[[{}],[{}],{\"a\":[{}]}]", 4), Ok(()));
    assert_eq!(lex("[[{}],[{}],{\"a\":[{}]}]", 3), Err("nested too deeply"));
    assert_eq!(lex("{}", 0), Err("nested too deeply"));
    assert_eq!(lex("7", 0), Ok(()));
    assert_eq!(lex(&"[".repeat(100_000), 200), Err("nested too deeply"));
}

#[test]
fn tokens_are_lexed_without_a_grammar() {
    let mut lexer = Lexer::new(" ] \"a\\n\" :-0 , 1.0{null", 0);
    let mut tokens = Vec::new();
    while let Some(token) = lexer.token().unwrap() {
        tokens.push(match token {
            Token::Mark(mark) => char::from(mark).to_string(),
            Token::Text(text) => format!("{:?} {:?}", text.raw(), text.unescaped().unwrap()),
            Token::Scalar(scalar) => format!("{scalar:?}"),
        });
    }
    assert_eq!(tokens, ["]", r#""a\\n" "a\n""#, ":", "Integer(\"-0\")", ",", "Float(\"1.0\")", "{", "Null"]);
    assert!(Lexer::new("\0", 0).token().is_err());
}

#[test]
fn a_caller_sees_what_it_read_and_keys_that_stand_twice() {
    let text = r#"{"a": [1, 2] ,"a":null}"#;
    let (mut lexer, mut seen) = (Lexer::new(text, 2), Vec::new());
    let read = lexer.object(|lexer, key| {
        lexer.peek();
        let from = lexer.at();
        tree(lexer)?;
        seen.push((key.raw(), lexer.read_since(from)));
        Ok(())
    });
    assert_eq!(read, Ok(()));
    assert_eq!(seen, [("a", "[1, 2]"), ("a", "null")]);
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "(\\PC|[\\x00-\\x1f\"\\\\/]){0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((".{0,10}", inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Every character as `\uXXXX`.
fn escaped(text: &str) -> String {
    let units: Vec<String> = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
    format!("\"{}\"", units.concat())
}

proptest! {
    #[test]
    fn values_are_those_of_serde_in_any_layout(value in json()) {
        let tree = Ok(expected(&value));
        prop_assert_eq!(read(&serde_json::to_vec(&value).unwrap()), tree.clone());
        prop_assert_eq!(read(&serde_json::to_vec_pretty(&value).unwrap()), tree);
    }

    #[test]
    fn a_text_is_the_same_with_each_character_escaped(text in any::<String>()) {
        prop_assert_eq!(read(escaped(&text).as_bytes()), Ok(Tree::Text(text)));
    }

    #[test]
    fn texts_near_json_are_accepted_as_serde_does(text in "[\\[\\]{}\",:0-9eE.+\\-tfn\\\\u ]{0,12}") {
        let accepted = accepted(text.as_bytes());
        prop_assert!(accepted.is_none_or(|accepted| accepted == read(text.as_bytes()).is_ok()), "{}", text);
    }

    #[test]
    fn spoilt_bytes_are_accepted_as_serde_does(value in json(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = serde_json::to_vec(&value).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let accepted = accepted(&bytes);
        let shown = String::from_utf8_lossy(&bytes);
        prop_assert!(accepted.is_none_or(|accepted| accepted == read(&bytes).is_ok()), "{:?}", shown);
    }
}

/// Whether `serde_json` reads a text. A number past the largest double is an error to it, behind which it reads nothing, and
/// digits here.
fn accepted(bytes: &[u8]) -> Option<bool> {
    let value = serde_json::from_slice::<Value>(bytes);
    let is_ok = value.is_ok();
    value.err().is_none_or(|error| !error.to_string().contains("out of range")).then_some(is_ok)
}
