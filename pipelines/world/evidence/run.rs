//! Records and facts of one run, where they have to agree.

use super::governance::Facts;
use super::record::{Records, Verdict};
use crate::model::{Hex32, Hex64, Lane, Refusal};

/// What is known and told about one run.
#[derive(Debug, Clone)]
pub struct RunEvidence {
    /// The records of its platform run.
    pub records: Records,
    /// Its facts.
    pub facts: Facts,
}

impl RunEvidence {
    /// That of one lane.
    #[must_use]
    pub fn of_lane(self, lane: Lane) -> Self {
        Self { records: self.records.of_lane(lane), facts: self.facts.of_lane(lane) }
    }

    /// Another READY under which this platform and scenario run, or our lane of it, was streamed to its end, if there is one: SR's run is
    /// the same, or its end was told with our pins. An end at a cap is none: the run goes on at its checkpoint.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`.
    pub async fn already_streamed(&self, run_id: &Hex32, message_id: &Hex64) -> Result<Option<Hex64>, Refusal> {
        for other in self.records.streamed_beside(message_id).await? {
            let same_run = other.run_id.as_deref() == Some(run_id.as_str());
            match self.facts.last_end(&other.message_id, other.lane).await? {
                Some(end) if end.is_capped() => {}
                None if !same_run => {}
                _ => return Ok(Some(other.message_id)),
            }
        }
        Ok(None)
    }

