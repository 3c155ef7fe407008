//! `docs/fields.md`: every field of both kinds, and the end-to-end tests that apply it to a real cluster.
//!
//! The end-to-end tests write down what they apply (`K6OP_FIELDS`); after all of them `tests/cluster/e2e`
//! runs this with their file. Without it, only what needs no cluster is checked: that the table has all fields
//! and no gap.

#![allow(clippy::unwrap_used)]

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
            let names: Vec<&str> = tests.into_iter().flatten().map(String::as_str).collect();
            let more = names.len().saturating_sub(NAMED);
            let mut cell = names[..names.len().min(NAMED)].join(", ");
            if more > 0 {
                write!(cell, " and {more} more").unwrap();
            }
            cell
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

#[test]
fn every_field_of_both_kinds_is_covered_by_an_end_to_end_test() {
    if let Some(record) = std::env::var_os("K6OP_FIELDS") {
        let table = table(&covered(&std::fs::read_to_string(record).unwrap()));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(file(), &table).unwrap();
        }
        let found = std::fs::read_to_string(file()).unwrap_or_default();
        assert!(
            found == table,
            "docs/fields.md is stale, write it with UPDATE=1: {table}"
        );
    }
    let text = std::fs::read_to_string(file()).unwrap();
    let rows: BTreeMap<&str, Vec<&str>> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .map(|(field, cells)| (field, cells.trim_end_matches(" |").split(" | ").collect()))
        .collect();
    let all: BTreeSet<String> = Kind::ALL.into_iter().flat_map(fields).collect();
    let listed: BTreeSet<String> = rows.keys().map(|field| (*field).to_owned()).collect();
    assert_eq!(
        listed, all,
        "docs/fields.md has other fields than the definitions"
    );
    let gaps: Vec<&str> = rows
        .iter()
        .filter(|(_, cells)| {
            cells.len() != Kind::ALL.len() || cells.iter().any(|cell| cell.trim().is_empty())
        })
        .map(|(field, _)| *field)
        .collect();
    assert!(
        gaps.is_empty(),
        "no end-to-end test applies these for both kinds: {gaps:?}"
    );
}
