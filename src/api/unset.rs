//! Removes the empty values of a manifest before it is read, since an empty field means an unset one: clients with Go
//! types and templates write `image: ""`, `resources: {}` or `env: null` for fields that they do not set.
//!
//! Inside Kubernetes' own types an empty value keeps its meaning: `emptyDir: {}`, `namespaceSelector: {}`.

use super::Spec;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The start of the names of schemas of Kubernetes' own types.
const KUBERNETES: &str = "io.k8s.";

/// The shape of a value, which decides what is removed from it.
#[derive(Debug)]
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

/// The shape of a spec.
pub(super) static SPEC: LazyLock<Shape> = LazyLock::new(|| {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let root: Value = generator.into_root_schema_for::<Spec>().into();
    Shape::of(&root, &root)
});

impl Shape {
    fn of(schema: &Value, root: &Value) -> Self {
        if let Some(path) = schema.get("$ref").and_then(Value::as_str) {
            let name = path.rsplit('/').next().unwrap_or_default();
            let definition = root.pointer(path.trim_start_matches('#'));
            return match definition {
                Some(definition) if !name.starts_with(KUBERNETES) => Self::of(definition, root),
                Some(_) | None => Self::Whole,
            };
        }
        if let Some(first) = schema.get("anyOf").and_then(|either| either.get(0)) {
            return Self::of(first, root);
        }
        if let Some(fields) = schema.get("properties").and_then(Value::as_object) {
            let fields = fields.iter();
            return Self::Fields(
                fields
                    .map(|(name, of)| (name.clone(), Self::of(of, root)))
                    .collect(),
            );
        }
        if let Some(entries) = schema.get("additionalProperties") {
            let texts = entries.get("type").and_then(Value::as_str) == Some("string");
            return if texts { Self::Texts } else { Self::Entries };
        }
        if let Some(items) = schema.get("items") {
            return match Self::of(items, root) {
                fields @ Self::Fields(_) => Self::Each(Box::new(fields)),
                Self::Whole | Self::Each(_) | Self::Texts | Self::Entries => Self::Whole,
            };
        }
        let free = schema.get("x-kubernetes-preserve-unknown-fields").is_some();
        let object = schema.get("type").and_then(Value::as_str) == Some("object");
        if free && object {
            Self::Entries
        } else {
            Self::Whole
        }
    }

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
