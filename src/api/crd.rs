//! The CustomResourceDefinitions, generated from the types: their schemas, what `kubectl get` shows, and the
//! CEL rules for what a schema can't say.

use super::unset::{SPEC, Shape};
use super::{GROUP, Kind, Spec, Status, VERSION};
use crate::limits::PARALLELISM;
use kube::core::schema::{OptionalEnum, OptionalIntOrString, StructuralSchemaRewriter};
use schemars::generate::SchemaSettings;
use schemars::transform::{AddNullable, RecursiveTransform};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

/// The observed generation of a resource that has no status yet. kstatus, and with it Helm 4 and Flux, takes a resource
/// without one for ready: they would not wait for a run whose operator has not seen it.
/// <https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md>
const UNSEEN: i64 = -1;

/// How deep below `spec` descriptions are kept: those of Kubernetes' own types are left out, as they would
/// make the definition too large for `kubectl apply`, which keeps a copy in an annotation of 256 KiB.
const DESCRIBED_DEPTH: usize = 3;

/// How deep below `spec` the definition's file has a line for each field.
const LINES_DEPTH: usize = 2;

/// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>
const QUANTITY: &str =
    r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+))?$";

/// Fields of spec that may change while a run is under way.
const MUTABLE: [&str; 5] = ["stop", "suspend", "ttlSecondsAfterFinished", "cleanup", "rerun"];

/// The definition of a kind as YAML, as it is checked in under `manifests/crd`. The schemas of Kubernetes' own
/// types stand on one line each: they are not to be read here, and indented they would treble the file.
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

fn placeholder(index: usize) -> String {
    format!("line-{index}-line")
}

/// Puts a placeholder in the place of what stands that many levels of fields deep.
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

/// The definition of a kind.
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
    let mut spec = schema_of::<Spec>();
    described(&mut spec, DESCRIBED_DEPTH);
    quantities(&mut spec);
    references(&mut spec);
    script(&mut spec, kind);
    let mut frozen: Vec<Value> = fields(&SPEC, &spec)
        .filter(|(field, ..)| !MUTABLE.contains(field))
        .map(|(field, shape, schema)| frozen(field, shape, schema))
        .collect();
    empties(&SPEC, &mut spec);
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
        "message": "spec.suspend holds a run before its runners are made, and this run has them: to end it, set spec.stop to true",
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

/// The fields of an object in which each can be unset.
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

/// A run's spec stays as it is once its runners are made; a Finished one may change for a new run. A field that is
/// left out is no other than one that is empty: a client with Go types writes back more than it has read.
fn frozen(field: &str, shape: &Shape, schema: &Value) -> Value {
    let meaning = |spec: &str| meaning(spec, &[field], shape, schema);
    // Lists that stand here as such: of other values CEL does not know how long it takes to compare them.
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

/// What the field at a path means, as an expression of CEL that is the same for all ways to leave it empty.
fn meaning(object: &str, path: &[&str], shape: &Shape, schema: &Value) -> String {
    let all = |object: &str, path: &[&str], shape, schema| {
        let fields = fields(shape, schema).map(|(field, shape, schema)| {
            let path = [path, &[field]].concat();
            meaning(object, &path, shape, schema)
        });
        format!("dyn([{}])", fields.collect::<Vec<_>>().join(", "))
    };
    // What has no type, or one of several, is out of the rules' sight but for `dyn`.
    let value = format!("dyn({object}).?{}", path.join(".?"));
    let or = |empty: &str| format!("dyn({value}.orValue({empty}))");
    let may_be_null = schema.get("nullable") == Some(&json!(true));
    match (shape, schema.get("type").and_then(Value::as_str)) {
        // Only that it is the same as another can be asked.
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

/// An empty text stands for none, also where there are few others.
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

/// The API server removes a null where the schema knows none: nobody has to tell it from what is left out.
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

/// A K6 may name a ConfigMap in place of an object; then the rules can't look into it, but a schema can.
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
            // Each of these but the first is false of every name.
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
        .with_transform(RecursiveTransform(in_the_words_of_the_field))
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

/// What a field says of itself is kept where the schema of its type takes its place.
fn in_the_words_of_the_field(schema: &mut Schema) {
    let Some(words) = schema.get("description").cloned() else {
        return;
    };
    if let Some(Value::Array(either)) = schema.get_mut("anyOf")
        && let Some(type_) = either.first_mut()
    {
        set(type_, "description", words);
    }
}

/// Where a sentence wraps in the source is not where it wraps in `kubectl explain`.
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

/// Leaves descriptions out below that many levels of fields.
fn described(schema: &mut Value, depth: usize) {
    let Value::Object(object) = schema else { return };
    if depth == 0 {
        object.remove("description");
    }
    object.remove("default");
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        for schema in properties.values_mut() {
            described(schema, depth.saturating_sub(1));
        }
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(schema) = object.get_mut(inner) {
            described(schema, 0);
        }
    }
}

/// Quantities can be written as numbers.
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

/// What refers to another object may leave out its name, as in Kubernetes' own API, where the empty name is the default.
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

/// The fields of a defaults file that a spec does not have, by path.
pub fn unknown_fields(defaults: &Value) -> Vec<String> {
    let parts = ["podTemplate", "initializer", "runner", "starter", "aggregation"];
    let mut schema = schema_of::<Spec>();
    // Whether there is an initializer is no setting of its pod.
    if let Some(Value::Object(fields)) = schema.pointer_mut("/properties/initializer/properties") {
        fields.remove("disabled");
    }
    // Nor is it one of the aggregator.
    if let Some(Value::Object(fields)) = schema.pointer_mut("/properties/aggregation/properties") {
        fields.remove("enabled");
    }
    if let Some(Value::Object(fields)) = schema.get_mut("properties") {
        fields.retain(|field, _| parts.contains(&field.as_str()));
    }
    let mut unknown = Vec::new();
    compare(defaults, &schema, "", &mut unknown);
    unknown
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
