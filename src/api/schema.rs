//! The schemas of fields that do not follow from their types.

use super::Flag;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use std::borrow::Cow;

impl JsonSchema for Flag {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Flag".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "enum": [true, false, "true", "false"],
            "x-kubernetes-preserve-unknown-fields": true
        })
    }
}

/// The schema of spec.script. [`super::crd`] adds the bare name of a ConfigMap, which only a K6 allows.
pub(super) fn script(_: &mut SchemaGenerator) -> Schema {
    let name = serde_json::json!({
        "type": "string",
        "maxLength": 253
    });
    schemars::json_schema!({
        "type": "object",
        "properties": {
            "configMap": {
                "description": "All files of a ConfigMap, mounted at /test. Its key `file`, by default test.js, is the script.",
                "type": "object",
                "properties": {
                    "name": name,
                    "file": {
                        "description": "The key with the script, or with an archive of k6 (.tar). Default test.js.",
                        "type": "string",
                        "maxLength": 253
                    }
                }
            },
            "volumeClaim": {
                "description": "A PersistentVolumeClaim, mounted at /test, or at the folder of an absolute `file`. `file`, by default test.js, is the script.",
                "type": "object",
                "properties": {
                    "name": name,
                    "file": {
                        "description": "The script, or an archive of k6 (.tar), in the volume. Default test.js.",
                        "type": "string",
                        "maxLength": 1024
                    },
                    "readOnly": {
                        "description": "Mount the volume read-only.",
                        "type": "boolean"
                    }
                }
            },
            "localFile": {
                "description": "The path of a script, or of an archive of k6 (.tar), in the image of the runners.",
                "type": "string",
                "maxLength": 1024
            },
            "inline": {
                "description": "The script itself; it is kept in a ConfigMap that this resource owns.",
                "type": "string",
                "maxLength": 1_000_000
            }
        }
    })
}

pub(super) fn preserved(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({
        "type": "object",
        "nullable": true,
        "x-kubernetes-preserve-unknown-fields": true
    })
}

pub(super) fn date_time(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({"type": "string", "format": "date-time", "nullable": true})
}

pub(super) fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let items = Condition::json_schema(generator);
    schemars::json_schema!({
        "description": "Ready, Reconciling and Stalled as kstatus reads them, Succeeded, and as they occur Retrying \
                        and Unsupported.",
        "type": "array",
        "items": items,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"]
    })
}

/// The schema of the history. It names only the fields that all events have.
pub(super) fn history(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({
        "description": "The events of the run, in order.",
        "type": "array",
        "maxItems": crate::machine::HISTORY_LIMIT,
        "items": {
            "type": "object",
            "required": ["time", "event"],
            "properties": {
                "time": {"type": "string", "format": "date-time"},
                "event": {"type": "string"}
            },
            "x-kubernetes-preserve-unknown-fields": true
        }
    })
}
