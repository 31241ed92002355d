//! The dashboard and the alert rules ask for what the program tells, and the run book has an answer to each alert.
//!
//! ```text
//! deploy/grafana, deploy/prometheus ──every query──► /metrics of a `wsp run`; a Prometheus that scrapes one
//! ```

#![allow(clippy::float_cmp, reason = "the figures are counts")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use wsp_world::model::Reason;
use wsp_world::telemetry::catalogue;

use crate::kit::capture::{CaptureGate, Reply};
use crate::kit::live::Running;
use crate::kit::process::free_port;
use crate::kit::watch::{self, RUN_ARGS, ask, start};
use crate::kit::{self, RUN, Stage};

fn deploy(name: &str) -> String {
    kit::text_of(&format!("deploy/{name}"))
}

fn rules() -> Vec<Value> {
    let file: Value = serde_saphyr::from_str(&deploy("prometheus/wsp.rules.yaml")).unwrap();
    let groups = file["groups"].as_array().unwrap().clone();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} in {value}"))
}

/// Every query that the dashboard and the rules make: where it stands, the query, and the text that its labels are put in.
fn queries() -> Vec<(String, String, String)> {
    let mut queries = Vec::new();
    for rule in rules() {
        let told = rule["annotations"].to_string();
        queries.push((text(&rule, "alert").to_owned(), text(&rule, "expr").to_owned(), told));
    }
    let board: Value = serde_json::from_str(&deploy("grafana/wsp.json")).unwrap();
    for panel in board["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let place = text(panel, "title").to_owned();
            queries.push((place, text(target, "expr").to_owned(), text(target, "legendFormat").to_owned()));
        }
    }
    for note in board["annotations"]["list"].as_array().unwrap() {
        let place = text(note, "name").to_owned();
        queries.push((place, text(note, "expr").to_owned(), text(note, "titleFormat").to_owned()));
    }
    assert!(queries.len() > 50, "{}", queries.len());
    queries
}

/// What a label has to be: label, operator, value.
type Matcher = (String, String, String);

/// The metrics in a query, each with what its labels have to be.
fn selectors(query: &str) -> Vec<(String, Vec<Matcher>)> {
    let mut found = Vec::new();
    let mut rest = query;
    while let Some(at) = rest.find("wsp_") {
        let name: String = rest[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        rest = &rest[at + name.len()..];
        let inside = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(inside, _)| inside);
        let matchers = inside.split("\",").map(str::trim).filter(|part| !part.is_empty()).map(|part| {
            let (label, rest) = part.split_at(part.find(['=', '!']).unwrap());
            let (operator, value) = rest.split_once('"').unwrap();
            (label.to_owned(), operator.to_owned(), value.trim_end_matches('"').to_owned())
        });
        found.push((name, matchers.collect()));
    }
    found
}

/// Labels that are told by somebody else: the scrape, and the histogram's text.
const FOREIGN: [&str; 3] = ["job", "instance", "le"];

/// The names in `{{name}}` and `{{ $labels.name }}` of a legend, and behind `by` and `without` of a query.
fn labels_named(query: &str, legend: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for part in legend.split("{{").skip(1) {
        let inside = part.split("}}").next().unwrap().trim();
        match inside.strip_prefix("$labels.") {
            Some(label) => named.insert(label.to_owned()),
            None => !inside.starts_with("$value") && named.insert(inside.to_owned()),
        };
    }
    for word in ["by (", "without ("] {
        for part in query.split(word).skip(1) {
            named.extend(part.split(')').next().unwrap().split(',').map(|label| label.trim().to_owned()));
        }
    }
    named.retain(|label| !FOREIGN.contains(&label.as_str()));
    named
}

/// Files count no epochs, and no order key bounds a run as short as this.
const NOT_HERE: [&str; 3] = ["wsp_lease_epoch", "wsp_hot_key_events", "wsp_hot_key_seconds"];

/// Samples of a `/metrics`: name, labels, figure.
fn samples(metrics: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let series = line.rsplit_once(' ').unwrap().0;
        let (name, labels) = series.trim_end_matches('}').split_once('{').unwrap_or((series, ""));
        let labels = labels.split("\",").filter(|part| !part.is_empty()).map(|part| {
            let (label, value) = part.split_once("=\"").unwrap();
            (label.to_owned(), value.trim_end_matches('"').to_owned())
        });
        (name.to_owned(), labels.collect())
    };
    lines.map(sample).collect()
}

