//! Names and labels of a run's objects. Users and dashboards depend on them.

use sha2::{Digest, Sha256};

/// Label with the UID of the run, on every object that it owns.
pub const RUN_LABEL: &str = "k6.io/run-uid";
/// Annotation with the name of the run, which may be longer than a label can be.
pub const RUN_ANNOTATION: &str = "k6.io/run-name";
/// Label with a runner's number.
pub const RUNNER_LABEL: &str = "k6.io/runner";
/// Label that says which part an object plays: initializer, runner, starter or stopper.
pub const COMPONENT_LABEL: &str = "k6.io/component";

/// The longest that a Job's name and a label's value can be.
const LONGEST: usize = 63;

/// `<name>-<suffix>`; where that would be too long, the name is cut and told apart by a hash of the whole.
pub fn child_name(name: &str, suffix: &str) -> String {
    let whole = format!("{name}-{suffix}");
    if whole.len() <= LONGEST {
        return whole;
    }
    format!(
        "{}-{suffix}",
        shortened(name, LONGEST.saturating_sub(suffix.len() + 1))
    )
}

/// The name, cut to `longest` characters with a hash at its end if it is longer.
pub fn shortened(name: &str, longest: usize) -> String {
    if name.len() <= longest {
        return name.to_owned();
    }
    let digest = Sha256::digest(name.as_bytes());
    let hash: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let kept: String = name
        .chars()
        .take(longest.saturating_sub(hash.len() + 1))
        .collect();
    format!("{}-{hash}", kept.trim_end_matches(['-', '.']))
}

/// The value of the label `k6_cr`.
pub fn run_label(name: &str) -> String {
    shortened(name, LONGEST)
}

/// The initializer Job.
pub fn initializer_name(name: &str) -> String {
    child_name(name, "initializer")
}

/// The Job of runner `i`.
pub fn runner_name(name: &str, i: u32) -> String {
    child_name(name, &i.to_string())
}

/// The starter Job.
pub fn starter_name(name: &str) -> String {
    child_name(name, "starter")
}

/// The stopper Job.
pub fn stopper_name(name: &str) -> String {
    child_name(name, "stopper")
}
