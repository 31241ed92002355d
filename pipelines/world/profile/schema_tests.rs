//! Schema and reader hold each setting to the same: values that are right for both, values that are wrong for both, and
//! texts of all sorts, of which the schema refuses none that the reader takes.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::settings::tests::problems;
use super::super::settings::{self as s, ALL, Setting};
use super::*;

fn valid(profile: &Value) -> bool {
    fault(profile).is_none()
}

/// A profile that holds nothing but its name and one value.
fn with(setting: &Setting, value: &Value) -> Value {
    let mut profile = json!({"profile_id": "local"});
    let at = setting.path.split('.').fold(&mut profile, |at, key| &mut at[key]);
    *at = value.clone();
    profile
}

/// Whether the reader finds fault with the form of the value.
fn refused(setting: &Setting, value: &Value) -> bool {
    let told = problems(setting, value, None);
    let named = [setting.path.to_owned(), setting.name()].iter().any(|name| told.contains(&format!("{name}: ")));
    named || setting.kind == Kind::Name && told.contains(&format!("{} is missing", setting.path))
}

fn in_profile() -> impl Iterator<Item = &'static Setting> {
    ALL.iter().filter(|setting| !setting.path.is_empty())
}

/// What names a file that the reader opens, or is read by a type of its own: the texts that are right for it.
fn own_texts(setting: &Setting) -> Option<&'static [&'static str]> {
    let table: &[(&[Setting], &[&str])] = &[
        (
            &[
                s::TRAFFIC_OUTPUT_IDS_REF,
                s::CONTEXT_OUTPUT_IDS_REF,
                s::CONTEXT_OUTPUT_IDS_BASELINE_REF,
                s::CA_FILE,
                s::CLIENT_CERT_FILE,
                s::CLIENT_KEY_FILE,
            ],
            &[],
        ),
        (
            &[s::STORE_ROOT, s::ORACLE_ROOT, s::ORACLE_ENGINE_RUN_ROOT, s::ORACLE_STREAM_VIEW_ROOT],
            &["a b/c", "s3://bucket/x"],
        ),
        (&[s::API_KEY_HEADER], &["X-Key"]),
        (&[s::ORACLE_SCENARIO_ID], &["baseline_v1"]),
        (&[s::CHECKPOINT_DSN], &["postgresql://u@127.0.0.1/x", "host=h"]),
    ];
    table.iter().find(|(settings, _)| settings.iter().any(|other| other.path == setting.path)).map(|(_, texts)| *texts)
}

/// Values that are right.
fn right(setting: &Setting) -> Vec<Value> {
    let mut values = match setting.kind {
        Kind::Text | Kind::Secret => match own_texts(setting) {
            Some(texts) => texts.iter().map(|text| json!(text)).collect(),
            None => vec![json!("x y"), json!("$a$"), json!(1.5), json!(7), json!(true), json!("${UNSET:-x}")],
        },
        Kind::Name => return vec![json!("local"), json!("local_x"), json!("${UNSET:-local}")],
        Kind::Whole | Kind::Real => {
            let (low, high) = setting.bounds.unwrap();
            let mut numbers =
                vec![number(low), number(high), json!(high), json!(format!(" {high} ")), json!("${UNSET:-1}")];
            if setting.kind == Kind::Real {
                numbers.extend([json!(1.5), json!("1.5"), json!("15e-1"), json!("${UNSET:-1.5}")]);
            }
            numbers
        }
        Kind::Switch => {
            let words = ["true", "Yes", "ON", "1", " off ", "FALSE", "no", "0", "${UNSET:-true}"];
            words.iter().map(|word| json!(word)).chain([json!(true), json!(false), json!(0), json!(1)]).collect()
        }
        Kind::Words(words) => {
            words.iter().flat_map(|word| [json!(word), json!(format!("${{UNSET:-{word}}}"))]).collect()
        }
        Kind::List => vec![json!(["a", 1, "${UNSET:-b}"]), json!("a, b"), json!("${UNSET:-a,b}"), json!([])],
        Kind::ListOf(words) => {
            let listed = words.join(" , ");
            vec![
                json!(words),
                json!(listed),
                json!(format!("${{UNSET:-{listed}}}")),
                json!([]),
                json!(["${UNSET:-ig}"]),
            ]
        }
        Kind::HttpUrl => {
            let urls =
                ["http://h", "HTTPS://h.example:8/a/b", "https://[::1]:1/", "${UNSET:-http://h}", " http://h/$x "];
            urls.iter().map(|url| json!(url)).collect()
        }
        Kind::Listen => ["off", "127.0.0.1:9464", "[::1]:0", "${UNSET:-off}"].iter().map(|text| json!(text)).collect(),
        Kind::GivenList | Kind::Brokers => panic!("{} has a path", setting.name()),
    };
    values.extend([Value::Null, json!(""), json!("  "), json!("${UNSET}"), json!(" ${UNSET:-} ")]);
    // A text in quotes, where YAML has a type of its own for what it says.
    if !setting.default.is_empty() && own_texts(setting).is_none() {
        values.push(json!(setting.default));
        values.push(default(setting));
    }
    values
}

