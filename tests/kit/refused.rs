//! What has to hold of every refused run: verdict, record, facts, log and gate tell one story.

use std::collections::BTreeMap;

use serde_json::Value;

use super::capture::CaptureGate;
use super::{FACTS, MESSAGE, Ran, Stage, canonical, event_ids};

/// How far a run came before it was refused, as its governance facts tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// READY and facts are not of one run: nobody knows whose facts these would be.
    Nowhere,
    /// The READY will not be acted on, and that is told.
    Cancelled,
    /// The run is known, and then cancelled.
    SeenCancelled,
    /// The run is known, and stale or pointing elsewhere.
    Seen,
    /// The world, the profile or an event was refused.
    Started,
}

impl Came {
    fn families(self) -> &'static [&'static str] {
        match self {
            Self::Nowhere => &[],
            Self::Cancelled => &["RUN_CANCELLED"],
            Self::SeenCancelled => &["RUN_READY_SEEN", "RUN_CANCELLED"],
            Self::Seen => &["RUN_READY_SEEN"],
            Self::Started => &["RUN_READY_SEEN", "RUN_STARTED", "RUN_ENDED"],
        }
    }
}

/// A refusal that is expected of the golden READY.
#[derive(Debug, Clone, Copy)]
pub struct Refused<'a> {
    pub reason: &'a str,
    pub came: Came,
    /// Events that IG took before.
    pub emitted: usize,
    /// What the refusal's text has to name: file, row, field.
    pub names: &'a [&'a str],
}

impl Refused<'_> {
    /// Asserts that `ran` is the stage's first run and was refused like this.
    pub fn assert(&self, stage: &Stage, ran: &Ran, case: &str) {
        assert_eq!((ran.code, ran.verdict()), (Some(1), ("FAILED", self.reason)), "{case}: {}", ran.stderr);
        let refusal = ran.refusal();
        assert!(refusal.starts_with(self.reason), "{case}: {refusal}");
        for name in self.names {
            assert!(refusal.contains(name), "{case}: {name} is not named in {refusal}");
        }
        let emitted = Some(self.emitted as u64);
        assert_eq!(ran.verdicts[0]["emitted"].as_u64(), emitted, "{case}");
        assert_eq!(stage.record(), ran.verdicts, "{case}: the record is what was answered");
        let facts = stage.governance();
        let families: Vec<_> = facts.iter().map(|fact| fact["event_family"].as_str().unwrap()).collect();
        assert_eq!(families, self.came.families(), "{case}");
        if let Some(last) = facts.last().filter(|_| self.came != Came::Seen) {
            let details = &last["details"];
            assert_eq!((&details["status"], &details["reason"]), (&"FAILED".into(), &self.reason.into()), "{case}");
            if self.came == Came::Started {
                assert_eq!(details["emitted"].as_u64(), emitted, "{case}");
            }
        }
        // A run that got as far as streaming has a summary, which tells the same.
        if stage.evidence("wsp/wsp_summary.json").exists() {
            let summary = stage.summary();
            assert_eq!((&summary["status"], &summary["reason"]), (&"FAILED".into(), &self.reason.into()), "{case}");
            assert_eq!(
                (summary["emitted"].as_u64(), summary["refusal"].as_str()),
                (emitted, Some(&*refusal)),
                "{case}"
            );
        } else {
            assert_eq!(self.emitted, 0, "{case}: a run that sent something has a summary");
        }
    }

    /// The same, and that the gate heard of nothing.
    pub fn assert_unsent(&self, stage: &Stage, gate: &CaptureGate, ran: &Ran, case: &str) {
        self.assert(stage, ran, case);
        assert_eq!(gate.requests(), 0, "{case}");
        assert_eq!(stage.cursors(), BTreeMap::new(), "{case}");
    }
}

/// Doctors the golden run; the second argument is the gate's URL, for another profile.
pub type Doctor = fn(&Stage, &str);

/// What is done to the golden run, the reason, and what its text names.
pub type Case = (&'static str, Doctor, &'static str, &'static [&'static str]);

/// A plan finds the same reason, and leaves nothing behind.
fn assert_planned(stage: &Stage, reason: &str, case: &str) {
    let before = stage.files();
    let planned = stage.wsp(&["plan", "--profile", "profile.yaml", "--json"]).output().unwrap();
    let plan: Value = serde_json::from_slice(&planned.stdout).unwrap_or_else(|error| panic!("{case}: {error}"));
    let refused: Vec<_> = plan["checks"].as_array().unwrap().iter().filter(|c| c["status"] == "refused").collect();
    assert_eq!((planned.status.code(), &plan["admitted"]), (Some(1), &false.into()), "{case}: {plan}");
    assert_eq!(refused[0]["reason"], reason, "{case}: {refused:?}");
    assert_eq!(stage.files(), before, "{case}");
}

/// Asserts that each case is refused without a word to the gate, by a plan too.
pub fn all_refused(came: Came, cases: &[Case]) {
    for (case, doctor, reason, names) in cases {
        let gate = CaptureGate::admitting();
        let stage = Stage::golden(&gate.url);
        doctor(&stage, &gate.url);
        assert_planned(&stage, reason, case);
        let ran = stage.run_once();
        Refused { reason, came, emitted: 0, names }.assert_unsent(&stage, &gate, &ran, case);
    }
}

/// The first `count` events of the golden run, and nothing else, reached the gate, in canonical order.
pub fn assert_prefix(bodies: &[Vec<u8>], count: usize, case: &str) {
    let id = |body: &Value| body["event_id"].as_str().unwrap().to_owned();
    let expected: Vec<_> = canonical().iter().take(count).map(id).collect();
    assert_eq!(event_ids(bodies), expected, "{case}");
}

impl Ran {
    /// The log's lines. A line that is not JSON is an answer to a mistake on the command line, and not among them.
    pub fn log(&self) -> Vec<Value> {
        self.stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The text of the one refusal that the log tells of.
    pub fn refusal(&self) -> String {
        let lines = self.log();
        let refusals: Vec<_> = lines.iter().filter_map(|line| line["refusal"].as_str()).collect();
        let [refusal] = refusals.as_slice() else { panic!("not one refusal: {}", self.stderr) };
        (*refusal).to_owned()
    }
}

impl Stage {
    /// Changes the golden READY's facts.
    pub fn edit_facts(&self, change: impl FnOnce(&mut Value)) {
        self.edit(&format!("store/{FACTS}"), change);
    }

    /// Changes READY's payload.
    pub fn edit_ready(&self, change: impl FnOnce(&mut Value)) {
        self.republish(|message| change(&mut message["payload"]));
    }

    /// The ends that were told of the golden READY, in order: (status, reason, emitted).
    pub fn ends(&self) -> Vec<(String, Option<String>, u64)> {
        let ended = self.governance();
        let ended = ended.iter().filter(|fact| fact["event_family"] == "RUN_ENDED").map(|fact| &fact["details"]);
        ended
            .filter(|details| details["message_id"] == MESSAGE)
            .map(|details| {
                let text = |key: &str| details[key].as_str().map(str::to_owned);
                (text("status").unwrap(), text("reason"), details["emitted"].as_u64().unwrap())
            })
            .collect()
    }
}
