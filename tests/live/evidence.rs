//! What a run has left in S3: every object below its prefix.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::servers::s3::S3Server;

/// The objects below a run's prefix, by their names there.
pub(crate) struct Evidence {
    objects: BTreeMap<String, Vec<u8>>,
}

impl Evidence {
    /// Reads all of them. `root` is an `s3://` address.
    pub(crate) async fn read(server: &S3Server, root: &str) -> Self {
        let (bucket, prefix) = root.strip_prefix("s3://").unwrap().split_once('/').unwrap();
        let client = server.client();
        let listed = client.list_objects_v2().bucket(bucket).prefix(format!("{prefix}/")).send().await.unwrap();
        assert_ne!(listed.is_truncated(), Some(true), "more evidence than a page");
        let mut objects = BTreeMap::new();
        for object in listed.contents() {
            let key = object.key().unwrap();
            let body = client.get_object().bucket(bucket).key(key).send().await.unwrap().body;
            let bytes = body.collect().await.unwrap().to_vec();
            objects.insert(key[prefix.len() + 1..].to_owned(), bytes);
        }
        Self { objects }
    }

    /// Names and sizes, one a line.
    pub(crate) fn listing(&self) -> String {
        self.objects.iter().map(|(name, bytes)| format!("{:>8}  {name}\n", bytes.len())).collect::<Vec<_>>().concat()
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        let bytes = self.objects.get(name).unwrap_or_else(|| panic!("no {name} among\n{}", self.listing()));
        serde_json::from_slice(bytes).unwrap()
    }

    /// The verdicts recorded for a message.
    pub(crate) fn record(&self, message_id: &str) -> Vec<Value> {
        self.lines(&format!("wsp/ready_runs/{message_id}.jsonl"))
    }

    fn lines(&self, name: &str) -> Vec<Value> {
        let text = self.objects.get(name).map(|bytes| std::str::from_utf8(bytes).unwrap()).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Families of the facts in the order they were told, after checking that each is there once: as an object, with
    /// its marker, and as a line of the log.
    pub(crate) fn facts(&self) -> Vec<String> {
        const EVENTS: &str = "obs/governance/events/";
        let told = self.lines("obs/governance/events.jsonl");
        let mut ids: Vec<_> = told.iter().map(|fact| fact["event_id"].as_str().unwrap().to_owned()).collect();
        for (id, fact) in ids.iter().zip(&told) {
            assert_eq!(&self.json(&format!("{EVENTS}{id}.json")), fact);
            assert_eq!(self.json(&format!("obs/governance/markers/{id}.json"))["event_id"], fact["event_id"]);
        }
        ids.sort_unstable();
        let objects = self.objects.keys().filter_map(|name| name.strip_prefix(EVENTS)?.strip_suffix(".json"));
        assert!(objects.eq(ids.iter().map(String::as_str)), "each fact is told once: {ids:?}\n{}", self.listing());
        told.iter().map(|fact| fact["event_family"].as_str().unwrap().to_owned()).collect()
    }

    /// Whether any object holds `text`.
    pub(crate) fn holds(&self, text: &str) -> bool {
        self.objects.values().any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
    }
}
