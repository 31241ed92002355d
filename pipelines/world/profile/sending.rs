//! Reads how events are sent: where to, in which order, when, and how often again.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use wsp::deliver::{
    Adaptive, ApiKey, CircuitPolicy, ClientFiles, DeliveryMode, Endpoint, RetryBudget, RetryPolicy, TlsFiles,
};
use wsp::pace::{Late, Pacing, RateLimit, RatePlan};

use super::outputs::reference;
use super::reader::Reader;
use super::strict::{Link, Rules};
use super::{DeliveryWiring, Policy, RateWiring, settings as s};
use crate::ig::ig_endpoint;
use crate::model::{HttpUrl, Micros, Secret};

pub(super) fn delivery(r: &mut Reader<'_>, folder: &Path, rules: &Rules) -> Option<DeliveryWiring> {
    let (endpoint, mode) = (endpoint(r, rules), mode(r));
    let tls = tls(r, folder, endpoint.as_ref().map(|(endpoint, _)| endpoint));
    let millis = |r: &mut Reader<'_>, setting| Duration::from_millis(r.number(setting).unwrap_or_default());
    let retry = RetryPolicy {
        max_attempts: r.number(&s::RETRY_MAX_ATTEMPTS).unwrap_or(5),
        base_delay: millis(r, &s::RETRY_BASE_DELAY),
        max_delay: millis(r, &s::RETRY_MAX_DELAY),
        max_retry_after: millis(r, &s::RETRY_AFTER_MAX),
    };
    let in_flight = u32::try_from(mode.in_flight()).unwrap_or(u32::MAX);
    let failures = r.number(&s::CIRCUIT_FAILURES);
    let circuit = CircuitPolicy {
        failures: failures.unwrap_or(retry.max_attempts.saturating_add(in_flight)),
        limit: Duration::from_secs(r.number(&s::CIRCUIT_LIMIT).unwrap_or(300)),
        ..CircuitPolicy::default()
    };
    let adaptive = Adaptive { min: r.number(&s::IN_FLIGHT_MIN).unwrap_or(1), slow: millis(r, &s::SLOW_ANSWER) };
    let budget = RetryBudget {
        share: r.number(&s::RETRY_BUDGET_SHARE).unwrap_or(0.5),
        floor: r.number(&s::RETRY_BUDGET_FLOOR).unwrap_or(100.0),
    };
    let memory = r.number::<u64>(&s::DELIVERY_MEMORY).unwrap_or(64) << 20;
    let (window, held) = (r.number(&s::WINDOW).unwrap_or(65_536), r.number(&s::HELD).unwrap_or(8192));
    let adaptive = r.switch(&s::ADAPTIVE).unwrap_or(false).then_some(adaptive);
    let (idle_limit, attempt_timeout) = (millis(r, &s::IDLE_LIMIT), millis(r, &s::ATTEMPT_TIMEOUT));
    let drain_deadline = millis(r, &s::DRAIN_DEADLINE);
    let event_deadline = r.number(&s::EVENT_DEADLINE).map(Duration::from_millis);
    let (endpoint, api_key) = endpoint?;
    Some(DeliveryWiring {
        endpoint,
        api_key,
        mode,
        threads: r.number(&s::DELIVERY_THREADS).and_then(NonZeroUsize::new).unwrap_or(NonZeroUsize::MIN),
        window,
        held,
        memory,
        adaptive,
        idle_limit,
        circuit,
        attempt_timeout,
        tls,
        drain_deadline,
        retry,
        budget,
        event_deadline,
    })
}

fn endpoint(r: &mut Reader<'_>, rules: &Rules) -> Option<(Endpoint, Secret)> {
    let url: Option<HttpUrl> = if rules.local() || r.given(&s::IG_INGEST_URL).is_some() {
        r.unquoted(&s::IG_INGEST_URL)
    } else {
        r.missing(&s::IG_INGEST_URL, "");
        None
    };
    if let Some(url) = &url {
        rules.http(r, &s::IG_INGEST_URL, Link::Ig, url);
    }
    let header = r.get(&s::API_KEY_HEADER);
    let Some(text) = r.text(&s::AUTH_TOKEN) else {
        r.missing(&s::AUTH_TOKEN, "");
        return None;
    };
    let key = r.parsed(&s::AUTH_TOKEN, text.parse::<ApiKey>());
    let endpoint = r.parsed(&s::IG_INGEST_URL, ig_endpoint(&url?, &header?, &key?))?;
    Some((endpoint, Secret::new(text)))
}

