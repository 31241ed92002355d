//! The checks before a run may start, each with its result: `wsp plan` prints them, evidence records them.

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::reason::{Reason, Refusal};

/// How one check came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As it has to be.
    Passed,
    /// Not as it has to be, and policy lets the run go on all the same.
    Waived,
    /// The run may not start.
    Refused(Refusal),
}

/// One check with its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at, as `seal` or `gate gate.layer3.6B.validation`.
    pub name: String,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found, for a person.
    pub detail: String,
}

impl Check {
    /// Whether the run may go on as far as this check is concerned.
    #[must_use]
    pub fn ok(&self) -> bool {
        !matches!(self.verdict, Verdict::Refused(_))
    }
}

/// Serialised as `{"name", "status": "passed" | "waived" | "refused", "reason": code or null, "detail"}`.
impl Serialize for Check {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (status, reason) = match &self.verdict {
            Verdict::Passed => ("passed", None),
            Verdict::Waived => ("waived", None),
            Verdict::Refused(refusal) => ("refused", Some(refusal.reason)),
        };
        let mut out = serializer.serialize_struct("Check", 4)?;
        out.serialize_field("name", &self.name)?;
        out.serialize_field("status", status)?;
        out.serialize_field("reason", &reason)?;
        out.serialize_field("detail", &self.detail)?;
        out.end()
    }
}

/// What was serialised; of a refusal the reason and the words.
impl<'de> Deserialize<'de> for Check {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        struct Told {
            name: String,
            status: String,
            reason: Option<Reason>,
            detail: String,
        }
        let Told { name, status, reason, detail } = Told::deserialize(deserializer)?;
        let verdict = match (status.as_str(), reason) {
            ("passed", None) => Verdict::Passed,
            ("waived", None) => Verdict::Waived,
            ("refused", Some(reason)) => {
                let words = detail.strip_prefix(reason.code()).unwrap_or(&detail);
                Verdict::Refused(Refusal::new(reason, words.strip_prefix(": ").unwrap_or(words)))
            }
            _ => return Err(serde::de::Error::custom(format!("{status:?} is no result of a check"))),
        };
        Ok(Self { name, verdict, detail })
    }
}

/// All checks of a run, in the order they were made. A refused one does not end the list, so that a plan shows
/// all that is wrong at once; the run's reason is the first.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct CheckList {
    checks: Vec<Check>,
}

impl CheckList {
    /// Nothing checked yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check that passed.
    pub fn pass(&mut self, name: impl Into<String>, detail: impl Into<String>) {
        self.checks.push(Check { name: name.into(), verdict: Verdict::Passed, detail: detail.into() });
    }

    /// Adds a check that failed but is waived by policy.
    pub fn waive(&mut self, name: impl Into<String>, detail: impl Into<String>) {
        self.checks.push(Check { name: name.into(), verdict: Verdict::Waived, detail: detail.into() });
    }

    /// Adds a check that refuses the run.
    pub fn refuse(&mut self, name: impl Into<String>, refusal: Refusal) {
        let detail = refusal.to_string();
        self.checks.push(Check { name: name.into(), verdict: Verdict::Refused(refusal), detail });
    }

    /// Adds what `result` says, told by `detail` where it is good, and hands its value on.
    pub fn note<T>(
        &mut self,
        name: impl Into<String>,
        result: Result<T, Refusal>,
        detail: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        match result {
            Ok(value) => {
                self.pass(name, detail(&value));
                Some(value)
            }
            Err(refusal) => {
                self.refuse(name, refusal);
                None
            }
        }
    }

    /// The checks, in order.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Whether nothing refuses the run, and else what does first.
    ///
    /// # Errors
    ///
    /// The first refusal of the list.
    pub fn verdict(&self) -> Result<(), Refusal> {
        self.checks.iter().try_for_each(|check| match &check.verdict {
            Verdict::Refused(refusal) => Err(refusal.clone()),
            Verdict::Passed | Verdict::Waived => Ok(()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Reason;

    #[test]
    fn the_first_refusal_is_the_runs_and_the_list_goes_on() {
        let mut list = CheckList::new();
        list.pass("receipt", "fine");
        list.waive("seal", "none, allowed");
        assert_eq!(list.verdict(), Ok(()));
        let first = Refusal::new(Reason::GatePassMissing, "no flag");
        assert_eq!(list.note("gate", Err::<u8, _>(first.clone()), |_| unreachable!()), None);
        assert_eq!(list.note("view", Ok(7), |rows| format!("{rows} rows")), Some(7));
        list.refuse("view", Refusal::new(Reason::StreamViewEmpty, ""));
        assert_eq!(list.verdict(), Err(first));
        assert_eq!(
            serde_json::to_string(&list.checks()[2..4]).unwrap(),
            r#"[{"name":"gate","status":"refused","reason":"GATE_PASS_MISSING","detail":"GATE_PASS_MISSING: no flag"},{"name":"view","status":"passed","reason":null,"detail":"7 rows"}]"#
        );
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut list = CheckList::new();
        list.pass("receipt", "fine");
        list.waive("seal", "none, allowed");
        list.refuse("gate", Refusal::new(Reason::GatePassMissing, "no flag"));
        let text = serde_json::to_string(&list).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Check>>(&text).unwrap(), list.checks());
        assert!(serde_json::from_str::<Check>(&text.replace("passed", "perhaps")).is_err());
    }
}
