//! The sequence of all segments, which each runner is told beside its own segment. It is the same for all, and as long
//! as they are many: beyond [`INLINE`] runners it stands once, in a ConfigMap.

use super::pod::{Owner, given};
use super::{ValidatedRun, names};
use crate::k6::segments;
use k8s_openapi::api::core::v1::{ConfigMap, ConfigMapKeySelector, EnvVar, EnvVarSource};
use std::collections::BTreeMap;

/// The maximum number of runners that have the sequence in their command. That of 100 has 687 bytes.
const INLINE: u32 = 100;

/// The variable that refers to the ConfigMap.
const VARIABLE: &str = "K6_OPERATOR_SEGMENTS";

const KEY: &str = "sequence";

/// The ConfigMap with the sequence of `n` runners; None if each runner has it in its command.
pub fn sequence(owner: &Owner, n: u32) -> Option<ConfigMap> {
    (n > INLINE).then(|| ConfigMap {
        metadata: owner.metadata(names::sequence_name(&owner.name, n), "segments"),
        data: Some(BTreeMap::from([(KEY.to_owned(), segments::sequence(n))])),
        // Runners that are created later must have the same.
        immutable: Some(true),
        ..ConfigMap::default()
    })
}

/// The value of `--execution-segment-sequence`.
pub(super) fn value(n: u32) -> String {
    if n > INLINE {
        // Kubernetes replaces it when it starts the container.
        format!("$({VARIABLE})")
    } else {
        segments::sequence(n)
    }
}

/// Adds the variable to which [`value`] refers, in place of one that the user may have given this name.
pub(super) fn variable(run: &ValidatedRun, n: u32, env: Option<Vec<EnvVar>>) -> Option<Vec<EnvVar>> {
    if n <= INLINE {
        return env;
    }
    let ours = EnvVar {
        name: VARIABLE.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            config_map_key_ref: Some(ConfigMapKeySelector {
                name: names::sequence_name(&run.owner.name, n),
                key: KEY.to_owned(),
                // A container is not started without it.
                optional: None,
            }),
            ..EnvVarSource::default()
        }),
    };
    let users = env.into_iter().flatten().filter(|user| user.name != VARIABLE);
    let all: Vec<EnvVar> = users.chain([ours]).collect();
    given(&all)
}