/// The golden run, half of it answered, after a READY of another run; and where it is watched.
fn half_way() -> (Stage, CaptureGate, Running, String) {
    let gate = CaptureGate::scripted(|nth, _| if nth < 100 { Reply::admit() } else { Reply::admit_held() });
    let stage = Stage::golden(&gate.url);
    let foreign = "f".repeat(64);
    stage.republish_as(&foreign, |payload| payload["platform_run_id"] = "platform_20250101T000000Z".into());
    let path = stage.path(&kit::ready_file(&foreign));
    let long_ago = std::fs::File::options().write(true).open(path).unwrap();
    long_ago.set_modified(std::time::UNIX_EPOCH).unwrap();
    let (mut running, address) = start(&stage, RUN_ARGS);
    running.until("a held request", || gate.requests() == 101);
    let seen = "wsp_ready_verdicts_total{status=\"SKIPPED_OUT_OF_SCOPE\",reason=\"PLATFORM_RUN_SCOPE_MISMATCH\"}";
    running.until("the other run's READY", || watch::figure(&ask(&address, "GET /metrics").1, seen) == Some(1.0));
    (stage, gate, running, address)
}

#[test]
fn what_the_board_and_the_alerts_ask_for_is_told() {
    let (_stage, _gate, _running, address) = half_way();
    let told = samples(&ask(&address, "GET /metrics").1);
    let mut used = BTreeSet::new();
    for (place, query, legend) in queries() {
        let mut known = BTreeSet::new();
        for (name, matchers) in selectors(&query) {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            let metric = catalogue::ALL.iter().find(|metric| metric.name == name || Some(metric.name) == base);
            let metric = metric.unwrap_or_else(|| panic!("{place}: there is no metric {name}"));
            used.insert(metric.name);
            known.extend(metric.labels.iter().map(|label| (*label).to_owned()));
            let of_metric: Vec<_> = told.iter().filter(|(told, _)| *told == name).collect();
            assert!(!of_metric.is_empty() || NOT_HERE.contains(&metric.name), "{place}: {name} is not told");
            for (label, operator, value) in matchers.iter().filter(|(label, ..)| !FOREIGN.contains(&label.as_str())) {
                assert!(metric.labels.contains(&label.as_str()), "{place}: {name} has no label {label}");
                let values = of_metric.iter().filter_map(|(_, labels)| labels.get(label));
                // Of READYs there are only the verdicts that this run brought about.
                let closed = label != "status" && label != "reason";
                assert!(
                    !closed || operator != "=" || values.clone().any(|told| told == value),
                    "{place}: {label}={value}"
                );
                if label == "reason" {
                    assert_reasons(&place, value);
                }
            }
        }
        if query.contains("up{") {
            continue;
        }
        let unknown: Vec<_> = labels_named(&query, &legend).difference(&known).cloned().collect();
        assert!(unknown.is_empty(), "{place}: {unknown:?} is no label of its metrics");
    }
    let unused: Vec<_> = catalogue::ALL.iter().map(|metric| metric.name).filter(|name| !used.contains(name)).collect();
    assert!(unused.is_empty(), "nobody looks at {unused:?}");
}

/// Each alternative of a matcher stands for a reason that there is.
fn assert_reasons(place: &str, value: &str) {
    for wanted in value.split('|') {
        let found = Reason::ALL.iter().any(|reason| match wanted.strip_suffix(".*") {
            Some(start) => reason.code().starts_with(start),
            None => reason.code() == wanted,
        });
        assert!(found, "{place}: there is no reason {wanted}");
    }
}

#[test]
fn each_failed_ready_is_told_by_one_of_two_alerts() {
    let reasons = |alert: &str| {
        let rule = rules().into_iter().find(|rule| rule["alert"] == alert).unwrap();
        let all: BTreeSet<_> = selectors(text(&rule, "expr"))
            .into_iter()
            .flat_map(|(_, matchers)| matchers)
            .filter(|(label, ..)| label == "reason")
            .map(|(_, operator, value)| (operator, value))
            .collect();
        assert_eq!(all.len(), 1, "{alert}: both halves of its query are of the same reasons");
        all.into_iter().next().unwrap()
    };
    let (failed, refused) = (reasons("WspRunFailed"), reasons("WspReadyRefused"));
    assert_eq!((failed.0.as_str(), refused.0.as_str()), ("=~", "!~"));
    assert_eq!(format!("RUN_STOPPED|{}", failed.1), refused.1);
}

