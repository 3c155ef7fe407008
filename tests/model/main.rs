//! Model checking: every order of what can happen to a run, over the real `classify`, `step` and `effects`.

#[path = "../support/invariants.rs"]
mod invariants;
mod look;
mod model;
mod search;
mod world;

use model::{Configuration, Runs};
use search::explore;

#[test]
fn probe() {
    let mut c = Configuration::new("1 runner", 1);
    c.budget.stop = true;
    for c in [c, Configuration { spec: look::Spec { runners: 2, ..c.spec }, ..c }] {
        match explore(&Runs::new(c), 3_000_000) {
            Ok(e) => println!("{}: {e}", c.name),
            Err(e) => println!("{}: {e}", c.name),
        }
    }
}
