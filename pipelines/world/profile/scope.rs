//! Which run is active, and the folders that belong to it (contract, section 9).

use std::path::{Component, Path, PathBuf};

use super::ConfigError;
use crate::model::PlatformRunId;

/// The folder whose direct children are run-scoped.
const RUNS: &str = "runs/fraud-platform";

/// The active run: the one the environment names, else the first line of `runs/fraud-platform/ACTIVE_RUN_ID`
/// below `working_dir`, else none.
///
/// # Errors
///
/// If the file is there but its first line is no platform run id.
pub fn active_run(from_env: Option<&PlatformRunId>, working_dir: &Path) -> Result<Option<PlatformRunId>, ConfigError> {
    if let Some(run) = from_env {
        return Ok(Some(run.clone()));
    }
    let path = working_dir.join(RUNS).join("ACTIVE_RUN_ID");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ConfigError::new(format!("{}: {error}", path.display()))),
    };
    match text.lines().next().map(str::trim) {
        None | Some("") => Ok(None),
        Some(line) => line.parse().map(Some).map_err(|error| ConfigError::new(format!("{}: {error}", path.display()))),
    }
}

/// A configured path with its run: `runs/fraud-platform/control_bus` means
/// `runs/fraud-platform/<run>/control_bus`, unless it names a run already. Other paths stay as they are,
/// and so does every path while no run is active.
#[must_use]
pub fn run_scoped(path: &Path, run: Option<&PlatformRunId>) -> PathBuf {
    let Some(run) = run else { return path.to_owned() };
    let relative: PathBuf = path.components().filter(|part| *part != Component::CurDir).collect();
    let Ok(below) = relative.strip_prefix(RUNS) else { return path.to_owned() };
    let names_a_run = below
        .components()
        .next()
        .and_then(|first| first.as_os_str().to_str())
        .is_none_or(|first| first.parse::<PlatformRunId>().is_ok());
    if names_a_run { path.to_owned() } else { Path::new(RUNS).join(run.as_str()).join(below) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_right_under_runs_belong_to_the_run() {
        let run: PlatformRunId = "platform_20260101T000000Z".parse().unwrap();
        let scoped = |path: &str| run_scoped(Path::new(path), Some(&run)).display().to_string();
        assert_eq!(
            scoped("runs/fraud-platform/control_bus"),
            "runs/fraud-platform/platform_20260101T000000Z/control_bus"
        );
        assert_eq!(
            scoped("./runs/fraud-platform/wsp/checkpoints"),
            "runs/fraud-platform/platform_20260101T000000Z/wsp/checkpoints"
        );
        for same in [
            "runs/fraud-platform/platform_20250101T000000Z/control_bus",
            "runs/fraud-platform",
            "elsewhere/control_bus",
            "/runs/fraud-platform/x",
        ] {
            assert_eq!(scoped(same), same);
        }
        assert_eq!(run_scoped(Path::new("runs/fraud-platform/x"), None), Path::new("runs/fraud-platform/x"));
    }

    #[test]
    fn the_environment_wins_and_a_bad_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(active_run(None, folder.path()).unwrap(), None);
        let runs = folder.path().join(RUNS);
        std::fs::create_dir_all(&runs).unwrap();
        std::fs::write(runs.join("ACTIVE_RUN_ID"), "platform_20260101T000000Z\nnoise").unwrap();
        assert_eq!(active_run(None, folder.path()).unwrap().unwrap().as_str(), "platform_20260101T000000Z");
        let other: PlatformRunId = "platform_20260202T000000Z".parse().unwrap();
        assert_eq!(active_run(Some(&other), folder.path()).unwrap(), Some(other));
        std::fs::write(runs.join("ACTIVE_RUN_ID"), "../etc").unwrap();
        assert!(active_run(None, folder.path()).is_err());
    }
}
