//! `wsp matrix` with `dev_min`'s profile on `dev_min`'s parts: all green, and with one part out of reach or its login wrong
//! exactly the rows that need it red. The table is printed.

use std::collections::BTreeSet;

use serde_json::Value;
use wsp_reference::world::WorldSpec;

use crate::kit::live::Running;
use crate::kit::matrix_rows::{dependants, rows};
use crate::parts::{Parts, Run, SECRETS};
use crate::servers::kafka::{PASSWORD, USER};

/// An address where nobody answers.
const NOWHERE: &str = "http://127.0.0.1:1";

/// The matrix of a run whose READY is named and, if it can be, on the topic.
fn matrix(parts: &Parts, run: &Run, name: &str, gate: &str, more: &[(&str, &str)]) -> (Option<i32>, Value) {
    parts.publish(run, &run.ready);
    parts.stage.put(&format!("{name}.json"), run.ready.to_string());
    let mut command = parts.program("matrix", run, more);
    let word = format!("{}@{}", run.id, gate.strip_prefix("http://").unwrap());
    command.args(["--json", "--ready"]).arg(format!("{name}.json")).args(["--send", &word]);
    let running = Running::spawn(&parts.stage, name, &mut command);
    let err = parts.stage.path(&format!("{name}.err"));
    let (code, out) = running.exit();
    let err = std::fs::read_to_string(err).unwrap();
    for secret in SECRETS.into_iter().chain([PASSWORD]) {
        assert!(!out.contains(secret) && !err.contains(secret), "{name} shows a secret");
    }
    (code, serde_json::from_str(&out).unwrap_or_else(|error| panic!("{name}: {error}: {out}{err}")))
}

/// What breaks, the part that it breaks, and the environment that does it.
type Breakage<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

#[tokio::test]
#[ignore = "needs Kafka, an S3 server and Postgres"]
async fn the_matrix_is_green_on_real_parts_and_red_where_one_is_broken() {
    let parts = Parts::set(&WorldSpec::new(4_000)).await;
    let gate = parts.gate.base_url();
    let run = parts.run(1).await;
    let (code, report) = matrix(&parts, &run, "green", &gate, &[]);
    for row in report["rows"].as_array().unwrap() {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        println!("{:<8} {:<18} {}", text("result"), text("id"), text("seen"));
    }
    assert_eq!((rows(&report, "red"), rows(&report, "not_run"), code), (BTreeSet::new(), BTreeSet::new(), Some(0)));
    assert_eq!(parts.counted(&run), (20, 5));
    let evidence = parts.evidence(&run).await;
    assert_eq!(evidence.json("wsp/matrix.json"), report);
    assert_eq!(evidence.record(run.message_id()).len(), 2);
    for secret in SECRETS {
        assert!(!evidence.holds(secret), "the evidence shows a secret");
    }
    // The service's group has nothing committed: its READYs are its own.
    assert_eq!(parts.kafka.committed("wsp-ready", &run.topic, 0), None);

    let (secured, ca) = parts.kafka.secured();
    let ca = ca.to_str().unwrap();
    let nobody = parts.postgres.dsn("sslmode=require").expose().replace("hunter2", "hunter9");
    let nowhere = "postgresql://wsp:hunter2@127.0.0.1:1/postgres";
    let breakages: [Breakage; 8] = [
        ("Kafka out of reach", "control_topic", &[("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")]),
        (
            "Kafka, wrong login",
            "control_topic",
            &[
                ("KAFKA_BOOTSTRAP_SERVERS", &secured),
                ("KAFKA_SECURITY_PROTOCOL", "SASL_SSL"),
                ("KAFKA_CA_LOCATION", ca),
                ("KAFKA_SASL_USERNAME", USER),
                ("KAFKA_SASL_PASSWORD", "another-password"),
            ],
        ),
        ("S3 out of reach", "store", &[("AWS_ENDPOINT_URL", NOWHERE)]),
        ("S3, wrong key", "store", &[("AWS_SECRET_ACCESS_KEY", "another-secret")]),
        ("Postgres out of reach", "checkpoint", &[("WSP_CHECKPOINT_DSN", nowhere)]),
        ("Postgres, wrong password", "checkpoint", &[("WSP_CHECKPOINT_DSN", &nobody)]),
        ("IG out of reach", "gate", &[("IG_INGEST_URL", NOWHERE)]),
        ("IG, wrong key", "gate", &[("IG_API_KEY", "another-key")]),
    ];
    for (n, (case, part, environment)) in (2..).zip(&breakages) {
        let run = parts.run(n).await;
        let gate = if *case == "IG out of reach" { NOWHERE } else { &gate };
        let (code, report) = matrix(&parts, &run, &format!("broken-{n}"), gate, environment);
        let red = rows(&report, "red");
        let count = report["rows"].as_array().unwrap().len();
        println!("{case:<26} {:>2} of {count} red: {}", red.len(), red.iter().copied().collect::<Vec<_>>().join(" "));
        assert_eq!((&red, code), (&dependants(&report, part), Some(1)), "{case}: {report:#}");
        assert_eq!(rows(&report, "not_run"), BTreeSet::new(), "{case}");
    }
}
