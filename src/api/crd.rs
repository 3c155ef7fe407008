//! The CustomResourceDefinition, generated from the types.

use super::K6;
use kube::CustomResourceExt;

/// The CRD as YAML, as it is checked in under `manifests/crd`.
pub fn yaml() -> Result<String, String> {
    let crd = serde_json::to_value(K6::crd()).map_err(|e| e.to_string())?;
    let body = serde_saphyr::to_string(&crd).map_err(|e| e.to_string())?;
    Ok(format!("# Generated from src/api by `make manifests`.\n{body}"))
}
