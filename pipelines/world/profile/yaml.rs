//! YAML as a tree of texts: every scalar is what stands in the file, whatever YAML would make of it.
//!
//! ```text
//! 00123456 · 1.10 · 1e10 · yes · 2026-01-01 ──► Text, character by character
//! null · ~ · nothing (without quotes)       ──► Null
//! ```
//!
//! An untyped reader turns an API key `00123456` into a number and back into other text. Here the setting that is
//! read decides on the type, and it decides by the text.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};

/// Levels of nesting that are read.
const DEPTH: usize = 64;
/// Nodes that aliases may add, so that a small file can't grow without bound.
const ALIASED: usize = 100_000;

/// The keys of a mapping with their values, in the file's order.
type Entries = Vec<Entry>;

/// A key of a mapping with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    /// The line of the file that the key stands in, from 1.
    pub(super) line: usize,
    pub(super) value: Node,
}

/// A value of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// No value: an unquoted `null` or `~`, or nothing.
    Null,
    /// A scalar's text.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping.
    Map(Entries),
    /// A value with a tag that is not YAML's own. Only reading it is refused, and without a word of it: a secret that
    /// begins with `!` looks like that too.
    Tagged,
}

impl Node {
    /// The value under `key`, where this is a mapping that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The same with its place.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        let Self::Map(entries) = self else { return None };
        entries.iter().find(|entry| entry.key == key)
    }

    /// The texts of a list; `None` where this is no list, or one that holds something else.
    pub(super) fn texts(&self) -> Option<Vec<String>> {
        let Self::List(items) = self else { return None };
        let text = |item: &Node| if let Self::Text(text) = item { Some(text.clone()) } else { None };
        items.iter().map(text).collect()
    }

    fn size(&self) -> usize {
        1 + match self {
            Self::Null | Self::Text(_) | Self::Tagged => 0,
            Self::List(items) => items.iter().map(Self::size).sum(),
            Self::Map(entries) => entries.iter().map(|entry| entry.value.size()).sum(),
        }
    }
}

/// Reads the one document of `text`.
///
/// # Errors
///
/// What is wrong and where. It repeats no value of the file: those may be secrets.
pub(super) fn parse(text: &str) -> Result<Node, String> {
    let mut reader = Reader { parser: Parser::new_from_str(text), anchors: HashMap::new(), aliased: 0 };
    let mut document = None;
    loop {
        match reader.next()? {
            (Event::DocumentStart(..), span) if document.is_some() => {
                return Err(at(&span, "a second document begins"));
            }
            (Event::DocumentStart(..), _) => {
                let first = reader.next()?;
                document = Some(reader.node(first, 0)?);
            }
            (Event::StreamEnd, _) => return Ok(document.unwrap_or(Node::Null)),
            _ => {}
        }
    }
}

struct Reader<'i> {
    parser: Parser<'i, StrInput<'i>>,
    anchors: HashMap<usize, Node>,
    aliased: usize,
}

impl<'i> Reader<'i> {
    fn next(&mut self) -> Result<(Event<'i>, Span), String> {
        let event = self.parser.next_event().ok_or("it ends in the middle")?;
        event.map_err(|error| {
            format!("line {}, column {}: {}", error.marker().line(), error.marker().col() + 1, error.info())
        })
    }

