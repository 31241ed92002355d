//! Gates that misbehave from some event on: with too much, with nothing, or by dying.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use wsp_reference::gate::{GateHandle, GateOptions, GateServer};
use wsp_world::model::Secret;

use super::scene::{BOUND, Scene, Told};
use crate::kit::live::nap;
use crate::kit::process::peak_mib;
use crate::kit::proxy::Pass;
use crate::kit::{self, KEY};

/// Memory that a run of the tests' size may take at most whatever its gate sends, in MiB.
const MEMORY: u64 = 200;

/// A run whose answers are `spoilt` once 500 events were admitted, so that it ends with `end`; then the gate is in order.
fn ends_and_resumes(
    mut scene: Scene,
    end: &str,
    spoilt: impl Fn(&[u8]) -> Pass + Send + Sync + 'static,
) -> Option<Told> {
    scene.proxy.answers(move |n, answer| if n < 500 { Pass::On } else { spoilt(answer) });
    let mut running = scene.start();
    let (process, mut peak) = (running.id(), 0);
    running.until_or_end(|| {
        peak = peak.max(peak_mib(process));
        false
    });
    let ran = scene.end(running);
    scene.assert_end(end);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!((1..=MEMORY).contains(&peak), "{peak} MiB");
    scene.proxy.mend();
    scene.resume();
    scene.told(BOUND + 8 * 5)
}

pub(crate) fn garbage_instead_of_json() -> Option<Told> {
    let page = "<html>It works!</html>";
    let answer = Bytes::from(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{page}", page.len()));
    ends_and_resumes(Scene::new(), "FAILED IG_PUSH_REJECTED", move |_| Pass::Changed(answer.clone()))
}

pub(crate) fn half_an_answer_always() -> Option<Told> {
    ends_and_resumes(Scene::new(), "FAILED IG_PUSH_RETRY_EXHAUSTED", |answer| {
        Pass::Last(answer[..answer.len() / 2].to_vec())
    })
}

pub(crate) fn a_body_of_100_mb() -> Option<Told> {
    let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n{\"decision\":\"ADMIT\",\"x\":\"".to_vec();
    answer.resize(answer.len() + 100_000_000, b'x');
    let answer = Bytes::from(answer);
    ends_and_resumes(Scene::new(), "FAILED IG_PUSH_REJECTED", move |_| Pass::Changed(answer.clone()))
}

pub(crate) fn headers_of_100_mb() -> Option<Told> {
    let mut answer = "HTTP/1.1 200 OK\r\n".to_owned();
    let value = "x".repeat(1_000);
    while answer.len() < 100_000_000 {
        let _ = write!(answer, "x-{}: {value}\r\n", answer.len());
    }
    let answer = Bytes::from(answer);
    ends_and_resumes(Scene::new(), "FAILED IG_PUSH_RETRY_EXHAUSTED", move |_| Pass::Changed(answer.clone()))
}

pub(crate) fn interim_answers_of_100_mb() -> Option<Told> {
    let answer = Bytes::from(b"HTTP/1.1 100 Continue\r\n\r\n".repeat(4_000_000));
    ends_and_resumes(Scene::hasty(), "FAILED IG_PUSH_RETRY_EXHAUSTED", move |_| Pass::Changed(answer.clone()))
}

pub(crate) fn no_answer_ever() -> Option<Told> {
    ends_and_resumes(Scene::hasty(), "FAILED IG_PUSH_RETRY_EXHAUSTED", |_| Pass::Never)
}

pub(crate) fn an_answer_byte_by_byte() -> Option<Told> {
    ends_and_resumes(Scene::hasty(), "FAILED IG_PUSH_RETRY_EXHAUSTED", |_| Pass::Drip(Duration::from_millis(200)))
}

/// It knows what it admitted; it is away for a second, and its port with it.
pub(crate) fn a_restart() -> Option<Told> {
    let mut scene = Scene::new();
    let journal = scene.path("gate.journal");
    let start = || -> GateHandle {
        let options = GateOptions { journal: Some(journal.clone()), ..GateOptions::new(Secret::new(KEY)) };
        GateServer::start(options).unwrap()
    };
    scene.live.gate = start();
    scene.proxy.lead_to(&scene.live.gate.base_url());
    let mut running = scene.start_at(1_500);
    scene.until(&mut running, 1_000);
    // Shut down before the next one reads its journal.
    let old = std::mem::replace(&mut scene.live.gate, kit::gate());
    old.shutdown().unwrap();
    nap(Duration::from_secs(1));
    scene.live.gate = start();
    scene.proxy.lead_to(&scene.live.gate.base_url());
    scene.recover(&mut running);
    scene.end(running);
    scene.assert_end("STREAMED");
    scene.told(8)
}
