//! `wsp init`: a commented profile for given parts, and the small files that it refers to where there are none.
//!
//! ```text
//! --kind, --world, --gate, … ──► Parts ──► Draft, read as a profile ──► FILE (never over another without --force)
//! ```

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Component, Path, PathBuf};

use wsp_reference::world::{CATALOGUE, GATE_MAP};
use wsp_world::profile::check_producer;
use wsp_world::profile::draft::{Deployment, Draft, DraftBus, DraftCheckpoints, Parts};
use wsp_world::profile::settings as s;

use super::args::{Init, InitCheckpoints, InitKind};
use super::{Exit, Failure, Outcome, note, say};

/// The engine's catalogue and the allowlist in a repository's own layout.
const CATALOGUES: [&str; 2] = [s::CATALOGUE_PATH.default, "config/oracle/engine_outputs.catalogue.yaml"];
const ALLOWLISTS: [&str; 2] = [s::PRODUCER_ALLOWLIST_REF.default, "config/producers.txt"];

/// A small file that a profile refers to, beside it.
type Companion = (&'static str, String);

pub(crate) fn run(args: &Init) -> Outcome {
    let to_stdout = args.output == Path::new("-");
    let folder = args.output.parent().unwrap_or(Path::new("")).to_owned();
    let (catalogue, mut companions) = catalogue();
    let (allowlist, list) = allowlist();
    companions.extend(list);
    let draft = parts(args, if to_stdout { None } else { way_back(Path::new("."), &folder) }, catalogue, allowlist)
        .draft()
        .map_err(|error| Failure::usage(format!("nothing is written, as WSP would refuse the profile: {error}")))?;
    if to_stdout {
        say(&draft.text)?;
        for (name, _) in companions {
            note(format_args!("the profile refers to {name}, which has to be there, beside it"));
        }
        return Ok(Exit::Done);
    }
    write(&args.output, &draft.text, args.force).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::usage(format!("{} exists; --force overwrites it", args.output.display()))
        }
        _ => Failure::failed(format!("{}: {error}", args.output.display())),
    })?;
    let mut written = vec![args.output.clone()];
    for (name, text) in companions {
        let path = folder.join(name);
        match write(&path, &text, false) {
            Ok(()) => written.push(path),
            // What is there is somebody's own.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Failure::failed(format!("{}: {error}", path.display()))),
        }
    }
    note(next(&written, &args.output, &draft));
    Ok(Exit::Done)
}

fn parts(args: &Init, folder: Option<String>, catalogue: String, allowlist: String) -> Parts {
    let local = args.kind == InitKind::Local;
    let usual = if local { DraftBus::File(None) } else { DraftBus::Kafka(None) };
    let postgres = args.checkpoints.map_or(!local, |checkpoints| checkpoints == InitCheckpoints::Postgres);
    Parts {
        deployment: if local { Deployment::Local } else { Deployment::DevMin },
        world: args.world.clone(),
        gate: args.gate.clone(),
        control_bus: args.control_bus.clone().unwrap_or(usual),
        checkpoints: if postgres { DraftCheckpoints::Postgres } else { DraftCheckpoints::File },
        // A strict profile has no path that counts from anywhere.
        folder: folder.filter(|_| local),
        catalogue,
        allowlist,
    }
}

/// The catalogue that is there, else one to write.
fn catalogue() -> (String, Vec<Companion>) {
    if let Some(path) = CATALOGUES.into_iter().find(|path| Path::new(path).is_file()) {
        return (path.to_owned(), Vec::new());
    }
    let name = "engine_outputs.catalogue.yaml";
    (name.to_owned(), vec![(name, CATALOGUE.to_owned()), ("engine_gates.map.yaml", GATE_MAP.to_owned())])
}

/// The allowlist that allows us, else one to write.
fn allowlist() -> (String, Vec<Companion>) {
    let producer = s::PRODUCER_ID.default;
    if let Some(path) = ALLOWLISTS.into_iter().find(|path| check_producer(Path::new(path), producer).is_ok()) {
        return (path.to_owned(), Vec::new());
    }
    let name = "producers.txt";
    (
        name.to_owned(),
        vec![(name, format!("# Producers that may push to the Ingestion Gate, one a line.\n{producer}\n"))],
    )
}

/// The way from a profile's folder back to the working directory `here`, which relative paths of the command line count from;
/// where that is no matter of `..` (an absolute path, a link), the directory itself.
fn way_back(here: &Path, folder: &Path) -> Option<String> {
    let here = here.canonicalize().ok()?;
    let steps = folder.components().filter(|part| matches!(part, Component::Normal(_))).count();
    let way = if steps == 0 { ".".to_owned() } else { vec![".."; steps].join("/") };
    let leads_back = here.join(folder).join(&way).canonicalize().is_ok_and(|there| there == here);
    if leads_back { Some(way) } else { here.to_str().map(str::to_owned) }
}

fn write(path: &Path, text: &str, over: bool) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true);
    // In one step, so that a file that comes up meanwhile is not overwritten either.
    if over {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    options.open(path)?.write_all(text.as_bytes())
}

/// What was written and what comes next.
fn next(written: &[PathBuf], profile: &Path, draft: &Draft) -> String {
    let list = |names: Vec<String>| names.join(", ");
    let files = list(written.iter().map(|path| path.display().to_string()).collect());
    let needs = list(draft.needs.iter().map(|need| need.variable.to_owned()).collect());
    format!("wrote {files}\nset {needs}, then: wsp validate --explain --profile {}", profile.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_leads_to_where_the_command_was_given() {
        let here = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(here.path().join("a/b")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), here.path().join("link")).unwrap();
        let back = |folder: &Path| way_back(here.path(), folder).unwrap();
        for (folder, way) in [("", "."), (".", "."), ("a", ".."), ("./a/b", "../.."), ("a/../a", "../..")] {
            let found = back(Path::new(folder));
            let same =
                here.path().join(folder).join(&found).canonicalize().unwrap() == here.path().canonicalize().unwrap();
            assert!(same && (found == way || found.starts_with('/')), "{folder}: {found}");
        }
        let absolute = here.path().canonicalize().unwrap().display().to_string();
        for folder in [elsewhere.path(), Path::new("link"), Path::new("../elsewhere"), Path::new("not/there")] {
            assert_eq!(back(folder), absolute, "{}", folder.display());
        }
    }
}
