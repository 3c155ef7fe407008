//! Removes the empty values of a manifest before it is read, since an empty field means an unset one: clients with Go
//! types and templates write `image: ""`, `resources: {}` or `env: null` for fields that they do not set.
//!
//! Inside Kubernetes' own types an empty value keeps its meaning: `emptyDir: {}`, `namespaceSelector: {}`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The shape of a value, which decides what is removed from it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Shape {
    /// A value from which nothing is removed: a text, a number, a list of these, or a type of Kubernetes' own.
    Whole,
    /// An object with these fields, each of which can be unset.
    Fields(BTreeMap<String, Self>),
    /// A list of objects with fields.
    Each(Box<Self>),
    /// A map of texts, where an empty text is a value.
    Texts,
    /// A map of quantities, or an object of unknown fields.
    Entries,
}

/// The shape of a spec, from a file that `make manifests` generates from the types. Tests compare the two, and remove
/// every field that can be empty.
static SPEC: LazyLock<Shape> =
    LazyLock::new(|| serde_json::from_str(include_str!("spec-shape.json")).unwrap_or(Shape::Whole));

impl Shape {
    /// Removes empty values. Returns false if the whole value is empty.
    fn prune(&self, value: &mut Value) -> bool {
        match value {
            Value::Null => false,
            Value::Bool(_) | Value::Number(_) => true,
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => {
                if let Self::Each(fields) = self {
                    for entry in list.iter_mut() {
                        fields.prune(entry);
                    }
                }
                !list.is_empty()
            }
            Value::Object(fields) => {
                self.prune_fields(fields);
                !fields.is_empty()
            }
        }
    }

    fn prune_fields(&self, fields: &mut Map<String, Value>) {
        match self {
            Self::Fields(shapes) => fields.retain(|name, value| match shapes.get(name) {
                Some(shape) => shape.prune(value),
                // Kept, so that reading the spec tells that the field is unknown.
                None => true,
            }),
            Self::Entries => fields.retain(|_, value| Self::Entries.prune(value)),
            // The API server does the same.
            Self::Whole | Self::Each(_) | Self::Texts => fields.retain(|_, value| !value.is_null()),
        }
    }
}

/// Removes the empty values of a spec, or of the administrator's defaults.
pub fn without_empty(mut spec: Value) -> Value {
    // An empty spec is still an object.
    SPEC.prune(&mut spec);
    spec
}
