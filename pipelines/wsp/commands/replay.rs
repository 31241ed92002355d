//! `wsp replay`: the second producer, from the command line.

use std::time::Duration;

use serde_json::{Value, json};
use wsp::clock::{Clock, SystemClock};
use wsp::deliver::{DeliveryMode, PushStats};
use wsp_replay::{Error, Live, Outcome, Replay, Start, Survey, Totals};

use super::replay_args::ReplayArgs;
use super::replay_listen::Desk;
use super::screen::Screen;
use super::service::stop_on_signals;
use super::table::{grouped, table};
use super::{Around, Exit, Failure, block_on, note, say};

/// Between two lines of progress where stderr is no terminal.
const EVERY: Duration = Duration::from_secs(10);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if error.is_usage() { Self::usage(error.to_string()) } else { Self::failed(error.to_string()) }
    }
}

pub(crate) fn run(args: &ReplayArgs, around: &Around) -> super::Outcome {
    let options = args.options()?;
    // Lines are written one after the other whatever the order is.
    let is_strict = options.mode == DeliveryMode::Strict && !options.sink.is_lines();
    let replay = Replay::new(options)?;
    if args.state.plan {
        let survey = block_on(replay.survey())??;
        say(if args.state.json { format!("{:#}\n", survey_json(&survey)) } else { survey_text(&survey) })?;
        return Ok(Exit::Done);
    }
    block_on(whole(replay, args, around, is_strict))?
}

/// From taking the state to letting go of it, on one runtime: that renews the hold on the state.
async fn whole(replay: Replay, args: &ReplayArgs, around: &Around, is_strict: bool) -> super::Outcome {
    let clock = SystemClock::new().fine();
    let start = replay.start(clock).await?;
    tell(&start, is_strict);
    let shown = start.state().map(str::to_owned);
    let stats = PushStats::new();
    if start.is_finished() {
        note("all of it was answered by earlier starts; --fresh sends it again");
        let outcome = Outcome { totals: Totals::default(), before: start.before(), error: None };
        start.close().await;
        report(args, &summary(&outcome, shown.as_deref(), &stats, Duration::ZERO))?;
        return Ok(Exit::Done);
    }
    let (outcome, took) = Box::pin(replayed(start, args, around, clock, &stats)).await?;
    report(args, &summary(&outcome, shown.as_deref(), &stats, took))?;
    match outcome.error {
        None => Ok(Exit::Done),
        Some(error) if error.is_stop() => {
            note(error);
            Ok(Exit::Stopped)
        }
        Some(error) => Err(error.into()),
    }
}

async fn replayed(
    start: Start,
    args: &ReplayArgs,
    around: &Around,
    clock: SystemClock,
    stats: &PushStats,
) -> Result<(Outcome, Duration), Failure> {
    let stop = stop_on_signals(|| std::process::exit(3))?;
    let live = Live::default();
    let (before, shown) = (start.before(), start.state().map(str::to_owned));
    let desk = Desk { live: live.clone(), stats: stats.clone(), before, state: shown, clock, began: clock.now() };
    // Until the replay ends.
    let _listener = match args.watch.listen {
        None => None,
        Some(address) => match desk.listen(address).await {
            Ok(listener) => Some(listener),
            Err(failure) => {
                start.close().await;
                return Err(failure);
            }
        },
    };
    if let Some(at) = args.time.start_at {
        wsp_replay::wait_until(at, &clock, &stop).await;
    }
    let began = clock.now();
    let progress = progress(&live, stats, &clock, &around.screen);
    let outcome = tokio::select! {
        biased;
        outcome = start.run(clock, stop, live.clone(), stats.clone()) => outcome,
        () = progress => return Err(Failure::failed("the progress has ended")),
    };
    around.screen.aside(|| ());
    Ok((outcome, clock.now().saturating_sub(began)))
}

/// Says where a start goes on, and what may be repeated.
fn tell(start: &Start, is_strict: bool) {
    match start.state() {
        Some(state) => note(format_args!(
            "state {state}: {} events answered before; a crash repeats {} at most",
            grouped(start.before()),
            grouped(start.bound())
        )),
        None => note("standard input can't be read again: a crash or a stop begins anew"),
    }
    if is_strict {
        note("order strict: one request in flight; --key COLUMNS or --order free allow more");
    }
}

async fn progress(live: &Live, stats: &PushStats, clock: &SystemClock, screen: &Screen) {
    let began = clock.now();
    let figures = || {
        let totals = live.totals();
        let seconds = clock.now().saturating_sub(began).as_secs_f64();
        let rate = totals.answered as f64 / seconds.max(1e-3);
        let time = totals.last.map_or_else(|| "-".to_owned(), |time| time.to_string()[..19].replace('T', " "));
        let unanswered = stats.on_the_way().unanswered;
        format!(
            "{} events  {}/s  {time}  lag {:.2} s  {} unanswered  {} retries",
            grouped(totals.answered),
            grouped(rate.round() as u64),
            totals.lag.as_secs_f64(),
            grouped(unanswered),
            grouped(stats.counts().retries)
        )
    };
    if screen.is_on() {
        screen.show(clock, |width| vec![figures().chars().take(width).collect()]).await;
    }
    loop {
        clock.sleep_until(clock.now() + EVERY).await;
        note(figures());
    }
}

