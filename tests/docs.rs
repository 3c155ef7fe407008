//! What people read: the README, the book in `docs/` and the pages beside the code.
//!
//! Links are followed, the book has all of its pages, and the tables that repeat the code are those that the code
//! gives. `make docs` writes the tables anew.

#![allow(clippy::unwrap_used)]

use clap::{Args, Command};
use k6_operator::api::{Kind, crd};
use k6_operator::limits::PARALLELISM;
use k6_operator::machine::StateName;
use k6_operator::operator::RunArgs;
use k6_operator::operator::telemetry::{Metrics, Outcome, TelemetryArgs};
use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The Markdown files of a folder and of those in it, relative to the repository.
fn markdown(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(repository().join(folder)).unwrap() {
        let path = entry.unwrap().path();
        let relative = path
            .strip_prefix(repository())
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        if path.is_dir() {
            found.extend(markdown(&relative));
        } else if path.extension().is_some_and(|end| end == "md") {
            found.push(relative);
        }
    }
    found.sort();
    found
}

/// All pages that people read.
fn pages() -> Vec<String> {
    let mut all: Vec<String> = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"]
        .map(str::to_owned)
        .to_vec();
    for folder in [
        "docs",
        "manifests",
        "charts",
        "tests",
        "state-diagrams",
        ".github",
    ] {
        all.extend(markdown(folder));
    }
    all
}

fn parse(text: &str) -> Parser<'_> {
    Parser::new_ext(text, Options::ENABLE_TABLES)
}

/// The anchor of a heading, as GitHub and mdBook make it.
fn slug(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut heading: Option<String> = None;
    for event in parse(text) {
        if let Event::Start(Tag::Heading { .. }) = event {
            heading = Some(String::new());
        } else if let Event::End(TagEnd::Heading(_)) = event {
            let slug = slug(&heading.take().unwrap());
            let same = (1..).map(|n| format!("{slug}-{n}"));
            let mut names = std::iter::once(slug.clone()).chain(same);
            let name = names.find(|name| !anchors.contains(name)).unwrap();
            anchors.insert(name);
        } else if let (Event::Text(part) | Event::Code(part), Some(heading)) = (event, &mut heading) {
            heading.push_str(&part);
        }
    }
    anchors
}

/// Where the links and pictures of a page lead.
fn links(text: &str) -> Vec<String> {
    parse(text)
        .filter_map(|event| {
            let (Event::Start(Tag::Link { dest_url, .. }) | Event::Start(Tag::Image { dest_url, .. })) =
                event
            else {
                return None;
            };
            Some(dest_url.to_string())
        })
        .collect()
}

