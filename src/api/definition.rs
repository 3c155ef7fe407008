//! The CustomResourceDefinitions that are checked in. The operator's program is built without the code that generates
//! them, which brings the schemas of all types of Kubernetes' API.

use super::Kind;

/// The CustomResourceDefinition of a kind, as YAML.
pub const fn definition(kind: Kind) -> &'static str {
    match kind {
        Kind::K6 => include_str!("../../manifests/crd/k6s.k6.io.yaml"),
        Kind::TestRun => include_str!("../../manifests/crd/testruns.k6.io.yaml"),
    }
}