/// TLS by the files that are named, read here so that a file that can't be used is found before a run.
fn tls(r: &mut Reader<'_>, folder: &Path, endpoint: Option<&Endpoint>) -> Option<Arc<ClientConfig>> {
    let file = |r: &mut Reader<'_>, setting| r.given(setting).map(|text| reference(&text, folder));
    let ca = file(r, &s::CA_FILE);
    let (setting, client) = match (file(r, &s::CLIENT_CERT_FILE), file(r, &s::CLIENT_KEY_FILE)) {
        (Some(certificate), Some(key)) => (&s::CLIENT_CERT_FILE, Some(ClientFiles { certificate, key })),
        (None, None) => (&s::CA_FILE, None),
        _ => {
            let (certificate, key) = (s::CLIENT_CERT_FILE.name(), s::CLIENT_KEY_FILE.name());
            r.problem(format!("{certificate} and {key}: one is set without the other"));
            return None;
        }
    };
    let files = TlsFiles { ca, client };
    if files == TlsFiles::default() {
        return None;
    }
    if endpoint.is_some_and(|endpoint| !endpoint.is_tls()) {
        let (name, url) = (setting.name(), s::IG_INGEST_URL.name());
        r.problem(format!("{name}: {url} is plain http, where no certificate is used"));
    }
    r.parsed(setting, files.client_config()).map(Arc::new)
}

/// The order asked for, else strict with one request in flight and keyed beyond.
fn mode(r: &mut Reader<'_>) -> DeliveryMode {
    #[derive(Clone, Copy)]
    enum Word {
        Strict,
        Keyed,
        Free,
    }
    let words = [("strict", Word::Strict), ("keyed", Word::Keyed), ("free", Word::Free)];
    let word = r.word(&s::DELIVERY_MODE, &words);
    let in_flight = r.number(&s::IN_FLIGHT).and_then(NonZeroUsize::new).unwrap_or(NonZeroUsize::MIN);
    let many = in_flight > NonZeroUsize::MIN;
    match word {
        Some(Word::Strict) if many => {
            let (mode, requests) = (s::DELIVERY_MODE.name(), s::IN_FLIGHT.name());
            r.problem(format!("{mode}: strict order means one request in flight, but {requests} is {in_flight}"));
            DeliveryMode::Strict
        }
        Some(Word::Free) => DeliveryMode::Free(in_flight),
        Some(Word::Keyed) => DeliveryMode::Keyed(in_flight),
        None if many => DeliveryMode::Keyed(in_flight),
        Some(Word::Strict) | None => DeliveryMode::Strict,
    }
}

/// `lanes` says that workers share the lanes of a run, and so its schedule.
pub(super) fn rate(r: &mut Reader<'_>, policy: &Policy, lanes: bool) -> RateWiring {
    // Unset, 0 means: no rate.
    let target_eps = r.number::<f64>(&s::TARGET_EPS).filter(|eps| *eps > 0.0);
    let (burst, initial) = (r.number(&s::TARGET_BURST_SECONDS), r.number(&s::TARGET_INITIAL_TOKENS));
    let steady = target_eps.and_then(|eps| r.parsed(&s::TARGET_EPS, RateLimit::new(eps, burst, initial)));
    let planned = r.given(&s::RATE_PLAN_JSON);
    let plan = planned.as_ref().and_then(|text| r.parsed(&s::RATE_PLAN_JSON, RatePlan::from_json(text)));
    let (plan_start, campaign_start) = (instant(r, &s::RATE_PLAN_START_UTC), instant(r, &s::CAMPAIGN_START_UTC));
    let rate_alone = r.switch(&s::NO_REPLAY_DELAY_WITH_PLAN).unwrap_or(false) && planned.is_some();
    let late = late(r, campaign_start.is_some() || lanes);
    let pacing = r.parsed(&s::STREAM_SPEEDUP, Pacing::new(policy.stream_speedup));
    let pacing = pacing.filter(|_| !rate_alone).map(|pacing| pacing.max_idle_gap(policy.max_idle_gap));
    RateWiring {
        pacing: pacing.unwrap_or_else(Pacing::off).late(late),
        plan: plan.or_else(|| steady.map(RatePlan::steady)),
        target_eps,
        plan_start: plan_start.or(campaign_start),
        campaign_start,
    }
}

