//! What profiles come to.

use super::*;
use proptest::prelude::*;

pub(super) const WHOLE: &str = "
profile_id: local
policy: {traffic_output_ids: [s3_event_stream_with_fraud_6B], stream_speedup: 0}
wiring:
  control_bus: {kind: file, root: bus}
  engine_catalogue_path: cat.yaml
  ig_ingest_url: http://127.0.0.1:1
  wsp_producer: {producer_id: 'svc:x', allowlist_ref: allow.txt}
  security: {wsp_auth_token: '${IG_API_KEY}'}
event_bus: {kind: kinesis}
";

pub(super) fn env(name: &str) -> Option<String> {
    (name == "IG_API_KEY").then(|| "top-secret".to_owned())
}

#[test]
fn a_small_profile_is_whole() {
    let profile = Profile::parse(WHOLE, Path::new("/etc/wsp"), &env).unwrap();
    assert!(profile.is_local() && !profile.policy.require_seal);
    assert_eq!(profile.policy.context_output_ids, default_context(FRAUD_TRAFFIC));
    assert_eq!(profile.oracle.catalogue_path, Path::new("/etc/wsp/cat.yaml"));
    assert_eq!(
        (profile.delivery.mode.in_flight(), profile.delivery.retry.max_attempts, profile.checkpoint.flush_every),
        (1, 5, 1)
    );
    assert_eq!(profile.delivery.api_key.expose(), "top-secret");
    assert!(!format!("{profile:?}").contains("top-secret"));
}

#[test]
fn what_is_missing_is_named_in_one_message() {
    let error = Profile::parse("profile_id: dev_min\n", Path::new("."), &|_| None).unwrap_err();
    let text = error.to_string();
    for name in [
        "IG_INGEST_URL",
        "IG_API_KEY",
        "CONTROL_BUS_KIND",
        "PLATFORM_RUN_ID",
        "WSP_READY_REQUIRED_PACKS",
        "wiring.object_store.root",
        "wiring.wsp_checkpoint.backend",
    ] {
        assert!(text.contains(name), "{name} in {text}");
    }
}

/// A strict profile in which nothing is wrong.
pub(super) const STRICT: &str = "
profile_id: dev_min
policy: {traffic_output_ids: [s3_event_stream_with_fraud_6B]}
wiring:
  object_store: {root: 's3://bucket/store'}
  control_bus: {kind: kafka}
  ig_ingest_url: https://ig.example
  wsp_checkpoint: {backend: postgres, dsn: 'postgresql://u:hunter2@db.example/x?sslmode=verify-full'}
  security: {wsp_auth_token: '${IG_API_KEY}'}
";

pub(super) fn strict_env(name: &str) -> Option<String> {
    let text = match name {
        "PLATFORM_RUN_ID" => "platform_20260101T000000Z",
        "WSP_READY_REQUIRED_PACKS" => "",
        "KAFKA_BOOTSTRAP_SERVERS" => "SASL_SSL://broker.example:9092",
        "KAFKA_SASL_USERNAME" => "wsp",
        "KAFKA_SASL_PASSWORD" => "hunter2",
        other => return env(other),
    };
    Some(text.to_owned())
}

/// What is wrong with the strict profile after `change`, by the environment's `vars`.
fn wrong(change: impl Fn(String) -> String, vars: &[(&str, &str)]) -> String {
    let env = |name: &str| {
        let set = vars.iter().find(|(var, _)| *var == name).map(|(_, text)| (*text).to_owned());
        set.or_else(|| strict_env(name))
    };
    let parsed = Profile::parse(&change(STRICT.to_owned()), Path::new("."), &env);
    parsed.map_or_else(|error| error.to_string(), |_| String::new())
}

#[test]
fn a_seal_is_wanted_everywhere_but_locally() {
    let profile = Profile::parse(STRICT, Path::new("."), &strict_env).unwrap();
    assert!(profile.policy.require_seal && profile.is_strict() && profile.oracle.default_root.is_none());
    let unsealed = WHOLE.replace("stream_speedup: 0", "stream_speedup: 0, require_seal: true");
    assert!(Profile::parse(&unsealed, Path::new("."), &env).unwrap().policy.require_seal);
    let off = wrong(|text| text.replace("policy: {", "policy: {require_seal: false, "), &[]);
    assert!(off.contains("policy.require_seal: it can't be switched off"), "{off}");
}

