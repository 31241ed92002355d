//! Strict profiles: every source and target is remote, and nothing that protects a run is switched off.
//!
//! A path of this machine in a strict profile is a mistake that would stream from, or leave evidence in, the wrong
//! place; it is refused before anything is read (C2).

use std::net::IpAddr;

use super::{CheckpointBackend, ControlBus, Profile};

/// What a strict profile may not have, each said with its place.
pub(super) fn problems(profile: &Profile) -> Vec<String> {
    let mut problems = Vec::new();
    let mut refuse = |problem: String| problems.push(format!("{problem} (profile {} is strict)", profile.profile_id));
    if profile.platform_run_id.is_none() {
        refuse("PLATFORM_RUN_ID: it is missing".to_owned());
    }
    if profile.required_packs.files.is_none() {
        refuse(
            "WSP_READY_REQUIRED_PACKS: it is not set; name the packs, or set it to nothing where none is needed".into(),
        );
    }
    let oracle = &profile.oracle;
    let roots = [
        ("wiring.object_store.root", Some(&profile.store.root)),
        ("wiring.oracle_root", oracle.root.as_ref()),
        ("wiring.oracle_engine_run_root", oracle.engine_run_root.as_ref()),
        ("wiring.oracle_stream_view_root", oracle.stream_view_root.as_ref()),
    ];
    for (name, root) in roots {
        if let Some(root) = root.filter(|root| !is_remote(root)) {
            refuse(format!("{name}: {root:?} is not an s3:// address"));
        }
    }
    match &profile.control_bus {
        ControlBus::File { .. } => refuse("wiring.control_bus.kind: it has to be `kafka` or `kinesis`".to_owned()),
        ControlBus::Kafka(kafka) if kafka.security_protocol.to_ascii_uppercase().starts_with("SASL") => {
            if kafka.sasl_mechanism.eq_ignore_ascii_case("OAUTHBEARER") {
                if kafka.aws_region.is_none() {
                    refuse("KAFKA_AWS_REGION: it is needed with OAUTHBEARER".to_owned());
                }
            } else if kafka.username.is_none() || kafka.password.is_none() {
                refuse("KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD: both are needed".to_owned());
            }
        }
        ControlBus::Kafka(_) | ControlBus::Kinesis(_) => {}
    }
    match &profile.checkpoint.backend {
        CheckpointBackend::File { .. } => refuse("wiring.wsp_checkpoint.backend: it has to be `postgres`".to_owned()),
        CheckpointBackend::Postgres { dsn, .. } if names_a_socket(dsn.expose()) => {
            refuse("wiring.wsp_checkpoint.dsn: its host is a socket of this machine".to_owned());
        }
        CheckpointBackend::Postgres { .. } => {}
    }
    for (name, on) in [
        ("policy.require_seal", profile.policy.require_seal),
        ("policy.require_gate_pass", profile.policy.require_gate_pass),
    ] {
        if !on {
            refuse(format!("{name}: it can't be switched off"));
        }
    }
    if !may_be_plain(&profile.delivery.ig_ingest_url) {
        refuse("wiring.ig_ingest_url: plain http goes to loopback and private addresses alone; use https".to_owned());
    }
    problems
}

/// Whether a root lies in an object store. `file://` doesn't.
#[must_use]
pub fn is_remote(root: &str) -> bool {
    root.starts_with("s3://")
}

/// Whether any host of a DSN, in either of its forms, is a Unix socket's folder. Percent-encoded slashes count as such.
fn names_a_socket(dsn: &str) -> bool {
    let lower = dsn.to_ascii_lowercase().replace("%2f", "/");
    let is_path = |host: &str| host.trim_start_matches(['\'', '\\']).starts_with('/');
    // `host=…`, up to a space or the next setting of a URL's query; there may be spaces around the sign.
    let values = lower.split("host").skip(1).filter_map(|rest| rest.trim_start().strip_prefix('='));
    let named = values.flat_map(|value| value.trim_start().split([' ', '&']).next().unwrap_or_default().split(','));
    // `scheme://user:password@host:port,host/…`. The first slash of an authority that has to be encoded is a path's.
    let authority = lower.split_once("://").map_or("", |(_, rest)| rest.split('?').next().unwrap_or_default());
    let authority = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    let encoded = dsn.to_ascii_lowercase().contains("%2f");
    named.chain(authority.split(',').filter(|_| encoded)).any(is_path)
}

/// `https`, or `http` to an address that can't leave the network it stands in.
fn may_be_plain(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return true };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    match host.parse() {
        Ok(IpAddr::V4(v4)) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        Ok(IpAddr::V6(v6)) => v6.is_loopback() || v6.is_unique_local(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_at_home() {
        for url in [
            "https://ig.example",
            "http://127.0.0.1:8080",
            "http://10.0.3.4/x",
            "http://[::1]:1",
            "http://[fd00::1]",
            "http://localhost:1",
        ] {
            assert!(may_be_plain(url), "{url}");
        }
        for url in
            ["http://ig.example", "http://8.8.8.8", "http://[2001:db8::1]:1", "http://127.0.0.1.example", "http://"]
        {
            assert!(!may_be_plain(url), "{url}");
        }
    }

    #[test]
    fn only_object_stores_are_remote() {
        for root in ["runs", "/data", "file:///data", "S3://x", "./s3://x"] {
            assert!(!is_remote(root), "{root}");
        }
        assert!(is_remote("s3://bucket/prefix"));
    }

    #[test]
    fn a_socket_is_a_path() {
        for dsn in [
            "host=/var/run/postgresql",
            "postgresql://%2Fvar%2Frun/db",
            "postgres://u@%2ftmp/db",
            "dbname=x host='/tmp'",
            "dbname=x host = /tmp",
            "host=db.internal,/tmp dbname=x",
            "postgresql://u:p@db.internal,%2Ftmp/db",
            "postgresql:///db?user=x&host=%2Ftmp",
        ] {
            assert!(names_a_socket(dsn), "{dsn}");
        }
        for dsn in [
            "postgresql://wsp:x@db.internal:5432/wsp",
            "postgresql://wsp:x%2Fy@db.internal/wsp?sslrootcert=%2Fca.pem",
            "host=db.internal sslrootcert=/ca.pem",
        ] {
            assert!(!names_a_socket(dsn), "{dsn}");
        }
    }
}