#[test]
fn each_alert_has_its_answer_in_the_run_book_and_its_test() {
    let book = include_str!("../../docs/runbook.md");
    let tests = deploy("prometheus/wsp.rules.test.yaml");
    let mut alerts = BTreeSet::new();
    for rule in rules() {
        let alert = text(&rule, "alert").to_owned();
        assert!(["critical", "warning"].contains(&text(&rule["labels"], "severity")), "{alert}");
        assert!(text(&rule["annotations"], "summary").ends_with(['.', '}']), "{alert}");
        let anchor = format!("docs/runbook.md#{}", alert.to_lowercase());
        assert_eq!(text(&rule["annotations"], "runbook_url"), anchor, "{alert}");
        assert!(book.contains(&format!("\n### {alert}\n")), "{alert} has no heading in the run book");
        let told = tests.matches(&format!("alertname: {alert}\n")).count();
        assert!(told > 0, "{alert} is not tested to fire");
        alerts.insert(alert);
    }
    let headings: BTreeSet<_> =
        book.lines().filter_map(|line| line.strip_prefix("### Wsp")).map(|rest| format!("Wsp{rest}")).collect();
    assert_eq!(headings, alerts);
}

#[test]
fn the_run_book_knows_every_reason() {
    let book = include_str!("../../docs/runbook.md");
    for reason in Reason::ALL {
        let code = reason.code();
        let named = book.split('`').any(|word| match word.strip_suffix('…') {
            Some(start) => code.starts_with(start) && start.ends_with('_'),
            None => word == code,
        });
        assert!(named, "{code} is not in the run book");
    }
}

/// A Prometheus on a free port. Dropping it ends it.
struct Prometheus {
    process: Running,
    address: String,
}

impl Prometheus {
    /// Scrapes `target` each second, with the rules of `deploy/`.
    fn start(stage: &Stage, target: &str) -> Self {
        let rules = kit::repository("deploy/prometheus/wsp.rules.yaml");
        let config = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [rules],
            "scrape_configs": [{"job_name": "wsp", "static_configs": [{"targets": [target]}]}],
        });
        stage.put("prometheus.yaml", config.to_string());
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new("prometheus");
        command.args(["--config.file=prometheus.yaml", "--storage.tsdb.path=tsdb", "--log.level=warn"]);
        command.arg(format!("--web.listen-address={address}")).current_dir(stage.folder.path()).stdin(Stdio::null());
        let mut process = Running::spawn(stage, "prometheus", &mut command);
        process.until("it answers", || {
            std::net::TcpStream::connect(&address).is_ok() && ask(&address, "GET /-/ready").0 == 200
        });
        Self { process, address }
    }

    fn get(address: &str, path: &str) -> Value {
        let (status, body) = ask(address, &format!("GET {path}"));
        let told: Value =
            serde_json::from_str(&body).unwrap_or_else(|error| panic!("{status} {path}: {error}: {body}"));
        assert_eq!(told["status"], "success", "{path}: {body}");
        told["data"].clone()
    }

    /// How many series a query finds.
    fn found(address: &str, query: &str) -> usize {
        let escaped: Vec<String> = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        Self::get(address, &format!("/api/v1/query?query={}", escaped.concat()))["result"].as_array().unwrap().len()
    }

    /// Waits until a query finds something.
    fn until(&mut self, query: &str) {
        let address = self.address.clone();
        self.process.until(query, || Self::found(&address, query) > 0);
    }
}

#[test]
#[ignore = "needs prometheus (Debian's package)"]
fn a_prometheus_that_scrapes_a_run_answers_every_query() {
    let (stage, gate, mut running, address) = half_way();
    let mut prometheus = Prometheus::start(&stage, &address);
    prometheus.until("count_over_time(up{job=\"wsp\"}[1m]) >= 4 and up{job=\"wsp\"} == 1");
    let now = |query: &str| {
        let query = query.replace("$__rate_interval", "10s").replace("$__interval", "10s").replace("$instance", ".*");
        Prometheus::found(&prometheus.address, &query)
    };
    let alerts: BTreeSet<_> = rules().iter().map(|rule| text(rule, "alert").to_owned()).collect();
    for (place, query, _) in queries() {
        let n = now(&query);
        if alerts.contains(&place) {
            // The gate of this test holds its answers back and does not say how it is; nothing else is wrong.
            let wrong = ["WspStalled", "WspNotReady"].contains(&place.as_str());
            assert_eq!(n, usize::from(wrong), "{place}: {query}");
        } else {
            // Notes are of what changes now and then; files count no epochs.
            let may_be_empty =
                ["verdicts", "starts"].contains(&place.as_str()) || NOT_HERE.iter().any(|name| query.contains(name));
            assert!(n > 0 || may_be_empty, "{place} is empty: {query}");
        }
    }
    for group in Prometheus::get(&prometheus.address, "/api/v1/rules")["groups"].as_array().unwrap() {
        for rule in group["rules"].as_array().unwrap() {
            assert!(rule["health"] == "ok" && rule["state"] != "firing", "{rule}");
        }
    }
    gate.release();
    running.until("the gate has it all", || gate.requests() == 250);
    // The first verdict of its kind, which begins its own series, rings.
    let refused = "e".repeat(64);
    let nowhere = format!("fraud-platform/{RUN}/sr/run_facts_view/none.json");
    stage.republish_as(&refused, |payload| payload["facts_view_ref"] = nowhere.into());
    prometheus.until("ALERTS{alertname=\"WspReadyRefused\", alertstate=\"firing\", reason=\"RUN_FACTS_INVALID\"}");
    running.signal("TERM");
    drop(running.exit());
    prometheus.until("ALERTS{alertname=\"WspDown\", alertstate=\"pending\"}");
}