/// Without `.` and `..`; None if it leads out of the repository.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                if !normal.pop() {
                    return None;
                }
            }
            Component::CurDir => {}
            Component::Normal(_) | Component::RootDir | Component::Prefix(_) => normal.push(part),
        }
    }
    Some(normal)
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = read(&page);
        for link in links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = link
                .split_once('#')
                .map_or((link.as_str(), None), |(path, anchor)| (path, Some(anchor)));
            let folder = Path::new(&page).parent().unwrap();
            let target = if path.is_empty() {
                Some(PathBuf::from(&page))
            } else {
                normal(&folder.join(path))
            };
            let Some(target) = target.filter(|target| repository().join(target).exists()) else {
                broken.push(format!("{page}: {link}: no such file"));
                continue;
            };
            let Some(anchor) = anchor else { continue };
            if !anchors(&read(target.to_str().unwrap())).contains(anchor) {
                broken.push(format!("{page}: {link}: no such heading"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The pages of the book, by its table of contents.
fn book() -> Vec<String> {
    let chapters = links(&read("docs/SUMMARY.md"));
    chapters
        .into_iter()
        .map(|chapter| format!("docs/{chapter}"))
        .collect()
}

#[test]
fn the_book_has_every_page_of_its_folder_once() {
    let mut chapters = book();
    chapters.sort();
    let mut files = markdown("docs");
    files.retain(|file| file != "docs/SUMMARY.md");
    assert_eq!(chapters, files);
}

/// The first paragraph, which says who needs the page and what for.
#[test]
fn every_page_of_the_book_says_first_who_needs_it() {
    for page in book() {
        let text = read(&page);
        let mut paragraph: Option<String> = None;
        let mut titled = false;
        for event in parse(&text) {
            if let Event::Start(Tag::Heading { level, .. }) = event {
                titled |= level == HeadingLevel::H1;
            } else if let Event::Start(Tag::Paragraph) = event {
                paragraph = Some(String::new());
            } else if let Event::End(TagEnd::Paragraph) = event {
                break;
            } else if let (Event::Text(part) | Event::Code(part), Some(paragraph)) = (event, &mut paragraph) {
                paragraph.push_str(&part);
            }
        }
        assert!(titled, "{page} has no title before its text");
        let paragraph = paragraph.unwrap_or_default();
        assert!(paragraph.starts_with("For "), "{page} begins with: {paragraph}");
    }
}

#[test]
fn the_readme_is_short() {
    let lines = read("README.md").lines().count();
    assert!(lines <= 200, "{lines} lines; move details to docs/");
}

/// A page may have several tables, of several tests.
static PAGES: Mutex<()> = Mutex::new(());

/// Fails unless the page has exactly this table between its marks. With `UPDATE=1` it is written anew.
fn generated(page: &str, name: &str, table: &str) {
    let _one = PAGES.lock().unwrap_or_else(PoisonError::into_inner);
    let text = read(page);
    let (begin, end) = (
        format!("<!-- generated: {name} -->\n"),
        format!("<!-- end: {name} -->"),
    );
    let from = text
        .find(&begin)
        .unwrap_or_else(|| panic!("{page} lacks {begin:?}"))
        + begin.len();
    let to = text.find(&end).unwrap_or_else(|| panic!("{page} lacks {end:?}"));
    let table = format!("\n{table}\n");
    if std::env::var_os("UPDATE").is_some() {
        let text = format!("{}{table}{}", &text[..from], &text[to..]);
        std::fs::write(repository().join(page), text).unwrap();
        return;
    }
    assert_eq!(
        &text[from..to],
        table,
        "{page}: the table `{name}` is stale: run `make docs`"
    );
}

/// A cell of a table.
fn cell(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

fn kind(schema: &Value) -> &str {
    let type_ = schema["type"].as_str();
    match type_ {
        Some("array") => "list",
        Some("object") => "object",
        Some("integer" | "number") => "number",
        Some("string") => "text",
        Some("boolean") => "boolean",
        // A boolean may be written as a text.
        None if schema["enum"]
            .as_array()
            .is_some_and(|all| all.contains(&Value::Bool(true))) =>
        {
            "boolean"
        }
        None => "text or object",
        Some(other) => panic!("no word for the type {other}"),
    }
}

/// What a field may be, as far as its type does not say it.
fn limits(schema: &Value) -> String {
    let mut limits = Vec::new();
    let number = |word: &str| schema[word].as_i64();
    if let Some(all) = schema["enum"].as_array().filter(|_| kind(schema) == "text") {
        let texts = all
            .iter()
            .filter_map(Value::as_str)
            .filter(|text| !text.is_empty());
        let texts: Vec<String> = texts.map(|text| format!("`{text}`")).collect();
        limits.push(texts.join(", "));
    }
    if let (Some(least), Some(most)) = (number("minimum"), number("maximum")) {
        limits.push(format!("{least} to {most}"));
    }
    if let Some(most) = number("maxLength").filter(|most| *most > 0) {
        limits.push(format!("at most {most} characters"));
    }
    if let Some(most) = number("maxItems") {
        limits.push(format!("at most {most} entries"));
    }
    limits.iter().map(|limit| format!(", {limit}")).collect()
}

fn schema(kind: Kind, part: &str) -> Value {
    crd::definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][part].clone()
}

/// The fields whose own fields have rows; the others are Kubernetes' own types, or lists.
const OPENED: [&str; 8] = [
    "script",
    "timeouts",
    "aggregation",
    "plan",
    "plan.aggregation",
    "runners",
    "failures",
    "summary",
];

/// The parts of a run whose pods have settings.
const PODS: [&str; 4] = ["podTemplate", "runner", "initializer", "starter"];

fn rows(schema: &Value, path: &str, table: &mut String) {
    let schema = if schema["type"] == "array" {
        &schema["items"]
    } else {
        schema
    };
    for (name, field) in schema["properties"].as_object().unwrap() {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        let description = cell(field["description"].as_str().unwrap_or_default());
        assert!(!description.is_empty(), "{path} has no description");
        writeln!(
            table,
            "| `{path}` | {}{} | {description} |",
            kind(field),
            limits(field)
        )
        .unwrap();
        if OPENED.contains(&path.as_str()) {
            rows(field, &path, table);
        }
    }
}

#[test]
fn the_fields_of_the_spec_are_those_of_the_definition() {
    let mut spec = schema(Kind::K6, "spec");
    // A CEL rule has these bounds, for a message that says what the number is.
    spec["properties"]["parallelism"]["minimum"] = json!(1);
    spec["properties"]["parallelism"]["maximum"] = json!(PARALLELISM);
    let mut table = "| field | type | meaning |\n| --- | --- | --- |\n".to_owned();
    rows(&spec, "", &mut table);
    generated("docs/spec.md", "fields", &table);

    let mut settings: BTreeMap<&str, (BTreeSet<&str>, &Value)> = BTreeMap::new();
    for pod in PODS {
        for (name, field) in spec["properties"][pod]["properties"].as_object().unwrap() {
            settings
                .entry(name)
                .or_insert((BTreeSet::new(), field))
                .0
                .insert(pod);
        }
    }
    let mut table = "| setting | in | type | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for (name, (pods, field)) in settings {
        let place = if pods.len() == PODS.len() {
            "all".to_owned()
        } else {
            PODS.into_iter()
                .filter(|pod| pods.contains(pod))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let description = cell(field["description"].as_str().unwrap());
        writeln!(
            table,
            "| `{name}` | {place} | {}{} | {description} |",
            kind(field),
            limits(field)
        )
        .unwrap();
    }
    generated("docs/spec.md", "settings of pods", &table);
}

#[test]
fn both_kinds_have_the_same_fields() {
    let names = |kind| {
        let mut table = String::new();
        rows(&schema(kind, "spec"), "", &mut table);
        let paths = table.lines().map(|row| row.split('|').nth(1).unwrap().to_owned());
        paths.collect::<Vec<_>>()
    };
    assert_eq!(names(Kind::K6), names(Kind::TestRun));
    assert_eq!(schema(Kind::K6, "status"), schema(Kind::TestRun, "status"));
}

#[test]
fn the_fields_of_the_status_are_those_of_the_definition() {
    let mut table = "| field | type | meaning |\n| --- | --- | --- |\n".to_owned();
    rows(&schema(Kind::K6, "status"), "", &mut table);
    generated("docs/status.md", "fields", &table);
}

/// The variants of an enum in a source file, with their comments.
fn variants(source: &str, name: &str) -> Vec<(String, String)> {
    let text = read(source);
    let head = format!("pub enum {name} {{\n");
    let start = text
        .find(&head)
        .unwrap_or_else(|| panic!("{source} has no enum {name}"))
        + head.len();
    let body = text[start..].split("\n}").next().unwrap();
    let mut variants = Vec::new();
    let mut comment = String::new();
    for line in body.lines().map(str::trim) {
        if let Some(more) = line.strip_prefix("///") {
            comment.push_str(more);
        } else {
            let variant: String = line.chars().take_while(|c| c.is_alphanumeric()).collect();
            assert!(!comment.trim().is_empty(), "{name}::{variant} has no comment");
            variants.push((variant, cell(&std::mem::take(&mut comment))));
        }
    }
    variants
}

/// States, results and reasons: what each means is the comment of its variant.
#[test]
fn states_results_and_reasons_are_those_of_the_machine() {
    const STATES: &str = "src/machine/state.rs";
    const VERDICTS: &str = "src/protocol/verdict.rs";
    for (name, source, enumeration, head) in [
        ("states", STATES, "State", "state"),
        ("results", VERDICTS, "RunResult", "result"),
        ("reasons", VERDICTS, "Reason", "reason"),
    ] {
        let mut table = format!("| {head} | meaning |\n| --- | --- |\n");
        for (variant, meaning) in variants(source, enumeration) {
            writeln!(table, "| {variant} | {meaning} |").unwrap();
        }
        generated("docs/states.md", name, &table);
    }
    let states: Vec<String> = variants(STATES, "State")
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(states, StateName::ALL.map(StateName::as_str));
}

/// The first column of the table below a heading.
fn column(page: &str, heading: &str) -> Vec<String> {
    let text = read(page);
    let section = text.split(&format!("\n## {heading}\n")).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.split('`').nth(1).unwrap().to_owned())
        .collect()
}

#[test]
fn every_event_in_the_book_is_one_that_the_operator_publishes() {
    let mut source = String::new();
    for file in std::fs::read_dir(repository().join("src/operator")).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            source.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
    let events = column("docs/states.md", "Events");
    assert!(events.len() > 10);
    for event in events {
        assert!(
            source.contains(&format!("\"{event}\"")),
            "no Event is called {event}"
        );
    }
}

#[test]
fn the_settings_of_the_operator_are_those_of_its_command_line() {
    let command = TelemetryArgs::augment_args(RunArgs::augment_args(Command::new("run")));
    let mut table = "| flag | variable | default | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
        let default = argument.get_default_values();
        let default: Vec<String> = default
            .iter()
            .map(|value| format!("`{}`", value.to_str().unwrap()))
            .collect();
        let variable = argument
            .get_env()
            .map(|name| format!("`{}`", name.to_str().unwrap()));
        writeln!(
            table,
            "| `--{}` | {} | {} | {} |",
            argument.get_long().unwrap(),
            variable.unwrap_or_default(),
            default.join(", "),
            cell(&argument.get_help().unwrap().to_string())
        )
        .unwrap();
    }
    generated("docs/command-line.md", "settings", &table);
}

/// What the shell is given: bash completes with it, and the others have the same words.
#[test]
fn completion_knows_the_commands_and_their_flags() {
    let program = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_k6-operator"))
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for shell in ["bash", "zsh", "fish"] {
        let script = program(&["completion", shell]);
        for word in ["k6-operator", "replay", "completion", "watch-namespaces"] {
            assert!(script.contains(word), "{shell} has no {word}");
        }
    }
    for (line, completed) in [
        ("k6-operator re", "replay"),
        ("k6-operator run --leader", "--leader-elect"),
        ("k6-operator completion fi", "fish"),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let last = words.len() - 1;
        let complete = format!(
            "{}\nCOMP_WORDS=({line}); COMP_CWORD={last}
            _k6-operator k6-operator {} {}; printf '%s\n' \"${{COMPREPLY[@]}}\"",
            program(&["completion", "bash"]),
            words[last],
            words[last - 1],
        );
        let output = std::process::Command::new("bash")
            .args(["-c", &complete])
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap().trim(),
            completed,
            "{line}"
        );
    }
}

