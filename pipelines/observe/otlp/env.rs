//! What the standard variables ask for (OpenTelemetry specification, "OTLP Exporter Configuration").

use std::time::Duration;

use wsp::percent;
use wsp_world::model::{HttpUrl, Secret};
use wsp_world::profile::{ConfigError, Environment};

const SERVICE_NAME: &str = "service.name";

/// Where a signal goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) url: HttpUrl,
    /// Names and values, as they go out.
    pub(super) headers: Vec<(String, Secret)>,
    /// For one export, retries included.
    pub(super) timeout: Duration,
}

/// What is exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) traces: Option<Endpoint>,
    pub(super) metrics: Option<Endpoint>,
    /// Between two exports of metrics.
    pub(super) interval: Duration,
    /// Who sends: `service.name` and the like.
    pub(super) resource: Vec<(String, String)>,
}

impl Settings {
    /// Reads them; `None` where nothing is to be exported.
    pub(super) fn read(env: Environment<'_>) -> Result<Option<Self>, ConfigError> {
        let mut reader = Reader { env, problems: Vec::new() };
        if reader.get("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let settings = Self {
            traces: reader.endpoint("TRACES", "traces"),
            metrics: reader.endpoint("METRICS", "metrics"),
            interval: reader.millis(&["OTEL_METRIC_EXPORT_INTERVAL".to_owned()], 60_000),
            resource: reader.resource(),
        };
        if !reader.problems.is_empty() {
            return Err(ConfigError { problems: reader.problems });
        }
        Ok(Some(settings).filter(|settings| settings.traces.is_some() || settings.metrics.is_some()))
    }
}

struct Reader<'a> {
    env: Environment<'a>,
    problems: Vec<String>,
}