#[test]
fn what_does_not_begin_with_local_is_strict_in_all_it_does() {
    for id in ["production", "staging", "Local", "dev_full"] {
        let text = WHOLE.replace("profile_id: local", &format!("profile_id: {id}"));
        let error = Profile::parse(&text, Path::new("."), &env).unwrap_err().to_string();
        for place in ["wiring.object_store.root", "wiring.control_bus.kind", "wiring.wsp_checkpoint.backend"] {
            assert!(error.contains(place) && error.contains(&format!("profile {id} is strict")), "{error}");
        }
    }
}

/// A change of the strict profile, variables, the link that is in clear then, and the place that is named.
type Clear = (Box<dyn Fn(String) -> String>, &'static [(&'static str, &'static str)], Link, &'static str);

/// Each way out in clear is refused by what it is, whatever its spelling; by leave of its name it passes.
#[test]
fn nothing_goes_out_in_clear_unless_it_is_named() {
    let url = |url: &'static str| move |text: String| text.replace("https://ig.example", url);
    let dsn = |tail: &'static str| move |text: String| text.replace("db.example/x?sslmode=verify-full", tail);
    let endpoint =
        |url: &'static str| move |text: String| text.replace("store'}", &format!("store', endpoint: '{url}'}}"));
    let same = |text: String| text;
    let kinesis = |text: String| {
        text.replace("{kind: kafka}", "{kind: kinesis, stream: s, endpoint_url: 'http://kinesis.example'}")
    };
    let cases: Vec<Clear> = vec![
        (Box::new(url("http://ig.example")), &[], Link::Ig, "wiring.ig_ingest_url"),
        (Box::new(url("HTTP://ig.example")), &[], Link::Ig, "wiring.ig_ingest_url"),
        (Box::new(url("' http://ig.example'")), &[], Link::Ig, "wiring.ig_ingest_url"),
        (Box::new(url("http://10.0.3.4")), &[], Link::Ig, "wiring.ig_ingest_url"),
        (Box::new(url("http://127.0.0.1.example")), &[], Link::Ig, "wiring.ig_ingest_url"),
        (Box::new(endpoint("http://minio:9000")), &[], Link::ObjectStore, "wiring.object_store.endpoint"),
        (Box::new(endpoint("\tHTTP://minio:9000")), &[], Link::ObjectStore, "wiring.object_store.endpoint"),
        (Box::new(same), &[("AWS_ENDPOINT_URL", "http://minio")], Link::ObjectStore, "wiring.object_store.endpoint"),
        (Box::new(same), &[("AWS_ENDPOINT_URL_S3", "http://minio")], Link::ObjectStore, "AWS_ENDPOINT_URL_S3"),
        (Box::new(same), &[("KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT")], Link::Kafka, "KAFKA_SECURITY_PROTOCOL"),
        (Box::new(same), &[("KAFKA_SECURITY_PROTOCOL", "plaintext")], Link::Kafka, "KAFKA_SECURITY_PROTOCOL"),
        (Box::new(kinesis), &[], Link::Kinesis, "wiring.control_bus.endpoint_url"),
        (Box::new(dsn("db.example/x")), &[], Link::Postgres, "wiring.wsp_checkpoint.dsn"),
        (Box::new(dsn("db.example/x?sslmode=require")), &[], Link::Postgres, "wiring.wsp_checkpoint.dsn"),
        (Box::new(dsn("db.example/x?sslmode=verify-ca&sslrootcert=/x")), &[], Link::Postgres, "wsp_checkpoint.dsn"),
        (Box::new(dsn("127.0.0.1,db.example/x?sslmode=disable")), &[], Link::Postgres, "wsp_checkpoint.dsn"),
    ];
    for (change, vars, link, place) in cases {
        let error = wrong(&change, vars);
        assert!(error.contains(place) && error.contains(&format!("add `{link}` to")), "{place} {vars:?}: {error}");
        assert!(!error.contains("hunter2") && !error.contains("problems"), "{error}");
        let allow = |link: &str| {
            let allowed = format!("security: {{allow_plaintext: [{link}], ");
            wrong(|text| change(text).replace("security: {", &allowed), vars)
        };
        assert_eq!(allow(link.name()), "", "{place} {vars:?}");
        let others = ["ig", "object_store", "kafka", "kinesis", "postgres"].map(str::to_owned);
        let others: Vec<_> = others.into_iter().filter(|name| name != link.name()).collect();
        assert_eq!(allow(&others.join(", ")), error, "leave for others is none for this");
    }
    let unknown = wrong(|text| text.replace("security: {", "security: {allow_plaintext: [all], "), &[]);
    assert!(unknown.contains("\"all\" is not one of ig, object_store, kafka, kinesis, postgres"), "{unknown}");
}