/// The health check of the ECS task: the image's own program, with the environment of the task.
#[test]
fn the_health_check_of_the_task_asks_the_program_of_the_task() {
    let task: Value = serde_json::from_str(&deploy("ecs/task-definition.json")).unwrap();
    let container = &task["containerDefinitions"][0];
    // What the image says, for the repository's own folder of it.
    let config = crate::kit::repository("config").display().to_string();
    let image = deploy("container/Containerfile").replace("/etc/wsp", &config);
    let image = image.lines().filter_map(|line| line.strip_prefix("ENV ")?.split_once('='));
    let mut env: BTreeMap<_, _> = image.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert_eq!(env["WSP_TELEMETRY_LISTEN"], "0.0.0.0:9464");
    // What is said here in place of the platform: nobody is there, and nobody outside is asked.
    let address = format!("0.0.0.0:{}", free_port());
    let said: BTreeMap<&str, &str> = [
        ("IG_INGEST_URL", "https://127.0.0.1:1"),
        ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
        ("WSP_CHECKPOINT_DSN", "postgres://wsp:secret@127.0.0.1:1/wsp?sslmode=verify-full"),
    ]
    .into();
    let elsewhere = [
        ("WSP_TELEMETRY_LISTEN", address.as_str()),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "b"),
    ];
    env.extend(elsewhere.map(|(name, value)| (name.to_owned(), value.to_owned())));
    for variable in container["environment"].as_array().unwrap().iter().chain(container["secrets"].as_array().unwrap())
    {
        let name = text(variable, "name");
        let value = said.get(name).copied().or(variable["value"].as_str()).unwrap_or("secret");
        env.insert(name.to_owned(), value.to_owned());
    }
    let words = |list: &Value| list.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect();
    let command: Vec<String> = words(&container["command"]);
    let command = command.iter().map(|word| word.replace("/etc/wsp", &config));
    let check: Vec<String> = words(&container["healthCheck"]["command"]);
    assert_eq!(check[..2], ["CMD", "/usr/bin/wsp"], "the image has no shell");

    let stage = Stage { folder: tempfile::tempdir().unwrap() };
    let wsp = |args: &[&str]| {
        let mut command = stage.wsp(args);
        command.env_clear().envs(&env);
        command
    };
    let profile = format!("{config}/profiles/dev_min.yaml");
    let valid = wsp(&["validate", "--profile", &profile]).output().unwrap();
    assert_eq!(valid.status.code(), Some(0), "{}", String::from_utf8_lossy(&valid.stderr));
    let healthy = || {
        let args: Vec<_> = check[2..].iter().map(String::as_str).collect();
        wsp(&args).output().unwrap()
    };
    assert_eq!(healthy().status.code(), Some(1), "nobody is there yet");
    let args: Vec<_> = command.collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let mut running = Running::spawn(&stage, "task", &mut wsp(&args));
    watch::address(&mut running);
    let told = healthy();
    let out = String::from_utf8(told.stdout).unwrap();
    assert_eq!(told.status.code(), Some(0), "{out}");
    // It tells whether the process is alive: no restart brings back a platform that is away.
    assert!(out.contains("store          NOT READY") && out.contains("no run is being streamed"), "{out}");
    running.signal("TERM");
    assert_eq!(running.exit().0, Some(0));
    assert_eq!(healthy().status.code(), Some(1));
}
