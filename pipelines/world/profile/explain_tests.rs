//! Where a setting's value comes from, and that no secret is shown.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::tests::{STRICT, WHOLE, strict_env};
use super::*;

type Vars<'a> = &'a [(&'a str, &'a str)];

fn explained(text: &str, vars: Vars<'_>) -> Vec<Explained> {
    let env = |name: &str| vars.iter().find(|(var, _)| *var == name).map(|(_, text)| (*text).to_owned());
    let profile = Profile::parse(text, Path::new("."), &env).ok();
    explain_text(text, Path::new("."), &env, profile.as_ref())
}

fn one(text: &str, vars: Vars<'_>, setting: &Setting) -> Explained {
    let found = explained(text, vars).into_iter().find(|explained| explained.setting.name() == setting.name());
    found.unwrap_or_else(|| panic!("{} is not in force", setting.name()))
}

fn text(text: &str) -> Shown {
    Shown::Text(text.to_owned())
}

const LOCAL: &str = "profile_id: local
policy:
  stream_speedup: ${SPEED:-2}
  late: ${LATE}
  traffic_output_ids: [a, '${B:-b}']
wiring:
  ig_ingest_url: http://127.0.0.1:1
  control_bus: {kind: file}
  wsp_delivery:
    in_flight:
      8
  security: {wsp_auth_token: '${IG_API_KEY}'}
";
const KEY: (&str, &str) = ("IG_API_KEY", "top-secret");

#[test]
fn a_value_comes_from_a_line_a_variable_or_a_default() {
    let cases: [(Vars<'_>, Setting, Shown, &str); 12] = [
        (&[KEY], s::PROFILE_ID, text("local"), "profile, line 1"),
        (&[KEY], s::STREAM_SPEEDUP, text("2"), "profile, line 3: SPEED is not set, so its default"),
        (&[KEY, ("SPEED", "5")], s::STREAM_SPEEDUP, text("5"), "environment: SPEED, by the profile's line 3"),
        (&[KEY, ("WSP_STREAM_SPEEDUP", "7")], s::STREAM_SPEEDUP, text("7"), "environment: WSP_STREAM_SPEEDUP"),
        (
            &[KEY],
            s::LATE,
            text("`stretch`; with a campaign's start or `wsp_lanes`, whose schedule is shared, `catch_up`"),
            "default",
        ),
        (&[KEY, ("LATE", "catch_up")], s::LATE, text("catch_up"), "environment: LATE, by the profile's line 4"),
        (&[KEY], s::TRAFFIC_OUTPUT_IDS, text("a, b"), "profile, line 5"),
        (&[KEY], s::IN_FLIGHT, text("8"), "profile, line 10"),
        (&[KEY, ("WSP_MAX_INFLIGHT", "9")], s::IN_FLIGHT, text("9"), "environment: WSP_MAX_INFLIGHT"),
        (&[KEY], s::DELIVERY_MODE, text("keyed"), "follows from other settings"),
        (&[KEY], s::FLUSH_EVERY, text("1"), "default"),
        (&[KEY], s::POLICY_REV, Shown::Nothing, "not set"),
    ];
    for (vars, setting, value, source) in cases {
        let found = one(LOCAL, vars, &setting);
        assert_eq!((found.value, found.source.to_string().as_str()), (value, source), "{} {vars:?}", setting.name());
    }
    let seal = one(LOCAL, &[KEY], &s::REQUIRE_SEAL);
    assert_eq!((seal.value, seal.source), (text("false"), Source::Derived));
    let packs = one(LOCAL, &[KEY, ("WSP_READY_REQUIRED_PACKS", "")], &s::REQUIRED_PACKS);
    assert_eq!((packs.value, packs.source.variable()), (text(""), Some("WSP_READY_REQUIRED_PACKS")));
}

#[test]
fn the_place_that_loses_is_told_too() {
    let both = [KEY, ("WSP_STREAM_SPEEDUP", "7"), ("IG_INGEST_URL", "http://other")];
    let speed = one(LOCAL, &both, &s::STREAM_SPEEDUP);
    assert_eq!(speed.over.map(|over| over.line()), Some(Some(3)));
    let url = one(LOCAL, &both, &s::IG_INGEST_URL);
    assert_eq!((url.value, url.source), (text("http://127.0.0.1:1"), Source::Profile { line: 7 }));
    assert_eq!(url.over, Some(Source::Environment { variable: "IG_INGEST_URL" }));
    assert_eq!(one(LOCAL, &[KEY], &s::STREAM_SPEEDUP).over, None);
}

#[test]
fn what_a_profile_has_no_use_for_is_not_in_force() {
    let in_force =
        |text: &str| explained(text, &[KEY]).into_iter().map(|found| found.setting.name()).collect::<Vec<_>>();
    let files = in_force(LOCAL);
    assert!(files.contains(&s::CHECKPOINT_ROOT.name()) && files.contains(&s::CONTROL_BUS_ROOT.name()));
    for other in [s::CHECKPOINT_DSN, s::KAFKA_SERVERS, s::CONTROL_BUS_STREAM] {
        assert!(!files.contains(&other.name()), "{}", other.name());
    }
    let kafka = in_force(&LOCAL.replace("kind: file", "kind: kafka"));
    assert!(kafka.contains(&s::KAFKA_SERVERS.name()) && !kafka.contains(&s::CONTROL_BUS_ROOT.name()));
    // In the table's order, each once.
    let places: Vec<_> =
        files.iter().map(|name| ALL.iter().position(|setting| setting.name() == *name).unwrap()).collect();
    assert!(places.is_sorted_by(|a, b| a < b) && files.len() > 50, "{}", files.len());
    assert!(explained("not: [a", &[]).is_empty());
}

/// The defaults that name this machine don't hold in a strict profile.
#[test]
fn a_strict_profile_has_no_default_of_this_machine() {
    let strict = |setting: &Setting| {
        let found = explain_text(STRICT, Path::new("."), &strict_env, None);
        found.into_iter().find(|found| found.setting.name() == setting.name()).unwrap().value
    };
    assert_eq!((strict(&s::ORACLE_ROOT), strict(&s::CHECKPOINT_LEASE)), (Shown::Nothing, text("15")));
    assert_eq!(one(LOCAL, &[KEY], &s::ORACLE_ROOT).value, text("runs/local_full_run-5"));
}

/// Profiles in which all secrets are in force.
fn with_secrets() -> [Value; 2] {
    let tree = |text: &str| -> Value { serde_saphyr::from_str(text).unwrap() };
    let mut plain = tree(WHOLE);
    plain["wiring"]["ig_ingest_url"] = json!("http://ig.example");
    plain["wiring"]["control_bus"] = json!({"kind": "kafka"});
    plain["wiring"]["wsp_checkpoint"] = json!({"backend": "postgres"});
    [tree(STRICT), plain]
}

/// A secret is hidden wherever it comes from, and however it is written.
#[test]
fn no_secret_is_shown() {
    const SECRET: &str = "hunter2";
    let texts = [
        SECRET,
        "postgresql://wsp:hunter2@db.example/x?sslmode=verify-full",
        "host=db password=hunter2",
        "http://u:hunter2@p:1",
    ];
    for setting in ALL.iter().filter(|setting| setting.kind == Kind::Secret) {
        let mut hidden = 0;
        for (mut profile, text) in
            with_secrets().into_iter().flat_map(|profile| texts.map(|text| (profile.clone(), text)))
        {
            let mut check = |profile: &Value, vars: Vars<'_>| {
                let env = |name: &str| {
                    let set = vars.iter().find(|(var, _)| *var == name).map(|(_, text)| (*text).to_owned());
                    set.or_else(|| strict_env(name).filter(|text| !text.contains(SECRET)))
                };
                let read = Profile::parse(&profile.to_string(), Path::new("."), &env).ok();
                let found = explain_text(&profile.to_string(), Path::new("."), &env, read.as_ref());
                assert!(!format!("{found:?}").contains(SECRET), "{}: {text} {vars:?}: {found:?}", setting.name());
                let ours = found.iter().find(|found| found.setting.name() == setting.name());
                hidden += usize::from(ours.is_some_and(|found| found.value == Shown::Hidden));
            };
            if let Some(dsn) = profile.pointer_mut("/wiring/wsp_checkpoint/dsn") {
                *dsn = Value::Null;
            }
            for variable in setting.env {
                check(&profile, &[(*variable, text)]);
            }
            if !setting.path.is_empty() {
                for value in [text.to_owned(), "${MY_SECRET}".to_owned(), format!("${{UNSET:-{text}}}")] {
                    let at = setting.path.split('.').fold(&mut profile, |at, key| &mut at[key]);
                    *at = value.into();
                    check(&profile, &[("MY_SECRET", text)]);
                }
            }
        }
        assert!(hidden >= texts.len(), "{} is hidden {hidden} times", setting.name());
    }
}