impl Reader<'_> {
    /// A variable; an empty one counts as unset, as the specification has it.
    fn get(&self, name: &str) -> Option<String> {
        (self.env)(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// The first of `names` that is set.
    fn first(&self, names: &[String]) -> Option<(String, String)> {
        names.iter().find_map(|name| Some((name.clone(), self.get(name)?)))
    }

    fn endpoint(&mut self, signal: &str, path: &str) -> Option<Endpoint> {
        let own = |what: &str| format!("OTEL_EXPORTER_OTLP_{signal}_{what}");
        let both = |what: &str| [own(what), format!("OTEL_EXPORTER_OTLP_{what}")];
        let (name, url) = self.first(&both("ENDPOINT"))?;
        let url = if name == own("ENDPOINT") { url } else { format!("{}/v1/{path}", url.trim_end_matches('/')) };
        let exporter = format!("OTEL_{signal}_EXPORTER");
        match self.get(&exporter).as_deref() {
            Some("none") => return None,
            None | Some("otlp") => {}
            Some(other) => self.problems.push(format!("{exporter}: {other:?} is neither `otlp` nor `none`")),
        }
        if let Some((name, protocol)) = self.first(&both("PROTOCOL")).filter(|(_, text)| text != "http/protobuf") {
            self.problems.push(format!("{name}: {protocol:?} is not built, http/protobuf is"));
        }
        // Without the text: it may hold a password.
        let url = url.parse::<HttpUrl>().map_err(|error| self.problems.push(format!("{name}: {error}")));
        let (headers, timeout) = (self.headers(&both("HEADERS")), self.millis(&both("TIMEOUT"), 10_000));
        Some(Endpoint { url: url.ok()?, headers, timeout })
    }

    fn headers(&mut self, names: &[String]) -> Vec<(String, Secret)> {
        self.pairs(names).into_iter().map(|(name, value)| (name, Secret::new(value))).collect()
    }

    /// The attributes of the sender; its name is `wsp` unless told.
    fn resource(&mut self) -> Vec<(String, String)> {
        let mut resource = self.pairs(&["OTEL_RESOURCE_ATTRIBUTES".to_owned()]);
        let named = self.get("OTEL_SERVICE_NAME");
        if named.is_some() || !resource.iter().any(|(key, _)| key == SERVICE_NAME) {
            resource.retain(|(key, _)| key != SERVICE_NAME);
            resource.push((SERVICE_NAME.to_owned(), named.unwrap_or_else(|| "wsp".to_owned())));
        }
        resource
    }

    /// `name=value,…`, values percent-encoded.
    fn pairs(&mut self, names: &[String]) -> Vec<(String, String)> {
        let Some((name, text)) = self.first(names) else { return Vec::new() };
        let mut pairs = Vec::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').and_then(|(key, value)| Some((key.trim(), percent::decode(value.trim())?))) {
                Some((key, value)) if !key.is_empty() => pairs.push((key.to_owned(), value)),
                // Without the text: it may be a token.
                _ => self.problems.push(format!("{name}: it has to be `name=value,…`, percent-encoded")),
            }
        }
        pairs
    }

    fn millis(&mut self, names: &[String], default: u64) -> Duration {
        let Some((name, text)) = self.first(names) else { return Duration::from_millis(default) };
        match text.parse() {
            Ok(millis) if (1..=3_600_000).contains(&millis) => Duration::from_millis(millis),
            _ => {
                self.problems.push(format!("{name}: {text:?} is not a number of milliseconds, 1 to 3,600,000"));
                Duration::from_millis(default)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: &[(&str, &str)]) -> Result<Option<Settings>, ConfigError> {
        Settings::read(&|name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn one_endpoint_serves_both_signals() {
        assert_eq!(read(&[]).unwrap(), None);
        let settings = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318/"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x, k=v"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "250"),
        ]);
        let settings = settings.unwrap().unwrap();
        let (traces, metrics) = (settings.traces.unwrap(), settings.metrics.unwrap());
        assert_eq!(traces.url.given(), "http://127.0.0.1:4318/v1/traces");
        assert_eq!(metrics.url.given(), "http://127.0.0.1:4318/v1/metrics");
        let headers: Vec<_> = traces.headers.iter().map(|(key, value)| (key.as_str(), value.expose())).collect();
        assert_eq!(headers, [("authorization", "Bearer x"), ("k", "v")]);
        assert_eq!(settings.resource, [("service.name".to_owned(), "wsp".to_owned())]);
        assert_eq!((traces.timeout, metrics.timeout), (Duration::from_millis(250), Duration::from_secs(10)));
    }

    #[test]
    fn a_signal_has_its_own_endpoint_as_it_is_and_can_be_switched_off() {
        let traces = [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c/otlp/")];
        let settings = read(&traces).unwrap().unwrap();
        assert_eq!((settings.traces.unwrap().url.given(), settings.metrics), ("http://c/otlp/", None));
        assert_eq!(read(&[traces[0], ("OTEL_SDK_DISABLED", "TRUE")]).unwrap(), None);
        assert_eq!(read(&[traces[0], ("OTEL_TRACES_EXPORTER", "none")]).unwrap(), None);
    }

    #[test]
    fn what_can_not_be_used_is_named_at_once() {
        let error = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret-token"),
            ("OTEL_METRICS_EXPORTER", "none"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "soon"),
        ]);
        let error = error.unwrap_err().to_string();
        for part in ["OTEL_EXPORTER_OTLP_ENDPOINT: its scheme", "grpc", "HEADERS", "soon"] {
            assert!(error.contains(part), "{part} in {error}");
        }
        assert!(!error.contains("secret-token"));
    }

    #[test]
    fn an_endpoint_with_a_password_is_refused_without_showing_it() {
        for url in ["http://user:hunter2@c:4318", "ftp://user:hunter2@c", "http://user:hunter2@c:port"] {
            for name in ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"] {
                let error = read(&[(name, url)]).unwrap_err().to_string();
                assert!(error.contains(name) && !error.contains("hunter2"), "{error}");
            }
        }
    }

    #[test]
    fn percent_encoding_is_undone_or_refused() {
        assert_eq!(percent::decode("a%20b%C3%A9").as_deref(), Some("a b\u{e9}"));
        for bad in ["%", "%2", "%zz", "%ff"] {
            assert_eq!(percent::decode(bad), None, "{bad}");
        }
    }
}
