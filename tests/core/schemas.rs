//! `manifests/schemas`: what editors and linters check a K6 or a TestRun with, made from the CustomResourceDefinitions.

use k6_operator::api::{Kind, crd};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Those of a schema that hold schemas by name: their keys are no words of a schema.
const NAMED: [&str; 2] = ["properties", "patternProperties"];

/// As the API server reads it: a field that is unknown is refused, null is a value where it is allowed, and the words
/// that only Kubernetes has are left out.
fn plain(schema: &Value) -> Value {
    let Value::Object(schema) = schema else {
        return schema.clone();
    };
    let is = |word: &str| schema.get(word) == Some(&Value::Bool(true));
    let mut made = Map::new();
    for (word, value) in schema {
        let value = match value {
            Value::Object(of) if NAMED.contains(&word.as_str()) => of
                .iter()
                .map(|(name, value)| (name.clone(), plain(value)))
                .collect(),
            Value::Object(_) => plain(value),
            Value::Array(of) => of.iter().map(plain).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
        };
        if !word.starts_with("x-kubernetes-") && word != "nullable" {
            made.insert(word.clone(), value);
        }
    }
    if is("x-kubernetes-int-or-string") {
        made.insert("type".to_owned(), json!(["integer", "string"]));
    }
    if is("nullable") {
        if let Some(type_) = made.get_mut("type") {
            *type_ = json!([type_.clone(), "null"]);
        }
        if let Some(Value::Array(all)) = made.get_mut("enum") {
            all.push(Value::Null);
        }
    }
    let closed = schema.get("type") == Some(&json!("object"))
        && schema.contains_key("properties")
        && !schema.contains_key("additionalProperties")
        && !is("x-kubernetes-preserve-unknown-fields");
    if closed {
        made.insert("additionalProperties".to_owned(), json!(false));
    }
    Value::Object(made)
}

fn schema(kind: Kind) -> String {
    let definition = crd::definition(kind);
    let mut schema = plain(&definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]);
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!(kind);
    schema["type"] = json!("object");
    schema["additionalProperties"] = json!(false);
    schema["required"] = json!(["apiVersion", "kind", "metadata", "spec"]);
    schema["properties"]["apiVersion"] = json!({"type": "string", "enum": ["k6.io/v1alpha1"]});
    schema["properties"]["kind"] = json!({"type": "string", "enum": [kind]});
    schema["properties"]["metadata"] = json!({"type": "object"});
    format!("{schema}\n")
}

#[test]
fn schemas_for_editors_are_those_of_the_definitions() {
    for kind in Kind::ALL {
        let file = format!("manifests/schemas/{}_v1alpha1.json", kind.as_str().to_lowercase());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&file);
        let made = schema(kind);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            there == made,
            "{file} is not that of the definition: run `make manifests`"
        );
    }
}

/// The words of JSON Schema that a schema may use, so that no editor meets one that it does not know.
#[test]
fn schemas_for_editors_have_nothing_that_only_kubernetes_knows() {
    for kind in Kind::ALL {
        let text = schema(kind);
        for word in ["x-kubernetes-", "nullable"] {
            assert!(!text.contains(&format!("\"{word}")), "{word}");
        }
        let schema: Value = serde_json::from_str(&text).unwrap();
        let spec = &schema["properties"]["spec"];
        assert_eq!(spec["additionalProperties"], false);
        assert_eq!(spec["properties"]["parallelism"]["type"], "integer");
        let of_pods = &spec["properties"]["runner"]["properties"];
        assert_eq!(of_pods["resources"]["additionalProperties"], false);
        // Named by the user, not by us.
        assert_ne!(of_pods["nodeSelector"]["additionalProperties"], false);
    }
}
