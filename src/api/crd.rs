//! Generates the CustomResourceDefinitions from the types of this module: the schemas, the columns of `kubectl get`, and
//! CEL rules for what a schema can't express.

use super::unset::Shape;
use super::{GROUP, Kind, Spec, Status, VERSION};
use crate::limits::PARALLELISM;
use kube::core::schema::{OptionalEnum, OptionalIntOrString, StructuralSchemaRewriter};
use schemars::generate::SchemaSettings;
use schemars::transform::{AddNullable, RecursiveTransform};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

/// The default of status.observedGeneration. Without it kstatus, which Helm 4 and Flux use, takes a new resource for
/// ready, and they would not wait for a run that the operator has not seen yet.
/// <https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md>
const UNSEEN: i64 = -1;

/// The depth below `spec` to which fields keep their descriptions. With those of Kubernetes' own types the definition
/// would be too large for `kubectl apply`, which keeps a copy in an annotation of at most 256 KiB.
const DESCRIBED_DEPTH: usize = 3;

/// The depth below `spec` to which each field has a line of its own in the generated file.
const LINES_DEPTH: usize = 2;

/// The form of a quantity: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>
const QUANTITY: &str =
    r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+))?$";

/// Fields of the spec that may change after the runners are created.
const MUTABLE: [&str; 5] = ["stop", "suspend", "ttlSecondsAfterFinished", "cleanup", "rerun"];

/// The definition of a kind as YAML, for `manifests/crd`. Each schema of Kubernetes' own types stands on one line: nobody
/// reads them here, and indented they would make the file three times as long.
pub fn yaml(kind: Kind) -> Result<String, String> {
    let mut definition = definition(kind);
    let mut lines = Vec::new();
    if let Some(spec) = definition.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/spec") {
        fold(spec, LINES_DEPTH, &mut lines);
    }
    let mut body = serde_saphyr::to_string(&definition).map_err(|e| e.to_string())?;
    for (index, line) in lines.iter().enumerate() {
        body = body.replacen(&format!(": {}\n", placeholder(index)), &format!(": {line}\n"), 1);
    }
    Ok(format!("# Generated from src/api by `make manifests`.\n{body}"))
}

/// The shape of a spec, for `src/api/spec-shape.json`.
pub fn spec_shape() -> Result<String, String> {
    let shape = serde_json::to_string_pretty(&Shape::of_spec()).map_err(|e| e.to_string())?;
    Ok(shape + "\n")
}

fn placeholder(index: usize) -> String {
    format!("line-{index}-line")
}

/// Replaces each schema at this depth of fields by a placeholder, and collects the schemas in `lines`.
fn fold(schema: &mut Value, depth: usize, lines: &mut Vec<String>) {
    if depth == 0 {
        let line = schema.to_string();
        *schema = Value::String(placeholder(lines.len()));
        lines.push(line);
        return;
    }
    let Value::Object(object) = schema else { return };
    for (key, inner) in object.iter_mut() {
        match (key.as_str(), inner) {
            ("properties", Value::Object(fields)) => {
                for field in fields.values_mut() {
                    fold(field, depth.saturating_sub(1), lines);
                }
            }
            ("items" | "additionalProperties", inner) if inner.get("properties").is_some() => {
                fold(inner, 0, lines);
            }
            _ => {}
        }
    }
}

/// The CustomResourceDefinition of a kind.
pub fn definition(kind: Kind) -> Value {
    let (singular, short) = match kind {
        Kind::K6 => ("k6", Vec::new()),
        Kind::TestRun => ("testrun", vec!["tr"]),
    };
    let column = |name: &str, type_: &str, path: &str| json!({"name": name, "type": type_, "jsonPath": path});
    let wide = |name: &str, type_: &str, path: &str| json!({"name": name, "type": type_, "jsonPath": path, "priority": 1});
    let mut names = json!({
        "kind": kind.as_str(), "plural": kind.plural(), "singular": singular, "categories": ["all"]
    });
    if !short.is_empty() {
        set(&mut names, "shortNames", json!(short));
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{}.{GROUP}", kind.plural())},
        "spec": {
            "group": GROUP,
            "names": names,
            "scope": "Namespaced",
            "versions": [{
                "name": VERSION,
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    column("State", "string", ".status.state"),
                    column("Result", "string", ".status.result"),
                    column("Runners", "string", ".status.runners.summary"),
                    wide("Stage", "string", ".status.stage"),
                    wide("Started", "date", ".status.startTime"),
                    wide("Duration", "string", ".status.duration"),
                    column("Age", "date", ".metadata.creationTimestamp"),
                    wide("p95", "string", ".status.summary.p95"),
                    wide("Failed", "string", ".status.summary.failed"),
                    wide("Message", "string", ".status.message"),
                ],
                "schema": {"openAPIV3Schema": schema(kind)}
            }]
        }
    })
}

