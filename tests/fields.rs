//! `docs/fields.md`: every field of both kinds, and the end-to-end tests that apply it to a real cluster.
//!
//! The end-to-end tests write down what they apply (`K6OP_FIELDS`); after all of them `tests/cluster/check`
//! runs this with their file: each test that the table names must have applied its field. Without it, only what needs
//! no cluster is checked: that the table has all fields and no gap, and that the tests it names exist.

#![allow(clippy::unwrap_used)]

#[path = "support/named.rs"]
mod tests;

use k6_operator::api::{Kind, crd};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Fields whose own fields have rows too.
const OPENED: [&str; 9] = [
    "aggregation",
    "script",
    "script.configMap",
    "script.volumeClaim",
    "timeouts",
    "podTemplate",
    "runner",
    "initializer",
    "starter",
];

/// No more tests than these are named for one field.
const NAMED: usize = 2;

fn opened(path: &str) -> bool {
    OPENED.contains(&path)
}

/// All fields of a kind.
fn fields(kind: Kind) -> BTreeSet<String> {
    let definition = crd::definition(kind);
    let spec = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut all = BTreeSet::new();
    collect(spec, "", &mut all);
    all
}

fn collect(schema: &Value, path: &str, all: &mut BTreeSet<String>) {
    for (name, field) in schema["properties"].as_object().unwrap() {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        if opened(&path) {
            collect(field, &path, all);
        } else {
            all.insert(path);
        }
    }
}

/// The fields that an applied spec sets.
fn set(spec: &Value, path: &str, all: &mut BTreeSet<String>) {
    let Value::Object(fields) = spec else { return };
    for (name, value) in fields {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        if path == "script" && value.is_string() {
            // The bare name of a ConfigMap.
            all.insert("script.configMap.name".to_owned());
        } else if opened(&path) && value.is_object() {
            set(value, &path, all);
        } else {
            all.insert(path);
        }
    }
}

type Covered = BTreeMap<(String, &'static str), BTreeSet<String>>;

/// Lines of test, kind and spec, separated by tabs.
fn covered(record: &str) -> Covered {
    let mut covered = Covered::new();
    for line in record.lines() {
        let mut parts = line.splitn(3, '\t');
        let (test, kind, spec) = (
            parts.next().unwrap(),
            parts.next().unwrap(),
            parts.next().unwrap(),
        );
        let mut paths = BTreeSet::new();
        set(&serde_json::from_str(spec).unwrap(), "", &mut paths);
        let kind = Kind::parse(kind).unwrap().as_str();
        for path in paths {
            covered.entry((path, kind)).or_default().insert(test.to_owned());
        }
    }
    covered
}

fn table(covered: &Covered) -> String {
    let mut text = String::from(
        "<!-- Written by the end-to-end tests: `UPDATE=1 make test`. -->\n\n# Every field, and what tests it\n\nFor \
         those who rely on a field, and for those who add one: the end-to-end tests that apply a field to a real cluster, for each kind; at most two are named.\n\n\
         | field of spec | K6 | TestRun |\n| --- | --- | --- |\n",
    );
    let all: BTreeSet<String> = Kind::ALL.into_iter().flat_map(fields).collect();
    for field in all {
        let cell = |kind: Kind| {
            let tests = covered.get(&(field.clone(), kind.as_str()));
            let names = tests.into_iter().flatten().map(String::as_str).take(NAMED);
            names.collect::<Vec<_>>().join(", ")
        };
        writeln!(
            text,
            "| `{field}` | {} | {} |",
            cell(Kind::K6),
            cell(Kind::TestRun)
        )
        .unwrap();
    }
    text
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/fields.md")
}

/// What the table says: the tests of each field and kind.
fn named(text: &str) -> BTreeMap<(&str, &'static str), Vec<&str>> {
    let rows = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    rows.flat_map(|(field, cells)| {
        let cells = cells.trim_end_matches(" |").split(" | ");
        Kind::ALL.into_iter().zip(cells).map(move |(kind, cell)| {
            let tests = cell.split(", ").map(str::trim).filter(|test| !test.is_empty());
            ((field, kind.as_str()), tests.collect())
        })
    })
    .collect()
}

#[test]
fn every_field_of_both_kinds_is_covered_by_an_end_to_end_test() {
    let covered =
        std::env::var_os("K6OP_FIELDS").map(|record| covered(&std::fs::read_to_string(record).unwrap()));
    if let Some(covered) = &covered
        && std::env::var_os("UPDATE").is_some()
    {
        std::fs::write(file(), table(covered)).unwrap();
    }
    let text = std::fs::read_to_string(file()).unwrap();
    let named = named(&text);
    for kind in Kind::ALL {
        let of_kind = named.iter().filter(|((_, of), _)| *of == kind.as_str());
        let listed: BTreeSet<String> = of_kind
            .clone()
            .map(|((field, _), _)| (*field).to_owned())
            .collect();
        assert_eq!(
            listed,
            fields(kind),
            "docs/fields.md has other fields than the definition of {}",
            kind.as_str()
        );
        let gaps: Vec<&str> = of_kind
            .filter(|(_, tests)| tests.is_empty())
            .map(|((field, _), _)| *field)
            .collect();
        assert!(
            gaps.is_empty(),
            "no end-to-end test applies these to a {}: {gaps:?}",
            kind.as_str()
        );
    }
    let missing = tests::missing(named.values().flatten().copied());
    assert!(
        missing.is_empty(),
        "docs/fields.md names tests that are no more: {missing:?}"
    );
    let Some(covered) = covered else { return };
    let mut stale = Vec::new();
    for ((field, kind), tests) in &named {
        let apply = covered.get(&((*field).to_owned(), *kind));
        let others = tests
            .iter()
            .filter(|test| !apply.is_some_and(|apply| apply.contains(**test)));
        stale.extend(others.map(|test| format!("{test} applies no `{field}` to a {kind}")));
    }
    assert!(
        stale.is_empty(),
        "docs/fields.md is stale, write it with UPDATE=1: {stale:#?}"
    );
}
