"""Called by tests/monitoring/e2e, in the network of the cluster."""
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from monitoring import objects, queries, run  # noqa: E402

NAMESPACE = "monitoring-e2e"
ADDRESS = "127.0.0.1:19090"
SCRATCH = os.environ["K6OP_SCRATCH"]
# What lasts minutes in the alerts lasts seconds here.
SHORTER = {"2m": "4s", "5m": "4s", "[30m]": "[15s]"}
SCRIPT = """
import http from 'k6/http';
import { check, sleep } from 'k6';
export const options = { vus: 4, duration: __ENV.DURATION, thresholds: { http_req_duration: [__ENV.LIMIT], checks: ['rate>0.9'] } };
export default function () {
  check(http.get('%s/'), { answered: (r) => r.status === 200 });
  sleep(0.2);
}
""" % os.environ["K6OP_TARGET"]


def kubectl(*arguments, stdin=None):
    return run("kubectl", *arguments, stdin=stdin)


def apply(*things):
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(things)}))


def test(name, namespace, duration="1s", limit="p(95)<60000"):
    runner = {"image": os.environ["K6OP_K6_IMAGE"], "imagePullPolicy": "IfNotPresent",
              "env": [{"name": "DURATION", "value": duration}, {"name": "LIMIT", "value": limit}]}
    return {"apiVersion": "k6.io/v1alpha1", "kind": "K6", "metadata": {"name": name, "namespace": namespace},
            "spec": {"parallelism": 2, "script": {"inline": SCRIPT}, "runner": runner}}


def discover(found):
    """The targets of the monitors, [(job, address, labels)]. Debian's Prometheus can't ask Kubernetes itself."""
    service, pod = found["ServiceMonitor"]["spec"], found["PodMonitor"]["spec"]
    (of_service,), (of_pod,) = service["endpoints"], pod["podMetricsEndpoints"]

    def matching(kind, spec, *where):
        selector = ",".join(f"{name}={value}" for name, value in spec["selector"]["matchLabels"].items())
        return json.loads(kubectl("get", kind, *where, "-l", selector, "-o", "json"))["items"]

    (namespace,) = service["namespaceSelector"]["matchNames"]
    for one in matching("endpoints", service, "-n", namespace):
        for subset in one.get("subsets", []):
            for port in subset["ports"]:
                for address in subset.get("addresses", []) if port["name"] == of_service["port"] else []:
                    labels = {"job": one["metadata"]["name"], "namespace": namespace, "pod": address["targetRef"]["name"]}
                    yield address["ip"], port["port"], labels
    if not pod["namespaceSelector"]["any"]:
        raise SystemExit("the PodMonitor does not look into all namespaces")
    for one in matching("pods", pod, "-A"):
        meta, address = one["metadata"], one["status"].get("podIP")
        labels = {"job": "tests", "namespace": meta["namespace"], "pod": meta["name"]}
        prefix = "__meta_kubernetes_pod_label_"
        known = {prefix + re.sub(r"[^a-zA-Z0-9_]", "_", name): value for name, value in meta["labels"].items()}
        for relabeling in of_pod["relabelings"]:
            labels[relabeling["targetLabel"]] = ";".join(known.get(name, "") for name in relabeling["sourceLabels"])
        for container in one["spec"]["containers"]:
            for port in container.get("ports", []) if address else []:
                if port.get("name") == of_pod["port"]:
                    yield address, port["containerPort"], labels


