//! Everything that breaks around a run, one fault a test: nothing is lost, order is kept, and the evidence says how it ended.
//!
//! ```text
//! wsp ──► proxy (late, cut, changed, gone) ──► reference gate
//!  └── disks, folders, descriptors, clock
//! ```
//!
//! `cargo test --test hostile faults::table -- --ignored --nocapture` prints the table of docs/faults.md.

#![allow(clippy::unnecessary_wraps, reason = "every story may come to nothing, where a machine lacks what it takes")]

mod gates;
mod machine;
mod scene;
mod wire;

use scene::Told;

/// A fault: its name, what happens, what WSP does, and the story.
type Fault = (&'static str, &'static str, &'static str, fn() -> Option<Told>);

macro_rules! faults {
    ($($room:ident::$name:ident: $fault:literal, $did:literal;)+) => {
        const FAULTS: &[Fault] = &[$((stringify!($name), $fault, $did, $room::$name),)+];

        $(
            #[test]
            fn $name() {
                drop($room::$name());
            }
        )+
    };
}

faults! {
    wire::late_answers: "1 % of answers 300 ms late", "waits; other keys go on";
    wire::requests_cut_amid: "1 % of requests cut amid", "sends them again";
    wire::answers_lost: "1 % of answers lost, connection cut", "sends again, takes the DUPLICATE";
    wire::answers_cut_amid: "1 % of answers cut amid", "sends again, takes the DUPLICATE";
    wire::a_bit_of_the_status_line_flipped: "a bit of the status line flipped in 1 % of answers", "drops the connection, sends again";
    wire::a_longer_length_said: "a length too long in 0.2 % of answers", "times out after the attempt's time, sends again";
    wire::a_bit_of_the_decision_flipped: "a bit of the decision's JSON flipped", "ends the run: an answer without a decision delivers nothing";
    wire::chunks_of_garbage: "chunks that are none in 1 % of answers", "drops the connection, sends again";
    wire::no_http_at_all: "answers that are no HTTP, for good", "tries as often as allowed, ends the run";
    wire::a_way_that_is_gone_for_two_seconds: "every connection cut for 2 s", "tries again";
    wire::a_way_that_is_gone_for_good: "every connection cut for good", "tries as often as allowed, ends the run";
    wire::packets_swallowed_for_two_seconds: "requests swallowed for 2 s", "times out, tries again";
    gates::garbage_instead_of_json: "200 with a web page", "ends the run: an answer without a decision delivers nothing";
    gates::half_an_answer_always: "half an answer, for good", "tries as often as allowed, ends the run";
    gates::a_body_of_100_mb: "a body of 100 MB", "reads 1 MiB of it, ends the run";
    gates::headers_of_100_mb: "headers of 100 MB, for good", "reads 32 KiB of them, tries as often as allowed, ends the run";
    gates::interim_answers_of_100_mb: "100 MB of `100 Continue`, for good", "reads 32 KiB of it, tries as often as allowed, ends the run";
    gates::no_answer_ever: "no answer, for good", "times out as often as allowed, ends the run";
    gates::an_answer_byte_by_byte: "an answer of a byte each 200 ms, for good", "times out as often as allowed, ends the run";
    gates::a_restart: "the gate restarts, away for 1 s", "tries again";
    machine::a_full_disk_under_the_checkpoints: "disk full under the checkpoints", "ends the run: nothing is sent that can't be noted";
    machine::a_full_disk_under_the_evidence: "disk full under the evidence", "keeps its verdict; the next start writes it";
    machine::a_full_disk_under_stdout: "disk full under stdout and stderr", "streams and records; exits 1 because it could not tell";
    machine::a_full_disk_under_the_session_log: "disk full under the session log", "streams; the log is for people";
    machine::a_read_only_checkpoint_folder: "read-only checkpoint folder", "sends nothing";
    machine::a_read_only_evidence_store: "read-only evidence store", "sends nothing, gives no verdict";
    machine::no_descriptors_left: "descriptors exhausted (18 with 8 in flight)", "ends the run, says so";
    machine::a_wall_clock_that_is_stepped: "wall clock stepped 1 h back, then 2 h forth", "goes on: nothing is timed by it";
    machine::a_process_that_is_stopped_for_three_seconds: "process stopped for 3 s (SIGSTOP)", "goes on";
    machine::a_kill: "process killed (SIGKILL)", "the next start goes on from the saved position";
}

#[test]
#[ignore = "runs every fault once more, one after the other, for the table of docs/faults.md"]
fn table() {
    println!("| fault | what WSP does | lost | repeated | order | ends | recovered after |");
    println!("|---|---|---|---|---|---|---|");
    for (name, fault, did, story) in FAULTS {
        eprintln!("{name} …");
        let Some(Told { lost, repeated, in_order, ends, recovered }) = story() else { continue };
        let order = if in_order { "kept" } else { "broken" };
        let recovered = recovered.map_or("beside it".to_owned(), |time| format!("{:.2} s", time.as_secs_f64()));
        println!("| {fault} | {did} | {lost} | {repeated} | {order} | {ends} | {recovered} |");
    }
}

#[test]
fn the_page_tells_of_every_fault() {
    let page = crate::kit::text_of("docs/faults.md");
    for (_, fault, did, _) in FAULTS {
        assert!(page.contains(&format!("| {fault} | {did} | 0 |")), "docs/faults.md lacks {fault:?}");
    }
}
