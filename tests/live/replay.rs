//! `wsp replay` into Apache Kafka, and out of S3.

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use wsp::store::ObjectStore as _;

use crate::kit::live::nap;
use crate::kit::process::Told;
use crate::servers::kafka::{Kafka, PASSWORD, Record, USER};
use crate::servers::s3::{Kind, S3Server};

const KEYS: usize = 17;
const PARTITIONS: i32 = 3;

/// One event a second, of customers in turn.
pub(crate) fn lines(events: usize) -> String {
    let line = |n: usize| {
        let (hour, minute, second) = (n / 3600, n / 60 % 60, n % 60);
        format!(
            "{{\"at\":\"2026-01-01T{hour:02}:{minute:02}:{second:02}Z\",\"n\":{n},\"customer\":\"c{}\"}}\n",
            n % KEYS
        )
    };
    (0..events).map(line).collect()
}

fn replay(folder: &std::path::Path, to: &str, more: &[&str]) -> Command {
    let program = std::env::var_os("WSP_LIVE_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_wsp").into());
    let mut command = Command::new(program);
    command.args(["replay", "a.jsonl", "--time", "at", "--key", "customer", "--id", "n", "--to", to]);
    command.args(["-H", "X-N: {n}", "-H", "X-Source: replay"]).args(more).current_dir(folder).env_remove("WSP_LOG");
    command
}

/// What is in the topic of each key, in order; repeats are left out, and counted.
fn by_key(records: &[Record]) -> (HashMap<String, Vec<usize>>, usize) {
    let (mut found, mut partitions, mut repeats) = (HashMap::<String, Vec<usize>>::new(), HashMap::new(), 0);
    for Record { partition, key, headers, value } in records {
        let body: serde_json::Value = serde_json::from_slice(value).unwrap();
        let (n, key) = (body["n"].as_u64().unwrap() as usize, String::from_utf8(key.clone().unwrap()).unwrap());
        assert_eq!(body["customer"], key.as_str());
        let expected = [("x-source", "replay".to_owned()), ("idempotency-key", n.to_string()), ("x-n", n.to_string())];
        assert_eq!(headers, &expected.map(|(name, value)| (name.to_owned(), value.into_bytes())));
        assert_eq!(partitions.entry(key.clone()).or_insert(*partition), partition, "a key stays in its partition");
        let of_key = found.entry(key).or_default();
        if of_key.contains(&n) { repeats += 1 } else { of_key.push(n) }
    }
    (found, repeats)
}