fn late(r: &mut Reader<'_>, shared: bool) -> Late {
    let catch_up = Late::CatchUp(r.number(&s::CATCH_UP).map(Duration::from_secs_f64).unwrap_or_default());
    let word = r.word(&s::LATE, &[("stretch", Late::Stretch), ("catch_up", catch_up)]);
    // Lanes share a schedule: one that moves would leave the others.
    word.unwrap_or(if shared { catch_up } else { Late::Stretch })
}

fn instant(r: &mut Reader<'_>, setting: &s::Setting) -> Option<Micros> {
    let text = r.given(setting)?;
    let at = Micros::parse(text.trim().as_bytes());
    r.parsed(setting, at.ok_or_else(|| format!("{text:?} is not a time like 2026-01-01T00:00:00Z")))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Profile;
    use super::super::tests::{WHOLE, env};
    use super::*;

    fn with(vars: &[(&str, &str)]) -> Result<Profile, String> {
        let env =
            |name: &str| vars.iter().find(|(var, _)| *var == name).map(|(_, text)| (*text).to_owned()).or(env(name));
        Profile::parse(WHOLE, Path::new("."), &env).map_err(|error| error.to_string())
    }

    #[test]
    fn one_in_flight_is_strict_and_more_is_keyed_unless_told() {
        let n = |n| NonZeroUsize::new(n).unwrap();
        let mode = |mode, in_flight| {
            with(&[("WSP_DELIVERY_MODE", mode), ("WSP_MAX_INFLIGHT", in_flight)]).map(|profile| profile.delivery.mode)
        };
        assert_eq!(mode("", ""), Ok(DeliveryMode::Strict));
        assert_eq!(mode("", "8"), Ok(DeliveryMode::Keyed(n(8))));
        assert_eq!(mode("free", "8"), Ok(DeliveryMode::Free(n(8))));
        assert_eq!(mode("keyed", "1"), Ok(DeliveryMode::Keyed(n(1))));
        assert!(mode("strict", "2").unwrap_err().contains("one request in flight"));
        assert!(mode("keyed", "0").unwrap_err().contains("outside 1 to 1024"));
    }

    #[test]
    fn a_rate_of_zero_is_no_rate() {
        let plan = |eps| with(&[("WSP_TARGET_EPS", eps)]).map(|profile| (profile.rate.plan, profile.rate.target_eps));
        for none in ["0", "0.0", "-0", "", " "] {
            assert_eq!(plan(none), Ok((None, None)), "{none:?}");
        }
        let (Some(ten), Some(10.0)) = plan("10").unwrap() else { panic!("no rate") };
        assert_eq!(ten, RatePlan::steady(RateLimit::new(10.0, Some(0.25), None).unwrap()));
        for wrong in ["-1", "1e-9", "2000000", "NaN", "fast"] {
            assert!(plan(wrong).unwrap_err().contains("WSP_TARGET_EPS"), "{wrong}");
        }
    }

    #[test]
    fn a_plan_is_read_at_once() {
        let plan = r#"[{"start_offset_seconds":0,"target_eps":10}]"#;
        let told = with(&[("WSP_RATE_PLAN_JSON", plan), ("WSP_TARGET_EPS", "5")]).unwrap();
        assert_eq!(told.rate.plan, Some(RatePlan::from_json(plan).unwrap()));
        let error = with(&[("WSP_RATE_PLAN_JSON", "[]"), ("WSP_RATE_PLAN_START_UTC", "noon")]).unwrap_err();
        assert!(error.contains("WSP_RATE_PLAN_JSON: the rate plan is empty") && error.contains("\"noon\""), "{error}");
    }

    #[test]
    fn lateness_is_made_good_where_a_campaign_is_shared() {
        let late = |vars: &[(&str, &str)]| with(vars).map(|profile| profile.rate.pacing);
        let pacing = |late| Pacing::new(0.0).unwrap().late(late);
        let minute = Late::CatchUp(Duration::from_mins(1));
        let campaign = ("WSP_CAMPAIGN_START_UTC", "2026-01-01T00:00:00Z");
        assert_eq!(late(&[]), Ok(pacing(Late::Stretch)));
        assert_eq!(late(&[campaign]), Ok(pacing(minute)));
        assert_eq!(late(&[campaign, ("WSP_LATE", "stretch")]), Ok(pacing(Late::Stretch)));
        assert_eq!(late(&[("WSP_LATE", "catch_up")]), Ok(pacing(minute)));
        assert!(late(&[("WSP_LATE", "later")]).unwrap_err().contains("is not one of `stretch`, `catch_up`"));
    }
}
