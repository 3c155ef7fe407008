//! The API server of the simulation answers as the real one did: see `tests/support/sequences.rs`.

use super::faults::Plan;
use super::process::client;
use super::scenario::Scenario;
use super::sequences::transcript;
use super::sim::Run;
use super::world::{Shared, World};
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn the_simulated_api_server_answers_as_the_real_one() {
    let scenario = Scenario {
        tests: Vec::new(),
        ..Scenario::plain(1)
    };
    let began = Instant::now();
    let mut world = World::new(1, scenario, Plan::default());
    world.began = Some(began);
    // Nobody else asks for anything, and a version that is old enough is not known any more.
    world.operators.clear();
    world.store.compact();
    let run = Run {
        shared: Shared(Arc::new((Mutex::new(world), Notify::new()))),
        began,
        leased: false,
    };
    let client = client(run.shared.clone(), 0, 0);
    let found = tokio::select! {
        biased;
        found = transcript(&client, "default") => found,
        () = run.until(u64::MAX) => unreachable!(),
    };
    let golden = include_str!("../support/sequences.golden");
    assert_eq!(found, golden);
}
