//! The checks and groups of a summary.

use crate::aggregate::otlp::OVERFLOW_TAG;
use crate::aggregate::session::Session;
use crate::aggregate::sink::Sink;
use md5::{Digest, Md5};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A check with its numbers of passes and failures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The group of the check, as k6 writes it: `::shop::cart`.
    pub group: String,
    /// The name of the check.
    pub name: String,
    /// The number of passes.
    pub passes: u64,
    /// The number of failures.
    pub fails: u64,
}

/// All checks, by group and name.
pub fn checks(session: &Session) -> Vec<Check> {
    let view = session.store.view();
    let mut checks: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    let series = view.metrics.get("checks").map(|metric| metric.series.as_slice());
    for (number, sink) in series.unwrap_or_default() {
        if let (Some(series), Sink::Rate { nonzero, total }) = (session.store.series(*number), sink) {
            if series.tag(OVERFLOW_TAG).is_some() {
                continue;
            }
            let tag = |name: &str| series.tag(name).unwrap_or_default().to_owned();
            let check = checks.entry((tag("group"), tag("check"))).or_default();
            check.0 = check.0.saturating_add(*nonzero);
            check.1 = check.1.saturating_add(total.saturating_sub(*nonzero));
        }
    }
    let checks = checks.into_iter().map(|((group, name), (passes, fails))| Check {
        group,
        name,
        passes,
        fails,
    });
    checks.collect()
}

/// The deepest nesting of groups.
const DEEPEST: usize = 32;

#[derive(Default)]
pub(super) struct Group {
    groups: BTreeMap<String, Group>,
    checks: Vec<Check>,
}

impl Group {
    /// The group at this path. Groups deeper than [`DEEPEST`] become one group named after the rest of the path, since
    /// the summary is built and read by recursion.
    fn at(&mut self, path: &str) -> &mut Self {
        let path = path.trim_start_matches("::");
        let names = path.splitn(DEEPEST, "::").filter(|name| !name.is_empty());
        names.fold(self, |group, name| {
            group.groups.entry(name.to_owned()).or_default()
        })
    }

    pub(super) fn json(&self, name: &str, path: &str) -> Value {
        let checks = self.checks.iter().map(|check| {
            let path = format!("{path}::{}", check.name);
            json!({"name": check.name, "path": path, "id": id(&path), "passes": check.passes, "fails": check.fails})
        });
        let groups = self
            .groups
            .iter()
            .map(|(name, group)| group.json(name, &format!("{path}::{name}")));
        json!({
            "name": name, "path": path, "id": id(path),
            "groups": groups.collect::<Vec<_>>(), "checks": checks.collect::<Vec<_>>(),
        })
    }
}

/// The ID of a group or check in k6's summary: a hash of its path.
fn id(path: &str) -> String {
    let digest = Md5::digest(path.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn groups(session: &Session) -> Group {
    let mut root = Group::default();
    let view = session.store.view();
    // k6 lists the groups that were entered or have checks. The group of a setup() without either is not listed.
    let entered = view
        .metrics
        .get("group_duration")
        .map(|metric| metric.series.as_slice());
    let series = entered.unwrap_or_default().iter();
    for group in series.filter_map(|(number, _)| session.store.series(*number)?.tag("group")) {
        root.at(group);
    }
    for check in checks(session) {
        root.at(&check.group).checks.push(check);
    }
    root
}
