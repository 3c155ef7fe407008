//! Figures of a bench, each beside its floor of the same minute and beside the version before.
//!
//! Times differ from machine to machine, ratios to a floor that is measured in turns with them differ less. So
//! `benches/reference.json` has the ratios of the version before. `K6OP_WRITE_REFERENCE=1` replaces those of the figures
//! that are measured.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Where the ratios of the version before are.
const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/reference.json");
const WRITE: &str = "K6OP_WRITE_REFERENCE";

/// A median and the extremes.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Spread {
    median: f64,
    least: f64,
    greatest: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        Self {
            median: values[values.len() / 2],
            least: values[0],
            greatest: values[values.len() - 1],
        }
    }

    fn text(self, decimals: usize) -> String {
        let Self {
            median,
            least,
            greatest,
        } = self;
        format!("{median:.decimals$} ({least:.decimals$} to {greatest:.decimals$})")
    }
}

/// Prints a figure, where less is better: pairs of what was measured and of its floor. Says if it has become worse.
pub fn print(name: &str, unit: &str, pairs: &[(f64, f64)]) {
    let value = Spread::of(pairs.iter().map(|(value, _)| *value));
    let floor = Spread::of(pairs.iter().map(|(_, floor)| *floor));
    let ratio = Spread::of(pairs.iter().map(|(value, floor)| value / floor));
    let text = std::fs::read_to_string(REFERENCE).unwrap_or_default();
    let mut reference: BTreeMap<String, Spread> = serde_json::from_str(&text).unwrap_or_default();
    let before = reference.get(name).copied();
    let verdict = match before {
        None => "new",
        Some(before) if ratio.median > before.greatest => "WORSE by more than the spread",
        Some(before) if ratio.median < before.least => "better by more than the spread",
        Some(_) => "within the spread",
    };
    println!("figure: {name}");
    println!("    {unit}: {}, floor {}", value.text(1), floor.text(1));
    let before = before.map_or_else(|| "none".to_owned(), |before| before.text(2));
    println!("    ratio: {}, before {before}: {verdict}", ratio.text(2));
    if std::env::var_os(WRITE).is_some() {
        reference.insert(name.to_owned(), ratio);
        let text = serde_json::to_string_pretty(&reference).unwrap();
        std::fs::write(Path::new(REFERENCE), text + "\n").unwrap();
    }
}
