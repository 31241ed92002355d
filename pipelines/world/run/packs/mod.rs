//! Required packs: what has to be up before a run starts (contract, section 9).
//!
//! ```text
//! pack file ──► Spec ──┐
//! state.json ──► State ┴─► judge(active run, live processes) ──► Look { what was looked at, problems }
//! ```
//!
//! A pack is a set of processes that somebody else starts and supervises. WSP only inspects it: its file lists its
//! processes, its state gives their process ids.

mod processes;
mod spec;
mod state;

use std::path::{Path, PathBuf};

use serde::Serialize;

pub use processes::{LiveProcesses, Processes};
pub use spec::Spec;
pub use state::{ProcessState, State};

use crate::model::{PlatformRunId, Reason, Refusal};

/// The folder of the packs' states, from the service's own.
const OPERATE: &str = "runs/fraud-platform/operate";

/// What one look at a required pack saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Look {
    /// The pack's file, as configured.
    pub pack_file: String,
    /// Its id, where the file could be read.
    pub pack_id: Option<String>,
    /// The file of its state.
    pub state_file: Option<String>,
    /// The processes that have to run.
    pub processes: Vec<String>,
    /// What is missing, as `REASON:detail` with words for a person; empty where the pack is up.
    pub problems: Vec<String>,
    #[serde(skip)]
    missing: Vec<Missing>,
}

/// One thing that a pack lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Missing {
    refusal: Refusal,
    /// What it concerns: a pack or its file, a process of a pack, or `found->wanted`.
    subject: String,
}

impl Missing {
    fn new(refusal: Refusal, subject: impl Into<String>) -> Self {
        Self { refusal, subject: subject.into() }
    }
}

impl Look {
    /// Whether the pack is up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.missing.is_empty()
    }

    /// What is missing, as the legacy producer answers it: `REASON:detail`, where the detail names pack, process, or
    /// `found->wanted` (contract, section 9).
    pub fn reasons(&self) -> impl Iterator<Item = String> {
        self.missing.iter().map(|missing| format!("{}:{}", missing.refusal.reason, missing.subject))
    }

    /// The first problem; `None` where the pack is up.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        self.missing.first().map(|missing| &missing.refusal)
    }
}

/// Looks at the pack whose file is `pack_file`; its state lies below `folder`. `run` is the run that it has to be up
/// for, `None` where any will do.
pub fn look(pack_file: &Path, folder: &Path, run: Option<&PlatformRunId>, processes: &dyn Processes) -> Look {
    let mut look = Look {
        pack_file: pack_file.display().to_string(),
        pack_id: None,
        state_file: None,
        processes: Vec::new(),
        problems: Vec::new(),
        missing: Vec::new(),
    };
    if let Err(missing) = examine(&mut look, pack_file, folder, run, processes) {
        let words = |Missing { refusal, .. }: &Missing| format!("{}:{}", refusal.reason, refusal.detail);
        look.problems = missing.iter().map(words).collect();
        look.missing = missing;
    }
    look
}

fn examine(
    look: &mut Look,
    pack_file: &Path,
    folder: &Path,
    run: Option<&PlatformRunId>,
    processes: &dyn Processes,
) -> Result<(), Vec<Missing>> {
    let spec = Spec::read(pack_file).map_err(|refusal| vec![Missing::new(refusal, look.pack_file.clone())])?;
    look.pack_id = Some(spec.pack_id().to_owned());
    look.processes = spec.processes().to_vec();
    let path: PathBuf = folder.join(OPERATE).join(spec.pack_id()).join("state.json");
    let name = path.display().to_string();
    look.state_file = Some(name.clone());
    let state = State::read(&path).map_err(|refusal| vec![Missing::new(refusal, spec.pack_id())])?;
    let missing = judge(&spec, &state, run, processes);
    let placed = |Missing { refusal, subject }| Missing { refusal: refusal.file(&name), subject };
    if missing.is_empty() { Ok(()) } else { Err(missing.into_iter().map(placed).collect()) }
}

