//! `wsp validate --explain`: where each setting in force comes from, on the program itself.

use serde_json::{Value, json};
use wsp_world::profile::Kind;
use wsp_world::profile::settings::{self as s, ALL, Setting};

use super::strict::{command, strict};
use crate::kit::capture::CaptureGate;
use crate::kit::process::Told;
use crate::kit::{KEY, Stage};

const EXPLAIN: &[&str] = &["validate", "--explain"];
const JSON: &[&str] = &["validate", "--explain", "--json"];

fn row(told: &Value, setting: &Setting) -> Value {
    let name = if setting.path.is_empty() { setting.name() } else { setting.path.to_owned() };
    told.as_array()
        .unwrap()
        .iter()
        .find(|row| row["setting"] == name)
        .unwrap_or_else(|| panic!("{name}: {told}"))
        .clone()
}

#[test]
fn each_setting_is_told_with_its_source() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    stage.put(
        "profile.yaml",
        stage_text(&gate.url).replace("stream_speedup: 0", "stream_speedup: ${SPEED:-0}\n  policy_rev: r7"),
    );
    let told = |args: &[&str], vars: &[(&str, &str)]| {
        let mut command = stage.wsp(args);
        command.args(["--profile", "profile.yaml"]).envs(vars.iter().copied());
        Told::of(command)
    };
    let vars = [("IG_API_KEY", "secret-key"), ("SPEED", "3"), ("WSP_CHECKPOINT_FLUSH_EVERY", "7")];
    let table = told(EXPLAIN, &vars);
    assert_eq!((table.code, table.err.as_str()), (Some(0), ""));
    let line = |name: &str| {
        let line = table
            .out
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")))
            .unwrap_or_else(|| panic!("{name}: {}", table.out));
        line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    for (name, words) in [
        ("profile_id", "local_explained profile, line 1"),
        ("policy.policy_rev", "r7 profile, line 4"),
        ("policy.stream_speedup", "3 environment: SPEED, by the profile's line 3"),
        ("policy.require_seal", "true profile, line 5"),
        ("wiring.wsp_checkpoint.flush_every", "7 environment: WSP_CHECKPOINT_FLUSH_EVERY (over profile, line 13)"),
        ("wiring.security.wsp_auth_token", "(hidden) environment: IG_API_KEY, by the profile's line 15"),
        ("wiring.wsp_delivery.in_flight", "1 default"),
        ("wiring.wsp_delivery.mode", "strict follows from other settings"),
        ("wiring.oracle_scenario_id", "READY's default"),
        ("wiring.object_store.bucket", "– not set"),
        ("PLATFORM_RUN_ID", "platform_20260101T000000Z environment: PLATFORM_RUN_ID"),
    ] {
        assert_eq!(line(name), words);
    }
    assert!(!table.out.contains("KAFKA") && !table.out.contains("secret-key"), "{}", table.out);
    assert!(table.out.ends_with(
        "\n\nprofile.yaml: profile local_explained is in order; once told to stop, a run ends within 85 s\n"
    ));

    // As JSON stdout is that alone, and a word about the profile goes aside.
    let json_told = told(JSON, &vars);
    assert_eq!(json_told.code, Some(0), "{}", json_told.err);
    assert!(json_told.err.contains("is in order"), "{}", json_told.err);
    let rows = json_told.json();
    assert_eq!(
        row(&rows, &s::FLUSH_EVERY),
        json!({"setting": "wiring.wsp_checkpoint.flush_every", "value": "7", "hidden": false, "source": "environment",
            "line": null, "variable": "WSP_CHECKPOINT_FLUSH_EVERY", "over": "profile, line 13"})
    );
    let key = row(&rows, &s::AUTH_TOKEN);
    assert_eq!(
        (&key["value"], &key["hidden"], &key["line"], &key["variable"]),
        (&Value::Null, &json!(true), &json!(15), &json!("IG_API_KEY"))
    );
    assert_eq!(rows.as_array().unwrap().len(), table.out.lines().take_while(|line| !line.is_empty()).count() - 1);
    // Without the option it says what it always said.
    assert_eq!(told(&["validate"], &vars).out.lines().count(), 1);
    assert_eq!(told(&["validate", "--json"], &vars).code, Some(2), "--json belongs to --explain");
}

