//! What kstatus makes of a custom resource, written from its rules
//! (<https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md>): the tools that wait for
//! resources, such as Flux and kpt, go by it.

use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kstatus {
    InProgress,
    Failed,
    Current,
}

/// The generation of metadata, and the status as JSON.
pub fn compute(generation: i64, status: &Value) -> Kstatus {
    let observed = status["observedGeneration"].as_i64();
    if observed.is_some_and(|observed| observed != generation) {
        return Kstatus::InProgress;
    }
    let none = Vec::new();
    let conditions = status["conditions"].as_array().unwrap_or(&none);
    let value = |type_: &str| {
        let found = conditions.iter().find(|condition| condition["type"] == type_);
        found.and_then(|condition| condition["status"].as_str())
    };
    match (value("Reconciling"), value("Stalled"), value("Ready")) {
        (Some("True"), _, _) => Kstatus::InProgress,
        (_, Some("True"), _) => Kstatus::Failed,
        (_, _, Some("False" | "Unknown")) => Kstatus::InProgress,
        (_, _, _) => Kstatus::Current,
    }
}
