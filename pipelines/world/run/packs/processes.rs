//! Which processes are alive.

use std::fmt;

use sysinfo::{Pid, ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System};

use super::ProcessState;

/// Seconds that two readings of one process's start may differ: clocks are corrected, and one side rounds.
const TOLERANCE: f64 = 2.0;

/// What knows the processes of this machine.
pub trait Processes: fmt::Debug + Send + Sync {
    /// Whether the process that `noted` speaks of still runs: its id is taken, and by the one that was started then.
    ///
    /// # Errors
    ///
    /// Why not, in words.
    fn is_alive(&self, noted: &ProcessState) -> Result<(), String>;
}

/// The operating system's processes. Inside a container these are the container's own: packs that run elsewhere can't
/// be seen from there.
#[derive(Debug, Clone, Copy, Default)]
pub struct LiveProcesses;

impl Processes for LiveProcesses {
    fn is_alive(&self, noted: &ProcessState) -> Result<(), String> {
        let Some(created) = noted.pid_create_time else {
            return Err(format!("no pid_create_time, so another process may have pid {} by now", noted.pid));
        };
        let pid = Pid::from_u32(noted.pid);
        let system = system_with(pid).map_err(|error| format!("the system's processes can't be read: {error}"))?;
        let Some(process) = system.process(pid) else {
            return Err(format!("there is no process {}", noted.pid));
        };
        if matches!(process.status(), ProcessStatus::Zombie | ProcessStatus::Dead) {
            return Err(format!("process {} has ended", noted.pid));
        }
        let started = process.start_time();
        if (started as f64 - created).abs() > TOLERANCE {
            return Err(format!("process {} was started at second {started}, not {created}", noted.pid));
        }
        Ok(())
    }
}

fn system_with(pid: Pid) -> Result<System, sysinfo::Error> {
    let mut system = System::new()?;
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, ProcessRefreshKind::nothing());
    Ok(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(pid: u32) -> f64 {
        let pid = Pid::from_u32(pid);
        system_with(pid).unwrap().process(pid).unwrap().start_time() as f64
    }

    #[test]
    fn a_process_lives_under_its_id_and_its_start() {
        let me = std::process::id();
        let alive = |pid, pid_create_time| LiveProcesses.is_alive(&ProcessState { pid, pid_create_time });
        let created = started(me);
        alive(me, Some(created + 0.5)).unwrap();
        // The bound is two seconds, to either side: clocks are corrected, and ids are taken again soon.
        for (off, lives) in [(-2.0, true), (2.0, true), (-2.5, false), (2.5, false), (-60.0, false), (3600.0, false)] {
            let found = alive(me, Some(created + off));
            assert_eq!(found.is_ok(), lives, "{off}: {found:?}");
        }
        assert!(alive(me, Some(created - 60.0)).unwrap_err().contains("was started at"));
        assert!(alive(me, None).unwrap_err().contains("pid_create_time"));
    }

    #[test]
    fn a_process_that_has_ended_does_not_live() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let noted = ProcessState { pid: child.id(), pid_create_time: Some(started(child.id())) };
        LiveProcesses.is_alive(&noted).unwrap();
        child.kill().unwrap();
        // It is a zombie until it is waited for.
        let mut tries = 0;
        while LiveProcesses.is_alive(&noted).is_ok() && tries < 1000 {
            tries += 1;
            std::thread::yield_now();
        }
        assert!(LiveProcesses.is_alive(&noted).unwrap_err().contains("has ended"));
        child.wait().unwrap();
        assert!(LiveProcesses.is_alive(&noted).unwrap_err().contains("no process"));
    }
}
