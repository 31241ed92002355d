//! A run as a collector sees it: one trace, the figures of `/metrics`, and requests to the gate that carry the trace.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::kit::capture::CaptureGate;
use crate::kit::http::Request;
use crate::kit::{MESSAGE, OUTPUTS, RUN_ONCE, Stage};

/// A request's path and body.
type Posted = (String, Vec<u8>);

/// What came to a collector: path and body of each request. It takes everything.
struct Collector {
    url: String,
    got: Arc<Mutex<Vec<Posted>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let collector = Self { url: format!("http://{}", listener.local_addr().unwrap()), got: Arc::default() };
        let got = collector.got.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let got = got.clone();
                std::thread::spawn(move || take(&stream.unwrap(), &got));
            }
        });
        collector
    }

    fn bodies(&self, path: &str) -> Vec<Vec<u8>> {
        let got = self.got.lock().unwrap();
        got.iter().filter(|(to, _)| to == path).map(|(_, body)| body.clone()).collect()
    }
}

fn take(stream: &TcpStream, got: &Mutex<Vec<(String, Vec<u8>)>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let request = Request::read(&mut reader)?;
        let line = &request.line;
        let path = line.split(' ').nth(1)?.to_owned();
        let fit = request.field("content-type") == Some("application/x-protobuf");
        assert!(fit && line.starts_with("POST "), "{line}");
        got.lock().unwrap().push((path, request.body));
        let mut writer = stream;
        writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok()?;
    }
}

/// A protobuf message taken apart: the values of each field, numbers as they stand.
#[derive(Debug, Clone, Default)]
struct Fields {
    numbers: BTreeMap<u64, Vec<u64>>,
    bytes: BTreeMap<u64, Vec<Vec<u8>>>,
}

impl Fields {
    fn of(mut bytes: &[u8]) -> Self {
        let mut fields = Self::default();
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            match key & 7 {
                0 => fields.numbers.entry(key >> 3).or_default().push(varint(&mut bytes)),
                1 => {
                    let (number, rest) = bytes.split_first_chunk::<8>().unwrap();
                    fields.numbers.entry(key >> 3).or_default().push(u64::from_le_bytes(*number));
                    bytes = rest;
                }
                2 => {
                    let length = varint(&mut bytes) as usize;
                    let (value, rest) = bytes.split_at(length);
                    fields.bytes.entry(key >> 3).or_default().push(value.to_owned());
                    bytes = rest;
                }
                kind => panic!("a field of kind {kind}"),
            }
        }
        fields
    }

    fn all(&self, field: u64) -> Vec<Fields> {
        self.bytes.get(&field).into_iter().flatten().map(|bytes| Self::of(bytes)).collect()
    }

    fn one(&self, field: u64) -> Fields {
        self.all(field).swap_remove(0)
    }

    fn text(&self, field: u64) -> String {
        String::from_utf8(self.bytes[&field][0].clone()).unwrap()
    }

    fn hex(&self, field: u64) -> Option<String> {
        Some(self.bytes.get(&field)?[0].iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat())
    }

    fn number(&self, field: u64) -> u64 {
        self.numbers[&field][0]
    }

    /// Attributes in this field, texts and numbers as text.
    fn attributes(&self, field: u64) -> BTreeMap<String, String> {
        let value = |value: Fields| value.bytes.get(&1).map_or_else(|| value.number(3).to_string(), |_| value.text(1));
        self.all(field).into_iter().map(|pair| (pair.text(1), value(pair.one(2)))).collect()
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value;
        }
        shift += 7;
    }
}

