//! Which outputs a run streams, and who may produce them: lists that the profile holds or refers to, and the files they are in.

use std::path::{Path, PathBuf};

use wsp::disk::files;

use crate::model::{OutputId, Reason, Refusal};

use super::yaml::{self, Node};

/// Traffic of a run with fraud (contract, section 3).
pub const FRAUD_TRAFFIC: &str = "s3_event_stream_with_fraud_6B";
/// Traffic of a baseline run.
pub const BASELINE_TRAFFIC: &str = "s2_event_stream_baseline_6B";

const CONTEXT_OF_ARRIVALS: [&str; 2] = ["arrival_events_5B", "s1_arrival_entities_6B"];
const FRAUD_ANCHOR: &str = "s3_flow_anchor_with_fraud_6B";
const BASELINE_ANCHOR: &str = "s2_flow_anchor_baseline_6B";

/// The context outputs that travel with a traffic output, where the policy names none.
#[must_use]
pub fn default_context(traffic: &str) -> Vec<String> {
    let anchor = match traffic {
        FRAUD_TRAFFIC => FRAUD_ANCHOR,
        BASELINE_TRAFFIC => BASELINE_ANCHOR,
        _ => return Vec::new(),
    };
    CONTEXT_OF_ARRIVALS.iter().copied().chain([anchor]).map(str::to_owned).collect()
}

/// The column whose value events of `output` must not overtake each other on (contract, section 3).
#[must_use]
pub fn order_key_column(output: &str) -> Option<&'static str> {
    match output {
        FRAUD_TRAFFIC | BASELINE_TRAFFIC | FRAUD_ANCHOR | BASELINE_ANCHOR => Some("flow_id"),
        "arrival_events_5B" | "s1_arrival_entities_6B" => Some("merchant_id"),
        _ => None,
    }
}

/// The context outputs that travel with all of `traffic`, each once, in the order of the traffic.
pub(super) fn default_contexts(traffic: &[String]) -> Vec<String> {
    merged(traffic.iter().map(|traffic| default_context(traffic)))
}

/// All ids of `lists`, each at its first place.
pub(super) fn merged(lists: impl IntoIterator<Item = Vec<String>>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for id in lists.into_iter().flatten() {
        if !all.contains(&id) {
            all.push(id);
        }
    }
    all
}

/// The outputs of a run, each at its rank: context in the policy's order, then traffic in the policy's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputPlan {
    /// Context outputs.
    pub context: Vec<OutputId>,
    /// Traffic outputs.
    pub traffic: Vec<OutputId>,
}

impl OutputPlan {
    /// Checks the lists. Where `only` names some of their outputs, the plan holds these alone.
    ///
    /// # Errors
    ///
    /// `NO_TRAFFIC_OUTPUTS` where the policy names no traffic output or an output twice, or `only` names none, or one that is
    /// not the policy's.
    pub fn new(traffic: &[String], context: &[String], only: Option<&[OutputId]>) -> Result<Self, Refusal> {
        let field = if only.is_some() { "--output-ids" } else { "policy.traffic_output_ids" };
        let refuse = |detail: String| Refusal::new(Reason::NoTrafficOutputs, detail).field(field);
        if traffic.is_empty() {
            return Err(refuse("the policy names no traffic output".to_owned()));
        }
        let parse = |text: &String| text.parse::<OutputId>().map_err(|error| refuse(error.to_string()));
        let parsed = |ids: &[String]| ids.iter().map(parse).collect::<Result<Vec<_>, _>>();
        let mut plan = Self { context: parsed(context)?, traffic: parsed(traffic)? };
        let mut all: Vec<_> = plan.all().collect();
        all.sort_unstable();
        if let Some([twice, _]) = all.array_windows().find(|[one, next]| one == next) {
            return Err(refuse(format!("{twice} is named twice")));
        }
        if let Some(only) = only {
            if let Some(stranger) = only.iter().find(|id| !plan.all().any(|planned| planned == *id)) {
                return Err(refuse(format!("{stranger} is none of the policy's outputs")));
            }
            plan.context.retain(|id| only.contains(id));
            plan.traffic.retain(|id| only.contains(id));
            if plan.all().next().is_none() {
                return Err(refuse("it names no output".to_owned()));
            }
        }
        Ok(plan)
    }

    /// All outputs by rank.
    pub fn all(&self) -> impl Iterator<Item = &OutputId> {
        self.context.iter().chain(&self.traffic)
    }
}

/// Reads a YAML file with `output_ids`.
pub(super) fn read_output_ids(path: &Path) -> Result<Vec<String>, String> {
    let tree = yaml::parse(&read_bounded(path)?)?;
    match tree.get("output_ids") {
        Some(ids @ Node::List(_)) => {
            ids.texts().ok_or_else(|| "`output_ids` holds something that is no text".to_owned())
        }
        _ => Err("it holds no list `output_ids`".to_owned()),
    }
}

