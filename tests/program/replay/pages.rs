//! docs/replay.md: each recipe is run as it stands there.

use std::path::Path;
use std::process::Command;

use super::{Folder, Intake, at};
use crate::kit::process::Told;

/// The recipes of the page, each with its heading.
fn recipes() -> Vec<(String, String)> {
    let page = crate::kit::repository("docs/replay.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (mut heading, mut all, mut block) = (String::new(), Vec::new(), None::<String>);
    for line in page.lines() {
        match &mut block {
            None if line.starts_with("## ") => line[3..].clone_into(&mut heading),
            None if line == "```sh" => block = Some(String::new()),
            Some(text) if line == "```" => {
                all.push((heading.clone(), std::mem::take(text)));
                block = None;
            }
            Some(text) => text.extend([line, "\n"]),
            None => {}
        }
    }
    all
}

/// The files that the page says it uses.
fn files() -> Folder {
    let folder = Folder::new(&[]);
    for day in 0..2 {
        let row = |n: usize| format!("2026-11-{:02}{},{n},c{},{n}.50,s{}\n", 28 + day, &at(n * 40)[10..], n % 5, n % 2);
        let text = format!("created_at,order_id,customer_id,total,shop\n{}", (0..60).map(row).collect::<String>());
        folder.write(&format!("orders/2026-11-{}.csv", 28 + day), &text);
    }
    let line = |n: usize| {
        format!("{{\"created_at\":\"2026-11-28{}\",\"click\":{n},\"customer_id\":\"c{}\"}}\n", &at(n)[10..], n % 5)
    };
    folder.write("clicks.jsonl", &(0..200).map(line).collect::<String>());
    folder.write(
        "plan.json",
        "[{\"start_offset_seconds\":0,\"target_eps\":100},{\"start_offset_seconds\":1,\"target_eps\":2000}]",
    );
    folder.write("token", "hunter2\n");
    folder
}

#[test]
fn each_recipe_runs_as_it_stands() {
    let recipes = recipes();
    assert!(recipes.len() >= 5, "{recipes:?}");
    let wsp = Path::new(env!("CARGO_BIN_EXE_wsp")).parent().unwrap().display().to_string();
    let path = format!("{wsp}:{}", std::env::var("PATH").unwrap());
    // `tests/live/replay.rs` has brokers.
    for (heading, recipe) in recipes.into_iter().filter(|(_, recipe)| !recipe.contains("$BROKERS")) {
        let folder = files();
        // For the recipe of dead letters: refuses an order, and takes it when it comes again.
        let is_picky = recipe.contains("--dead-letter");
        let intake = Intake::new(move |nth, request| {
            let is_bad = request.body.windows(16).any(|bytes| bytes == b"\"order_id\":\"7\",\"");
            if is_picky && is_bad && nth < 50 { 422 } else { 200 }
        });
        let mut command = Command::new("sh");
        command.args(["-ec", &recipe]).current_dir(folder.0.path()).env("PATH", &path).env("INTAKE", intake.url());
        let told = Told::of(command);
        assert_eq!(told.code, Some(0), "{heading}: {}{}", told.out, told.err);
        let sends = recipe.contains("$INTAKE") && !recipe.contains("--plan");
        assert!(!intake.taken().is_empty() || !sends, "{heading}");
    }
}
