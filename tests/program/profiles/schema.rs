//! The profiles that there are, by the committed schema.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::kit::{repository, schema, text_of};

const FOLDERS: [&str; 2] = ["config/profiles", "tests/platform/config/platform/profiles"];

fn profiles() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for folder in FOLDERS {
        for entry in std::fs::read_dir(repository(folder)).unwrap() {
            let path = entry.unwrap().path();
            found.push((path.clone(), std::fs::read_to_string(&path).unwrap()));
        }
    }
    found
}

#[test]
fn every_profile_is_as_the_schema_says() {
    let schema: Value = serde_json::from_str(&text_of("docs/profile.schema.json")).unwrap();
    let fault = |profile: &Value| schema::check(&schema, &schema, profile, "").err();
    let profiles = profiles();
    assert_eq!(profiles.len(), 8, "{profiles:?}");
    for (path, text) in profiles {
        let profile: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(fault(&profile), None, "{}", path.display());
        // And it says something of each.
        let mut other = profile.clone();
        other["wiring"]["wsp_checkpoint"]["flush_evry"] = json!(1);
        assert!(fault(&other).is_some(), "{}", path.display());
        let mut other = profile.clone();
        other["policy"]["require_gate_pass"] = json!("perhaps");
        assert!(fault(&other).is_some(), "{}", path.display());
        let mut other = profile;
        other.as_object_mut().unwrap().remove("profile_id");
        assert!(fault(&other).is_some(), "{}", path.display());
    }
}

/// What an editor looks for stands where the first line says.
#[test]
fn the_example_profiles_name_the_schema() {
    for (path, text) in profiles().into_iter().filter(|(path, _)| path.starts_with(repository(FOLDERS[0]))) {
        let first = text.lines().next().unwrap();
        let schema = first.strip_prefix("# yaml-language-server: $schema=").unwrap_or_else(|| panic!("{first}"));
        let schema = path.parent().unwrap().join(schema).canonicalize().unwrap();
        assert_eq!(schema, repository("docs/profile.schema.json").canonicalize().unwrap());
    }
}
