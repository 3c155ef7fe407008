//! Derives the shape of a spec, which decides what an empty field means, from the schema of its type.

use super::Spec;
use super::unset::Shape;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// The start of the names of schemas of Kubernetes' own types.
const KUBERNETES: &str = "io.k8s.";

impl Shape {
    /// The shape of a spec.
    pub(super) fn of_spec() -> Self {
        let generator = SchemaSettings::draft2020_12().into_generator();
        let root: Value = generator.into_root_schema_for::<Spec>().into();
        Self::of(&root, &root)
    }

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
}