fn schema(kind: Kind) -> Value {
    let shape = Shape::of_spec();
    let mut spec = schema_of::<Spec>();
    trim_descriptions(&mut spec, DESCRIBED_DEPTH);
    quantities(&mut spec);
    references(&mut spec);
    script(&mut spec, kind);
    let mut frozen: Vec<Value> = fields(&shape, &spec)
        .filter(|(field, ..)| !MUTABLE.contains(field))
        .map(|(field, shape, schema)| frozen(field, shape, schema))
        .collect();
    empties(&shape, &mut spec);
    without_null(&mut spec);
    set(
        &mut spec,
        "x-kubernetes-validations",
        json!([
            {
                "rule": format!("self.parallelism >= 1 && self.parallelism <= {PARALLELISM}"),
                "message": format!("spec.parallelism is the number of runners: at least 1, at most {PARALLELISM}"),
                "fieldPath": ".parallelism"
            },
        ]),
    );
    frozen.push(json!({
        "rule": "!has(oldSelf.status) || !has(oldSelf.status.state) || \
                 oldSelf.status.state in ['Initializing', 'Finished'] || \
                 !has(self.spec.suspend) || !self.spec.suspend || (has(oldSelf.spec.suspend) && oldSelf.spec.suspend)",
        "message": "spec.suspend holds a run before its runners are created, and this run has them: to end it, set spec.stop to true",
        "fieldPath": ".spec.suspend"
    }));
    let mut status = schema_of::<Status>();
    set(&mut status, "default", json!({"observedGeneration": UNSEEN}));
    json!({
        "description": "A distributed k6 test: N runners that share one script, start together and give one result.",
        "type": "object",
        "required": ["spec"],
        "properties": {"spec": spec, "status": status},
        "x-kubernetes-validations": frozen
    })
}

/// The fields of an object as name, shape and schema. None of a shape that has no fields.
fn fields<'a>(shape: &'a Shape, schema: &'a Value) -> impl Iterator<Item = (&'a str, &'a Shape, &'a Value)> {
    let fields = match shape {
        Shape::Fields(fields) => Some(fields),
        Shape::Whole | Shape::Each(_) | Shape::Texts | Shape::Entries => None,
    };
    fields.into_iter().flatten().filter_map(|(name, shape)| {
        let schema = schema.get("properties")?.get(name)?;
        Some((name.as_str(), shape, schema))
    })
}

/// The rule that a field does not change once the runners are created. It may change with spec.rerun after the run is
/// Finished. A field that is left out equals an empty one, since clients with Go types write back empty fields.
fn frozen(field: &str, shape: &Shape, schema: &Value) -> Value {
    let meaning = |spec: &str| meaning(spec, &[field], shape, schema);
    // In lists: for bare values CEL can't estimate the cost of a comparison.
    let same = format!("[{}] == [{}]", meaning("self.spec"), meaning("oldSelf.spec"));
    let rerun = "has(self.spec.rerun) && self.spec.rerun != '' && \
                 (!has(oldSelf.spec.rerun) || self.spec.rerun != oldSelf.spec.rerun)";
    json!({
        "rule": format!(
            "!has(oldSelf.status) || !has(oldSelf.status.state) || oldSelf.status.state == 'Initializing' || \
             (oldSelf.status.state == 'Finished' && {rerun}) || {same}"
        ),
        "message": format!(
            "spec.{field} can't be changed for a run that has its runners: wait until it is Finished, and change \
             spec.rerun in the same edit, which starts a new run; or delete the resource and apply it again"
        ),
        "fieldPath": format!(".spec.{field}")
    })
}

