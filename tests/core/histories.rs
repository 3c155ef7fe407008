//! Statuses as operator 0.1.0 wrote them, in the files beside this one: each must be read, be what its history says, and
//! be written again with the same names. They are never generated again: what an old operator has written stays as it is.

use crate::support::texts;
use k6_operator::api::{LoadTest, replay_report};
use k6_operator::machine::diagram;
use serde_json::Value;
use std::collections::BTreeSet;

fn stored() -> Vec<(String, String)> {
    texts("tests/core/histories", "json")
}

#[test]
fn stored_status_is_what_its_history_says() {
    for (name, text) in stored() {
        let report = replay_report(&text).map_err(|error| error.to_string());
        assert!(report.is_ok(), "{name}: {report:?}");
    }
}

#[test]
fn stored_status_is_written_again_as_it_is() {
    for (name, text) in stored() {
        let resource: LoadTest = serde_json::from_str(&text).unwrap();
        let before: Value = serde_json::from_str(&text).unwrap();
        let after = serde_json::to_value(resource.status).unwrap();
        assert_eq!(after, before["status"], "{name}");
    }
}

#[test]
fn stored_histories_have_every_event() {
    let mut names = BTreeSet::new();
    for (_, text) in stored() {
        let resource: LoadTest = serde_json::from_str(&text).unwrap();
        let history = resource.status.unwrap_or_default().history;
        names.extend(history.iter().map(|record| record.event.name()));
    }
    let all: BTreeSet<_> = diagram::events().iter().map(|event| event.value.name()).collect();
    assert_eq!(names, all);
}
