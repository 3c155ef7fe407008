//! The file that `--summary-export` names, made from the merged data. Pure.
//! <https://grafana.com/docs/k6/latest/results-output/end-of-test/json/>

use serde_json::{Map, Value};

/// Converts the data of handleSummary() to the older shape of this file: the numbers of a metric are directly below its
/// name, a threshold is whether it was crossed, and groups and checks are objects by name.
pub fn export(data: &Value) -> Value {
    let field = |name: &str| data.get(name).cloned().unwrap_or_default();
    let mut whole = Map::new();
    whole.insert("root_group".to_owned(), by_name(field("root_group")));
    let metrics = match field("metrics") {
        Value::Object(metrics) => metrics,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    };
    let metrics = metrics.into_iter().map(|(name, metric)| (name, numbers(&metric)));
    whole.insert("metrics".to_owned(), Value::Object(metrics.collect()));
    Value::Object(whole)
}

fn numbers(metric: &Value) -> Value {
    let values = metric.get("values").and_then(Value::as_object);
    let mut numbers = values.cloned().unwrap_or_default();
    let is_rate = metric.get("type").and_then(Value::as_str) == Some("rate");
    if let Some(rate) = numbers.remove("rate") {
        numbers.insert(if is_rate { "value" } else { "rate" }.to_owned(), rate);
    }
    if let Some(thresholds) = metric.get("thresholds").and_then(Value::as_object) {
        let crossed = |threshold: &Value| threshold.get("ok").and_then(Value::as_bool) == Some(false);
        let thresholds = thresholds
            .iter()
            .map(|(source, threshold)| (source.clone(), crossed(threshold).into()));
        numbers.insert("thresholds".to_owned(), Value::Object(thresholds.collect()));
    }
    Value::Object(numbers)
}

/// Converts a group and its subgroups: lists become objects by name.
fn by_name(group: Value) -> Value {
    let Value::Object(mut group) = group else {
        return group;
    };
    for list in ["groups", "checks"] {
        let Some(Value::Array(items)) = group.remove(list) else {
            continue;
        };
        let named = items.into_iter().filter_map(|item| {
            let name = item.get("name")?.as_str()?.to_owned();
            Some((name, if list == "groups" { by_name(item) } else { item }))
        });
        group.insert(list.to_owned(), Value::Object(named.collect()));
    }
    Value::Object(group)
}

#[cfg(test)]
mod tests {
    use super::export;
    use serde_json::json;

    #[test]
    fn export_has_numbers_by_metric_and_groups_and_checks_by_name() {
        let check = json!({"name": "ok", "path": "::a::ok", "passes": 2, "fails": 1});
        let group = json!({"name": "a", "path": "::a", "groups": [], "checks": [check]});
        let data = json!({
            "options": {}, "state": {},
            "root_group": {"name": "", "path": "", "groups": [group], "checks": []},
            "metrics": {
                "http_reqs": {"type": "counter", "values": {"count": 20, "rate": 4.0}, "thresholds": {"count>=20": {"ok": true}}},
                "checks": {"type": "rate", "values": {"rate": 0.5, "passes": 1, "fails": 1}},
            },
        });
        let expected = json!({
            "root_group": {
                "name": "", "path": "", "checks": {},
                "groups": {"a": {"name": "a", "path": "::a", "groups": {}, "checks": {"ok": check}}},
            },
            "metrics": {
                "http_reqs": {"count": 20, "rate": 4.0, "thresholds": {"count>=20": false}},
                "checks": {"value": 0.5, "passes": 1, "fails": 1},
            },
        });
        assert_eq!(export(&data), expected);
    }
}