    /// Tells an end: the fact first, then the verdict, which makes it stand. After a crash in between, telling the
    /// same end again completes it; one that stands is not told again.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`.
    pub async fn end(&self, verdict: &Verdict) -> Result<(), Refusal> {
        let recorded = self.records.read(&verdict.message_id).await?;
        if recorded.iter().any(|line| line.tells(verdict)) {
            return self.records.complete(&verdict.message_id).await;
        }
        self.facts.ended(verdict, recorded.len()).await?;
        self.records.append(verdict).await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use serde_json::Value;
    use wsp::store::{Fault, Key, LocalStore, MemoryStore, ObjectStore};

    use super::*;
    use crate::evidence::{Cancelled, End, Ending, Limits, Pins, Provenance, Started, Status};
    use crate::model::{Micros, Reason};

    const FACTS: &str = include_str!("../../../tests/golden/ready/governance_events.jsonl");
    const RECORD: &str = include_str!("../../../tests/golden/ready/ready_record.jsonl");
    const FOLDER: &str = "fraud-platform/platform_20260101T000000Z/obs/governance";

    fn golden() -> Vec<Value> {
        FACTS.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn ts(value: &Value) -> Micros {
        Micros::parse(value["ts_utc"].as_str().unwrap().as_bytes()).unwrap()
    }

    fn pins() -> Pins {
        let pins = &golden()[0]["pins"];
        let text = |key: &str| pins[key].as_str().unwrap();
        Pins {
            platform_run_id: text("platform_run_id").parse().unwrap(),
            scenario_run_id: text("scenario_run_id").parse().unwrap(),
            manifest_fingerprint: Some(text("manifest_fingerprint").parse().unwrap()),
            parameter_hash: Some(text("parameter_hash").parse().unwrap()),
            seed: Some(42),
            scenario_id: Some(text("scenario_id").parse().unwrap()),
        }
    }

    fn evidence(store: &MemoryStore, pins: Pins) -> RunEvidence {
        let store: Arc<dyn ObjectStore> = Arc::new(store.clone());
        let records = Records::new(store.clone(), &pins.platform_run_id).unwrap();
        RunEvidence { records, facts: Facts::new(store, pins, Provenance::default()).unwrap() }
    }

    fn verdict(status: Status, emitted: u64) -> Verdict {
        let details = &golden()[0]["details"];
        Verdict {
            message_id: details["message_id"].as_str().unwrap().parse().unwrap(),
            run_id: details["run_id"].as_str().unwrap().parse().unwrap(),
            status,
            reason: (status == Status::Failed).then_some(Reason::IgPushRejected),
            emitted,
            engine_run_root: Some("world".to_owned()),
            scenario_id: Some("baseline_v1".parse().unwrap()),
            waits_for: Vec::new(),
            ending: None,
            ts: ts(&golden()[2]),
        }
    }

    /// The golden run's evidence, `later` microseconds after it.
    async fn tell(evidence: &RunEvidence, later: i64) -> Result<(), Refusal> {
        let at = |value: &Value| Micros(ts(value).0 + later);
        let facts = golden();
        let mut verdict = verdict(Status::Streamed, 250);
        let facts_view_ref = facts[0]["details"]["facts_view_ref"].as_str().unwrap();
        evidence.facts.ready_seen(&verdict.message_id, &verdict.run_id, facts_view_ref, at(&facts[0])).await?;
        evidence.facts.started(&verdict.message_id, &Started::anew("world"), at(&facts[1])).await?;
        verdict.ts = at(&facts[2]);
        evidence.end(&verdict).await
    }

    /// The statuses of all ends told, by the number of the fact.
    fn ends(store: &MemoryStore) -> Vec<(String, u64)> {
        let evidence = evidence(store, pins());
        let message_id = verdict(Status::Streamed, 0).message_id;
        let contents = store.contents();
        let keys =
            std::iter::once(format!("ended:{message_id}")).chain((2..).map(|n| format!("ended:{message_id}:{n}")));
        keys.map_while(|key| {
            let event_id = evidence.facts.event_id(crate::evidence::Family::RunEnded, &key);
            let body: Value =
                serde_json::from_slice(contents.get(&format!("{FOLDER}/events/{event_id}.json"))?).unwrap();
            let details = &body["details"];
            Some((details["status"].as_str().unwrap().to_owned(), details["emitted"].as_u64().unwrap()))
        })
        .collect()
    }

    #[tokio::test]
    async fn the_golden_run_is_told_byte_for_byte() {
        let store = MemoryStore::new("runs");
        tell(&evidence(&store, pins()), 0).await.unwrap();
        let contents = store.contents();
        assert_eq!(contents[&format!("{FOLDER}/events.jsonl")], FACTS);
        for (fact, text) in golden().iter().zip(FACTS.split_inclusive('\n')) {
            let id = fact["event_id"].as_str().unwrap();
            assert_eq!(contents[&format!("{FOLDER}/events/{id}.json")], text);
            let (family, ts) = (fact["event_family"].as_str().unwrap(), fact["ts_utc"].as_str().unwrap());
            let marker = format!("{{\"event_family\":\"{family}\",\"event_id\":\"{id}\",\"ts_utc\":\"{ts}\"}}\n");
            assert_eq!(contents[&format!("{FOLDER}/markers/{id}.json")], marker);
        }
        let golden_record: Value = serde_json::from_str(RECORD).unwrap();
        assert_eq!(contents.len(), 8);
        let streamed = evidence(&store, pins()).records.read(&verdict(Status::Streamed, 0).message_id).await.unwrap();
        assert_eq!(streamed[0].emitted, golden_record["emitted"].as_u64());
    }

    #[tokio::test]
    async fn a_crash_at_any_call_is_made_up_for_and_tells_nothing_twice() {
        let whole = MemoryStore::new("runs");
        tell(&evidence(&whole, pins()), 0).await.unwrap();
        for call in 0..whole.calls() {
            for fault in [Fault::Before, Fault::After, Fault::Torn] {
                let store = MemoryStore::new("runs");
                let evidence = evidence(&store, pins());
                store.crash_at(call, fault);
                let refusal = tell(&evidence, 0).await.unwrap_err();
                assert_eq!(refusal.reason, Reason::StoreUnavailable);
                store.heal();
                for again in 1..3 {
                    tell(&evidence, again).await.unwrap();
                }
                let (mut told, mut once) = (store.contents(), whole.contents());
                let case = format!("call {call}, {fault:?}");
                assert_eq!(told.keys().collect::<Vec<_>>(), once.keys().collect::<Vec<_>>(), "{case}");
                let of_lines = |contents: &mut BTreeMap<String, bytes::Bytes>| {
                    let lists = contents.extract_if(.., |name, _| name.contains(".jsonl"));
                    let ids = lists.flat_map(|(_, list)| {
                        let lines = list.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
                        lines.into_iter().filter_map(|line| {
                            let line: Value = serde_json::from_slice(&line).ok()?;
                            Some(format!("{}{}", line["event_id"], line["status"]))
                        })
                    });
                    ids.collect::<Vec<_>>()
                };
                assert_eq!(of_lines(&mut told), of_lines(&mut once), "{case}");
            }
        }
    }

    #[tokio::test]
    async fn each_end_has_its_fact() {
        let store = MemoryStore::new("runs");
        let evidence = evidence(&store, pins());
        let later = |ts| move |verdict| Verdict { ts: Micros(ts), ..verdict };
        for (ts, status, emitted) in [(1, Status::Failed, 7), (2, Status::Failed, 7), (3, Status::Streamed, 243)] {
            let verdict = later(ts)(verdict(status, emitted));
            for _again in 0..2 {
                evidence.end(&verdict).await.unwrap();
            }
        }
        evidence.end(&later(4)(verdict(Status::Streamed, 0))).await.unwrap();
        let expected = [("FAILED", 7), ("FAILED", 7), ("STREAMED", 243)];
        assert_eq!(ends(&store), expected.map(|(status, emitted)| (status.to_owned(), emitted)));
    }

    #[tokio::test]
    async fn an_end_cut_off_before_its_verdict_is_told_once() {
        for (second, expected) in [
            (verdict(Status::Failed, 7), vec![7]),
            (verdict(Status::Failed, 9), vec![7, 9]),
            (verdict(Status::Streamed, 250), vec![7, 250]),
        ] {
            let store = MemoryStore::new("runs");
            let evidence = evidence(&store, pins());
            evidence.facts.ended(&verdict(Status::Failed, 7), 0).await.unwrap();
            evidence.end(&second).await.unwrap();
            assert_eq!(ends(&store).into_iter().map(|(_, emitted)| emitted).collect::<Vec<_>>(), expected);
        }
    }

    #[tokio::test]
    async fn ends_of_the_producer_in_place_are_counted_on() {
        // It told a run that failed twice with one fact and two verdicts.
        let store = MemoryStore::new("runs");
        let evidence = evidence(&store, pins());
        let failed = verdict(Status::Failed, 0);
        evidence.facts.ended(&failed, 0).await.unwrap();
        evidence.records.append(&failed).await.unwrap();
        evidence.records.append(&failed).await.unwrap();
        evidence.end(&verdict(Status::Streamed, 250)).await.unwrap();
        assert_eq!(ends(&store).len(), 2);
    }

    #[tokio::test]
    async fn a_fact_that_stands_is_left_as_it_is() {
        let store = MemoryStore::new("runs");
        let evidence = evidence(&store, pins());
        let body: Key = format!("{FOLDER}/events/{}.json", golden()[1]["event_id"].as_str().unwrap()).parse().unwrap();
        let mut standing = golden()[1].clone();
        standing["provenance"]["service_release_id"] = "older".into();
        store.put(&body, serde_json::to_vec(&standing).unwrap().into()).await.unwrap();
        tell(&evidence, 5).await.unwrap();
        let contents = store.contents();
        assert_eq!(contents[body.as_str()], serde_json::to_vec(&standing).unwrap());
        let list = String::from_utf8(contents[&format!("{FOLDER}/events.jsonl")].to_vec()).unwrap();
        assert!(list.lines().nth(1).unwrap().contains(r#""service_release_id":"older""#));
        let marker = body.as_str().replace("events/", "markers/");
        let ts = golden()[1]["ts_utc"].as_str().unwrap().to_owned();
        assert!(String::from_utf8_lossy(&contents[&marker]).contains(&ts));
    }

    #[tokio::test]
    async fn another_ready_of_the_same_run_is_found() {
        let store = MemoryStore::new("runs");
        let first = evidence(&store, pins());
        let [other, own] = ["other", "own"].map(Hex64::sha256);
        let streamed = Verdict { message_id: other.clone(), ..verdict(Status::Streamed, 250) };
        first.end(&streamed).await.unwrap();
        let (run_id, new_run): (Hex32, Hex32) = (streamed.run_id, "0".repeat(32).parse().unwrap());
        assert_eq!(first.already_streamed(&run_id, &other).await.unwrap(), None, "the message itself is no other");
        assert_eq!(first.already_streamed(&run_id, &own).await.unwrap(), Some(other.clone()));
        assert_eq!(first.already_streamed(&new_run, &own).await.unwrap(), Some(other), "its end was told of our run");
        let second = evidence(&store, Pins { scenario_run_id: new_run.clone(), ..pins() });
        assert_eq!(second.already_streamed(&new_run, &own).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_run_goes_on_behind_a_cap_and_not_behind_its_end() {
        let store = MemoryStore::new("runs");
        let evidence = evidence(&store, pins());
        let message = |n: &str| n.repeat(64).parse::<Hex64>().unwrap();
        let at = |n: &str, end: Option<End>, status, ts| {
            let ending = end.map(|end| Ending {
                end,
                limits: Limits { max_events: Some(70), max_events_per_output: None },
                emitted_by_output: BTreeMap::new(),
                resumed_rows: 0,
            });
            Verdict { message_id: message(n), ending, ts: Micros(ts), ..verdict(status, 70) }
        };
        let run_id = verdict(Status::Streamed, 0).run_id;
        // It failed once before it was capped: the end that counts is the last.
        evidence.end(&at("1", Some(End::Failed), Status::Failed, 1)).await.unwrap();
        evidence.end(&at("1", Some(End::Capped), Status::Streamed, 2)).await.unwrap();
        assert_eq!(evidence.already_streamed(&run_id, &message("2")).await.unwrap(), None);
        let standing = evidence.records.standing(&message("1")).await.unwrap();
        assert_eq!(standing, Some(Status::Streamed), "the same READY is a duplicate all the same");
        // A resumed start to the last event has an ending too, and is an end.
        evidence.end(&at("2", Some(End::Complete), Status::Streamed, 3)).await.unwrap();
        assert_eq!(evidence.already_streamed(&run_id, &message("3")).await.unwrap(), Some(message("2")));
        // A record whose fact says nothing of a cap, as the legacy producer leaves it, is an end.
        let other = MemoryStore::new("runs");
        let legacy = self::evidence(&other, pins());
        legacy.end(&at("4", None, Status::Streamed, 4)).await.unwrap();
        assert_eq!(legacy.already_streamed(&run_id, &message("5")).await.unwrap(), Some(message("4")));
    }

    #[tokio::test]
    async fn a_cancelled_ready_says_why_and_what_is_unknown_is_null() {
        let store = MemoryStore::new("runs");
        let evidence = evidence(&store, Pins { seed: None, ..pins() });
        let verdict = Verdict {
            status: Status::SkippedOutOfScope,
            reason: Some(Reason::PlatformRunScopeMismatch),
            ..verdict(Status::Streamed, 0)
        };
        let active = "platform_20991231T235959Z".parse().unwrap();
        evidence.facts.cancelled(&verdict, Cancelled::ScopeMismatch { active: &active }).await.unwrap();
        let dedupe = format!("cancelled:{}:scope_mismatch", verdict.message_id);
        let event_id = evidence.facts.event_id(crate::evidence::Family::RunCancelled, &dedupe);
        let fact: Value =
            serde_json::from_slice(&store.contents()[&format!("{FOLDER}/events/{event_id}.json")]).unwrap();
        let details = serde_json::json!({
            "active_platform_run_id": active,
            "message_id": verdict.message_id,
            "reason": "PLATFORM_RUN_SCOPE_MISMATCH",
        });
        assert_eq!(fact["details"], details);
        assert!(fact["pins"]["seed"].is_null() && fact["pins"]["scenario_id"] == "baseline_v1");
    }

    #[tokio::test]
    async fn a_cap_and_a_resumed_start_are_told_in_the_details() {
        let store = MemoryStore::new("runs");
        let evidence = evidence(&store, pins());
        let limits = Limits { max_events: Some(70), max_events_per_output: None };
        let ending = Ending {
            end: End::Capped,
            limits,
            emitted_by_output: [("traffic".to_owned(), 70)].into(),
            resumed_rows: 12,
        };
        let verdict = Verdict { ending: Some(ending), ..verdict(Status::Streamed, 70) };
        let started = Started { limits, resumed_rows: 12, ..Started::anew("world") };
        evidence.facts.started(&verdict.message_id, &started, verdict.ts).await.unwrap();
        evidence.end(&verdict).await.unwrap();
        let list = store.contents()[&format!("{FOLDER}/events.jsonl")].to_vec();
        let details: Vec<Value> = String::from_utf8(list)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["details"].take())
            .collect();
        assert_eq!((&details[0]["resumed_rows"], &details[0]["limits"]["max_events"]), (&12.into(), &70.into()));
        assert_eq!((&details[1]["end"], &details[1]["emitted_by_output"]["traffic"]), (&"capped".into(), &70.into()));
        assert_eq!(details[1]["resumed_rows"], 12);
    }

    #[tokio::test]
    async fn producers_that_tell_the_same_at_once_tell_it_once() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn ObjectStore> = Arc::new(LocalStore::open(folder.path().to_str().unwrap()));
        let records = Records::new(store.clone(), &pins().platform_run_id).unwrap();
        let facts = Facts::new(store.clone(), pins(), Provenance::default()).unwrap();
        let evidence = RunEvidence { records, facts };
        let tellers = (0..8).map(|later| {
            let evidence = evidence.clone();
            tokio::spawn(async move { tell(&evidence, later).await.unwrap() })
        });
        futures::future::join_all(tellers).await.into_iter().for_each(|told| told.unwrap());
        let list = store.get(&format!("{FOLDER}/events.jsonl").parse().unwrap(), 1 << 20).await.unwrap().unwrap();
        let mut ids: Vec<_> = String::from_utf8(list.to_vec())
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["event_id"].to_string())
            .collect();
        ids.sort();
        let mut expected: Vec<_> = golden().iter().map(|fact| fact["event_id"].to_string()).collect();
        expected.sort();
        assert_eq!(ids, expected);
        let message_id = verdict(Status::Streamed, 0).message_id;
        assert_eq!(evidence.records.read(&message_id).await.unwrap().len(), 1);
    }
}
