//! Faults of the machine under WSP: disks, folders, descriptors, clocks, signals.
//!
//! Some need root or a tool; where there is none, the fault is skipped and says so.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::scene::{BOUND, Scene, Told};
use crate::kit::live::nap;
use crate::kit::{self, copy_tree};

/// Preloaded, it shows a program the wall clock that a file names.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// A file system of its own, for as long as this lives.
struct Mount(PathBuf);

impl Mount {
    /// A disk of this size, `256k` or so.
    fn disk(at: PathBuf, size: &str) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        Self::new(at, &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
    }

    /// The folder itself, read-only.
    fn read_only(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mount = Self::new(at.to_owned(), &["--bind", at.to_str().unwrap()])?;
        mount.again("ro,bind").then_some(mount)
    }

    fn new(at: PathBuf, args: &[&str]) -> Option<Self> {
        let mounted = Command::new("mount").args(args).arg(&at).output().is_ok_and(|output| output.status.success());
        mounted.then_some(Self(at)).or_else(|| skipped("mounting takes root"))
    }

    fn again(&self, options: &str) -> bool {
        let options = format!("remount,{options}");
        Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap().success()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn skipped<T>(why: &str) -> Option<T> {
    eprintln!("SKIPPED, this machine can't: {why}");
    None
}

pub(crate) fn a_full_disk_under_the_checkpoints() -> Option<Told> {
    let mut scene = Scene::new();
    let disk = Mount::disk(scene.path("checkpoints"), "1m")?;
    let mut running = scene.start_at(1_500);
    scene.until(&mut running, 1_000);
    fill(&scene.path("checkpoints/filler"));
    let ran = scene.end(running);
    scene.assert_end("FAILED CHECKPOINT_SAVE_FAILED");
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    std::fs::remove_file(scene.path("checkpoints/filler")).unwrap();
    scene.resume();
    let told = scene.told(BOUND);
    drop(disk);
    told
}

pub(crate) fn a_full_disk_under_the_evidence() -> Option<Told> {
    let mut scene = Scene::new();
    let kept = scene.path("kept");
    copy_tree(&scene.path("store"), &kept);
    let disk = Mount::disk(scene.path("store"), "1m")?;
    copy_tree(&kept, &scene.path("store"));
    let mut running = scene.start_at(1_500);
    scene.until(&mut running, 1_000);
    fill(&scene.path("store/filler"));
    let ran = scene.end(running);
    scene.assert_end("no verdict (exit 1)");
    assert!(ran.stderr.contains("No space left on device"), "{}", ran.stderr);
    std::fs::remove_file(scene.path("store/filler")).unwrap();
    let running = scene.start();
    scene.end(running);
    // The end was kept beside the store; the next start writes it first, and then has nothing left to do.
    scene.assert_end("SKIPPED_DUPLICATE");
    let told = scene.told(0);
    drop(disk);
    told
}

/// Writes until nothing more fits.
fn fill(path: &Path) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    for size in [1 << 16, 1 << 12, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

pub(crate) fn a_full_disk_under_stdout() -> Option<Told> {
    let mut scene = Scene::new();
    let mut command = scene.command();
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command.stdout(full()).stderr(full()).status().unwrap();
    assert_eq!(output.code(), Some(1), "the verdict is on record, and could not be told");
    // The run is over; the next start has nothing to do and says so.
    let ran = scene.live.stage.run_once();
    scene.note(&ran);
    scene.assert_end("SKIPPED_DUPLICATE");
    scene.told(0)
}

pub(crate) fn a_full_disk_under_the_session_log() -> Option<Told> {
    let mut scene = Scene::new();
    let folder = scene.path("runs/fraud-platform").join(kit::RUN);
    std::fs::create_dir_all(&folder).unwrap();
    std::os::unix::fs::symlink("/dev/full", folder.join("session.jsonl")).unwrap();
    let running = scene.start();
    scene.end(running);
    scene.assert_end("STREAMED");
    std::fs::remove_file(folder.join("session.jsonl")).unwrap();
    scene.told(0)
}

pub(crate) fn a_read_only_checkpoint_folder() -> Option<Told> {
    let mut scene = Scene::new();
    let mount = Mount::read_only(&scene.path("checkpoints"))?;
    let running = scene.start();
    scene.end(running);
    scene.assert_end("FAILED CHECKPOINT_SAVE_FAILED");
    assert_eq!(scene.admitted(), 0, "nothing is sent that could not be noted");
    drop(mount);
    scene.resume();
    scene.told(0)
}

pub(crate) fn a_read_only_evidence_store() -> Option<Told> {
    let mut scene = Scene::new();
    let mount = Mount::read_only(&scene.path("store"))?;
    let running = scene.start();
    scene.end(running);
    scene.assert_end("no verdict (exit 1)");
    assert_eq!(scene.admitted(), 0, "nothing is sent that could not be told");
    drop(mount);
    scene.resume();
    scene.told(0)
}

/// So few that not every channel gets its connection.
pub(crate) fn no_descriptors_left() -> Option<Told> {
    let mut scene = Scene::new();
    let wsp = scene.command();
    let mut command = Command::new("sh");
    command
        .current_dir(scene.path(""))
        .env_clear()
        .envs(wsp.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(["-c", "ulimit -n 18; exec \"$0\" \"$@\""]).arg(wsp.get_program()).args(wsp.get_args());
    let running = scene.spawn(&mut command);
    let ran = scene.end(running);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("Too many open files"), "{}", ran.stderr);
    scene.resume();
    scene.told(BOUND)
}

/// An hour back, then two forth, while a run is paced.
pub(crate) fn a_wall_clock_that_is_stepped() -> Option<Told> {
    if !Path::new(FAKETIME).exists() {
        return skipped("no libfaketime (Debian: libfaketime)");
    }
    let mut scene = Scene::new();
    let offset = scene.path("offset");
    std::fs::write(&offset, "+0").unwrap();
    let mut command = scene.command();
    command.env("WSP_TARGET_EPS", "1500").env("LD_PRELOAD", FAKETIME).env("FAKETIME_TIMESTAMP_FILE", &offset);
    command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
    let mut running = scene.spawn(&mut command);
    scene.until(&mut running, 500);
    for (step, events) in [("-1h", 1_200), ("+1h", 1_900)] {
        std::fs::write(&offset, step).unwrap();
        scene.recover(&mut running);
        scene.until(&mut running, events);
    }
    let ran = scene.end(running);
    scene.assert_end("STREAMED");
    let summary = std::fs::read_to_string(scene.live.stage.evidence("wsp/wsp_summary.json")).unwrap();
    assert_eq!(ran.verdicts[0]["emitted"], json!(scene.live.events.len()), "{summary}");
    scene.told(0)
}

/// As a machine does that is suspended: no answer is read, no timer runs.
pub(crate) fn a_process_that_is_stopped_for_three_seconds() -> Option<Told> {
    let mut scene = Scene::hasty();
    let mut running = scene.start_at(1_500);
    scene.until(&mut running, 1_000);
    running.signal("STOP");
    nap(Duration::from_secs(3));
    running.signal("CONT");
    scene.recover(&mut running);
    scene.end(running);
    scene.assert_end("STREAMED");
    scene.told(8)
}

pub(crate) fn a_kill() -> Option<Told> {
    let mut scene = Scene::new();
    let mut running = scene.start_at(1_500);
    scene.until(&mut running, 1_000);
    assert!(running.kill());
    scene.resume();
    scene.told(BOUND)
}
