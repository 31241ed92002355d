//! The names of owners: of this process, and of each hold that it takes.

use std::env;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

/// Chosen once for each process. Host names and process ids repeat: containers often have the same of both.
static PROCESS: LazyLock<String> = LazyLock::new(|| {
    let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host(env::var("ECS_CONTAINER_METADATA_URI_V4").ok().as_deref(), &host_name);
    process(&host, std::process::id())
});

/// The name of this process: the host, the process id, and a random number that no other process has.
#[must_use]
pub fn this_process() -> String {
    PROCESS.clone()
}

/// A name that no opening had before: a random number follows the readable part.
#[must_use]
pub fn unique(owner: &str) -> String {
    format!("{owner} {:016x}", random())
}

fn process(host: &str, id: u32) -> String {
    unique(&format!("{host} pid {id}"))
}

/// The part of the name by which an operator finds the machine. On ECS that is the id at the end of the container's metadata
/// address, which begins with the task's id; the host name there is an address, or the same in every task.
fn host(ecs_metadata: Option<&str>, host_name: &str) -> String {
    let is_id = |id: &&str| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let container = ecs_metadata.and_then(|uri| uri.trim_end_matches('/').rsplit('/').next()).filter(is_id);
    if let Some(id) = container {
        return format!("ecs {id}");
    }
    let name = host_name.trim();
    let names_no_machine = name.is_empty() || name == "(none)" || name.starts_with("localhost");
    if names_no_machine { "unknown host" } else { name }.to_owned()
}

fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_what_an_operator_can_look_up() {
        let of_ecs = Some("http://169.254.170.2/v4/0f9d0f5eb2d14ea28cd2a5ed1f1ae0c1-2495160603");
        assert_eq!(
            host(of_ecs, "ip-10-0-1-7.eu-west-2.compute.internal"),
            "ecs 0f9d0f5eb2d14ea28cd2a5ed1f1ae0c1-2495160603"
        );
        for (metadata, host_name, expected) in [
            (None, "wsp-3\n", "wsp-3"),
            (Some("http://169.254.170.2/v4/ "), "wsp-3", "wsp-3"),
            (Some(""), "", "unknown host"),
            (None, "localhost.localdomain\n", "unknown host"),
            (None, "(none)", "unknown host"),
        ] {
            assert_eq!(host(metadata, host_name), expected, "{metadata:?} {host_name:?}");
        }
    }

    #[test]
    fn processes_of_one_host_and_id_have_different_names() {
        let names: std::collections::BTreeSet<_> = (0..100).map(|_| process("localhost", 1)).collect();
        assert_eq!(names.len(), 100);
        assert_eq!(this_process(), this_process(), "and each keeps its own");
        assert!(unique(&this_process()).starts_with(&this_process()));
    }
}