#[test]
fn what_stays_on_this_machine_is_not_in_clear_on_a_network() {
    for url in ["http://127.0.0.1:8080", "HTTP://LOCALHOST", "http://[::1]:1"] {
        let text =
            STRICT.replace("https://ig.example", url).replace("store'}", &format!("store', endpoint: '{url}'}}"));
        for host in ["127.0.0.1", "localhost:5433", "[::1]"] {
            let text = text.replace("db.example/x?sslmode=verify-full", &format!("{host}/x?sslmode=disable"));
            Profile::parse(&text, Path::new("."), &strict_env).unwrap();
        }
    }
    let broker = [("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092"), ("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT")];
    assert!(wrong(|text| text, &broker).contains("KAFKA_SECURITY_PROTOCOL"), "brokers name other addresses");
    for socket in ["%2Ftmp/x", "%2Ftmp/x?sslmode=disable", "db.example,%2Ftmp/x"] {
        let error = wrong(|text| text.replace("db.example/x?sslmode=verify-full", socket), &[]);
        assert!(error.contains("a socket of this machine"), "{socket}: {error}");
    }
}

/// What the legacy producer takes where a profile says nothing (contract, section 10).
#[test]
fn defaults_are_those_of_the_legacy_producer() {
    let text = "profile_id: local\nwiring: {control_bus: {kind: file}, wsp_producer: {producer_id: ''}}";
    let profile = Profile::parse(text, Path::new("/etc/wsp"), &env).unwrap();
    assert_eq!(profile.delivery.endpoint.base().as_str(), "http://localhost:8081");
    assert_eq!(profile.oracle.default_root.as_deref(), Some("runs/local_full_run-5"));
    assert_eq!(profile.oracle.root, None, "a default binds no READY");
    assert_eq!(profile.producer_id, "svc:world_stream_producer");
    let folder = Path::new("/etc/wsp");
    assert_eq!(profile.producer_allowlist, folder.join("config/platform/wsp/producer_allowlist_v0.txt"));
    let catalogue = "docs/model_spec/data-engine/interface_pack/engine_outputs.catalogue.yaml";
    assert_eq!(profile.oracle.catalogue_path, folder.join(catalogue));
    assert_eq!(profile.checkpoint.flush_every, 1);
    let strict = STRICT.replace("  ig_ingest_url: https://ig.example\n", "");
    let error = Profile::parse(&strict, Path::new("."), &strict_env).unwrap_err().to_string();
    assert_eq!(error, "wiring.ig_ingest_url (or IG_INGEST_URL) is missing", "no strict profile streams to a default");
}

#[test]
fn a_bucket_stands_for_a_root() {
    let root = |store: &str, vars: &[(&str, &str)]| {
        let text = format!("{WHOLE}  object_store: {{{store}}}\n").replace("event_bus: {kind: kinesis}\n", "");
        let env = |name: &str| vars.iter().find(|(var, _)| *var == name).map(|(_, v)| (*v).to_owned()).or(env(name));
        Profile::parse(&text, Path::new("."), &env).map(|profile| profile.store.root).map_err(|e| e.to_string())
    };
    for (store, expected) in [
        ("bucket: fraud", "fraud"),
        ("bucket: fraud, kind: s3", "s3://fraud"),
        ("bucket: fraud, kind: local, region: x", "fraud"),
        ("bucket: fraud, region: eu-west-2", "s3://fraud"),
        ("bucket: fraud, endpoint: 'http://localhost:9000'", "s3://fraud"),
        ("bucket: fraud, root: '', region: ' ', endpoint: '${UNSET}'", "fraud"),
        ("bucket: fraud, root: data, kind: s3", "s3://fraud/data"),
        ("bucket: fraud, root: 's3://other/x'", "s3://other/x"),
        ("region: eu-west-2", "runs"),
    ] {
        assert_eq!(root(store, &[]), Ok(expected.to_owned()), "{store}");
    }
    let aws = [("AWS_REGION", "eu-west-2"), ("AWS_ENDPOINT_URL", "http://localhost:9000")];
    assert_eq!(root("bucket: fraud", &aws), Ok("fraud".to_owned()), "AWS's variables are no word about this store");
    assert!(root("kind: s3", &[]).unwrap_err().contains("wiring.object_store.bucket is missing"));
    assert!(root("bucket: Not_A_Bucket, kind: s3", &[]).unwrap_err().contains("wiring.object_store.root"));
}

