//! The engine's catalogue of outputs and its gate map, as far as a run needs them.
//!
//! ```text
//! engine_outputs.catalogue.yaml ──► output ──► primary key, required gates
//! engine_gates.map.yaml ─────────► gate ────► template of its passed flag ──world──► Key
//! ```
//!
//! Both are the platform's files, with hundreds of entries and many more keys than are read here. An entry that
//! a run doesn't need may be incomplete; one that it needs may not.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use wsp::store::Key;
use wsp::strict;

use crate::model::{Hex32, OutputId, Reason, Refusal, WorldKey};

/// Bytes of either file at most.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The gate map's name, beside the catalogue.
pub const GATE_MAP_NAME: &str = "engine_gates.map.yaml";

/// Catalogue and gate map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    outputs: Vec<Output>,
    gates: Vec<Gate>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[allow(clippy::struct_field_names, reason = "the file's own key")]
struct Output {
    output_id: String,
    primary_key: Option<Vec<String>>,
    read_requires_gates: Option<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Gate {
    gate_id: String,
    passed_flag_path_template: Option<String>,
}

#[derive(Deserialize)]
struct Outputs {
    outputs: Vec<Output>,
}

#[derive(Deserialize)]
struct Gates {
    gates: Vec<Gate>,
}

/// What the catalogue's path templates may name.
#[derive(Debug, Clone, Copy)]
pub struct Bindings<'a> {
    /// The world.
    pub world: &'a WorldKey,
    /// The engine's run, from its receipt.
    pub run_id: &'a Hex32,
}

impl Catalogue {
    /// Reads both files.
    ///
    /// # Errors
    ///
    /// `CATALOGUE_INVALID`, saying which file and where in it.
    pub fn parse(catalogue: &[u8], gate_map: &[u8]) -> Result<Self, Refusal> {
        let Outputs { outputs } = yaml(catalogue, "catalogue")?;
        let Gates { gates } = yaml(gate_map, "gate map")?;
        Ok(Self { outputs, gates })
    }

    /// The columns of an output whose values make its event ids, in order; at least one.
    ///
    /// # Errors
    ///
    /// `CATALOGUE_INVALID` where the output has no entry, two, or one without a usable `primary_key`.
    pub fn primary_key(&self, output: &OutputId) -> Result<&[String], Refusal> {
        let columns = self.output(output)?.primary_key.as_deref().unwrap_or_default();
        let twice = columns.iter().enumerate().any(|(i, column)| columns[..i].contains(column));
        if columns.is_empty() || twice || columns.iter().any(String::is_empty) {
            return Err(invalid(format!("output {output}: {columns:?} is no primary key")).field("primary_key"));
        }
        Ok(columns)
    }

    /// The gates that have to have passed before an output is read. None is an answer too, if the entry says so.
    ///
    /// # Errors
    ///
    /// `CATALOGUE_INVALID` where the output has no entry, two, or one without `read_requires_gates`.
    pub fn required_gates(&self, output: &OutputId) -> Result<&[String], Refusal> {
        let missing = || invalid(format!("output {output} does not say which gates it requires"));
        self.output(output)?.read_requires_gates.as_deref().ok_or_else(|| missing().field("read_requires_gates"))
    }

    /// The key of a gate's passed flag below the engine run root.
    ///
    /// # Errors
    ///
    /// `CATALOGUE_INVALID` where the gate has no entry or two, or its template is missing, names something
    /// unknown or makes no key.
    pub fn passed_flag(&self, gate_id: &str, bindings: Bindings<'_>) -> Result<Key, Refusal> {
        let shown = strict::excerpt(gate_id, 80);
        let gate = only(self.gates.iter().filter(|gate| gate.gate_id == gate_id), &format!("gate {shown}"))?;
        let template = gate.passed_flag_path_template.as_deref();
        let template = template.ok_or_else(|| invalid(format!("gate {shown} has no passed_flag_path_template")))?;
        render(template, bindings)
            .map_err(|why| invalid(format!("gate {shown}: {why}")).field("passed_flag_path_template"))
    }

    fn output(&self, output: &OutputId) -> Result<&Output, Refusal> {
        only(self.outputs.iter().filter(|entry| entry.output_id == output.as_str()), &format!("output {output}"))
    }
}

fn yaml<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, Refusal> {
    if bytes.len() > MAX_BYTES {
        return Err(invalid(format!("the {what} has {} bytes, more than the {MAX_BYTES} that are read", bytes.len())));
    }
    serde_saphyr::from_slice(bytes)
        .map_err(|error| invalid(format!("the {what}: {}", strict::excerpt(&error.to_string(), 400))))
}