/// A CEL expression for the value at a path, which is the same for all ways to leave the value empty.
fn meaning(object: &str, path: &[&str], shape: &Shape, schema: &Value) -> String {
    let all = |object: &str, path: &[&str], shape, schema| {
        let fields = fields(shape, schema).map(|(field, shape, schema)| {
            let path = [path, &[field]].concat();
            meaning(object, &path, shape, schema)
        });
        format!("dyn([{}])", fields.collect::<Vec<_>>().join(", "))
    };
    // CEL sees a value without a single type only through `dyn`.
    let value = format!("dyn({object}).?{}", path.join(".?"));
    let or = |empty: &str| format!("dyn({value}.orValue({empty}))");
    let may_be_null = schema.get("nullable") == Some(&json!(true));
    match (shape, schema.get("type").and_then(Value::as_str)) {
        // Such values can only be compared.
        (_, None) => format!("dyn([{value}].filter(v, v.orValue('') != ''))"),
        (Shape::Fields(_), Some(_)) => all(object, path, shape, schema),
        (Shape::Each(entry), Some(_)) => {
            let given = (1..=path.len()).filter_map(|depth| path.get(..depth));
            let given = given.map(|path| format!("has({object}.{})", path.join(".")));
            format!(
                "dyn({} ? {object}.{}.map(e, {}) : [])",
                given.collect::<Vec<_>>().join(" && "),
                path.join("."),
                all("e", &[], entry, schema.get("items").unwrap_or(&Value::Null))
            )
        }
        (Shape::Texts | Shape::Entries, Some(_)) | (Shape::Whole, Some("object")) => or("{}"),
        (Shape::Whole, Some("array")) => or("[]"),
        (Shape::Whole, Some("string")) => or("''"),
        (Shape::Whole, Some("boolean")) if !may_be_null => or("false"),
        (Shape::Whole, Some(_)) => format!("dyn({value})"),
    }
}

/// Allows the empty text, which means unset, where the schema lists or restricts the allowed texts.
fn empties(shape: &Shape, schema: &mut Value) {
    match shape {
        Shape::Fields(shapes) => {
            let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
            for (name, schema) in properties.into_iter().flatten() {
                if let Some(shape) = shapes.get(name) {
                    empties(shape, schema);
                }
            }
        }
        Shape::Each(shape) => {
            if let Some(entries) = schema.get_mut("items") {
                empties(shape, entries);
            }
        }
        Shape::Entries => {
            if let Some(pattern) = schema.pointer_mut("/additionalProperties/pattern") {
                *pattern = json!(format!("^$|{QUANTITY}"));
            }
        }
        Shape::Whole | Shape::Texts => {
            if let Some(Value::Array(values)) = schema.get_mut("enum") {
                values.retain(|value| !value.is_null());
                values.push(json!(""));
            }
        }
    }
}