/// A profile in blocks, so that lines can be counted.
fn stage_text(gate: &str) -> String {
    let catalogue = crate::kit::repository("config/oracle/engine_outputs.catalogue.yaml");
    format!(
        "profile_id: local_explained
policy:
  stream_speedup: 0
  require_seal: true
  traffic_output_ids: [s3_event_stream_with_fraud_6B]
wiring:
  object_store: {{root: store}}
  control_bus: {{kind: file, root: control_bus}}
  engine_catalogue_path: {}
  ig_ingest_url: {gate}
  wsp_checkpoint:
    flush_every: 10
  wsp_producer: {{allowlist_ref: producers.txt}}
  security: {{wsp_auth_token: '${{IG_API_KEY}}'}}
",
        catalogue.display()
    )
}

#[test]
fn a_refusal_is_what_it_is_without_the_option() {
    let (_gate, stage) = strict("dev_min", |profile| {
        profile["policy"]["stream_speedup"] = json!("fast");
        profile["wiring"]["wsp_retry"] = json!({"max_atempts": 3});
        profile["wiring"]["ig_ingest_url"] = json!("http://user:hunter2@ig");
    });
    let told = |args: &[&str]| Told::of(command(&stage, args));
    let (plain, table, rows) = (told(&["validate"]), told(EXPLAIN), told(JSON));
    assert_eq!((plain.code, plain.out.as_str()), (Some(2), ""));
    for explained in [&table, &rows] {
        assert_eq!((explained.code, &explained.err), (Some(2), &plain.err));
        assert!(!explained.out.contains("hunter2"), "{}", explained.out);
    }
    // What is wrong is told with its place all the same.
    assert_eq!(row(&rows.json(), &s::STREAM_SPEEDUP)["value"], json!("fast"));
    assert_eq!(row(&rows.json(), &s::IG_INGEST_URL)["hidden"], json!(true));
    // A file that is no profile has no settings.
    stage.put("profile.yaml", "a: [hunter2");
    let none = told(EXPLAIN);
    assert_eq!((none.code, none.out.as_str(), &none.err), (Some(2), "", &told(&["validate"]).err));
}

/// Every setting that is a secret, from the profile, by a reference and from its variables.
#[test]
fn no_secret_is_printed() {
    const SECRET: &str = "hunter2-of-all";
    let secrets: Vec<_> = ALL.iter().filter(|setting| setting.kind == Kind::Secret).collect();
    assert_eq!(secrets.len(), 6);
    let (_gate, stage) = strict("dev_min", |_| {});
    let original: Value = serde_json::from_slice(&crate::kit::read(&stage.path("profile.yaml"))).unwrap();
    for setting in secrets {
        let text = if setting.path == s::CHECKPOINT_DSN.path {
            format!("postgresql://wsp:{SECRET}@db.internal/wsp?sslmode=verify-full")
        } else {
            SECRET.to_owned()
        };
        let mut ways: Vec<(Option<String>, Option<&str>)> =
            setting.env.iter().map(|name| (None, Some(*name))).collect();
        if !setting.path.is_empty() {
            ways.extend([(Some(text.clone()), None), (Some(format!("${{NONE:-{text}}}")), None)]);
            ways.push((Some("${MINE}".to_owned()), Some("MINE")));
        }
        for (value, variable) in ways {
            let mut profile = original.clone();
            if !setting.path.is_empty() {
                let at = setting.path.split('.').fold(&mut profile, |at, key| &mut at[key]);
                *at = value.clone().into();
            }
            // The strict profile's gate is a plain address, which is not looked up under `https_proxy`.
            if setting.env.contains(&"https_proxy") {
                profile["wiring"]["ig_ingest_url"] = json!("https://ig.internal");
            }
            stage.put("profile.yaml", profile.to_string());
            for args in [EXPLAIN, JSON] {
                let mut command = command(&stage, args);
                command.envs(variable.map(|name| (name, &text)));
                let told = Told::of(command);
                let said = format!("{}{}", told.out, told.err);
                assert!(
                    !said.contains(SECRET) && !said.contains(KEY),
                    "{} {value:?} {variable:?}: {said}",
                    setting.name()
                );
                let name = if setting.path.is_empty() { setting.name() } else { setting.path.to_owned() };
                let hidden = if args == JSON {
                    row(&told.json(), setting)["hidden"] == json!(true)
                } else {
                    told.out.lines().any(|line| line.starts_with(&name) && line.contains("(hidden)"))
                };
                assert!(hidden, "{name} {value:?} {variable:?}: {said}");
            }
        }
    }
}