/// A key that somebody put into another setting as well.
#[test]
fn a_secret_is_not_shown_within_another_value() {
    let profile = LOCAL.replace("http://127.0.0.1:1", "http://127.0.0.1:1/top-secret").replace("[a, ", "[top-secret, ");
    let profile = profile.replace("policy:\n", "policy:\n  policy_rev: ${IG_API_KEY}\n");
    let found = explained(&profile, &[KEY]);
    assert!(!format!("{found:?}").contains("top-secret"), "{found:?}");
    for setting in [s::IG_INGEST_URL, s::TRAFFIC_OUTPUT_IDS, s::POLICY_REV, s::AUTH_TOKEN] {
        assert_eq!(one(&profile, &[KEY], &setting).value, Shown::Hidden, "{}", setting.name());
    }
}

proptest! {
    /// An address that holds a password is not shown, whatever is wrong with it.
    #[test]
    fn no_address_shows_its_password(
        before in "(http|https|s3|S3|postgresql|SASL_SSL|)(://|:/|:|//|)[a-z]{0,3}:",
        after in "@(h|127.0.0.1|\\[::1\\]|)(:[0-9a-z]{0,6})?(/[a-z?=#&%]{0,8})?",
        which in 0..ALL.len(),
    ) {
        let setting = &ALL[which];
        let address = format!("{before}hunter2{after}");
        let mut profile: Value = with_secrets()[1].clone();
        if !setting.path.is_empty() {
            let at = setting.path.split('.').fold(&mut profile, |at, key| &mut at[key]);
            *at = address.clone().into();
        }
        let env = |name: &str| setting.env.contains(&name).then(|| address.clone());
        let found = explain_text(&profile.to_string(), Path::new("."), &env, None);
        prop_assert!(!format!("{found:?}").contains("hunter2"), "{}: {found:?}", setting.name());
    }
}
