//! Targets 6 and 7: memory that stays, and cost that grows straight with events, whatever their files and outputs.

use wsp_reference::LocalRun;
use wsp_reference::world::WorldSpec;

use super::Bench;
use super::end_to_end::rate;
use super::table::{Met, Row, Spread};
use crate::Result;
use crate::parts::Streaming;
use crate::stage::Stage;

/// How far the dearest of a row of sizes may be above the cheapest to be called constant.
const CONSTANT: f64 = 1.15;
/// A process's largest memory, MiB.
const MOST: f64 = 256.0;
/// The outputs beside the traffic, in the order in which they are added.
const CONTEXT: [&str; 5] = [
    "arrival_events_5B",
    "s1_arrival_entities_6B",
    "s3_flow_anchor_with_fraud_6B",
    "s2_flow_anchor_baseline_6B",
    "s2_event_stream_baseline_6B",
];

/// What one size took, over the rounds.
#[derive(Default)]
struct Size {
    name: String,
    time: Spread,
    cpu: Spread,
    peak: Spread,
}

pub(super) fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let events = bench.options.events;
    let sizes = [events / 10, events, events * 10];
    let worlds = sizes.map(|events| bench.stage(&format!("of-{events}"), &WorldSpec::new(events)));
    let usual: fn(&mut LocalRun<'_>) = |_| ();
    let [small, middle, large] = worlds;
    let grown = [small?, middle?, large?];
    let of_events = grown.iter().zip(sizes).map(|(stage, events)| (format!("{events} events"), stage, usual));
    let of_events = measure(bench, "events", &of_events.collect::<Vec<_>>())?;

    let many = bench.stage("files", &WorldSpec { parts: 64, ..WorldSpec::new(events) })?;
    let files = [("1 file".to_owned(), &grown[1], usual), ("64 files".to_owned(), &many, usual)];
    let of_files = measure(bench, "files", &files)?;

    // Merchants as in a real world: some outputs are kept in line by merchant and some by flow, and a favourite's one line
    // of events at a time would be measured, which is the longer the more of the outputs are of the first kind.
    let six = bench.stage("outputs", &WorldSpec { baseline: true, evenness: 70, ..WorldSpec::new(events) })?;
    let outputs: [fn(&mut LocalRun<'_>); 6] = [
        |run| run.context = Some(&[]),
        |run| run.context = Some(&CONTEXT[..1]),
        |run| run.context = Some(&CONTEXT[..2]),
        |run| run.context = Some(&CONTEXT[..3]),
        |run| run.context = Some(&CONTEXT[..4]),
        |run| run.context = Some(&CONTEXT[..5]),
    ];
    let outputs = outputs.iter().enumerate().map(|(i, change)| (format!("{} outputs", i + 1), &six, *change));
    let of_outputs = measure(bench, "outputs", &outputs.collect::<Vec<_>>())?;

    let mut rows = vec![memory(&of_events[1], &of_events[2])];
    for (what, sizes) in
        [("events", of_events), ("files an output", of_files), ("outputs, merchants as in a real world", of_outputs)]
    {
        rows.push(straight(what, &sizes));
    }
    Ok(rows)
}

/// All sizes in turns.
fn measure(bench: &Bench, what: &str, sizes: &[(String, &Stage, fn(&mut LocalRun<'_>))]) -> Result<Vec<Size>> {
    let mut measured: Vec<Size> =
        sizes.iter().map(|(name, ..)| Size { name: name.clone(), ..Size::default() }).collect();
    for round in 0..bench.options.rounds {
        bench.round(what, round);
        for ((_, stage, change), size) in sizes.iter().zip(&mut measured) {
            let (sample, _) = Streaming::new(bench.program(), stage).run(change)?;
            size.time.0.push(1e6 / rate(&sample)?);
            size.cpu.0.push(sample.cpu);
            size.peak.0.push(sample.peak);
        }
    }
    Ok(measured)
}

fn memory(small: &Size, large: &Size) -> Row {
    let grown = large.peak.over(&small.peak);
    Row {
        target: 6,
        what: format!("peak memory at ten times the events, at most 1.10 times as much and under {MOST} MiB"),
        figure: format!("{} times as much, {}", grown.told(2, ""), large.peak.told(0, " MiB")),
        met: Met::from(grown.median() <= 1.1 && large.peak.max() < MOST),
        how: format!(
            "VmHWM of `wsp run --once`, {} ({}) and {}; row groups of 122,880 rows, four outputs, the next row group fetched \
             ahead",
            small.name,
            small.peak.told(0, " MiB"),
            large.name
        ),
    }
}

fn straight(what: &str, sizes: &[Size]) -> Row {
    let medians = |of: fn(&Size) -> &Spread| sizes.iter().map(|size| of(size).median()).collect::<Vec<_>>();
    let apart = |of| {
        let medians = medians(of);
        medians.iter().copied().fold(f64::NAN, f64::max) / medians.iter().copied().fold(f64::NAN, f64::min)
    };
    let (time, cpu) = (apart(|size| &size.time), apart(|size| &size.cpu));
    let told = sizes
        .iter()
        .map(|size| format!("{}: {} and {} of CPU", size.name, size.time.told(1, " µs"), size.cpu.told(1, " µs")));
    Row {
        target: 7,
        what: format!("time and CPU an event constant over {what} (dearest at most {CONSTANT} times the cheapest)"),
        figure: format!("{time:.2} (time), {cpu:.2} (CPU)"),
        met: Met::from(time <= CONSTANT && cpu <= CONSTANT),
        how: format!("whole process, start and end included; {}", told.collect::<Vec<_>>().join("; ")),
    }
}
