//! `wsp validate`: a profile and its environment, checked, and with `--explain` told setting by setting.

use std::fmt::Write;

use serde_json::{Value, json};
use wsp::clock::SystemClock;
use wsp_world::profile::Profile;
use wsp_world::profile::explain::{Explained, Shown, explain};
use wsp_world::{preflight, stopping};

use super::args::Validate;
use super::{Exit, Failure, Outcome, load_checked, note, say, service, variable};

/// Columns that a value has.
const USUAL_VALUE: usize = 40;

pub(crate) fn run(args: &Validate) -> Outcome {
    let checked = load_checked(&args.profile, |refers| [preflight::machine(refers), preflight::files(refers)].concat());
    if args.explain {
        // Of a profile that is refused, too: where a wrong value comes from is what one looks for then.
        let explained = explain(&args.profile.profile, &variable, checked.as_ref().ok());
        say(if args.json { as_json(&explained)? } else { as_table(&explained) })?;
    }
    let profile = checked?;
    service::gate(&profile, SystemClock::new())?;
    let stop = stopping::longest(&profile).as_secs_f64();
    let name = args.profile.profile.display();
    let mut told =
        format!("{name}: profile {} is in order; once told to stop, a run ends within {stop} s\n", profile.profile_id);
    if Profile::folder(&args.profile.profile, &variable).is_some()
        && let Ok(folder) = std::env::current_dir()
    {
        // Writing to a String can't fail.
        let _ = writeln!(told, "relative paths count from {}", folder.display());
    }
    if args.json {
        note(told.trim_end());
    } else {
        say(told)?;
    }
    Ok(Exit::Done)
}

/// Lines of setting, value and source; a value that is longer than most moves its source to the right.
fn as_table(explained: &[Explained]) -> String {
    let row = |one: &Explained| {
        let value = match &one.value {
            Shown::Text(text) if text.is_empty() => "(empty)".to_owned(),
            Shown::Text(text) => text.clone(),
            Shown::Hidden => "(hidden)".to_owned(),
            Shown::Nothing => "–".to_owned(),
        };
        let over = one.over.as_ref().map_or_else(String::new, |over| format!(" (over {over})"));
        [name(one), value, format!("{}{over}", one.source)]
    };
    let mut rows: Vec<_> = explained.iter().map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    rows.insert(0, ["setting", "value", "from"].map(str::to_owned));
    let names = rows.iter().map(|[name, ..]| name.chars().count()).max().unwrap_or_default();
    let values = rows.iter().map(|[_, value, _]| value.chars().count()).filter(|width| *width <= USUAL_VALUE).max();
    let values = values.unwrap_or_default();
    rows.iter().fold(String::new(), |mut out, [name, value, source]| {
        // Writing to a String can't fail.
        let _ = writeln!(out, "{name:<names$}  {value:<values$}  {source}");
        out
    }) + "\n"
}

fn as_json(explained: &[Explained]) -> Result<String, Failure> {
    let one = |one: &Explained| {
        let value = if let Shown::Text(text) = &one.value { json!(text) } else { Value::Null };
        let over = one.over.as_ref().map(ToString::to_string);
        json!({
            "setting": name(one), "value": value, "hidden": one.value == Shown::Hidden, "source": one.source.name(),
            "line": one.source.line(), "variable": one.source.variable(), "over": over,
        })
    };
    let all: Vec<_> = explained.iter().map(one).collect();
    serde_json::to_string_pretty(&all).map(|text| text + "\n").map_err(|error| Failure::failed(error.to_string()))
}

/// The setting's path, or its variables where only the environment gives it.
fn name(one: &Explained) -> String {
    if one.setting.path.is_empty() { one.setting.name() } else { one.setting.path.to_owned() }
}