/// What keeps `spec`'s processes, in this `state`, from being up for `run`: all of it, in the order of the file.
fn judge(spec: &Spec, state: &State, run: Option<&PlatformRunId>, processes: &dyn Processes) -> Vec<Missing> {
    let mut missing = Vec::new();
    let mut note = |reason, subject: &str, words: String| {
        missing.push(Missing::new(Refusal::new(reason, words), subject));
    };
    let pack = spec.pack_id();
    if let Some(run) = run {
        match state.active_run() {
            None => note(Reason::PackActiveRunMissing, pack, format!("{pack}: its state names no active run")),
            Some(active) if active != run.as_str() => {
                let words = format!("{pack}: it is up for {active}, READY is of {run}");
                note(Reason::PackActiveRunMismatch, &format!("{active}->{run}"), words);
            }
            Some(_) => {}
        }
    }
    if state.processes().is_empty() {
        note(Reason::PackProcessesMissing, pack, format!("{pack}: its state holds no process"));
        return missing;
    }
    for id in spec.processes() {
        let subject = format!("{pack}:{id}");
        match state.processes().get(id) {
            None => note(Reason::PackProcessMissing, &subject, format!("{subject}: its state does not hold it")),
            Some(process) => {
                if let Err(why) = processes.is_alive(process) {
                    note(Reason::PackProcessNotRunning, &subject, format!("{subject}: {why}"));
                }
            }
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const RUN: &str = "platform_20260101T000000Z";

    /// Process 7, started at second 100, and nothing else.
    #[derive(Debug)]
    struct Seven;

    impl Processes for Seven {
        fn is_alive(&self, process: &ProcessState) -> Result<(), String> {
            if *process == (ProcessState { pid: 7, pid_create_time: Some(100.0) }) {
                Ok(())
            } else {
                Err("gone".into())
            }
        }
    }

    struct Desk(tempfile::TempDir);

    impl Desk {
        fn new(spec: &str, state: Option<&str>) -> Self {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("pack.yaml"), spec).unwrap();
            if let Some(state) = state {
                let at = folder.path().join(OPERATE).join("ingest");
                std::fs::create_dir_all(&at).unwrap();
                std::fs::write(at.join("state.json"), state).unwrap();
            }
            Self(folder)
        }

        fn problems(&self, run: Option<&str>) -> Vec<String> {
            let run: Option<PlatformRunId> = run.map(|run| run.parse().unwrap());
            let look = look(&self.0.path().join("pack.yaml"), self.0.path(), run.as_ref(), &Seven);
            assert_eq!((look.is_up(), look.reasons().count()), (look.problems.is_empty(), look.problems.len()));
            // The file lies in a folder of the test's own.
            look.reasons().map(|reason| reason.replace(&self.0.path().display().to_string(), "")).collect()
        }
    }

    const SPEC: &str = "version: 1\npack_id: ingest\nowner: platform\nprocesses:\n  - {id: gate, command: [x]}\n";

    fn state(edit: impl Fn(&mut Value)) -> String {
        let mut state = json!({
            "active_platform_run_id": RUN,
            "processes": {"gate": {"pid": 7, "pid_create_time": 100.0, "log": "x"}},
            "started": true,
        });
        edit(&mut state);
        state.to_string()
    }

    #[test]
    fn a_pack_whose_processes_live_is_up() {
        assert_eq!(Desk::new(SPEC, Some(&state(|_| {}))).problems(Some(RUN)), [""; 0]);
    }

    #[test]
    fn each_thing_that_can_be_missing_has_its_reason() {
        type Edit = fn(&mut Value);
        let cases: &[(Edit, &[&str])] = &[
            (|s| s["active_platform_run_id"] = Value::Null, &["PACK_ACTIVE_RUN_MISSING:ingest"]),
            (|s| s["active_platform_run_id"] = "".into(), &["PACK_ACTIVE_RUN_MISSING:ingest"]),
            (
                |s| s["active_platform_run_id"] = "platform_20250101T000000Z".into(),
                &["PACK_ACTIVE_RUN_MISMATCH:platform_20250101T000000Z->platform_20260101T000000Z"],
            ),
            (|s| s["processes"] = json!({}), &["PACK_PROCESSES_MISSING:ingest"]),
            (|s| _ = s.as_object_mut().unwrap().remove("processes"), &["PACK_PROCESSES_MISSING:ingest"]),
            (
                |s| s["processes"] = json!({"other": {"pid": 7, "pid_create_time": 100.0}}),
                &["PACK_PROCESS_MISSING:ingest:gate"],
            ),
            (|s| s["processes"]["gate"]["pid"] = json!(8), &["PACK_PROCESS_NOT_RUNNING:ingest:gate"]),
            (|s| s["processes"]["gate"]["pid_create_time"] = json!(500), &["PACK_PROCESS_NOT_RUNNING:ingest:gate"]),
            (|s| s["processes"]["gate"]["pid"] = json!("seven"), &["PACK_STATE_INVALID:ingest"]),
            (
                |s| {
                    s["active_platform_run_id"] = Value::Null;
                    s["processes"]["gate"]["pid"] = json!(8);
                },
                &["PACK_ACTIVE_RUN_MISSING:ingest", "PACK_PROCESS_NOT_RUNNING:ingest:gate"],
            ),
        ];
        for (edit, expected) in cases {
            let state = state(edit);
            assert_eq!(Desk::new(SPEC, Some(&state)).problems(Some(RUN)), *expected, "{state}");
        }
        assert_eq!(Desk::new(SPEC, None).problems(Some(RUN)), ["PACK_STATE_MISSING:ingest"]);
        assert_eq!(Desk::new(SPEC, Some("{\"pid\": ")).problems(Some(RUN)), ["PACK_STATE_INVALID:ingest"]);
        let nowhere = look(Path::new("/no/such/pack.yaml"), Path::new("."), None, &Seven);
        assert_eq!(nowhere.refusal().unwrap().reason, Reason::PackFileMissing);
    }

    #[test]
    fn what_was_looked_at_and_the_first_problem_are_told() {
        let desk = Desk::new(SPEC, Some(&state(|s| s["active_platform_run_id"] = Value::Null)));
        let run = RUN.parse().unwrap();
        let look = look(&desk.0.path().join("pack.yaml"), desk.0.path(), Some(&run), &Seven);
        assert_eq!((look.pack_id.as_deref(), &look.processes[..]), (Some("ingest"), &["gate".to_owned()][..]));
        assert!(look.state_file.as_ref().unwrap().ends_with("ingest/state.json"), "{look:?}");
        let both = Desk::new(
            SPEC,
            Some(&state(|s| {
                s["active_platform_run_id"] = Value::Null;
                s["processes"]["gate"]["pid"] = json!(8);
            })),
        );
        let look = super::look(&both.0.path().join("pack.yaml"), both.0.path(), Some(&run), &Seven);
        assert_eq!(look.refusal().unwrap().reason, Reason::PackActiveRunMissing);
        assert!(look.refusal().unwrap().place.file.as_ref().unwrap().ends_with("ingest/state.json"));
    }

    #[test]
    fn without_the_match_any_run_or_none_will_do() {
        let none = state(|s| s["active_platform_run_id"] = Value::Null);
        assert_eq!(Desk::new(SPEC, Some(&none)).problems(None), [""; 0]);
    }

    #[test]
    fn a_pack_file_that_is_none_is_refused() {
        for spec in [
            "version: 2\npack_id: ingest\nprocesses: [{id: gate}]\n",
            "version: 1\nprocesses: [{id: gate}]\n",
            "version: 1\npack_id: ../ingest\nprocesses: [{id: gate}]\n",
            "version: 1\npack_id: ingest\nprocesses: []\n",
            "version: 1\npack_id: ingest\nprocesses: [{id: gate}, {id: gate}]\n",
            "version: 1\npack_id: ingest\nprocesses: [{name: gate}]\n",
            "version: 1\npack_id: [",
        ] {
            assert_eq!(
                Desk::new(spec, Some(&state(|_| {}))).problems(Some(RUN)),
                ["PACK_SPEC_INVALID:/pack.yaml"],
                "{spec}"
            );
        }
    }
}
