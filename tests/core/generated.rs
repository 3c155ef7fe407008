//! Files that are generated and checked in are those that the code generates.

use crate::kstatus::{Kstatus, compute};
use crate::support::golden;
use k6_operator::api::{Kind, Status, crd};
use k6_operator::machine::{Event, StateName, diagram};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const REMEDY: &str = "run `make manifests`";

#[test]
fn the_mermaid_diagram_is_the_machine() {
    golden("state-diagrams/lifecycle.mmd", &diagram::mermaid(), REMEDY);
}

#[test]
fn the_drawn_diagram_is_the_machine() {
    golden("state-diagrams/lifecycle.svg", &diagram::svg(), REMEDY);
}

#[test]
fn the_table_is_the_machine() {
    golden("state-diagrams/table.md", &diagram::table(), REMEDY);
}

#[test]
fn the_custom_resource_definitions_are_the_types() {
    for kind in Kind::ALL {
        let yaml = crd::yaml(kind).unwrap();
        golden(
            &format!("manifests/crd/{}.k6.io.yaml", kind.plural()),
            &yaml,
            REMEDY,
        );
    }
}

#[test]
fn shape_of_a_spec_is_that_of_its_type() {
    golden("src/api/spec-shape.json", &crd::spec_shape().unwrap(), REMEDY);
}

/// `kubectl apply` keeps a copy of what it applies, as JSON, in an annotation of 256 KiB at most.
#[test]
fn each_custom_resource_definition_can_be_applied_by_kubectl() {
    for kind in Kind::ALL {
        let (path, file) = (kind.plural(), crd::yaml(kind).unwrap());
        let read: serde_json::Value = serde_saphyr::from_str(&file).unwrap();
        let json = serde_json::to_string(&read).unwrap();
        for (form, size) in [("the file", file.len()), ("JSON", json.len())] {
            assert!(size > 10_000, "{path}: {form} of {size} bytes is no definition");
            assert!(size < 200_000, "{path}: {form} has {size} bytes");
        }
        // What is folded onto single lines is the definition nevertheless.
        assert_eq!(read, crd::definition(kind), "{path}");
    }
}

/// What the API server does not keep of a definition. A tool that compares what it has applied with what is there, as
/// Argo CD does, would find the definition different for ever.
fn lost(path: &str, value: &Value, all: &mut Vec<String>) {
    let parts: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(items) => items.iter().map(|item| ("[]".to_owned(), item)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return,
    };
    for (name, value) in parts {
        let path = format!("{path}.{name}");
        let empty = [json!(null), json!(false), json!(""), json!([])].contains(value);
        if empty && name != "[]" || name == "priority" && *value == 0 {
            all.push(path.clone());
        }
        lost(&path, value, all);
    }
}

#[test]
fn each_custom_resource_definition_is_kept_by_the_api_server_as_it_is() {
    for kind in Kind::ALL {
        let mut all = Vec::new();
        lost("", &crd::definition(kind), &mut all);
        assert_eq!(all, Vec::<String>::new());
    }
}

/// A new kind of event breaks the build here: give it a sample in `diagram::events`.
fn number(event: &Event) -> usize {
    match event {
        Event::Accepted { .. } => 0,
        Event::SpecRejected { .. } => 1,
        Event::ScriptInspected { .. } => 2,
        Event::ScriptRejected { .. } => 3,
        Event::ObjectRefused { .. } => 4,
        Event::StartOrdered { .. } => 5,
        Event::StartConfirmed { .. } => 6,
        Event::StartFailed { .. } => 7,
        Event::RunnerLost { .. } => 8,
        Event::RunnersEnded { .. } => 9,
        Event::DeadlinePassed { .. } => 10,
        Event::RunnersStopped { .. } => 11,
        Event::InspectionSkipped { .. } => 12,
        Event::RunnersStarted { .. } => 13,
        Event::StopOrdered {} => 14,
        Event::RerunOrdered { .. } => 15,
        Event::AggregatorLost { .. } => 16,
        Event::ResultCollected { .. } => 17,
        Event::CollectionFailed { .. } => 18,
    }
}

#[test]
fn every_kind_of_event_and_of_state_has_a_sample() {
    let events: BTreeSet<usize> = diagram::events().iter().map(|e| number(&e.value)).collect();
    assert_eq!(events, (0..19).collect());
    let states: BTreeSet<StateName> = diagram::states().iter().map(|s| s.value.name()).collect();
    assert_eq!(states, StateName::ALL.into_iter().collect());
}

#[test]
fn every_edge_is_drawn_on_a_route_of_its_own() {
    let svg = diagram::svg();
    let arrows = svg.lines().filter(|line| line.contains("marker-end"));
    let (straight, routed): (Vec<&str>, Vec<&str>) = arrows.partition(|line| line.contains(" L "));
    assert_eq!(
        straight,
        Vec::<&str>::new(),
        "these edges have no route in `diagram::route`"
    );
    let edges = diagram::mermaid().matches("-->").count();
    assert_eq!(
        routed.len(),
        edges - 1,
        "all but the arrow from Finished to the end"
    );
}

/// Helm 4 and Flux wait by kstatus, which takes a resource without a status for one that is ready.
#[test]
fn resource_that_no_operator_has_seen_is_in_progress() {
    assert_eq!(
        compute(1, &Value::Null),
        Kstatus::Current,
        "what the default is for"
    );
    for kind in Kind::ALL {
        let definition = crd::definition(kind);
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let unseen = &schema["properties"]["status"]["default"];
        assert_eq!(compute(1, unseen), Kstatus::InProgress, "{kind:?}");
        let status: Status = serde_json::from_value(unseen.clone()).unwrap();
        assert!(!status.is_foreign(), "{kind:?}: the operator takes it up");
        assert_eq!(status.history, [], "{kind:?}: as one that has no status");
    }
}
