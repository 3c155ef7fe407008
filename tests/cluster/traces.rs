//! What an OTLP receiver is told of real reconciles, and that a second operator changes nothing.

use crate::collector::Collector;
use crate::support::{LIMIT, Test, sleeps, variable};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::json;
use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};

/// Ends the second operator even if the test fails.
struct Second(Child);

impl Second {
    fn start(test: &Test, collector: &Collector) -> Self {
        let command = Command::new(env!("CARGO_BIN_EXE_k6-operator"))
            .args(["run", "--starter-image", "k6-operator.invalid/operator:dev"])
            .args(["--runner-image", &variable("K6OP_K6_IMAGE")])
            .args(["--metrics-bind-address", "127.0.0.1:0"])
            .args(["--health-probe-bind-address", "127.0.0.1:0"])
            .args(["--watch-namespace", &test.namespace])
            .env(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                format!("http://{}", collector.address),
            )
            .env("KUBECONFIG", test.kubeconfig())
            .stderr(Stdio::null())
            .spawn();
        Self(command.unwrap())
    }

    fn signal(&self, name: &str) {
        let killed = Command::new("kill")
            .args(["-s", name, &self.0.id().to_string()])
            .status();
        assert!(killed.unwrap().success());
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn has(span: &Span, key: &str, text: &str) -> bool {
    let wanted = Some(Value::StringValue(text.to_owned()));
    span.attributes
        .iter()
        .any(|a| a.key == key && a.value.as_ref().is_some_and(|v| v.value == wanted))
}

#[tokio::test]
async fn a_second_operator_starts_nothing_twice_and_each_of_its_reconciles_is_a_trace() {
    let test = Test::new("traces").await;
    let collector = Collector::start(0);
    let mut second = Second::start(&test, &collector);
    test.script("sleeps", &sleeps(3, 4)).await;
    test.apply("shared", json!({"parallelism": 3, "script": "sleeps"}));
    let status = test.passes("shared").await;
    assert_eq!(status.history.len(), 6, "{:?}", status.history);
    assert_eq!(test.pods_of("shared", "starter").await.len(), 1);
    assert_eq!(test.pods_of("shared", "runner").await.len(), 3);

    second.signal("TERM");
    let ended = test
        .until("the second operator ends", LIMIT, async || {
            second.0.try_wait().unwrap()
        })
        .await;
    assert!(ended.success(), "{ended}");

    let spans = collector.spans();
    let ours: Vec<&Span> = spans
        .iter()
        .filter(|span| span.name == "reconcile" && has(span, "k6.name", "shared"))
        .filter(|span| has(span, "k6.namespace", &test.namespace))
        .collect();
    assert!(!ours.is_empty(), "{} spans", spans.len());
    let steps: BTreeSet<&str> = spans
        .iter()
        .filter(|span| ours.iter().any(|parent| parent.span_id == span.parent_span_id))
        .map(|span| span.name.as_str())
        .collect();
    for step in ["observe", "classify", "step", "persist", "execute"] {
        assert!(steps.contains(step), "{step} is not among {steps:?}");
    }
}
