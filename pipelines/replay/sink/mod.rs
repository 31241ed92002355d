//! Where events go: an HTTP intake, lines of a file or of stdout, or a topic of Kafka. All of them stand behind the same push stage.
//!
//! ```text
//! --to http(s)://… ──► Target ─► HttpGate ──┐
//! --to - · file:PATH ─► LineSink ─► LineGate ┼─► push ─► answers
//! --to kafka://b/t ──► Topic ─► KafkaGate ───┘
//! ```

mod judge;
#[cfg(feature = "kafka")]
pub(super) mod kafka;
pub(super) mod lines;

use std::path::{Path, PathBuf};

use wsp::deliver::Item;

use super::error::Error;
use super::request_line::RequestLine;
use super::target::Target;

pub(super) use judge::SinkJudge;
#[cfg(feature = "kafka")]
pub use kafka::Topic;

/// What of a body is shown, in bytes.
const SHOWN: usize = 2000;

/// Where events go.
#[derive(Debug, Clone)]
pub enum Sink {
    /// An HTTP intake: a request for each event.
    Http(Box<Target>),
    /// A line for each event.
    Lines(LineSink),
    /// A record of Kafka for each event.
    #[cfg(feature = "kafka")]
    Kafka(Box<Topic>),
}

/// Where lines are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineSink {
    /// stdout.
    Stdout,
    /// A file.
    File(PathBuf),
}

/// What kind of sink an address means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkKind {
    /// An HTTP intake.
    Http,
    /// Lines.
    Lines(LineSink),
    /// A topic of Kafka.
    Kafka,
}

impl SinkKind {
    /// What `--to` means.
    ///
    /// # Errors
    ///
    /// If it is no kind of address that is known here.
    pub fn of(to: &str) -> Result<Self, Error> {
        if to == "-" {
            return Ok(Self::Lines(LineSink::Stdout));
        }
        if let Some(path) = to.strip_prefix("file:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(Error::flag("--to", "file: names no file; write file:PATH"));
            }
            return Ok(Self::Lines(LineSink::File(PathBuf::from(path))));
        }
        if to.starts_with(['/', '.']) {
            return Ok(Self::Lines(LineSink::File(PathBuf::from(to))));
        }
        match to.split_once("://") {
            Some(("http" | "https", _)) => Ok(Self::Http),
            Some(("kafka", _)) => Ok(Self::Kafka),
            _ => Err(Error::flag(
                "--to",
                format!(
                    "{to:?} is neither http://…, https://…, kafka://BROKERS/TOPIC, file:PATH nor - for stdout; a file in this \
                     folder is file:{to} or ./{to}"
                ),
            )),
        }
    }
}

impl Sink {
    /// What the state calls it. It holds no secret.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Http(target) => target.url().given().to_owned(),
            Self::Lines(LineSink::Stdout) => "-".to_owned(),
            Self::Lines(LineSink::File(path)) => format!("file:{}", path.display()),
            #[cfg(feature = "kafka")]
            Self::Kafka(topic) => topic.url(),
        }
    }

    /// The file of a sink whose content a resume cuts to what was saved.
    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            Self::Lines(LineSink::File(path)) => Some(path),
            _ => None,
        }
    }

    /// Whether events are written one after the other, in order, whatever the order of delivery is.
    #[must_use]
    pub fn is_lines(&self) -> bool {
        matches!(self, Self::Lines(_))
    }

    /// Method and URL of each event, where columns are in them.
    pub(super) fn line(&self) -> Option<&RequestLine> {
        if let Self::Http(target) = self { target.line() } else { None }
    }

    /// Whether an event carries its order key as it is.
    pub(super) fn takes_keys(&self) -> bool {
        match self {
            Self::Http(_) | Self::Lines(_) => false,
            #[cfg(feature = "kafka")]
            Self::Kafka(_) => true,
        }
    }

    /// An item with these header lines, and this key, as it would be sent: without what is secret, and not packed.
    #[cfg_attr(not(feature = "kafka"), expect(unused_variables, reason = "only records of Kafka have a key"))]
    pub(super) fn shown(&self, item: &impl Item, (head, key): (&[u8], Option<&[u8]>), is_packed: bool) -> String {
        let own = String::from_utf8_lossy(head).replace("\r\n", "\n");
        let body = String::from_utf8_lossy(&item.body()[..item.body().len().min(SHOWN)]);
        let more = if item.body().len() > SHOWN { "…" } else { "" };
        match self {
            Self::Http(target) => {
                let line = item.request_line().map(String::from_utf8_lossy);
                let length = if is_packed { String::new() } else { format!("content-length: {}\n", item.body().len()) };
                format!("{}{own}{length}\n{body}{more}", target.head(line.as_deref()))
            }
            Self::Lines(_) => format!("{body}{more}"),
            #[cfg(feature = "kafka")]
            Self::Kafka(topic) => {
                let key = key.map_or_else(|| "none".into(), String::from_utf8_lossy);
                format!("{}key: {key}\n{own}\n{body}{more}", topic.head())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_tells_its_sink() {
        let file = |path: &str| SinkKind::Lines(LineSink::File(PathBuf::from(path)));
        for (to, kind) in [
            ("-", SinkKind::Lines(LineSink::Stdout)),
            ("file:a.jsonl", file("a.jsonl")),
            ("file:///tmp/a", file("/tmp/a")),
            ("/tmp/a", file("/tmp/a")),
            ("./a", file("./a")),
            ("../a", file("../a")),
            ("http://a/b", SinkKind::Http),
            ("https://a", SinkKind::Http),
            ("kafka://a:9092/t", SinkKind::Kafka),
        ] {
            assert_eq!(SinkKind::of(to).unwrap(), kind, "{to}");
        }
        for to in ["", "intake.example/v1", "ftp://a", "a.jsonl", "file:", "HTTP//a"] {
            assert!(SinkKind::of(to).unwrap_err().to_string().contains("--to"), "{to}");
        }
    }
}