/// Checks that `producer` is on the allowlist: a text file with one producer a line (`#` comments), or YAML
/// with a list at the top or in any of its top-level keys.
///
/// # Errors
///
/// `PRODUCER_ALLOWLIST_UNREADABLE`, `PRODUCER_ALLOWLIST_EMPTY` or `PRODUCER_NOT_ALLOWED`, naming the file.
pub fn check_producer(allowlist: &Path, producer: &str) -> Result<(), Refusal> {
    let file = allowlist.display().to_string();
    let refuse = |reason, detail: String| Refusal::new(reason, detail).file(file.clone());
    let text = read_bounded(allowlist).map_err(|error| refuse(Reason::ProducerAllowlistUnreadable, error))?;
    let allowed = parse_allowlist(&text).map_err(|error| refuse(Reason::ProducerAllowlistUnreadable, error))?;
    if allowed.is_empty() {
        return Err(refuse(Reason::ProducerAllowlistEmpty, "it names nobody".to_owned()));
    }
    if allowed.iter().any(|name| name == producer) {
        return Ok(());
    }
    Err(refuse(Reason::ProducerNotAllowed, format!("{producer:?} is not on it")))
}

fn parse_allowlist(text: &str) -> Result<Vec<String>, String> {
    let lines: Vec<&str> =
        text.lines().map(|line| line.split('#').next().unwrap_or("").trim()).filter(|line| !line.is_empty()).collect();
    let is_name = |line: &&str| {
        !line.ends_with(':') && !line.starts_with(['-', '[', '{', '"']) && !line.contains(char::is_whitespace)
    };
    if lines.iter().all(is_name) {
        return Ok(lines.into_iter().map(str::to_owned).collect());
    }
    let tree = yaml::parse(text).map_err(|error| format!("neither one name a line nor YAML: {error}"))?;
    let lists: Vec<&Node> = match &tree {
        Node::List(_) => vec![&tree],
        Node::Map(entries) => entries.iter().map(|entry| &entry.value).collect(),
        _ => return Err("neither one name a line nor YAML with a list".to_owned()),
    };
    // What is no text in a list allows nobody.
    let items = lists.into_iter().filter_map(|list| if let Node::List(items) = list { Some(items) } else { None });
    let names = items.flatten().filter_map(|item| if let Node::Text(name) = item { Some(name.clone()) } else { None });
    Ok(names.collect())
}

/// Reads a small text file, at most 4 MiB.
pub(super) fn read_bounded(path: &Path) -> Result<String, String> {
    files::read_text(path, 4 << 20).map_err(|error| error.to_string())
}

/// A file reference: from the working directory where it exists there, else from the profile's folder.
pub(super) fn reference(text: &str, folder: &Path) -> PathBuf {
    let path = Path::new(text);
    if path.is_absolute() || path.exists() { path.to_owned() } else { folder.join(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowlists_of_every_form() {
        let producer = "svc:world_stream_producer";
        for text in [
            "svc:world_stream_producer\n",
            "# who\n\nsvc:other\nsvc:world_stream_producer # us\n",
            "- svc:world_stream_producer\n",
            "version: 1\nproducers:\n  - svc:world_stream_producer\n",
            "[\"svc:world_stream_producer\"]",
        ] {
            assert!(parse_allowlist(text).unwrap().iter().any(|name| name == producer), "{text}");
        }
        for text in ["1.10\n", "- 1.10\n", "producers: [yes, 1.10]\n", "[00123, 1.10, 1e10]"] {
            let names = parse_allowlist(text).unwrap();
            assert!(names.iter().any(|name| name == "1.10") && !names.iter().any(|name| name == "1.1"), "{text}");
        }
        for text in ["- null\n", "- [svc:x]\n", "producers:\n- {svc: x}\n", "- !x svc:x\n"] {
            assert!(parse_allowlist(text).unwrap().is_empty(), "{text}");
        }
        assert!(parse_allowlist("# nobody\n").unwrap().is_empty());
        assert!(parse_allowlist("producers: []\n").unwrap().is_empty());
        assert!(parse_allowlist("a: [").is_err());
    }

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    fn planned(traffic: &[&str], context: &[&str], only: Option<&[&str]>) -> Result<Vec<String>, Reason> {
        let only: Option<Vec<OutputId>> = only.map(|only| only.iter().map(|id| id.parse().unwrap()).collect());
        let plan = OutputPlan::new(&ids(traffic), &ids(context), only.as_deref());
        plan.map(|plan| plan.all().map(ToString::to_string).collect()).map_err(|refusal| refusal.reason)
    }

    #[test]
    fn a_run_has_traffic_and_no_output_twice() {
        for (traffic, context) in [(&[][..], &["a"][..]), (&["a"], &["a"]), (&["a", "a"], &[]), (&["a"], &["b", "b"])] {
            assert_eq!(planned(traffic, context, None), Err(Reason::NoTrafficOutputs), "{traffic:?} {context:?}");
        }
        assert_eq!(planned(&["t", "u"], &["c", "d"], None).unwrap(), ["c", "d", "t", "u"], "context first");
    }

    #[test]
    fn a_part_of_the_outputs_keeps_their_order() {
        let only = |only| planned(&["t", "u"], &["c", "d"], Some(only));
        assert_eq!(only(&["u", "t", "c"]).unwrap(), ["c", "t", "u"]);
        assert_eq!(only(&["d"]).unwrap(), ["d"], "context alone is a part, too");
        for none in [&[][..], &["x"], &["t", "x"]] {
            assert_eq!(only(none), Err(Reason::NoTrafficOutputs), "{none:?}");
        }
    }

    #[test]
    fn both_traffics_travel_with_the_context_of_both() {
        let both = default_contexts(&ids(&[FRAUD_TRAFFIC, BASELINE_TRAFFIC]));
        assert_eq!(both, ["arrival_events_5B", "s1_arrival_entities_6B", FRAUD_ANCHOR, BASELINE_ANCHOR]);
    }
}
