//! `wsp replay --config FILE`: the flags out of a file. Each flag has its key, so a file says what a command line says.
//!
//! ```text
//! wsp replay --config replay.yaml --speedup 0  ──►  wsp replay --input orders=… --time … --speedup 0
//! ```

use std::ffi::OsString;
use std::path::Path;

use serde_json::{Map, Value};
use wsp::disk::files::read_text;

use super::Failure;

/// What a file may hold, in bytes.
const LIMIT: u64 = 1 << 20;

/// Keys with a name of their own, and the flag that each is.
pub(super) const ALIASES: [(&str, &str); 2] = [("inputs", "input"), ("headers", "header")];

/// The flags without a key: a file can't name another one, and `--help` is for the command line.
pub(super) const NO_KEY: [&str; 3] = ["config", "help", "version"];

/// The command line with the flags of its file in place of `--config FILE`. They come first, so that flags of the command
/// line are the ones that count.
pub(crate) fn expanded(args: impl Iterator<Item = OsString>) -> Result<Vec<OsString>, Failure> {
    let mut args: Vec<OsString> = args.collect();
    let Some(replay) = args.iter().position(|arg| arg == "replay") else { return Ok(args) };
    let Some((at, path, length)) = config(&args[replay..]) else { return Ok(args) };
    args.drain(replay + at..replay + at + length);
    let failed = |what: String| Failure::usage(format!("--config: {}: {what}", Path::new(&path).display()));
    let text = read_text(Path::new(&path), LIMIT).map_err(|error| failed(error.to_string()))?;
    let flags = flags(&text).map_err(failed)?;
    let behind = args.split_off(replay + 1);
    args.extend(flags.into_iter().map(OsString::from));
    args.extend(behind);
    Ok(args)
}

/// Where `--config` is, its file, and how many arguments that takes.
fn config(args: &[OsString]) -> Option<(usize, OsString, usize)> {
    args.iter().enumerate().take_while(|(_, arg)| *arg != "--").find_map(|(at, arg)| {
        if arg == "--config" {
            return Some((at, args.get(at + 1)?.clone(), 2));
        }
        let path = arg.to_str()?.strip_prefix("--config=")?;
        Some((at, OsString::from(path), 1))
    })
}

/// The flags that a file says. A key is a flag's name; `true` is a flag without a value, a list a flag given several times, and
/// of keys and values each is given as `key=value`.
fn flags(text: &str) -> Result<Vec<String>, String> {
    let file: Map<String, Value> =
        serde_saphyr::from_str(text).map_err(|error| format!("it is no YAML of keys and values: {error}"))?;
    let mut flags = Vec::new();
    for (key, value) in file {
        if key == "config" {
            return Err("a file that names another file; put all flags into one".to_owned());
        }
        let name = ALIASES.iter().find(|(alias, _)| *alias == key).map_or(key.as_str(), |(_, flag)| *flag);
        add(name, &key, &value, &mut flags)?;
    }
    Ok(flags)
}

fn add(name: &str, key: &str, value: &Value, flags: &mut Vec<String>) -> Result<(), String> {
    match value {
        Value::Null => return Err(format!("{key} has no value; leave the key out")),
        Value::Bool(true) => flags.push(format!("--{name}")),
        Value::Bool(false) => {}
        Value::Array(items) => items.iter().try_for_each(|item| add(name, key, item, flags))?,
        Value::Object(pairs) => {
            let joint = if name == "header" { ": " } else { "=" };
            for (left, right) in pairs {
                if let (Value::Object(own), "input") = (right, name) {
                    flags.push(format!("--input={}", input(left, own)?));
                    continue;
                }
                flags.push(format!("--{name}={left}{joint}{}", scalar(key, right)?));
            }
        }
        // An input without a name is what it is on the command line.
        Value::String(text) if name == "input" && !text.contains('=') => flags.push(text.clone()),
        other => flags.push(format!("--{name}={}", scalar(key, other)?)),
    }
    Ok(())
}

/// An input with what it has of its own, as `--input` has it.
fn input(name: &str, own: &Map<String, Value>) -> Result<String, String> {
    let joined = |key: &str, value: &Value| match value {
        Value::Array(items) => {
            let items = items.iter().map(|item| scalar(key, item)).collect::<Result<Vec<_>, _>>()?;
            Ok(items.join(","))
        }
        Value::Object(pairs) => {
            let pairs = pairs.iter().map(|(left, right)| Ok(format!("{left}={}", scalar(key, right)?)));
            Ok(pairs.collect::<Result<Vec<_>, String>>()?.join(","))
        }
        other => scalar(key, other),
    };
    let files = own.get("files").ok_or_else(|| format!("inputs: {name} has no key files"))?;
    let mut text = format!("{name}={}", scalar("files", files)?);
    for (key, value) in own.iter().filter(|(key, _)| *key != "files") {
        text.extend([";", key, "=", &joined(key, value)?]);
    }
    Ok(text)
}

fn scalar(key: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        _ => Err(format!("{key} holds a list or keys where a value has to stand")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn each_key_is_a_flag() {
        let text = "inputs:\n  orders: 'orders/*.csv'\n  clicks: clicks.jsonl\ntime: [created_at, ts]\nspeedup: 0\n\
                    fresh: true\nadaptive: false\nheaders:\n  X-Shop: '{shop}'\ncsv-types: {total: number}\nlimit: 150\n";
        let expected = [
            "--input=orders=orders/*.csv",
            "--input=clicks=clicks.jsonl",
            "--time=created_at",
            "--time=ts",
            "--speedup=0",
            "--fresh",
            "--header=X-Shop: {shop}",
            "--csv-types=total=number",
            "--limit=150",
        ];
        assert_eq!(flags(text).unwrap(), expected);
        let own = "inputs:\n  a: a.csv\n  o: {files: o.csv, time: [t, u], csv-types: {x: number}}\n";
        assert_eq!(flags(own).unwrap(), ["--input=a=a.csv", "--input=o=o.csv;time=t,u;csv-types=x=number"]);
        assert!(flags("inputs: {o: {time: t}}").unwrap_err().contains("o has no key files"));
        assert_eq!(flags("inputs: [a.csv, 'b=c.csv']").unwrap(), ["a.csv", "--input=b=c.csv"]);
        for (text, words) in [
            ("- a", "no YAML of keys"),
            ("time:", "time has no value"),
            ("headers: {a: {b: c}}", "headers holds a list or keys"),
            ("config: a", "another file"),
        ] {
            let error = flags(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_file_stands_before_the_flags_of_the_command_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("r.yaml");
        fs::write(&file, "time: t\n").unwrap();
        let file = file.to_str().unwrap();
        let of = |args: &[&str]| expanded(args.iter().map(OsString::from)).map_err(|failure| failure.message);
        let all = ["wsp", "--log", "info", "replay", "a.csv", "--config", file, "--limit", "3"];
        assert_eq!(of(&all).unwrap(), ["wsp", "--log", "info", "replay", "--time=t", "a.csv", "--limit", "3"]);
        let joint = format!("--config={file}");
        assert_eq!(of(&["wsp", "replay", &joint]).unwrap(), ["wsp", "replay", "--time=t"]);
        assert_eq!(of(&["wsp", "run", &joint]).unwrap(), ["wsp", "run", &joint]);
        assert!(of(&["wsp", "replay", "--config", "/none.yaml"]).unwrap_err().contains("--config: /none.yaml"));
    }
}
