//! `wsp docs`: reference pages made from the code. They are committed under `docs/` and tested against it.

use std::fmt::Write;

use clap::CommandFactory;
use wsp::telemetry::Metric;
use wsp_matrix::ROWS;
use wsp_replay::metrics::ALL as REPLAY_METRICS;
use wsp_world::model::{After, Bus, Reason};
use wsp_world::profile::{schema, settings};
use wsp_world::telemetry::catalogue;

use super::args::{Cli, DocsPage};
use super::replay_schema;

const REASONS: &str = "# Reason codes

Made by `wsp docs reasons`. A reason stands in a run's record (`wsp/ready_runs/<message_id>.jsonl`), in its RUN_ENDED or
RUN_CANCELLED fact, in `wsp_summary.json` and in the log, where the line also names file, row and field, and says what to do on
the control bus in use.

The last column says what becomes of the READY. [On each control bus](#on-each-control-bus) says what to do with it then.

| code | what it means | what to do | READY |
|---|---|---|---|
";
const BUSES: &str = "
## On each control bus

What becomes of a READY decides what brings it back, once the cause is mended. A run that is taken up again resumes from its
checkpoint; a READY that comes twice is no harm.
";

const PROFILE: &str = "# Profile reference

Made by `wsp docs profile`. A profile is a YAML file of the platform; WSP reads `profile_id`, `policy` and `wiring` and leaves
everything else alone. Every value is the text that stands in the file, with or without quotes: `00123456`, `1.10`, `yes` and
`2026-01-01` stay what they are. An unquoted `null` or `~`, nothing, and a text of blanks count as absent.

A scalar that is wholly `${NAME}` or `${NAME:-default}` is read from the environment; a reference within a longer text is
refused. What the environment gives is a text, and is not searched for references. Relative file references count from the
working directory where the file exists there, else from the profile's folder; roots count from the working directory.
`wiring.wsp_folder` puts another folder in its place. `wins` means that the variable overrides the
profile, `where absent` that it fills what the profile leaves out. A number outside its bounds is refused, and so is an unknown key in the blocks that are WSP's alone:
CLOSED.

`wsp init` writes a commented profile for given parts. [profile.schema.json](profile.schema.json) (`wsp docs schema`) is this page as a JSON
Schema: with `# yaml-language-server: $schema=PATH` in its first line, editors complete and check a profile. `wsp validate --explain`
prints each setting that a profile has a use for, its value and the line, variable or default that it comes from; secrets are hidden.

";

/// What is read besides; the options of the command line that have a variable stand between the two.
const BESIDES: &str = "
## Environment besides the profile

| variable | what for |
|---|---|
";
const OTHERS: &str = "| `AWS_*` | Credentials, region and endpoint of S3 and Kinesis, and the credentials of the IAM login of MSK, as the AWS SDK reads them: keys, profile, web identity, container, instance. |
| `OTEL_*` | Traces and metrics to a collector: [telemetry.md](telemetry.md). |
| `NO_COLOR` | Set to anything, the terminal view and log have no colours. |
| `TERM` | `dumb` or nothing: progress is not drawn. |
";

const TELEMETRY: &str = "# Metrics

Made by `wsp docs telemetry`. `wsp run` serves them at `/metrics` of its listener (`wiring.wsp_telemetry.listen`), in the
Prometheus text format, and sends the same figures over OTLP where `OTEL_EXPORTER_OTLP_ENDPOINT` is set. `/livez` answers while
the process turns, `/readyz` says with 200 or 503 whether control topic, store, gate and lease are in order, `/status` says as
JSON what `wsp status` prints, and `/` is a live page of the run for a browser ([runbook.md](runbook.md#watch)). A scrape asks the parts as `/readyz` does, so it takes up to 3 s where one does not answer.
`deploy/grafana/wsp.json` is a dashboard over them, `deploy/prometheus/wsp.rules.yaml` has alerts; [runbook.md](runbook.md) says what
to do about each.

**Names.** `wsp_[of what_]<unit>`, with `_total` behind it where it only counts up. The unit is the last word, in full and without
a prefix: what is counted (`events`, `rows`, `bytes`, …), `seconds` for time, or what is told (`info`, `epoch`, `ready`). A point
in time is `timestamp_seconds`, since 1970. **Labels** take few values: outputs of the profile, words of a closed list, nothing
that a message brings. A test holds the names to the rule.

**OTLP** (http/protobuf) is on where `OTEL_EXPORTER_OTLP_ENDPOINT` is set, or the one of a signal (`…_TRACES_ENDPOINT`,
`…_METRICS_ENDPOINT`). Heeded too: `…_HEADERS`, `…_TIMEOUT`, `OTEL_METRIC_EXPORT_INTERVAL`, `OTEL_SERVICE_NAME` (else `wsp`),
`OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_EXPORTER=none`, `OTEL_METRICS_EXPORTER=none`, `OTEL_SDK_DISABLED`. A run is one trace:
`run`, below it `identify`, `check`, `hold` (the checkpoint), `stream` with `read` and `output` for each output and `frame`, and
`evidence`. Log lines of a run name its `trace_id`, where they are JSON (off a terminal). While it is traced, requests to the gate carry `traceparent`: the run's trace,
and the first 16 digits of the event id.

";

const REPLAYS: &str = "
## wsp replay

`wsp replay --listen ADDRESS` serves these at `/metrics` while it runs, its status as JSON at `/status`, and `/livez`: [replay.md](replay.md#watch-a-replay).

";

const MATRIX: &str = "# The matrix

Made by `wsp docs matrix`. `wsp matrix --profile P --send RUN@HOST` tries each of these on the profile's own parts, with a run that
is there to be used up: its READY is streamed to the cap (`--max-events`, 20 unless told), and then counts as streamed. Without
the very word after `--send` nothing is touched, and the command says what the word is.

What came of each stands in `wsp/matrix.json` under the run's prefix (`docs/schema/wsp_matrix.v1.schema.json`), and on stdout as a
table or, with `--json`, as it is kept. Exit code 0: nothing is red. 1: something is. 2: nothing was touched. A row whose need can't
be had is red, untried, and names the row that found out; what the profile asks nothing about is not run.

READY is read from the control topic in a consumer group of its own, and nothing is committed there. Doctored READYs never come
near it: each has an id of its own, made from row and READY, goes to a service whose store only reads (what it would have written
is kept as the row's evidence, `wsp/matrix/<row>.json`) and whose gate has no address. The doctored worlds of C2 are a few small
documents under `wsp/matrix/worlds`. C3 sends: half of the cap, the other half, and the first five events once more.

| row | what has to hold | done | expected | needs |
|---|---|---|---|---|
";

fn matrix() -> String {
    ROWS.iter().fold(MATRIX.to_owned(), |mut out, row| {
        let needs: Vec<_> = row.needs.iter().map(|need| need.words()).collect();
        let needs = if needs.is_empty() { "–".to_owned() } else { needs.join(", ") };
        let expected = row.expected.replace("{N}", "`--max-events`");
        let _ = writeln!(out, "| `{}` | {} | {} | {expected} | {needs} |", row.id, row.requirement, row.done);
        out
    })
}

pub(crate) fn page(page: DocsPage) -> String {
    match page {
        DocsPage::Profile => {
            let blocks: Vec<_> = settings::CLOSED_BLOCKS.iter().map(|block| format!("`{block}`")).collect();
            let intro = PROFILE.replace("CLOSED", &blocks.join(", "));
            format!("{intro}{}{BESIDES}{}{OTHERS}", settings::reference(), of_the_command_line())
        }
        // What the table holds is JSON, whatever it holds.
        DocsPage::Schema => format!("{:#}\n", schema::document()),
        DocsPage::ReplaySchema => format!("{:#}\n", replay_schema::document()),
        DocsPage::Telemetry => format!("{TELEMETRY}{}{REPLAYS}{}", metrics(catalogue::ALL), metrics(REPLAY_METRICS)),
        DocsPage::Matrix => matrix(),
        DocsPage::Reasons => reasons(),
    }
}

/// A table of metrics.
fn metrics(list: &[&Metric]) -> String {
    let mut out = String::from("| metric | kind | labels | meaning |\n|---|---|---|---|\n");
    for metric in list {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
        let _ = writeln!(out, "| `{}` | {} | {labels} | {} |", metric.name, metric.kind.as_str(), metric.help);
    }
    out
}

fn reasons() -> String {
    let mut out = REASONS.to_owned();
    for reason in Reason::ALL {
        let (code, after) = (reason.code(), reason.after());
        let after = match after {
            After::None => after.name().to_owned(),
            _ => format!("[{}](#{})", after.name(), after.name().replace(' ', "-")),
        };
        let _ = writeln!(out, "| `{code}` | {} | {} | {after} |", reason.meaning(), reason.next());
    }
    out.push_str(BUSES);
    for after in After::EXPLAINED {
        let _ = writeln!(out, "\n### {}\n", after.name());
        for bus in Bus::ALL {
            let _ = writeln!(out, "- **{}.** {}", bus.name(), after.on(bus));
        }
    }
    out
}

/// The variables that give options of the command line.
fn of_the_command_line() -> String {
    let mut rows = std::collections::BTreeMap::new();
    let mut commands = vec![Cli::command()];
    while let Some(command) = commands.pop() {
        for option in command.get_arguments() {
            if let (Some(env), Some(long), Some(help)) = (option.get_env(), option.get_long(), option.get_help()) {
                rows.entry(env.to_string_lossy().into_owned()).or_insert_with(|| format!("`--{long}`: {help}"));
            }
        }
        commands.extend(command.get_subcommands().cloned());
    }
    let known = |name: &str| settings::ALL.iter().any(|setting| setting.env.contains(&name));
    rows.iter().filter(|(name, _)| !known(name)).fold(String::new(), |mut out, (name, help)| {
        let _ = writeln!(out, "| `{name}` | {help}. |");
        out
    })
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    #[test]
    fn the_pages_are_what_the_code_says() {
        assert!(
            include_str!("../../../docs/reasons.md") == page(DocsPage::Reasons),
            "write it again: wsp docs reasons > docs/reasons.md"
        );
        assert!(
            include_str!("../../../docs/profile.md") == page(DocsPage::Profile),
            "write it again: wsp docs profile > docs/profile.md"
        );
        assert!(
            include_str!("../../../docs/profile.schema.json") == page(DocsPage::Schema),
            "write it again: wsp docs schema > docs/profile.schema.json"
        );
        assert!(
            include_str!("../../../docs/replay.schema.json") == page(DocsPage::ReplaySchema),
            "write it again: wsp docs replay-schema > docs/replay.schema.json"
        );
        assert!(
            include_str!("../../../docs/telemetry.md") == page(DocsPage::Telemetry),
            "write it again: wsp docs telemetry > docs/telemetry.md"
        );
        assert!(
            include_str!("../../../docs/matrix.md") == page(DocsPage::Matrix),
            "write it again: wsp docs matrix > docs/matrix.md"
        );
    }

    fn markdown(folder: &Path) -> Vec<(PathBuf, String)> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let pages = entries.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
        pages.map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
    }

    /// A clause that names a test which is gone is held by nothing.
    #[test]
    fn each_test_that_a_specification_names_is_there() {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let mut named = 0;
        for (page, text) in markdown(&root.join("docs/spec")) {
            for (file, test) in text.split('`').skip(1).step_by(2).filter_map(|code| code.split_once(".rs::")) {
                // The page that describes this form has a pattern of it.
                if file.contains('(') {
                    continue;
                }
                let source = std::fs::read_to_string(root.join(format!("{file}.rs")));
                let source = source.unwrap_or_else(|error| panic!("{}: {file}.rs: {error}", page.display()));
                let there =
                    source.split("fn ").any(|rest| rest.strip_prefix(test).is_some_and(|rest| rest.starts_with('(')));
                assert!(there, "{}: {file}.rs has no test {test}", page.display());
                named += 1;
            }
        }
        assert!(named > 400, "{named}: the pages name no tests, or in another form");
    }

    #[test]
    fn each_decision_is_in_the_index() {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("docs/adr");
        let index = std::fs::read_to_string(folder.join("README.md")).unwrap();
        for (page, text) in markdown(&folder) {
            let name = page.file_name().unwrap().to_str().unwrap();
            if name == "README.md" {
                continue;
            }
            assert!(text.starts_with(&format!("# {}: ", &name[..4])), "{name}: its first line is `# NNNN: Title`");
            assert_eq!(index.matches(&format!("]({name})")).count(), 1, "{name} has no line in the index, or two");
        }
    }
}
