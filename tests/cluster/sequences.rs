//! The API server answers as the one of the simulation, which was made after it.

use crate::support::Test;

#[path = "../support/sequences.rs"]
mod shared;

/// With `UPDATE=1` in the environment, what it answers is what the other has to answer too.
#[tokio::test]
async fn the_api_server_answers_as_the_one_of_the_simulation() {
    let test = Test::new("sequences").await;
    let found = shared::transcript(&test.client, &test.namespace).await;
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/sequences.golden");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(golden, &found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(golden).unwrap());
}
