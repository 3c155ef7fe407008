//! The digest by which an order to start names its pods.

use super::observed::Runner;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;

/// SHA-256 over the numbers and pod UIDs of all runners, as `sha256:` and hex digits. None if a runner has no pod.
pub(super) fn pods_digest(runners: &BTreeMap<u32, Runner>) -> Option<String> {
    let mut hash = Sha256::new();
    for (i, runner) in runners {
        hash.update(format!("{i}={}\n", runner.pod.as_ref()?.uid));
    }
    let mut text = String::from("sha256:");
    for byte in hash.finalize() {
        write!(text, "{byte:02x}").ok()?;
    }
    Some(text)
}
