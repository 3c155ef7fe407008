//! The administrator's settings for all resources, from a file: most often a key of a ConfigMap, mounted.

use crate::api::{Kind, definition};
use crate::objects::Common;
use serde_json::Value;
use std::path::Path;
use thiserror::Error;

/// The file can't be used.
#[derive(Debug, Error)]
pub enum DefaultsError {
    /// The file exists and can't be read.
    #[error("the defaults file {path} can't be read: {error}")]
    Unreadable {
        /// The path of the file.
        path: String,
        /// The error of the operating system.
        error: std::io::Error,
    },
    /// The file is not valid.
    #[error("the defaults file {path} is wrong: {what}")]
    Wrong {
        /// The path of the file.
        path: String,
        /// The place in the file, and what is wrong.
        what: String,
    },
}

/// Reads the file. If it does not exist, nothing is set.
pub fn read(path: Option<&Path>) -> Result<Common, DefaultsError> {
    let Some(path) = path else {
        return Ok(Common::default());
    };
    let name = path.display().to_string();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Common::default()),
        Err(error) => return Err(DefaultsError::Unreadable { path: name, error }),
    };
    parse(&text).map_err(|what| DefaultsError::Wrong { path: name, what })
}

fn parse(text: &str) -> Result<Common, String> {
    let value: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    if value.is_null() {
        return Ok(Common::default());
    }
    let unknown = unknown_fields(&value)?;
    if !unknown.is_empty() {
        return Err(format!("unknown field {}", unknown.join(", ")));
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// The paths of the fields in a defaults file that can't have a default.
fn unknown_fields(defaults: &Value) -> Result<Vec<String>, String> {
    let parts = ["podTemplate", "initializer", "runner", "starter", "aggregation"];
    let definition = serde_saphyr::from_str(definition(Kind::TestRun));
    let mut definition: Value = definition.map_err(|error| error.to_string())?;
    let spec = definition.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/spec");
    let mut schema = spec.map(Value::take).unwrap_or_default();
    // Not a setting of the initializer's pod.
    if let Some(Value::Object(fields)) = schema.pointer_mut("/properties/initializer/properties") {
        fields.remove("disabled");
    }
    // Not a setting of the aggregator's pod.
    if let Some(Value::Object(fields)) = schema.pointer_mut("/properties/aggregation/properties") {
        fields.remove("enabled");
    }
    if let Some(Value::Object(fields)) = schema.get_mut("properties") {
        fields.retain(|field, _| parts.contains(&field.as_str()));
    }
    let mut unknown = Vec::new();
    compare(defaults, &schema, "", &mut unknown);
    Ok(unknown)
}

fn compare(value: &Value, schema: &Value, path: &str, unknown: &mut Vec<String>) {
    match (value, schema.get("properties"), schema.get("items")) {
        (Value::Object(fields), Some(properties), _) => {
            for (name, value) in fields {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                match properties.get(name) {
                    Some(schema) => compare(value, schema, &path, unknown),
                    None => unknown.push(path),
                }
            }
        }
        (Value::Array(entries), _, Some(items)) => {
            for entry in entries {
                compare(entry, items, path, unknown);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_mistyped_default_is_named() {
        let error = |text: &str| parse(text).unwrap_err();
        assert_eq!(error("runner: {imge: x}"), "unknown field runner.imge");
        assert_eq!(
            error("podTemplate: {image: x}"),
            "unknown field podTemplate.image"
        );
        assert_eq!(
            error("runner: {tolerations: [{kex: a}]}"),
            "unknown field runner.tolerations.kex"
        );
        assert_eq!(
            error("initializer: {disabled: true}"),
            "unknown field initializer.disabled"
        );
        assert!(error("runner: {image: 7}").contains("expected a string"));
    }

    #[test]
    fn defaults_may_be_empty() {
        assert_eq!(parse(""), Ok(crate::objects::Common::default()));
        assert_eq!(parse("{}"), Ok(crate::objects::Common::default()));
    }

    #[test]
    fn defaults_are_read_as_a_spec_is() {
        let read = parse(
            "podTemplate: {nodeSelector: {pool: load}}\nrunner: {image: k6, resources: {limits: {cpu: 2}}}",
        );
        let read = read.unwrap();
        assert_eq!(read.pod_template.node_selector["pool"], "load");
        assert_eq!(read.runner.image.as_deref(), Some("k6"));
        assert_eq!(read.runner.common.resources.limits["cpu"].0, "2");
    }
}
