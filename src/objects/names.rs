//! Names and labels of a run's objects. Users and dashboards depend on them.

use sha2::{Digest, Sha256};

/// Label with the UID of the run, on every object that it owns.
pub const RUN_LABEL: &str = "k6.io/run-uid";
/// Label with the name of the run, shortened where it is too long for one, on every object that the run owns.
pub const RUN_NAME_LABEL: &str = "k6.io/run";
/// Annotation with the name of the run, which may be longer than a label can be.
pub const RUN_ANNOTATION: &str = "k6.io/run-name";
/// Annotation with the kind of the run's resource.
pub const KIND_ANNOTATION: &str = "k6.io/run-kind";
/// Label with a runner's number.
pub const RUNNER_LABEL: &str = "k6.io/runner";
/// Label with the number of the run among those of its resource, from 1.
pub const ATTEMPT_LABEL: &str = "k6.io/attempt";
/// Annotation with the generation of the spec that an initializer inspects.
pub const GENERATION_ANNOTATION: &str = "k6.io/generation";
/// Label that says which part an object plays: initializer, runner, starter, stopper or aggregator.
pub const COMPONENT_LABEL: &str = "k6.io/component";

/// Annotations that keep an autoscaler from draining a node under a test, since a pod of a run can't be moved.
/// <https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/FAQ.md>,
/// <https://karpenter.sh/docs/concepts/disruption/>
pub(super) const KEPT_ON_ITS_NODE: [(&str, &str); 2] = [
    ("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"),
    ("karpenter.sh/do-not-disrupt", "true"),
];

/// Label of a node with the architecture of its processor, as Go calls it.
/// <https://kubernetes.io/docs/reference/labels-annotations-taints/#kubernetes-io-arch>
pub(super) const ARCHITECTURE_LABEL: &str = "kubernetes.io/arch";

/// Labels by which the operator, dashboards and `separate` select the pods of a run. Users can't set them.
pub(super) const RESERVED_LABELS: [&str; 8] = [
    "app",
    "k6_cr",
    "runner",
    RUN_LABEL,
    RUN_NAME_LABEL,
    ATTEMPT_LABEL,
    COMPONENT_LABEL,
    RUNNER_LABEL,
];

/// The maximum length of a Job's name and of a label's value.
const LONGEST: usize = 63;

/// Returns `<name>-<suffix>`. If that is too long, the name is cut and ends in a hash of the whole name.
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

/// Cuts a name to at most `longest` characters. A cut name ends in a hash of the whole name.
pub fn shortened(name: &str, longest: usize) -> String {
    if name.len() <= longest {
        return name.to_owned();
    }
    let hash = hash(name);
    let kept: String = name
        .chars()
        .take(longest.saturating_sub(hash.len() + 1))
        .collect();
    format!("{}-{hash}", kept.trim_end_matches(['-', '.']))
}

fn hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// The value of the labels `k6_cr` and [`RUN_NAME_LABEL`].
pub fn run_label(name: &str) -> String {
    shortened(name, LONGEST)
}

/// The beginning of the names of a run's objects: the name of the resource and, from the second run on, the number of
/// the run.
pub fn stem(name: &str, attempt: u32) -> String {
    match attempt {
        0 | 1 => name.to_owned(),
        attempt => format!("{name}-r{attempt}"),
    }
}

/// The name of the ConfigMap of an inline script, which depends on the script.
pub fn script_name(stem: &str, script: &str) -> String {
    child_name(stem, &format!("script-{}", hash(script)))
}

/// The name of the ConfigMap with the segments of `n` runners. All runs of a resource with `n` runners share it.
pub fn sequence_name(name: &str, n: u32) -> String {
    child_name(name, &format!("segments-{n}"))
}

/// The name of the initializer Job.
pub fn initializer_name(name: &str) -> String {
    child_name(name, "initializer")
}

/// The name of the Job of runner `i`.
pub fn runner_name(name: &str, i: u32) -> String {
    child_name(name, &i.to_string())
}

/// The name of the starter Job.
pub fn starter_name(name: &str) -> String {
    child_name(name, "starter")
}

/// The name of the aggregator Job.
pub fn aggregator_name(name: &str) -> String {
    child_name(name, "aggregator")
}

/// The name of the aggregator's Service, which must be a label of RFC 1035: no dot, and a letter first.
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#rfc-1035-label-names>
pub fn service_name(name: &str) -> String {
    let fits = name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.contains('.');
    if fits {
        child_name(name, "aggregator")
    } else {
        child_name(&format!("k6-{}", hash(name)), "aggregator")
    }
}

/// `IP:PORT`; an address of IPv6 stands in brackets.
pub fn address(ip: &str, port: i32) -> String {
    match ip.contains(':') {
        true => format!("[{ip}]:{port}"),
        false => format!("{ip}:{port}"),
    }
}

/// The name of the Secret with the tokens of a run. It contains the UID of the resource.
pub fn tokens_name(stem: &str, uid: &str) -> String {
    child_name(stem, &format!("tokens-{}", hash(uid)))
}

/// The name of the ConfigMap with the summary of a run.
pub fn summary_name(name: &str) -> String {
    child_name(name, "summary")
}

/// The name of the stopper Job.
pub fn stopper_name(name: &str) -> String {
    child_name(name, "stopper")
}
