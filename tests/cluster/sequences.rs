//! The API server answers as the one of the simulation, which was made after it.

use crate::support::{LIMIT, OPERATOR_NAMESPACE, Test};
use futures::FutureExt;
use std::panic::AssertUnwindSafe;

#[path = "../support/sequences.rs"]
mod shared;

const DEPLOYMENT: &str = "deployment/k6-operator-controller-manager";

/// With `UPDATE=1` in the environment, what it answers is what the other has to answer too. No operator is there
/// meanwhile, which would write the status of the resources too.
#[tokio::test]
async fn the_api_server_answers_as_the_one_of_the_simulation() {
    let test = Test::alone("sequences").await;
    let scaled = |replicas: &str| {
        test.kubectl(&["scale", "-n", OPERATOR_NAMESPACE, DEPLOYMENT, replicas]);
        let done = [
            "rollout",
            "status",
            "-n",
            OPERATOR_NAMESPACE,
            DEPLOYMENT,
            "--timeout=60s",
        ];
        test.kubectl(&done);
    };
    scaled("--replicas=0");
    test.until("no operator is left", LIMIT, async || {
        let pods = test.kubectl(&["get", "pods", "-n", OPERATOR_NAMESPACE, "-o", "name"]);
        (!pods.contains("pod/")).then_some(())
    })
    .await;
    let found = AssertUnwindSafe(shared::transcript(&test.client, &test.namespace));
    let found = found.catch_unwind().await;
    scaled("--replicas=2");
    let found = found.unwrap();

    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/sequences.golden");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(golden, &found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(golden).unwrap());
}
