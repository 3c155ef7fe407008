//! Imports point down the layers of src/, as docs/design.md and src/lib.rs draw them. Each `crate::` in the code counts,
//! those of unit tests apart.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// From the ground up. What stands in one layer does not import from its neighbours there.
const LAYERS: [&[&str]; 6] = [
    &["clock", "exposition", "k6", "limits", "listen"],
    &["protocol"],
    &["aggregate", "machine"],
    &["api"],
    &["objects"],
    &["operator", "programs"],
];

fn layer(module: &str) -> usize {
    LAYERS
        .iter()
        .position(|layer| layer.contains(&module))
        .unwrap_or_else(|| panic!("src/{module} stands in no layer"))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let below = folders.iter().flat_map(|folder| self::files(folder));
    let files = files
        .into_iter()
        .filter(|file| file.extension().is_some_and(|end| end == "rs"));
    files.chain(below).collect()
}

/// The top modules that a source names, and those of an import in braces.
fn imported(source: &str) -> BTreeSet<String> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let names = match rest.strip_prefix('{') {
            Some(list) => list.split_once('}').map_or(list, |(list, _)| list),
            None => rest,
        };
        let several = rest.starts_with('{');
        for name in names.split(',').take(if several { usize::MAX } else { 1 }) {
            let name: String = name
                .trim()
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            found.insert(name);
        }
    }
    found
}

#[test]
fn no_import_points_up_or_aside() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for file in files(&root) {
        let path = file.strip_prefix(&root).unwrap();
        let top = path.components().next().unwrap().as_os_str().to_string_lossy();
        let module = top.trim_end_matches(".rs").to_owned();
        if matches!(module.as_str(), "lib" | "main") {
            continue;
        }
        seen.insert(module.clone());
        for other in imported(&std::fs::read_to_string(&file).unwrap()) {
            if other != module && layer(&other) >= layer(&module) {
                wrong.insert((path.to_owned(), other));
            }
        }
    }
    assert_eq!(wrong, BTreeSet::new());
    let all: BTreeSet<String> = LAYERS
        .iter()
        .flat_map(|layer| layer.iter().map(|name| (*name).to_owned()))
        .collect();
    assert_eq!(seen, all);
}

/// A file that is longer has more than one idea.
#[test]
fn no_file_of_the_source_has_more_than_600_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut long = files(&root);
    long.retain(|file| std::fs::read_to_string(file).unwrap().lines().count() > 600);
    assert_eq!(long, Vec::<PathBuf>::new());
}

#[test]
fn import_is_seen_however_it_is_written() {
    let source = "use crate::api::{Kind, Flag};\nuse crate::{clock, k6::Version};\nfn f() { crate::objects::g() }\n\
                  #[cfg(test)]\nmod tests { use crate::operator::Clock; }";
    let expected = ["api", "clock", "k6", "objects"].map(str::to_owned);
    assert_eq!(imported(source), BTreeSet::from(expected));
}