/// Allows null nowhere. The API server then removes a null from what users write, as if the field was left out.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.remove("nullable");
            object.values_mut().for_each(without_null);
        }
        Value::Array(list) => list.iter_mut().for_each(without_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The schema of spec.script. In a K6 it may also be the bare name of a ConfigMap: CEL rules can't look into a value of
/// two types, so that a schema says the same.
fn script(spec: &mut Value, kind: Kind) {
    let Some(script) = spec.pointer_mut("/properties/script") else {
        return;
    };
    match kind {
        Kind::K6 => {
            if let Value::Object(script) = script {
                script.remove("type");
            }
            set(script, "x-kubernetes-preserve-unknown-fields", json!(true));
            // A bare name matches only the first of these.
            let mut either = vec![json!({"minLength": 1, "minProperties": 1, "maxProperties": 0})];
            let given = |source: &str, what: Value| json!({"maxLength": 0, "required": [source], "properties": {source: what}});
            let named = json!({"required": ["name"], "properties": {"name": {"minLength": 1}}});
            either.extend(["configMap", "volumeClaim"].map(|source| given(source, named.clone())));
            either.extend(["localFile", "inline"].map(|source| given(source, json!({"minLength": 1}))));
            set(script, "oneOf", json!(either));
            set(
                script,
                "description",
                json!(
                    "The script: the name of a ConfigMap with the key test.js, or an object with exactly one source: \
                     configMap, volumeClaim, localFile or inline."
                ),
            );
        }
        Kind::TestRun => set(
            script,
            "x-kubernetes-validations",
            json!([{
                "rule": "[self.?configMap.?name, self.?volumeClaim.?name, self.?localFile, self.?inline]\
                         .filter(source, source.orValue('') != '').size() == 1",
                "message": "spec.script needs exactly one source: configMap, volumeClaim, localFile or inline"
            }]),
        ),
    }
}

fn schema_of<T: JsonSchema>() -> Value {
    let generator = SchemaSettings::openapi3()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .with_transform(AddNullable::default())
        .with_transform(RecursiveTransform(keep_description))
        .with_transform(RecursiveTransform(without_line_ends))
        .with_transform(StructuralSchemaRewriter)
        .with_transform(OptionalEnum)
        .with_transform(OptionalIntOrString)
        .into_generator();
    let mut schema: Value = Schema::into(generator.into_root_schema_for::<T>());
    if let Value::Object(schema) = &mut schema {
        schema.remove("title");
    }
    schema
}

/// Keeps the description of a field where the schema of its type replaces that of the field.
fn keep_description(schema: &mut Schema) {
    let Some(description) = schema.get("description").cloned() else {
        return;
    };
    if let Some(Value::Array(either)) = schema.get_mut("anyOf")
        && let Some(type_) = either.first_mut()
    {
        set(type_, "description", description);
    }
}

/// Joins the lines of a paragraph: `kubectl explain` wraps them itself.
fn without_line_ends(schema: &mut Schema) {
    if let Some(Value::String(text)) = schema.get_mut("description") {
        let paragraphs = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
        *text = paragraphs.collect::<Vec<_>>().join("\n\n");
    }
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Value::Object(object) = object {
        object.insert(key.to_owned(), value);
    }
}

/// Removes descriptions below this depth of fields, and all defaults.
fn trim_descriptions(schema: &mut Value, depth: usize) {
    let Value::Object(object) = schema else { return };
    if depth == 0 {
        object.remove("description");
    }
    object.remove("default");
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        for schema in properties.values_mut() {
            trim_descriptions(schema, depth.saturating_sub(1));
        }
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(schema) = object.get_mut(inner) {
            trim_descriptions(schema, 0);
        }
    }
}

/// Allows numbers for quantities, as Kubernetes does.
fn quantities(schema: &mut Value) {
    let Value::Object(object) = schema else { return };
    for (key, value) in object.iter_mut() {
        match key.as_str() {
            "limits" | "requests" => {
                if let Some(Value::Object(each)) = value.get_mut("additionalProperties") {
                    int_or_string(each);
                }
            }
            "sizeLimit" | "divisor" => {
                if let Value::Object(quantity) = value {
                    int_or_string(quantity);
                }
            }
            _ => quantities(value),
        }
    }
}

/// Makes the name of a referenced object optional, as in Kubernetes' own API, where it defaults to the empty name.
fn references(schema: &mut Value) {
    const FIELDS: [&str; 5] = ["name", "key", "optional", "items", "defaultMode"];
    let Value::Object(object) = schema else { return };
    let fields = object.get("properties").and_then(Value::as_object);
    if fields.is_some_and(|fields| fields.keys().all(|field| FIELDS.contains(&field.as_str())))
        && let Some(Value::Array(required)) = object.get_mut("required")
    {
        required.retain(|field| field != "name");
        if required.is_empty() {
            object.remove("required");
        }
    }
    object.values_mut().for_each(references);
}

fn int_or_string(schema: &mut Map<String, Value>) {
    schema.remove("type");
    schema.insert("x-kubernetes-int-or-string".to_owned(), json!(true));
    schema.insert("pattern".to_owned(), json!(QUANTITY));
}