#[tokio::test]
#[ignore = "needs Apache Kafka"]
async fn records_of_a_key_are_in_order_also_when_it_is_killed() {
    let kafka = Kafka::own();
    kafka.create("replayed", PARTITIONS).await;
    let folder = tempfile::tempdir().unwrap();
    let events = 3000;
    std::fs::write(folder.path().join("a.jsonl"), lines(events)).unwrap();
    let to = format!("kafka://{}/replayed", kafka.bootstrap);
    let args = ["--rate", "1500", "--in-flight", "16", "--save-every", "50"];
    for kill in 1..3 {
        let mut child = replay(folder.path(), &to, &args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while kafka.records("replayed", PARTITIONS).len() < kill * 500 {
            assert_eq!(child.try_wait().unwrap(), None, "it is killed before its end");
            nap(Duration::from_millis(20));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let told = Told::of(replay(folder.path(), &to, &args));
    assert_eq!(told.code, Some(0), "{}", told.err);
    let (found, repeats) = by_key(&kafka.records("replayed", PARTITIONS));
    assert!(repeats <= 2 * (50 + 16), "{repeats}");
    for key in 0..KEYS {
        let expected: Vec<usize> = (0..events).filter(|n| n % KEYS == key).collect();
        assert_eq!(found[&format!("c{key}")], expected, "c{key}");
    }
}

#[tokio::test]
#[ignore = "needs Apache Kafka"]
async fn a_login_is_of_a_file_and_what_is_wrong_ends_it() {
    let kafka = Kafka::own();
    kafka.create("small", 1).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.jsonl"), lines(20)).unwrap();
    let (secured, ca) = kafka.secured();
    let login = |password: &str| {
        let text = format!(
            "security.protocol=sasl_ssl\nsasl.mechanism=SCRAM-SHA-256\nsasl.username={USER}\nsasl.password={password}\n\
             ssl.ca.location={}\n",
            ca.display()
        );
        std::fs::write(folder.path().join("login"), text).unwrap();
    };
    login(PASSWORD);
    let to = format!("kafka://{secured}/small");
    let told = Told::of(replay(folder.path(), &to, &["--speedup", "0", "--kafka-file", "login"]));
    assert_eq!((told.code, kafka.records("small", 1).len()), (Some(0), 20), "{}", told.err);
    login("wrong-hunter2");
    let more = ["--speedup", "0", "--kafka-file", "login", "--fresh", "--attempt-timeout", "3s", "--attempts", "1"];
    let told = Told::of(replay(folder.path(), &to, &more));
    assert!(told.code == Some(1) && told.err.contains("a.jsonl, row 1, id 0: "), "{}", told.err);
    assert!(!told.err.contains("hunter2"), "{}", told.err);
    let nowhere = format!("kafka://{}/nowhere", kafka.bootstrap);
    let more = ["--speedup", "0", "--attempt-timeout", "5s", "--attempts", "1"];
    let told = Told::of(replay(folder.path(), &nowhere, &more));
    assert!(told.code == Some(1) && told.err.contains("Kafka: "), "{}", told.err);
}

#[tokio::test]
#[ignore = "needs SeaweedFS"]
async fn objects_of_a_bucket_are_an_input_and_one_that_changed_is_refused() {
    let s3 = S3Server::own(Kind::SeaweedFs).await;
    let root = s3.root("replayed");
    let store = s3.store(&root);
    let put = async |name: &str, text: String| store.put(&name.parse().unwrap(), text.into()).await.unwrap();
    let all = lines(40);
    let half = all.match_indices('\n').nth(19).unwrap().0 + 1;
    put("in/1.jsonl", all[..half].to_owned()).await;
    put("in/deep/2.jsonl", all[half..].to_owned()).await;
    put("in/_SUCCESS", String::new()).await;
    let folder = tempfile::tempdir().unwrap();
    let replay = |more: &[&str]| {
        let program = std::env::var_os("WSP_LIVE_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_wsp").into());
        let mut command = Command::new(program);
        command.args(["replay", &format!("{root}/in"), "--time", "at", "--speedup", "0", "--s3-path-style"]);
        command
            .args(["--to", "file:out", "--state", "state"])
            .args(more)
            .current_dir(folder.path())
            .envs(s3.environment());
        Told::of(command)
    };
    let told = replay(&["--limit", "10"]);
    assert_eq!((told.code, &told.json()["accepted"]), (Some(0), &10.into()), "{}", told.err);
    let told = replay(&[]);
    assert_eq!((told.code, &told.json()["answered_before"]), (Some(0), &10.into()), "{}", told.err);
    assert_eq!(std::fs::read_to_string(folder.path().join("out")).unwrap(), all);
    put("in/1.jsonl", all[..half].replace("c1", "c9")).await;
    let told = replay(&[]);
    let words = format!("{root}/in/1.jsonl has changed since the earlier start");
    assert!(told.code == Some(2) && told.err.contains(&words), "{}", told.err);
    assert!(!told.err.contains("wsp-live-secret"), "{}", told.err);
}

#[tokio::test]
#[ignore = "needs Apache Kafka"]
async fn the_recipe_of_the_page_keeps_customers_in_order() {
    let page = crate::kit::text_of("docs/replay.md");
    let mut recipes = page.split("```sh\n").filter_map(|text| text.split_once("```")).map(|(recipe, _)| recipe);
    let recipe = recipes.find(|recipe| recipe.contains("$BROKERS")).unwrap();
    let kafka = Kafka::own();
    kafka.create("orders", PARTITIONS).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("orders")).unwrap();
    for day in 28..30 {
        let row = |n: usize| format!("2026-11-{day}T00:{n:02}:00Z,{day}{n:02},c{}\n", n % KEYS);
        let text = format!("created_at,order_id,customer_id\n{}", (0..60).map(row).collect::<String>());
        std::fs::write(folder.path().join(format!("orders/2026-11-{day}.csv")), text).unwrap();
    }
    let program = std::env::var("WSP_LIVE_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_wsp").to_owned());
    let programs = std::path::Path::new(&program).parent().unwrap().display().to_string();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.args(["-ec", recipe]).current_dir(folder.path()).env("PATH", path).env("BROKERS", &kafka.bootstrap);
    let told = Told::of(command);
    assert_eq!(told.code, Some(0), "{}", told.err);
    let mut of_customer = HashMap::<Vec<u8>, Vec<u64>>::new();
    for Record { key, value, .. } in kafka.records("orders", PARTITIONS) {
        let body: serde_json::Value = serde_json::from_slice(&value).unwrap();
        of_customer.entry(key.unwrap()).or_default().push(body["order_id"].as_str().unwrap().parse().unwrap());
    }
    assert_eq!((of_customer.len(), of_customer.values().map(Vec::len).sum::<usize>()), (KEYS, 120));
    assert!(of_customer.values().all(|orders| orders.is_sorted()), "{of_customer:?}");
}