class Targets(threading.Thread):
    """Writes the targets, as they come and go, where Prometheus reads them."""

    def __init__(self, found):
        super().__init__(daemon=True)
        self.found, self.ended = found, threading.Event()

    def run(self):
        path = os.path.join(SCRATCH, "targets.json")
        while not self.ended.wait(1):
            groups = [{"targets": [f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"], "labels": labels}
                      for ip, port, labels in discover(self.found)]
            with open(f"{path}.new", "w", encoding="utf-8") as f:
                json.dump(groups, f)
            os.rename(f"{path}.new", path)


def ask(path, **parameters):
    url = f"http://{ADDRESS}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)["data"]


def until(what, condition, seconds):
    """Waits for a condition, and returns what it returned."""
    end = time.monotonic() + seconds
    while True:
        try:
            found = condition()
        except OSError:
            found = None
        if found:
            return found
        if time.monotonic() > end:
            raise SystemExit(f"not within {seconds} s: {what}")
        time.sleep(0.5)


def firing(alert):
    return [one for one in ask("alerts")["alerts"] if one["labels"]["alertname"] == alert and one["state"] == "firing"]


def fires(alert, seconds=90):
    (first, *_) = until(f"{alert} fires", lambda: firing(alert), seconds)
    print(f"ok      {alert}: {first['annotations']['summary']}", flush=True)


def main():
    found = objects()
    (path,) = {found["ServiceMonitor"]["spec"]["endpoints"][0]["path"], found["PodMonitor"]["spec"]["podMetricsEndpoints"][0]["path"]}
    rules = json.dumps(found["PrometheusRule"]["spec"])
    for long, short in SHORTER.items():
        if long not in rules:
            raise SystemExit(f"no alert has {long}")
        rules = rules.replace(f'"for": "{long}"', f'"for": "{short}"') if long[0] != "[" else rules.replace(long, short)
    for name, content in ("rules.json", json.loads(rules)), ("prometheus.json", {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.json"],
            "scrape_configs": [{"job_name": "monitors", "metrics_path": path, "file_sd_configs": [
                {"files": ["targets.json"], "refresh_interval": "2s"}]}]}):
        with open(os.path.join(SCRATCH, name), "w", encoding="utf-8") as f:
            json.dump(content, f)
    log = open(os.path.join(SCRATCH, "prometheus.log"), "w", encoding="utf-8")
    prometheus = subprocess.Popen(
        [os.environ["K6OP_PROMETHEUS"], f"--config.file={SCRATCH}/prometheus.json", f"--storage.tsdb.path={SCRATCH}/data",
         f"--web.listen-address={ADDRESS}", "--log.level=warn"], stdout=log, stderr=log)
    operator = "deployment/k6-operator-controller-manager"
    targets = Targets(found)
    targets.start()
    try:
        apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        until("Prometheus scrapes the operator", lambda: ask("query", query="leader_election_master_status == 1")["result"], 60)
        alerts = [rule["alert"] for group in found["PrometheusRule"]["spec"]["groups"] for rule in group["rules"]]
        early = [alert for alert in alerts if alert != "K6OperatorDown" and firing(alert)]
        if early:
            raise SystemExit(f"before anything happened: {early}")

        apply(test("before", NAMESPACE))
        kubectl("-n", NAMESPACE, "wait", "--for=jsonpath={.status.result}=Passed", "k6/before", "--timeout=120s")
        apply(test("observed", NAMESPACE, duration="60s", limit="p(95)<0.001"))
        variables = {"namespace": NAMESPACE, "run": "observed", "__rate_interval": "20s"}
        asked = queries(found, variables)
        kubectl("-n", NAMESPACE, "wait", "--for=jsonpath={.status.state}=Started", "k6/observed", "--timeout=120s")
        waiting = list(asked)

        def all_answered():
            waiting[:] = [one for one in waiting if not ask("query", query=one[2])["result"]]
            return not waiting
        try:
            until("all panels have data", all_answered, 50)
        except SystemExit:
            raise SystemExit("no data: " + "; ".join(f"{board}: {panel}: {query}" for board, panel, query in waiting)) from None
        print(f"ok      {len(asked)} queries of the dashboards return data during a run", flush=True)
        fires("K6ThresholdCrossed")

        # No Job may be created there.
        refused = f"{NAMESPACE}-full"
        apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": refused}},
              {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "no-jobs", "namespace": refused},
               "spec": {"hard": {"count/jobs.batch": "0"}}})
        until("the quota is in force", lambda: "no-jobs" in kubectl(
            "-n", refused, "get", "resourcequota", "-o", "jsonpath={.items[?(@.status.hard)].metadata.name}"), 30)
        apply(test("refused", refused))
        fires("K6RunsRefused")
        fires("K6RunsStuck")
        kubectl("delete", "namespace", refused, "--wait=false")

        kubectl("-n", "k6-operator-system", "scale", operator, "--replicas=0")
        fires("K6OperatorDown")
    except BaseException:
        with open(log.name, encoding="utf-8") as f:
            print(f.read()[-3000:], file=sys.stderr)
        raise
    finally:
        targets.ended.set()
        prometheus.terminate()
        prometheus.wait(30)
        kubectl("-n", "k6-operator-system", "scale", operator, "--replicas=2")
        kubectl("-n", "k6-operator-system", "rollout", "status", operator, "--timeout=90s")
        kubectl("delete", "namespace", NAMESPACE, f"{NAMESPACE}-full", "--ignore-not-found", "--timeout=90s")


main()
