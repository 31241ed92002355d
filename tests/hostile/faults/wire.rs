//! Faults between WSP and the gate. The gate itself is in order, so whatever it admitted twice was sent twice.

use std::time::Duration;

use bytes::Bytes;

use super::scene::{BOUND, EVENTS, Scene, Told};
use crate::kit::live::nap;
use crate::kit::proxy::Pass;

const OK: &str = "HTTP/1.1 200 OK\r\n";

/// A run through a fault that is there from its first event to its last: it streams. `repeated` of them may come again.
fn streams(scene: Scene, repeated: u64) -> Option<Told> {
    let mut scene = scene;
    let running = scene.start();
    scene.end(running);
    scene.assert_end("STREAMED");
    scene.told(repeated)
}

/// A run whose answers are spoilt once 500 events were admitted, so that it ends with `end`; mended, the next streams.
fn ends_and_resumes(end: &str, spoil: impl Fn(&[u8]) -> Pass + Send + Sync + 'static) -> Option<Told> {
    let mut scene = Scene::new();
    scene.proxy.answers(move |n, answer| if n < 500 { Pass::On } else { spoil(answer) });
    let running = scene.start();
    let ran = scene.end(running);
    scene.assert_end(end);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    scene.proxy.mend();
    scene.resume();
    // What was on its way when the run ended, and its retries, was admitted and is sent again.
    scene.told(BOUND + 8 * 5)
}

pub(crate) fn late_answers() -> Option<Told> {
    let scene = Scene::new();
    scene.proxy.answers(|n, _| if n % 100 == 99 { Pass::Late(Duration::from_millis(300)) } else { Pass::On });
    streams(scene, 0)
}

pub(crate) fn requests_cut_amid() -> Option<Told> {
    let scene = Scene::new();
    scene.proxy.requests(
        |n, bytes| {
            if n % 100 == 99 { Pass::Last(bytes[..bytes.len() / 2].to_vec()) } else { Pass::On }
        },
    );
    streams(scene, 0)
}

pub(crate) fn answers_lost() -> Option<Told> {
    let scene = Scene::new();
    scene.proxy.answers(|n, _| if n % 100 == 99 { Pass::Last(Vec::new()) } else { Pass::On });
    streams(scene, EVENTS / 50)
}

pub(crate) fn answers_cut_amid() -> Option<Told> {
    let scene = Scene::new();
    scene
        .proxy
        .answers(|n, bytes| if n % 100 == 99 { Pass::Last(bytes[..bytes.len() - 5].to_vec()) } else { Pass::On });
    streams(scene, EVENTS / 50)
}

pub(crate) fn a_bit_of_the_status_line_flipped() -> Option<Told> {
    let scene = Scene::new();
    scene.proxy.answers(|n, bytes| if n % 100 == 99 { flipped(bytes, b"HTTP/1.1") } else { Pass::On });
    streams(scene, EVENTS / 50)
}

pub(crate) fn a_longer_length_said() -> Option<Told> {
    let scene = Scene::hasty();
    // The answer never gets as long as it says it is.
    scene.proxy.answers(|n, bytes| if n % 500 == 499 { lengthened(bytes) } else { Pass::On });
    streams(scene, EVENTS / 250)
}

pub(crate) fn a_bit_of_the_decision_flipped() -> Option<Told> {
    ends_and_resumes("FAILED IG_PUSH_REJECTED", |bytes| flipped(bytes, b"decision"))
}

pub(crate) fn chunks_of_garbage() -> Option<Told> {
    let scene = Scene::new();
    scene.proxy.answers(|n, _| {
        let garbage = format!("{OK}transfer-encoding: chunked\r\n\r\n-1\r\n{{\"decision\":\"ADMIT\"}}\r\n0\r\n\r\n");
        if n % 100 == 99 { Pass::Changed(garbage.into()) } else { Pass::On }
    });
    streams(scene, EVENTS / 50)
}

pub(crate) fn no_http_at_all() -> Option<Told> {
    ends_and_resumes("FAILED IG_PUSH_RETRY_EXHAUSTED", |_| {
        Pass::Changed(Bytes::from_static(b"220 mail.example ESMTP\r\n"))
    })
}

pub(crate) fn a_way_that_is_gone_for_two_seconds() -> Option<Told> {
    let mut scene = Scene::new();
    let mut running = scene.start_at(1_500);
    scene.until(&mut running, 1_000);
    scene.proxy.cut();
    nap(Duration::from_secs(2));
    scene.proxy.mend();
    scene.recover(&mut running);
    scene.end(running);
    scene.assert_end("STREAMED");
    scene.told(8)
}

pub(crate) fn a_way_that_is_gone_for_good() -> Option<Told> {
    let mut scene = Scene::new();
    let mut running = scene.start_at(1_500);
    scene.until(&mut running, 1_000);
    scene.proxy.cut();
    scene.end(running);
    scene.assert_end("FAILED IG_PUSH_RETRY_EXHAUSTED");
    scene.proxy.mend();
    scene.resume();
    scene.told(BOUND)
}

pub(crate) fn packets_swallowed_for_two_seconds() -> Option<Told> {
    let mut scene = Scene::hasty();
    let mut running = scene.start_at(1_500);
    scene.until(&mut running, 1_000);
    scene.proxy.requests(|_, _| Pass::Never);
    nap(Duration::from_secs(2));
    scene.proxy.mend();
    scene.recover(&mut running);
    scene.end(running);
    scene.assert_end("STREAMED");
    scene.told(8)
}

/// With the lowest bit of the first byte of `at` flipped.
fn flipped(bytes: &[u8], at: &[u8]) -> Pass {
    let mut bytes = bytes.to_vec();
    if let Some(place) = bytes.windows(at.len()).position(|window| window == at) {
        bytes[place] ^= 1;
    }
    Pass::Changed(bytes.into())
}

/// With a 9 in front of its `content-length`.
fn lengthened(bytes: &[u8]) -> Pass {
    let text = String::from_utf8(bytes.to_vec()).unwrap().replace("content-length: ", "content-length: 9");
    Pass::Changed(text.into())
}