#[test]
fn a_kinesis_control_bus_is_a_stream_with_a_place() {
    let bus = |bus: &str| {
        let text = WHOLE.replace("{kind: file, root: bus}", &format!("{{kind: kinesis, {bus}}}"));
        Profile::parse(&text, Path::new("."), &env).map(|profile| profile.control_bus).map_err(|e| e.to_string())
    };
    let wiring = |region: Option<&str>, endpoint: Option<&str>| {
        ControlBus::Kinesis(KinesisWiring {
            stream: "fp-control".to_owned(),
            region: region.map(str::to_owned),
            endpoint_url: endpoint.map(|url| url.parse().unwrap()),
            group_id: "wsp-ready".to_owned(),
        })
    };
    assert_eq!(bus("stream: fp-control"), Ok(wiring(None, None)));
    assert_eq!(
        bus("stream: fp-control, region: eu-west-2, endpoint_url: 'http://localhost:4566'"),
        Ok(wiring(Some("eu-west-2"), Some("http://localhost:4566")))
    );
    assert!(bus("stream: ''").unwrap_err().contains("CONTROL_BUS_STREAM_MISSING"));
    let refused = bus("stream: s, endpoint_url: 'http://u:hunter2@host'").unwrap_err();
    assert!(refused.contains("wiring.control_bus.endpoint_url") && !refused.contains("hunter2"), "{refused}");
}

#[test]
fn a_postgres_backend_needs_its_dsn() {
    let text = WHOLE.replace("  security:", "  wsp_checkpoint: {backend: postgres}\n  security:");
    assert!(Profile::parse(&text, Path::new("."), &env).unwrap_err().to_string().contains("CHECKPOINT_DSN_MISSING"));
}

/// Every setting that holds an address, and how it stands in a profile or in the environment.
const ADDRESSES: [&s::Setting; 9] = [
    &s::IG_INGEST_URL,
    &s::STORE_ENDPOINT,
    &s::CONTROL_BUS_ENDPOINT,
    &s::KAFKA_SERVERS,
    &s::CHECKPOINT_DSN,
    &s::STORE_ROOT,
    &s::ORACLE_ROOT,
    &s::ORACLE_ENGINE_RUN_ROOT,
    &s::TELEMETRY_LISTEN,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever is wrong with an address, or nothing: its password stands in no error, and in no profile that is printed.
    #[test]
    fn no_address_shows_its_password(
        before in "(http|https|HTTP|ftp|s3|S3|postgres|postgresql|SASL_SSL|mysql|)(://|:/|:|//|)",
        user in "[a-z]{0,3}:",
        after in "@(h|h.example|127.0.0.1|\\[::1\\]|%2Ftmp|b-1|)(:[0-9a-z]{0,6})?(/[a-z?=#&%]{0,8})?",
        which in 0..ADDRESSES.len(),
        strict in any::<bool>(),
    ) {
        let setting = ADDRESSES[which];
        let address = format!("{before}{user}hunter2{after}");
        let mut tree: serde_json::Value = serde_saphyr::from_str(if strict { STRICT } else { WHOLE }).unwrap();
        if setting.path == s::CONTROL_BUS_ENDPOINT.path {
            tree["wiring"]["control_bus"] = serde_json::json!({"kind": "kinesis", "stream": "s"});
        } else if setting.path.is_empty() {
            tree["wiring"]["control_bus"] = serde_json::json!({"kind": "kafka"});
        }
        tree["wiring"]["wsp_checkpoint"] = serde_json::json!({"backend": "postgres", "dsn": "host=h"});
        if !setting.path.is_empty() {
            let mut at = &mut tree;
            for key in setting.path.split('.') {
                at = &mut at[key];
            }
            *at = address.clone().into();
        }
        let vars = |name: &str| match name {
            "KAFKA_BOOTSTRAP_SERVERS" if setting.path.is_empty() => Some(address.clone()),
            "KAFKA_SASL_PASSWORD" => Some("other".to_owned()),
            other => strict_env(other),
        };
        let told = match Profile::parse(&tree.to_string(), Path::new("."), &vars) {
            // A root without a scheme is a folder, whatever its name.
            Ok(_) if setting.name().contains("root") => String::new(),
            Ok(profile) => format!("{profile:?}"),
            Err(error) => format!("{error} {error:?}"),
        };
        prop_assert!(!told.contains("hunter2"), "{}: {address}: {told}", setting.name());
    }
}