/// Writes the summary where it belongs: stdout may be where events go.
fn report(args: &ReplayArgs, summary: &Value) -> Result<(), Failure> {
    let text = format!("{summary:#}\n");
    if let Some(path) = &args.sinks.summary {
        let written = std::fs::write(path, text);
        return written.map_err(|error| Failure::failed(format!("--summary: {}: {error}", path.display())));
    }
    if args.to == "-" {
        note(text.trim_end());
        return Ok(());
    }
    say(text)
}

fn summary(outcome: &Outcome, shown: Option<&str>, stats: &PushStats, took: Duration) -> Value {
    let Outcome { totals, before, error } = outcome;
    let time = |time: Option<wsp::time::Micros>| time.map(|time| time.to_string());
    let counts = stats.counts();
    let seconds = took.as_secs_f64();
    let rate = if seconds > 0.0 { totals.answered as f64 / seconds } else { 0.0 };
    let ended = match error {
        None => "done",
        Some(error) if error.is_stop() => "stopped",
        Some(_) => "failed",
    };
    json!({
        "ended": ended,
        "state": shown,
        "answered_before": before,
        "answered": totals.answered,
        "accepted": totals.accepted,
        "dropped": totals.dropped,
        "dead_letters": totals.dead_letters,
        "attempts": counts.attempts,
        "retried": counts.retries,
        "first_time": time(totals.first),
        "last_time": time(totals.last),
        "elapsed_seconds": (seconds * 1000.0).round() / 1000.0,
        "events_per_second": (rate * 10.0).round() / 10.0,
        "error": error.as_ref().map(ToString::to_string),
    })
}

fn survey_json(survey: &Survey) -> Value {
    let Survey { inputs, events, rounds, span_seconds, gaps, hottest_keys, seconds, requests } = survey;
    let time = |time: Option<wsp::time::Micros>| time.map(|time| time.to_string());
    let inputs: Vec<Value> = inputs
        .iter()
        .map(|input| {
            json!({
                "name": input.name, "files": input.files, "events": input.events, "body_bytes": input.bytes,
                "first_time": time(input.first), "last_time": time(input.last),
            })
        })
        .collect();
    let gaps: Vec<Value> =
        gaps.iter().map(|gap| json!({"after": gap.after.to_string(), "seconds": gap.seconds})).collect();
    let keys: Vec<Value> =
        hottest_keys.iter().map(|(key, events)| json!({"key": key, "events_at_least": events})).collect();
    json!({
        "inputs": inputs, "events": events, "rounds": rounds, "span_seconds": span_seconds, "longest_gaps": gaps, "hottest_keys": keys,
        "replay_seconds": seconds, "first_requests": requests,
    })
}

fn survey_text(survey: &Survey) -> String {
    let Survey { inputs, events, rounds, span_seconds, gaps, hottest_keys, seconds, requests } = survey;
    let short = |time: Option<wsp::time::Micros>| time.map_or_else(|| "-".to_owned(), |time| time.to_string());
    let heading = ["input", "files", "events", "body bytes", "first event", "last event"].map(str::to_owned).to_vec();
    let rows = inputs.iter().map(|input| {
        vec![
            input.name.clone(),
            grouped(input.files as u64),
            grouped(input.events),
            grouped(input.bytes),
            short(input.first),
            short(input.last),
        ]
    });
    let mut text = vec![table(&std::iter::once(heading).chain(rows).collect::<Vec<_>>())];
    let lasts = seconds.map_or_else(
        || "as long as the receiver or the plan of rates takes".to_owned(),
        |seconds| format!("{} if the receiver keeps up", length(seconds)),
    );
    let times = if *rounds > 1 { format!(", {} times", grouped(u64::from(*rounds))) } else { String::new() };
    let span = length(*span_seconds);
    text.push(format!("\n{} events over {span}{times}; a replay takes {lasts}\n", grouped(*events)));
    for gap in gaps {
        text.push(format!("gap of {} after {}\n", length(gap.seconds), gap.after));
    }
    for (key, events) in hottest_keys {
        text.push(format!("key {key}: at least {} events\n", grouped(*events)));
    }
    for (i, request) in requests.iter().enumerate() {
        text.push(format!("\n--- request {}\n{request}\n", i + 1));
    }
    text.concat()
}

/// A length of time as people read it.
fn length(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {} min", whole / 3600, whole / 60 % 60),
        _ => format!("{} d {} h", whole / 86_400, whole / 3600 % 24),
    }
}