#[test]
fn the_commands_in_the_book_are_those_of_the_program() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_k6-operator"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let commands = help
        .split("\nCommands:\n")
        .nth(1)
        .unwrap()
        .split("\n\n")
        .next()
        .unwrap();
    let mut table = "| command | what it does |\n| --- | --- |\n".to_owned();
    for line in commands.lines() {
        let (name, meaning) = line.trim().split_once(' ').unwrap();
        if name != "help" {
            writeln!(table, "| `{name}` | {} |", cell(meaning)).unwrap();
        }
    }
    generated("docs/command-line.md", "commands", &table);
}

#[test]
fn the_metrics_in_the_book_are_those_that_the_operator_serves() {
    let metrics = Metrics::new("k6");
    metrics.observe(Outcome::Success, Duration::ZERO);
    metrics.transition("Created", "Starting");
    metrics.set_runs([("Finished", "Passed", 1)]);
    let mut table = "| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    let text = metrics.encode();
    let mut types = BTreeMap::new();
    let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, type_)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            types.insert(name.to_owned(), type_.to_owned());
        } else if let Some((name, rest)) = line.split_once('{') {
            let name = ["_bucket", "_total"]
                .iter()
                .fold(name, |name, end| name.strip_suffix(end).unwrap_or(name));
            let names = rest
                .split("=\"")
                .filter_map(|part| part.rsplit(['{', ',']).next());
            let names =
                names.filter(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_') && *name != "le");
            labels
                .entry(name.to_owned())
                .or_default()
                .extend(names.map(str::to_owned));
        }
    }
    for line in text.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
        let (name, help) = line.split_once(' ').unwrap();
        let type_ = &types[name];
        let bare = name.strip_suffix("_total").unwrap_or(name);
        let empty = BTreeSet::new();
        let names = labels.get(bare).unwrap_or(&empty);
        let names: Vec<String> = names
            .iter()
            .filter(|name| !name.is_empty())
            .map(|name| format!("`{name}`"))
            .collect();
        let full = if type_ == "counter" {
            format!("{bare}_total")
        } else {
            name.to_owned()
        };
        writeln!(
            table,
            "| `{full}` | {type_} | {} | {} |",
            names.join(", "),
            cell(help)
        )
        .unwrap();
    }
    generated("docs/metrics.md", "metrics", &table);
}
