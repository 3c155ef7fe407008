//! Generates the files of `state-diagrams/` from what [`step`] answers: each sample state gets each sample event, so that
//! no picture shows what the machine does not do. A test fails if the files are stale.

mod samples;
mod svg;

pub use samples::{Sample, events, states};
pub use svg::svg;

use super::state::StateName;
use super::step::{Step, step};
use samples::{at_epoch, label};
use std::collections::BTreeMap;

/// The transitions as from, to, and the events that lead there, in the order of a run.
fn edges() -> Vec<(StateName, StateName, Vec<String>)> {
    let mut edges: BTreeMap<(StateName, StateName), Vec<String>> = BTreeMap::new();
    for event in events() {
        let name = event.value.name();
        let text = label(name, event.note);
        for state in states() {
            match step(&state.value, &at_epoch(event.value.clone())) {
                Step::Next(next) => {
                    let labels = edges.entry((state.value.name(), next.name())).or_default();
                    // A special case that leads where the plain event leads is left out.
                    if !labels.contains(&text) && !labels.iter().any(|label| label == name) {
                        labels.push(text.clone());
                    }
                }
                Step::Unchanged | Step::Refused => {}
            }
        }
    }
    edges.into_iter().map(|((a, b), labels)| (a, b, labels)).collect()
}

/// The files of `state-diagrams/`, as name and content.
pub fn files() -> [(&'static str, String); 3] {
    [
        ("lifecycle.mmd", mermaid()),
        ("lifecycle.svg", svg()),
        ("table.md", table()),
    ]
}

/// `lifecycle.mmd`: the diagram in Mermaid.
pub fn mermaid() -> String {
    let edges = edges();
    let line = |(from, to, labels): &(StateName, StateName, Vec<String>)| {
        format!("{} --> {} : {}\n", from.as_str(), to.as_str(), labels.join(", "))
    };
    let is_live = |name: StateName| name != StateName::Finished;
    let mut text = String::from(
        "%% Generated from `step` by `make manifests`.\nstateDiagram-v2\n    state Live {\n        [*] --> Initializing\n",
    );
    for edge in edges.iter().filter(|edge| is_live(edge.1)) {
        text.push_str("        ");
        text.push_str(&line(edge));
    }
    text.push_str("    }\n");
    for edge in edges.iter().filter(|edge| !is_live(edge.1)) {
        text.push_str("    ");
        text.push_str(&line(edge));
    }
    text.push_str("    Finished --> [*]\n");
    text
}

/// `table.md`: the answer of every state to every event.
pub fn table() -> String {
    let states = states();
    let head = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = String::from(
        "<!-- Generated from `step` by `make manifests`. -->\n\n# Every state and every event\n\n\
         A name is the next state (a state's own name: its data changes). `unchanged`: the event says nothing \
         new. `refused`: the event can't happen in this state, and is never recorded.\n\n",
    );
    let names = states
        .iter()
        .map(|state| label(state.value.name().as_str(), state.note));
    text.push_str(&head(std::iter::once("Event".to_owned()).chain(names).collect()));
    text.push_str(&head(vec!["---".to_owned(); states.len() + 1]));
    for event in events() {
        let answers = states
            .iter()
            .map(|state| match step(&state.value, &at_epoch(event.value.clone())) {
                Step::Next(next) => format!("**{}**", next.name().as_str()),
                Step::Unchanged => "unchanged".to_owned(),
                Step::Refused => "refused".to_owned(),
            });
        let first = label(event.value.name(), event.note);
        text.push_str(&head(std::iter::once(first).chain(answers).collect()));
    }
    text
}
