//! The tests that a table of `docs/` names are there to be found.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Of these names, as `module::test` or `test`, those that no function in `tests/` has.
pub fn missing<'a>(named: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let functions = functions();
    let mut named: Vec<&str> = named.into_iter().collect();
    named.retain(|name| !functions.contains(name.rsplit("::").next().unwrap()));
    named
}

fn functions() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut open: Vec<PathBuf> = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(path.read_dir().unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(path).unwrap();
            let names = text
                .lines()
                .filter_map(|line| line.trim_start().trim_start_matches("async ").strip_prefix("fn "));
            all.extend(names.map(|rest| rest.split(['(', '<']).next().unwrap().to_owned()));
        }
    }
    all
}