/// Values that are wrong.
fn wrong(setting: &Setting) -> Vec<Value> {
    let mut values = vec![json!({"a": 1}), json!("in ${A} text"), json!("${A"), json!("${A}${B}"), json!("${A:-${B}}")];
    values.extend(match setting.kind {
        Kind::Text | Kind::Secret => vec![json!(["a"]), json!([])],
        Kind::Name => vec![json!(["a"]), Value::Null, json!(""), json!(" ")],
        Kind::Whole | Kind::Real => {
            let (low, high) = setting.bounds.map(|(low, high)| (number(low), number(high))).unwrap();
            let (low, high) = (low.as_f64().unwrap(), high.as_f64().unwrap());
            let mut numbers =
                vec![json!(low - 1.0), json!(high * 2.0), json!("x"), json!("1x"), json!(true), json!([1])];
            // Without a fraction too, as YAML writes whole numbers.
            numbers.extend([json!(high as u64 + 1), json!("${UNSET:-x}"), json!("1_000"), json!("0x10")]);
            if setting.kind == Kind::Whole {
                numbers.extend([json!(1.5), json!("1.5"), json!("1e1"), json!("-1"), json!("${UNSET:-1.5}")]);
            }
            numbers
        }
        Kind::Switch => vec![json!("maybe"), json!(2), json!("${UNSET:-maybe}"), json!([true])],
        Kind::Words(words) => {
            let capital = words[0].to_ascii_uppercase();
            vec![json!(capital), json!("other"), json!(5), json!(true), json!([words[0]]), json!("${UNSET:-other}")]
        }
        Kind::List => vec![json!([Value::Null]), json!([["a"]]), json!([""]), json!(["x ${A}"])],
        Kind::ListOf(_) => {
            vec![json!(["all"]), json!("all"), json!("ig, all"), json!([5]), json!(["IG"]), json!(["${UNSET:-all}"])]
        }
        Kind::HttpUrl => {
            let urls = [
                "ftp://h",
                "h:80",
                "http://",
                "http://u:p@h",
                "http://h?x=1",
                "http://h/#f",
                "http:///h",
                "http://h/a b",
            ];
            let more =
                [json!(5), json!(true), json!(["http://h"]), json!("${UNSET:-nowhere}"), json!("http://${IG}:80")];
            urls.iter().map(|url| json!(url)).chain(more).collect()
        }
        Kind::Listen => vec![json!("here"), json!("127.0.0.1"), json!(9464), json!("localhost:1"), json!("OFF")],
        Kind::GivenList | Kind::Brokers => panic!("{} has a path", setting.name()),
    });
    values
}

#[test]
fn reader_and_schema_take_the_same_values() {
    for setting in in_profile() {
        for value in right(setting) {
            assert!(!refused(setting, &value), "{} {value}: {}", setting.path, problems(setting, &value, None));
            assert_eq!(fault(&with(setting, &value)), None, "{} {value}: the schema refuses it", setting.path);
        }
        for value in wrong(setting) {
            assert!(refused(setting, &value), "{} {value}: the reader takes it", setting.path);
            assert!(!valid(&with(setting, &value)), "{} {value}: the schema takes it", setting.path);
        }
    }
}