fn invalid(detail: String) -> Refusal {
    Refusal::new(Reason::CatalogueInvalid, detail)
}

fn only<'a, T>(mut found: impl Iterator<Item = &'a T>, what: &str) -> Result<&'a T, Refusal> {
    match (found.next(), found.next()) {
        (Some(entry), None) => Ok(entry),
        (None, _) => Err(invalid(format!("{what} has no entry"))),
        (Some(_), Some(_)) => Err(invalid(format!("{what} has more than one entry"))),
    }
}

/// Puts the bindings into a template's `{placeholders}`.
fn render(template: &str, bindings: Bindings<'_>) -> Result<Key, String> {
    let seed = bindings.world.seed.to_string();
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) =
            after.split_once('}').ok_or_else(|| format!("{template:?} has a brace that is not closed"))?;
        let value = match name {
            "manifest_fingerprint" => bindings.world.manifest_fingerprint.as_str(),
            "parameter_hash" => bindings.world.parameter_hash.as_str(),
            "seed" => &seed,
            "scenario_id" => bindings.world.scenario_id.as_str(),
            "run_id" => bindings.run_id.as_str(),
            _ => return Err(format!("{template:?} names {{{name}}}, which is unknown")),
        };
        // A scenario id is free text; in a path it stands for one segment's part, never for several segments.
        if value.contains('/') {
            return Err(format!("{{{name}}} is {value:?}, which can't be part of a path"));
        }
        out.push_str(before);
        out.push_str(value);
        rest = after;
    }
    out.push_str(rest);
    out.parse().map_err(|error| format!("{error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Hex64;
    use crate::oracle::testing::world_key;

    const CATALOGUE: &[u8] = include_bytes!("../../../config/oracle/engine_outputs.catalogue.yaml");
    const GATE_MAP: &[u8] = include_bytes!("../../../config/oracle/engine_gates.map.yaml");

    fn shipped() -> Catalogue {
        Catalogue::parse(CATALOGUE, GATE_MAP).unwrap()
    }

    fn detail<T: std::fmt::Debug>(result: Result<T, Refusal>) -> String {
        let refusal = result.unwrap_err();
        assert_eq!(refusal.reason, Reason::CatalogueInvalid);
        refusal.to_string()
    }

    /// Columns and gates are texts, whatever YAML would make of them.
    #[test]
    fn a_name_is_the_text_that_stands_in_the_file() {
        let entry = "outputs:\n- output_id: arrival_events_5B\n  primary_key: [00123, yes, 1.10, 1e10]\n  read_requires_gates: [1.10]\n";
        let catalogue = Catalogue::parse(entry.as_bytes(), GATE_MAP).unwrap();
        let output = "arrival_events_5B".parse().unwrap();
        assert_eq!(catalogue.primary_key(&output).unwrap(), ["00123", "yes", "1.10", "1e10"]);
        assert_eq!(catalogue.required_gates(&output).unwrap(), ["1.10"]);
    }

    /// The golden event ids are sha256 over `output|pk…|fingerprint|parameter hash|seed|scenario`.
    #[test]
    fn the_shipped_primary_keys_are_those_of_the_golden_event_ids() {
        let vectors: serde_json::Value =
            serde_json::from_slice(include_bytes!("../../../tests/golden/hash_vectors.json")).unwrap();
        let (catalogue, world) = (shipped(), world_key());
        let mut outputs = std::collections::BTreeSet::new();
        for vector in vectors["event_id"].as_array().unwrap() {
            let preimage = vector["preimage"].as_str().unwrap();
            assert_eq!(Hex64::sha256(preimage).as_str(), vector["event_id"].as_str().unwrap());
            let parts: Vec<&str> = preimage.split('|').collect();
            let columns = catalogue.primary_key(&parts[0].parse().unwrap()).unwrap();
            assert_eq!(parts.len(), 1 + columns.len() + 4, "{preimage}");
            for (column, value) in columns.iter().zip(&parts[1..]) {
                match column.as_str() {
                    "seed" => assert_eq!(*value, "42"),
                    "manifest_fingerprint" => assert_eq!(*value, world.manifest_fingerprint.as_str()),
                    "scenario_id" => assert_eq!(*value, "baseline_v1"),
                    "merchant_id" | "flow_id" => assert!(value.len() > 10, "{value}"),
                    "arrival_seq" | "event_seq" => assert!(value.len() < 3, "{value}"),
                    other => panic!("{other} is in no golden event id"),
                }
            }
            outputs.insert(parts[0]);
        }
        assert_eq!(outputs.len(), 4);
    }

    #[test]
    fn the_shipped_gates_lead_to_the_golden_flags() {
        let (catalogue, world) = (shipped(), world_key());
        let run_id = "0".repeat(32).parse().unwrap();
        let bindings = Bindings { world: &world, run_id: &run_id };
        for (output, layer, segment) in
            [("arrival_events_5B", "layer2", "5B"), ("s2_flow_anchor_baseline_6B", "layer3", "6B")]
        {
            let gates = catalogue.required_gates(&output.parse().unwrap()).unwrap();
            assert_eq!(gates, [format!("gate.{layer}.{segment}.validation")]);
            let key = catalogue.passed_flag(&gates[0], bindings).unwrap();
            let expected = format!(
                "data/{layer}/{segment}/validation/manifest_fingerprint={}/_passed.flag",
                world.manifest_fingerprint
            );
            assert_eq!(key.as_str(), expected);
        }
    }

    #[test]
    fn entries_that_no_run_needs_may_be_odd() {
        let catalogue = Catalogue::parse(
            b"version: 3\nmore: {a: [1]}\noutputs:\n- {output_id: odd/one}\n- {output_id: a, primary_key: [x], owner: 6B, read_requires_gates: []}\n",
            b"gates: [{gate_id: g}]\n",
        )
        .unwrap();
        let a = "a".parse().unwrap();
        assert_eq!(catalogue.primary_key(&a).unwrap(), ["x"]);
        assert!(catalogue.required_gates(&a).unwrap().is_empty());
    }

    #[test]
    fn entries_that_a_run_needs_have_to_be_whole() {
        let catalogue = Catalogue::parse(
            b"outputs: [{output_id: twice}, {output_id: twice}, {output_id: bare}, {output_id: empty, primary_key: []}, {output_id: same, primary_key: [x, x]}]",
            b"gates: [{gate_id: g}, {gate_id: g}, {gate_id: h}]",
        )
        .unwrap();
        let id = |text: &str| text.parse::<OutputId>().unwrap();
        assert!(detail(catalogue.primary_key(&id("none"))).contains("output none has no entry"));
        assert!(detail(catalogue.primary_key(&id("twice"))).contains("more than one entry"));
        for output in ["bare", "empty", "same"] {
            assert!(detail(catalogue.primary_key(&id(output))).contains("is no primary key"), "{output}");
        }
        assert!(detail(catalogue.required_gates(&id("bare"))).contains("does not say which gates"));
        let (world, run_id) = (world_key(), "0".repeat(32).parse().unwrap());
        let bindings = Bindings { world: &world, run_id: &run_id };
        assert!(detail(catalogue.passed_flag("none", bindings)).contains("no entry"));
        assert!(detail(catalogue.passed_flag("g", bindings)).contains("more than one"));
        assert!(detail(catalogue.passed_flag("h", bindings)).contains("no passed_flag_path_template"));
    }

    #[test]
    fn templates_make_keys_below_the_root_or_nothing() {
        let mut world = world_key();
        let run_id = "ab".repeat(16).parse().unwrap();
        let rendered = |template: &str, world: &WorldKey| render(template, Bindings { world, run_id: &run_id });
        let key = rendered("a/{seed}/{scenario_id}/{run_id}{seed}", &world).unwrap();
        assert_eq!(key.as_str(), format!("a/42/baseline_v1/{run_id}42"));
        for bad in ["{who}/x", "{seed", "/x/{seed}", "../{seed}", "a//b", "", "{}"] {
            assert!(rendered(bad, &world).is_err(), "{bad}");
        }
        world.scenario_id = "../..".parse().unwrap();
        assert!(rendered("a/{scenario_id}/b", &world).unwrap_err().contains("can't be part of a path"));
    }

    #[test]
    fn what_is_no_catalogue_is_refused() {
        for bad in [&b""[..], b"outputs: 7", b"outputs: [{primary_key: [a]}]", b"a: [", b"\xff"] {
            detail(Catalogue::parse(bad, GATE_MAP));
        }
        assert!(detail(Catalogue::parse(CATALOGUE, b"gates: {}")).contains("gate map"));
        assert!(detail(Catalogue::parse(&vec![b' '; MAX_BYTES + 1], GATE_MAP)).contains("more than the"));
        // As many are read, and these are no text.
        assert!(!detail(Catalogue::parse(&vec![0xff; MAX_BYTES], GATE_MAP)).contains("more than the"));
    }
}