    /// The node that begins with `event`.
    fn node(&mut self, (event, span): (Event<'i>, Span), depth: usize) -> Result<Node, String> {
        if depth > DEPTH {
            return Err(at(&span, "it is nested too deeply"));
        }
        let (anchor, node) = match event {
            Event::Scalar(text, style, anchor, tag) => (anchor, scalar(text.into_owned(), style, tag.as_deref())),
            Event::SequenceStart(_, anchor, tag) => (anchor, tagged(tag.as_deref(), self.list(depth)?)),
            Event::MappingStart(_, anchor, tag) => (anchor, tagged(tag.as_deref(), self.map(depth)?)),
            Event::Alias(anchor) => return self.alias(anchor, &span),
            _ => return Err(at(&span, "a value is expected")),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Node, String> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Node::List(items)),
                first => items.push(self.node(first, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Node, String> {
        let (mut entries, mut merged) = (Entries::new(), Entries::new());
        loop {
            let (event, span) = self.next()?;
            let is_merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
            let key = match event {
                Event::MappingEnd => break,
                // A key is its text, `null` and `1.10` too.
                Event::Scalar(text, ..) => text.into_owned(),
                _ => return Err(at(&span, "a key is not a text")),
            };
            let first = self.next()?;
            let value = self.node(first, depth + 1)?;
            if is_merge {
                merged.extend(merge(value).ok_or_else(|| at(&span, "`<<` names no mapping"))?);
            } else if entries.iter().any(|entry| entry.key == key) {
                return Err(at(&span, "a key stands twice in its block"));
            } else {
                entries.push(Entry { key, line: span.start.line(), value });
            }
        }
        for merged in merged {
            if entries.iter().all(|entry| entry.key != merged.key) {
                entries.push(merged);
            }
        }
        Ok(Node::Map(entries))
    }

    fn alias(&mut self, anchor: usize, span: &Span) -> Result<Node, String> {
        let node = self.anchors.get(&anchor).ok_or_else(|| at(span, "an alias stands within its own anchor"))?;
        self.aliased += node.size();
        if self.aliased > ALIASED { Err(at(span, "its aliases make too much of it")) } else { Ok(node.clone()) }
    }
}

fn at(span: &Span, what: &str) -> String {
    format!("line {}, column {}: {what}", span.start.line(), span.start.col() + 1)
}

fn scalar(text: String, style: ScalarStyle, tag: Option<&Tag>) -> Node {
    let is_null = style == ScalarStyle::Plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL");
    match tag {
        Some(tag) if tag.is_yaml_core_schema_tag("null") => Node::Null,
        None if is_null => Node::Null,
        tag => tagged(tag, Node::Text(text)),
    }
}

/// `node`, unless it has a tag of somebody else's.
fn tagged(tag: Option<&Tag>, node: Node) -> Node {
    match tag {
        // `!` alone means a plain text.
        Some(tag) if !tag.is_yaml_core_schema() && tag.to_string() != "!" => Node::Tagged,
        _ => node,
    }
}

/// The entries that a merge key brings in; the first that has a key counts.
fn merge(value: Node) -> Option<Entries> {
    match value {
        Node::Map(entries) => Some(entries),
        Node::List(items) => {
            let entries =
                items.into_iter().map(|item| if let Node::Map(entries) = item { Some(entries) } else { None });
            entries.collect::<Option<Vec<_>>>().map(|entries| entries.into_iter().flatten().collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> Node {
        Node::Text(text.to_owned())
    }

    #[test]
    fn a_scalar_is_the_text_that_stands_in_the_file() {
        for literal in [
            "00123456",
            "1.10",
            "1e10",
            "123456789012345678901234",
            "0x1F",
            "0o17",
            "1_000",
            "yes",
            "Off",
            "true",
            ".inf",
            ".NaN",
            "-0.0",
            "+5",
            "2026-01-01",
            "2026-01-01T00:00:00Z",
            "12:30:45",
            "nullable",
            "~x",
            "svc:x",
        ] {
            assert_eq!(parse(&format!("a: {literal} # why")).unwrap().get("a"), Some(&text(literal)), "{literal}");
            assert_eq!(parse(&format!("{{a: [{literal}]}}")).unwrap().get("a").unwrap().texts().unwrap(), [literal]);
            assert!(parse(&format!("{literal}: b")).unwrap().get(literal).is_some(), "{literal} as a key");
            assert_eq!(parse(&format!("a: &x {literal}\nb: *x")).unwrap().get("b"), Some(&text(literal)));
            assert_eq!(parse(&format!("a: !!str {literal}")).unwrap().get("a"), Some(&text(literal)));
            assert_eq!(parse(&format!("a: !!float {literal}")).unwrap().get("a"), Some(&text(literal)));
        }
    }

    #[test]
    fn null_without_quotes_is_no_value() {
        for literal in ["", "~", "null", "Null", "NULL", "!!null x"] {
            assert_eq!(parse(&format!("a: {literal}")).unwrap().get("a"), Some(&Node::Null), "{literal:?}");
        }
        for literal in ["'null'", "\"~\"", "!!str null", "! null"] {
            let bare = literal.trim_start_matches("!!str ").trim_start_matches("! ").trim_matches(['\'', '"']);
            assert_eq!(parse(&format!("a: {literal}")).unwrap().get("a"), Some(&text(bare)), "{literal:?}");
        }
        assert_eq!(parse("").unwrap(), Node::Null);
        assert_eq!(parse("# nothing\n").unwrap(), Node::Null);
        assert_eq!(parse("a: [x, null]").unwrap().get("a").unwrap().texts(), None);
    }

    #[test]
    fn an_entry_knows_the_line_that_its_value_is_from() {
        let tree = parse("base: &b\n  x: 1\nour:\n  <<: *b\n  y:\n    2\nthe: *b").unwrap();
        let line = |block: &str, key: &str| tree.get(block).unwrap().entry(key).unwrap().line;
        assert_eq!([tree.entry("base").unwrap().line, tree.entry("the").unwrap().line], [1, 7]);
        assert_eq!([line("base", "x"), line("our", "y"), line("our", "x"), line("the", "x")], [2, 5, 2, 2]);
    }

    #[test]
    fn blocks_are_merged_and_the_block_itself_counts_first() {
        let tree = parse("base: &b {x: 1, y: 2}\nmore: &m {y: 3, z: 4}\nour: {<<: [*b, *m], x: 0}").unwrap();
        let ours = ["x", "y", "z"].map(|key| tree.get("our").unwrap().get(key).unwrap().clone());
        assert_eq!(ours, [text("0"), text("2"), text("4")]);
    }

    #[test]
    fn a_foreign_tag_is_kept_for_who_reads_it() {
        let tree = parse("a: !secret token\nb: !Ref {x: 1}\nc: 1").unwrap();
        assert_eq!([tree.get("a"), tree.get("b")], [Some(&Node::Tagged); 2]);
        assert_eq!(tree.get("c"), Some(&text("1")));
    }

    #[test]
    fn what_is_no_document_is_refused_with_its_place_and_without_its_values() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let bomb = (1..10).fold("a0: &a0 [hunter2, hunter2]\n".to_owned(), |text, n| {
            let aliases = vec![format!("*a{}", n - 1); 10].join(", ");
            format!("{text}a{n}: &a{n} [{aliases}]\n")
        });
        for (text, words) in [
            ("a: [hunter2", "line 1"),
            ("a: hunter2\n b: x", "line 2"),
            ("a: hunter2\na: hunter3", "line 2, column 1: a key stands twice"),
            ("a: 1\n---\nb: hunter2", "a second document"),
            ("{[hunter2]: 1}", "a key is not a text"),
            ("a: &a [*a, hunter2]", "within its own anchor"),
            ("a: *b", "line 1"),
            ("a: {<<: hunter2}", "names no mapping"),
            (deep.as_str(), "line 1"),
            (bomb.as_str(), "aliases"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words) && !error.contains("hunter"), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_in_quotes_is_itself(content in "\\PC{0,20}") {
            let quoted = serde_json::to_string(&content).unwrap();
            prop_assert_eq!(parse(&quoted).unwrap(), Node::Text(content));
        }

        #[test]
        fn any_file_is_read_without_a_panic(content in "[a-z0-9:,\\[\\]{}&*!<>'\"|~ \n#-]{0,60}") {
            let _ = parse(&content);
        }
    }
}