/// The words of the table are those that the reader knows.
#[test]
fn the_words_of_a_setting_are_those_of_the_reader() {
    for setting in in_profile() {
        let known = match setting.kind {
            Kind::Words(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
            Kind::ListOf(words) => words.join(", "),
            _ => continue,
        };
        let told = problems(setting, &json!("other"), None);
        let all = told.contains(&format!("\"other\" is not one of {known}")) && !told.contains(&format!("{known}, "));
        assert!(all, "{}: {told}", setting.path);
    }
}

#[test]
fn unknown_keys_are_refused_where_the_reader_refuses_them() {
    let mut blocks: Vec<&str> =
        in_profile().flat_map(|setting| setting.path.match_indices('.').map(|(at, _)| &setting.path[..at])).collect();
    blocks.sort_unstable();
    blocks.dedup();
    for block in blocks {
        let unknown = Setting { path: format!("{block}.unknown_key").leak(), ..s::POLICY_REV };
        let (told, profile) = (problems(&unknown, &json!({"x": 1}), None), with(&unknown, &json!({"x": 1})));
        assert_eq!(told.contains("is not a setting"), CLOSED_BLOCKS.contains(&block), "{block}: {told}");
        assert_eq!(valid(&profile), !CLOSED_BLOCKS.contains(&block), "{block}");
        // A block is a block or nothing.
        let whole = Setting { path: block, ..s::POLICY_REV };
        for (value, taken) in
            [(Value::Null, true), (json!({}), true), (json!([]), false), (json!("${A}"), false), (json!(5), false)]
        {
            let told = problems(&whole, &value, None);
            assert_eq!(told.contains(&format!("{block}: a block of settings")), !taken, "{block} {value}: {told}");
            assert_eq!(valid(&with(&whole, &value)), taken, "{block} {value}");
        }
    }
    let others = json!({"profile_id": "local", "event_bus": {"a": 1}, "policy": {"other": [1]}});
    assert!(valid(&others) && !valid(&json!({})) && !valid(&json!([])));
}

/// What the page lists, the schema has, and nothing else.
#[test]
fn page_and_schema_have_the_settings_of_the_table() {
    fn paths(block: &Value, below: &str) -> Vec<String> {
        let of = |(key, schema): (&String, &Value)| {
            let path = if below.is_empty() { key.clone() } else { format!("{below}.{key}") };
            if schema.get("properties").is_some() { paths(schema, &path) } else { vec![path] }
        };
        block["properties"].as_object().unwrap().iter().flat_map(of).collect()
    }
    let document = document();
    let mut in_schema = paths(&document, "");
    let page = s::reference();
    let mut on_page: Vec<_> =
        page.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned())).collect();
    let mut in_table: Vec<_> = in_profile().map(|setting| setting.path.to_owned()).collect();
    for paths in [&mut in_schema, &mut on_page, &mut in_table] {
        paths.sort();
    }
    assert_eq!(in_schema, in_table);
    assert_eq!(on_page, in_table);
    for setting in in_profile() {
        let schema = document.pointer(&format!("/properties/{}", setting.path.replace('.', "/properties/"))).unwrap();
        assert_eq!(schema["description"], setting.help(), "{}", setting.path);
        assert_eq!(schema.get("default").is_some(), !setting.default.is_empty(), "{}", setting.path);
        assert!(valid(&with(setting, schema.get("default").unwrap_or(&json!("${A}")))), "{}", setting.path);
    }
}

#[test]
fn the_numbers_of_the_table_are_numbers() {
    for setting in ALL.iter().filter(|setting| matches!(setting.kind, Kind::Whole | Kind::Real)) {
        let bounds = setting.bounds.map_or(vec![], |(low, high)| vec![low, high]);
        let texts = bounds.into_iter().chain((!setting.default.is_empty()).then_some(setting.default));
        for text in texts {
            assert_eq!(number(text).as_f64(), text.parse::<f64>().ok(), "{}: {text}", setting.name());
            assert!(setting.kind == Kind::Real || number(text).is_u64(), "{}: {text}", setting.name());
        }
    }
}

/// A value as people type it: mostly texts that are nearly right.
fn typed() -> impl Strategy<Value = Value> {
    let words = "( |file|s3|kafka|strict|ig|true|ON|off|0|1|7|1\\.5|1e3|http://h|h:1|,|\\$|\\{|\\}|\\$\\{A|:-|x){0,5}";
    prop_oneof![
        words.prop_map(Value::from),
        any::<u32>().prop_map(Value::from),
        (-2i64..2000).prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        (0.0..2.0).prop_map(Value::from),
        prop::collection::vec(words.prop_map(Value::from), 0..3).prop_map(Value::from),
        Just(Value::Null),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// An editor finds no fault with a profile that WSP would run with.
    #[test]
    fn the_schema_refuses_nothing_that_the_reader_takes(which in 0..in_profile().count(), value in typed()) {
        let setting = in_profile().nth(which).unwrap();
        let taken = valid(&with(setting, &value));
        prop_assert!(taken || refused(setting, &value), "{} {}", setting.path, value);
        // Of a free text they say the same, whatever it is.
        if setting.path == s::POLICY_REV.path {
            prop_assert_eq!(taken, !refused(setting, &value), "{} {}", setting.path, value);
        }
    }
}
