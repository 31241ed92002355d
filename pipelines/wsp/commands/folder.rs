//! The folder that relative paths count from.
//!
//! ```text
//! --profile FILE ──wiring.wsp_folder, WSP_FOLDER──► enter it; paths of the command line stay what they are
//! ```
//!
//! The spelling of a root is part of view ids and cursors, so a relative root can't be rewritten to an absolute one. The
//! process enters the folder instead, before anything is opened. ADR 1003 has the reasons.

use std::path::PathBuf;

use wsp_world::profile::{Profile, settings};

use super::args::{Checkpoint, Command, Matrix, ProfileArg, Ready, ReadyArgs, Report, Run, Validate, Verify};
use super::{Failure, variable};

/// Enters the folder that the command's profile names, if it names one.
pub(crate) fn enter(command: &mut Command) -> Result<(), Failure> {
    let Some((profile, others)) = paths(command) else { return Ok(()) };
    let Some(folder) = Profile::folder(profile, &variable) else { return Ok(()) };
    for path in std::iter::once(profile).chain(others) {
        let absolute = std::path::absolute(&*path);
        *path = absolute.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    }
    std::env::set_current_dir(&folder).map_err(|error| {
        Failure::usage(format!(
            "{}: {}: {error}; name a folder that is there",
            settings::FOLDER.name(),
            folder.display()
        ))
    })
}

/// The profile of a command that has one, and its other paths.
fn paths(command: &mut Command) -> Option<(&mut PathBuf, Vec<&mut PathBuf>)> {
    match command {
        Command::Run(Run { profile: ProfileArg { profile }, .. })
        | Command::Ready(Ready { profile: ProfileArg { profile }, .. })
        | Command::Verify(Verify { profile: ProfileArg { profile }, .. })
        | Command::Validate(Validate { profile: ProfileArg { profile }, .. }) => Some((profile, Vec::new())),
        Command::Plan(ReadyArgs { profile: ProfileArg { profile }, ready: other, .. })
        | Command::Matrix(Matrix { profile: ProfileArg { profile }, ready: other, .. })
        | Command::Report(Report { profile: ProfileArg { profile }, out: other, .. }) => {
            Some((profile, other.iter_mut().collect()))
        }
        Command::Checkpoint(command) => {
            let ReadyArgs { profile: ProfileArg { profile }, ready, .. } = match command {
                Checkpoint::Show(args) => args,
                Checkpoint::Reset(args) => &mut args.which,
            };
            Some((profile, ready.iter_mut().collect()))
        }
        Command::Demo(_)
        | Command::Init(_)
        | Command::Status(_)
        | Command::Gate(_)
        | Command::World(_)
        | Command::Replay(_)
        | Command::Simulate(_)
        | Command::Completions { .. }
        | Command::Man { .. }
        | Command::Docs { .. } => None,
    }
}
