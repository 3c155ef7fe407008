//! Files that are generated and checked in are those that the code generates.

use crate::support::golden;
use k6_operator::machine::{Event, StateName, diagram};
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
fn the_custom_resource_definition_is_the_types() {
    let yaml = k6_operator::api::crd::yaml().unwrap();
    golden("manifests/crd/k6s.k6.io.yaml", &yaml, REMEDY);
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
    }
}

#[test]
fn every_kind_of_event_and_of_state_has_a_sample() {
    let events: BTreeSet<usize> = diagram::events().iter().map(|e| number(&e.value)).collect();
    assert_eq!(events, (0..12).collect());
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