#[test]
fn a_whole_run_is_one_trace_and_the_gate_hears_of_it() {
    let (gate, collector) = (CaptureGate::admitting(), Collector::start());
    let stage = Stage::golden(&gate.url);
    let mut command = stage.wsp(RUN_ONCE);
    command.env("WSP_TELEMETRY_LISTEN", "off").env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url);
    command.env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test");
    let ran = command.output().unwrap();
    let log = String::from_utf8(ran.stderr).unwrap();
    assert!(ran.status.success(), "{log}");

    let requests: Vec<_> = collector.bodies("/v1/traces").iter().map(|body| Fields::of(body)).collect();
    let resources: Vec<_> = requests.iter().flat_map(|request| request.all(1)).collect();
    let told = resources[0].one(1).attributes(1);
    assert_eq!((told["service.name"].as_str(), told["deployment.environment.name"].as_str()), ("wsp", "test"));
    let spans: Vec<_> = resources.iter().flat_map(|r| r.all(2)).flat_map(|scope| scope.all(2)).collect();
    let traces: BTreeSet<_> = spans.iter().map(|span| span.hex(1).unwrap()).collect();
    assert_eq!(traces.len(), 1, "one run, one trace");
    let trace = traces.first().unwrap();
    assert!(trace.len() == 32 && log.contains(trace), "its log lines name the trace: {log}");

    let mut names = BTreeMap::new();
    for span in &spans {
        *names.entry(span.text(5)).or_insert(0) += 1;
    }
    let once = ["run", "identify", "check", "hold", "stream", "frame", "evidence"].map(|name| (name.to_owned(), 1));
    let each = ["read", "output"].map(|name| (name.to_owned(), 4));
    assert_eq!(names, once.into_iter().chain(each).collect());

    let ids: BTreeSet<_> = spans.iter().map(|span| span.hex(2).unwrap()).collect();
    assert_eq!(ids.len(), spans.len());
    let (roots, below): (Vec<_>, Vec<_>) = spans.iter().partition(|span| span.hex(4).is_none());
    assert!(below.iter().all(|span| ids.contains(&span.hex(4).unwrap())));
    assert!(spans.iter().all(|span| 0 < span.number(7) && span.number(7) <= span.number(8)));
    let [root] = roots.as_slice() else { panic!("not one root: {roots:?}") };
    let told = root.attributes(9);
    assert_eq!((root.text(5).as_str(), told["message_id"].as_str()), ("run", MESSAGE));
    assert_eq!((told["status"].as_str(), told["emitted"].as_str()), ("STREAMED", "250"));
    let outputs = spans.iter().filter(|span| span.text(5) == "output").map(|span| span.attributes(9));
    let outputs: BTreeMap<_, _> = outputs.map(|told| (told["output_id"].clone(), told["admitted"].clone())).collect();
    let expected = OUTPUTS.map(str::to_owned).into_iter().zip(["50", "50", "50", "100"].map(str::to_owned));
    assert_eq!(outputs, expected.collect());

    // Each push carries the trace, and its own event's id for a span.
    let mark = |body: &Vec<u8>| {
        let body: Value = serde_json::from_slice(body).unwrap();
        format!("00-{trace}-{}-01", &body["event_id"].as_str().unwrap()[..16])
    };
    let expected: BTreeSet<_> = gate.bodies().iter().map(mark).collect();
    assert_eq!((gate.marks().into_iter().collect::<BTreeSet<_>>(), expected.len()), (expected, 250));

    let request = Fields::of(collector.bodies("/v1/metrics").last().unwrap());
    let metrics: BTreeMap<_, _> =
        request.one(1).one(2).all(2).into_iter().map(|metric| (metric.text(1), metric)).collect();
    let answered = metrics["wsp_answered_events_total"].one(7);
    let all: f64 = answered.all(1).iter().map(|point| f64::from_bits(point.number(4))).sum();
    assert_eq!((all, answered.number(2), answered.number(3)), (250.0, 2, 1), "cumulative and monotonic");
    assert_eq!(metrics["wsp_answered_events_total"].text(3), "{events}");
    let latency = metrics["wsp_answer_latency_seconds"].one(9).one(1);
    let buckets = latency.bytes[&6][0].chunks(8).map(|count| u64::from_le_bytes(count.try_into().unwrap()));
    assert_eq!((latency.number(4), buckets.sum::<u64>()), (250, 250));
    assert_eq!(latency.bytes[&6][0].len(), latency.bytes[&7][0].len() + 8, "a bucket more than bounds");
}

#[test]
fn without_a_collector_nothing_is_marked_and_with_a_dead_one_the_run_goes_on() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    assert_eq!(stage.run_once().verdict(), ("STREAMED", ""));
    assert!(gate.marks().is_empty());

    let stage = Stage::golden(&gate.url);
    let mut command = stage.wsp(RUN_ONCE);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1").env("OTEL_EXPORTER_OTLP_TIMEOUT", "200");
    let ran = command.output().unwrap();
    let log = String::from_utf8(ran.stderr).unwrap();
    assert!(ran.status.success(), "{log}");
    assert_eq!((gate.requests(), log.matches("a collector does not take telemetry").count()), (500, 1), "{log}");

    let mut command = stage.wsp(RUN_ONCE);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1").env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let ran = command.output().unwrap();
    assert!(ran.status.code() == Some(2) && String::from_utf8_lossy(&ran.stderr).contains("http/protobuf"));
}
