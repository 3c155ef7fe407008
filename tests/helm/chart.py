#!/usr/bin/env python3
"""Tests of the chart and of install.yaml that need no cluster. `check` calls it.

Needs Python's standard library only: kubectl turns YAML into JSON.
"""
import argparse
import copy
import difflib
import json
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.normpath(os.path.join(HERE, "../.."))
CHART = os.path.join(ROOT, "charts/k6-operator")
NAMESPACE = "k6-operator-system"
IMAGE = "registry.example.com/k6-operator:0.2.0"
OURS = ["--values", os.path.join(HERE, "image.yaml")]

# The values of grafana/k6-operator's chart 4.6.0, from its values.yaml:
# https://github.com/grafana/k6-operator/blob/main/charts/k6-operator/values.yaml
PEER = """
nameOverride fullnameOverride global.image.registry global.image.pullSecrets customAnnotations podAnnotations
customLabels podLabels nodeSelector affinity tolerations installCRDs rbac.namespaced namespace.create
metrics.serviceMonitor.enabled metrics.serviceMonitor.namespace metrics.serviceMonitor.jobLabel
metrics.serviceMonitor.interval metrics.serviceMonitor.scrapeTimeout metrics.serviceMonitor.relabelings
metrics.serviceMonitor.metricRelabelings metrics.serviceMonitor.selector metrics.serviceMonitor.labels
metrics.serviceMonitor.honorLabels service.enabled service.labels service.annotations service.portName
manager.logging.development manager.replicas manager.serviceAccount.name manager.serviceAccount.create
manager.dnsConfig manager.dnsPolicy manager.image.registry manager.image.repository manager.image.tag
manager.image.pullPolicy manager.livenessProbe manager.readinessProbe manager.env manager.envFrom manager.resources
manager.containerSecurityContext manager.podSecurityContext
""".split()

# Values, and what Helm must answer: the value that is wrong, and what to do.
REFUSALS = [
    ([], ["manager.image.registry", "make image IMG=", "docs/helm.md"]),
    (["--set", "manager.image.repository=registry.example.com/k6-operator"], ["manager.image.registry"]),
    (["--set", "manager.image.registry=ghcr.io", "--set", "manager.image.repository=grafana/k6-operator"],
     ["manager.image.repository", "another operator"]),
    ([*OURS, "--set-string", "manager.image.tag="], ["manager.image.tag"]),
    ([*OURS, "--set", "manager.image.digest=latest"], ["/manager/image/digest"]),
    ([*OURS, "--set", "manager.image.pullPolicy=never"], ["/manager/image/pullPolicy", "IfNotPresent"]),
    ([*OURS, "--set", "manager.replica=2"], ["/manager", "replica"]),
    ([*OURS, "--set", "manager.replicas=-1"], ["/manager/replicas"]),
    ([*OURS, "--set-string", "manager.replicas=2"], ["/manager/replicas", "integer"]),
    ([*OURS, "--set", "watchNamespace=team-a"], ["watchNamespace"]),
    ([*OURS, "--set", "watchNamespaces={team-a,Team_B}"], ["/watchNamespaces/1"]),
    ([*OURS, "--set", "watchNamespaces=team-a"], ["/watchNamespaces", "array"]),
    ([*OURS, "--set", "defaults.runners.image=k6"], ["/defaults", "runners"]),
    ([*OURS, "--set", "keepFinishedJobs=always"], ["/keepFinishedJobs"]),
    ([*OURS, "--set", "customLabels.cost=4711"], ["/customLabels/cost", "string"]),
    ([*OURS, "--set", "global.image.pullSecrets={mirror}"], ["/global/image/pullSecrets/0"]),
    ([*OURS, "--set", "manager.env[0].value=x"], ["/manager/env/0", "name"]),
    ([*OURS, "--set", "metrics.serviceMonitor.interval=often"], ["/metrics/serviceMonitor/interval"]),
    ([*OURS, "--set", "metrics.serviceMonitor.enabled=true", "--set", "service.enabled=false"],
     ["metrics.serviceMonitor.enabled", "service.enabled=true"]),
    ([*OURS, "--set", "service.portName=health"], ["/service/portName"]),
    ([*OURS, "--set", "installCRD=false"], ["installCRD"]),
    ([*OURS, "--set", "admissionPolicies.serviceAccounts={default}"], ["/admissionPolicies/serviceAccounts/0"]),
]

# What Helm has on each object and the manifests have not.
HELMS_LABELS = ["helm.sh/chart", "app.kubernetes.io/managed-by", "app.kubernetes.io/version",
                "app.kubernetes.io/part-of", "app.kubernetes.io/instance", "app.kubernetes.io/name"]


class Failure(Exception):
    pass


def run(*command, stdin=None):
    done = subprocess.run(command, input=stdin, capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"{' '.join(command)}\n{done.stderr.strip()}")
    return done.stdout


def template(*arguments, chart=CHART):
    given = arguments if "--namespace" in arguments else [*arguments, "--namespace", NAMESPACE]
    return run(HELM, "template", "k6-operator", chart, *given)


def objects(text):
    """The objects of a stream of YAML, by kind, namespace and name."""
    mark = "tests/helm"
    out = run("kubectl", "annotate", "--local", "--overwrite", "-o", "json", "-f", "-", f"{mark}=x", stdin=text)
    found, decoder, at = {}, json.JSONDecoder(), 0
    while at < len(out):
        item, at = decoder.raw_decode(out, at)
        while at < len(out) and out[at].isspace():
            at += 1
        for one in item["items"] if item["kind"] == "List" else [item]:
            metadata = one["metadata"]
            del metadata["annotations"][mark]
            if not metadata["annotations"]:
                del metadata["annotations"]
            key = f"{one['kind']} {metadata.get('namespace', '')}/{metadata['name']}"
            if key in found:
                raise Failure(f"{key} is there twice")
            found[key] = one
    return found


def kustomize(folder):
    return run("kubectl", "kustomize", os.path.join(ROOT, "manifests", folder))


def without_instance(value):
    """Helm selects its own release's pods."""
    if isinstance(value, dict):
        return {k: without_instance(v) for k, v in value.items() if k != "app.kubernetes.io/instance"}
    if isinstance(value, list):
        return [without_instance(v) for v in value]
    return value


def plain(found):
    """The objects without the differences that the ways to install may have."""
    result = {}
    for key, one in found.items():
        one = without_instance(copy.deepcopy(one))
        metadata = one["metadata"]
        for name in HELMS_LABELS:
            metadata.get("labels", {}).pop(name, None)
        metadata.get("annotations", {}).pop("helm.sh/resource-policy", None)
        for name in ("labels", "annotations"):
            if not metadata.get(name, True):
                del metadata[name]
        if one["kind"] == "Deployment":
            container = one["spec"]["template"]["spec"]["containers"][0]
            if container["image"] not in (IMAGE, "k6-operator.invalid/operator:dev"):
                raise Failure(f"the image is {container['image']}")
            container["image"] = IMAGE
            container["env"].sort(key=lambda variable: variable["name"])
        result[key] = one
    return result


def same(what, left, right):
    lines = [json.dumps(side, indent=1, sort_keys=True).splitlines() for side in (left, right)]
    difference = list(difflib.unified_diff(*lines, "manifests", what, lineterm="", n=4))
    if difference:
        raise Failure(f"{what} is not as manifests/ say:\n" + "\n".join(difference[:60]))


def install_yaml_is_manifests_default():
    with open(os.path.join(ROOT, "install.yaml"), encoding="utf-8") as f:
        same("install.yaml", objects(kustomize("default")), objects(f.read()))


def chart_is_manifests_default():
    same("the chart", plain(objects(kustomize("default"))), plain(objects(template(*OURS))))


def namespaced_chart_is_manifests_namespaced():
    same("the chart with rbac.namespaced", plain(objects(kustomize("namespaced"))),
         plain(objects(template(*OURS, "--set", "rbac.namespaced=true"))))


def watching_chart_is_the_sample_of_namespaces():
    sides = []
    for text in kustomize("samples/namespaces"), template(*OURS, "--set", "watchNamespaces={team-a,team-b}"):
        found = plain(objects(text))
        for one in found.values():
            if one["kind"] == "Deployment":
                # The sample sets WATCH_NAMESPACES over WATCH_NAMESPACE, which it wins over.
                env = one["spec"]["template"]["spec"]["containers"][0]["env"]
                env[:] = [variable for variable in env if variable["name"] != "WATCH_NAMESPACE"]
        sides.append({k: one for k, one in found.items() if one["kind"] != "Namespace"})
    same("the chart with watchNamespaces", *sides)


def network_policies_are_those_of_manifests():
    wanted = objects(kustomize("network/operator"))
    for folder in "runs", "runs-egress":
        for one in objects(kustomize(f"network/{folder}")).values():
            one["metadata"]["namespace"] = "team-a"
            wanted[f"NetworkPolicy team-a/{one['metadata']['name']}"] = one
    rendered = plain(objects(template(
        *OURS, "--set", "networkPolicies.operator=true", "--set", "networkPolicies.runs={team-a}",
        "--set", "networkPolicies.runsEgress={team-a}")))
    same("the chart's network policies", wanted, {k: o for k, o in rendered.items() if o["kind"] == "NetworkPolicy"})


def admission_policies_are_those_of_manifests():
    rendered = plain(objects(template(*OURS, "--set", "admissionPolicies.enabled=true")))
    rendered = {k: o for k, o in rendered.items() if o["kind"].startswith("ValidatingAdmissionPolicy")}
    wanted = plain(objects(kustomize("policies")))
    settings = wanted["ValidatingAdmissionPolicy /k6-operator-settings"]["spec"]
    for variable in "accounts", "folders":
        (found,) = [v for v in settings["variables"] if v["name"] == variable]
        # A list in CEL is one in JSON but for its quotes.
        found["expression"] = found["expression"].replace("'", '"')
    for validation in settings["validations"]:
        for variable, value in ("accounts", "serviceAccounts"), ("folders", "hostPaths"):
            validation["messageExpression"] = validation["messageExpression"].replace(
                f"to {variable} of the ValidatingAdmissionPolicy k6-operator-settings",
                f"to admissionPolicies.{value} of the Helm release k6-operator-system/k6-operator")
    same("the chart's admission policies", wanted, rendered)


def monitoring_is_that_of_manifests():
    switches = "metrics.serviceMonitor", "metrics.podMonitor", "metrics.prometheusRule", "dashboards"
    rendered = plain(objects(template(*OURS, *(f"--set={switch}.enabled=true" for switch in switches))))
    wanted = plain(objects(kustomize("monitoring")))
    kinds = {one["kind"] for one in wanted.values()}
    same("the chart's monitors, alerts and dashboards", wanted,
         {k: o for k, o in rendered.items() if o["kind"] in kinds and k in wanted or "onitor" in o["kind"]})


def kustomization_of_the_docs_sets_the_image():
    with open(os.path.join(ROOT, "docs/helm.md"), encoding="utf-8") as f:
        text = re.search(r"```yaml\n(apiVersion: kustomize.*?)```", f.read(), re.S).group(1)
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "kustomization.yaml"), "w", encoding="utf-8") as f:
            f.write(text.replace("- k6-operator/", f"- {os.path.relpath(ROOT, os.path.realpath(folder))}/"))
        built = objects(run("kubectl", "kustomize", folder))
    wanted = objects("---\n".join(
        kustomize(folder) for folder in ("default", "network/operator", "policies", "monitoring")))
    deployment = f"Deployment {NAMESPACE}/k6-operator-controller-manager"
    wanted[deployment]["spec"]["template"]["spec"]["containers"][0]["image"] = IMAGE
    same("the kustomization in docs/helm.md", wanted, built)


def components_are_what_they_stand_for():
    """Each component, added to manifests/default, gives what the folder of the same content has."""
    wanted = {
        "namespaced": objects(kustomize("namespaced")),
        "monitoring": objects("---\n".join(kustomize(f) for f in ("default", "monitoring"))),
        "network-policies": objects("---\n".join(kustomize(f) for f in ("default", "network/operator"))),
    }
    folder = os.path.join(ROOT, "manifests/components")
    if sorted(wanted) != sorted(os.listdir(folder)):
        raise Failure(f"manifests/components has {sorted(os.listdir(folder))}, tested are {sorted(wanted)}")
    for name, objects_of in wanted.items():
        with tempfile.TemporaryDirectory() as own:
            manifests = os.path.relpath(os.path.join(ROOT, "manifests"), os.path.realpath(own))
            with open(os.path.join(own, "kustomization.yaml"), "w", encoding="utf-8") as f:
                f.write(f"resources: [{manifests}/default]\ncomponents: [{manifests}/components/{name}]\n")
            same(f"manifests/components/{name}", objects_of, objects(run("kubectl", "kustomize", own)))
    # What people get is the whole cluster's, and so is what the operator no longer has.
    roles = [key for key in wanted["namespaced"] if key.startswith("ClusterRole")]
    if roles:
        raise Failure(f"the namespaced operator has {roles}")


def crds_are_kept_unless_asked():
    for arguments, kept in ([], ["keep"]), (["--set", "crds.keep=false"], [None]), (["--set", "installCRDs=false"], []):
        found = [one for one in objects(template(*OURS, *arguments)).values()
                 if one["kind"] == "CustomResourceDefinition"]
        policies = {one["metadata"].get("annotations", {}).get("helm.sh/resource-policy") for one in found}
        if len(found) != (2 if kept else 0) or policies != set(kept):
            raise Failure(f"{arguments}: {len(found)} definitions, {policies}")


def lint_is_clean():
    out = run(HELM, "lint", "--strict", CHART, *OURS)
    if re.search("WARNING|ERROR", out):
        raise Failure(out)


def packaged_chart_renders_the_same():
    with tempfile.TemporaryDirectory() as folder:
        run(HELM, "package", CHART, "--destination", folder)
        (name,) = os.listdir(folder)
        packed = template(*OURS, chart=os.path.join(folder, name))
    if packed != template(*OURS):
        raise Failure("`helm package` leaves something out or brings something in")


def values_and_schema_have_the_same_names():
    def leaves(schema, path=()):
        for name, field in schema.get("properties", {}).items():
            if "properties" in field and name != "defaults":
                yield from leaves(field, (*path, name))
            else:
                yield ".".join((*path, name))

    with open(os.path.join(CHART, "values.schema.json"), encoding="utf-8") as f:
        schema = set(leaves(json.load(f)))
    with open(os.path.join(CHART, "README.md"), encoding="utf-8") as f:
        documented = set(re.findall(r"(?m)^\| `([A-Za-z.]+)` \|", f.read()))
    if schema - {"enabled"} != documented:
        raise Failure(f"only in one of schema and values.yaml: {sorted(schema ^ documented)}")
    if missing := set(PEER) - documented:
        raise Failure(f"values of grafana/k6-operator's chart that are not here: {sorted(missing)}")


def sample_of_every_value_sets_every_value():
    """That values/peer-every-value.yaml is what it says: no value of it is left at its default."""
    with open(os.path.join(HERE, "values/peer-every-value.yaml"), encoding="utf-8") as f:
        text = f.read()
    missing = [path for path in PEER if not re.search(rf"(?m)(^|[ {{]){path.rsplit('.', 1)[-1]}:", text)]
    if missing:
        raise Failure(f"not set: {missing}")


def notes_show_a_test_that_can_be_applied():
    """The resource in NOTES.txt, as Helm prints it, is the one of the samples' form."""
    with open(os.path.join(CHART, "templates/NOTES.txt"), encoding="utf-8") as f:
        text = f.read()
    resource = re.search(r"<<'END'\n(.*?)\n  END\n", text, re.S).group(1)
    (one,) = objects(re.sub(r"(?m)^  ", "", resource)).values()
    if one["kind"] != "K6" or one["spec"]["parallelism"] != 2 or "export default" not in one["spec"]["script"]["inline"]:
        raise Failure(json.dumps(one))


def refusal(arguments, words):
    def test():
        done = subprocess.run([HELM, "template", "k6-operator", CHART, "--namespace", NAMESPACE, *arguments],
                              capture_output=True, text=True)
        if not done.returncode:
            raise Failure("it was accepted")
        answer = done.stderr
        # Helm 3 names a value as manager.image.tag, Helm 4 as /manager/image/tag.
        for word in words:
            if word not in answer and word.strip("/").replace("/", ".") not in answer:
                raise Failure(f"{word} is not named:\n{answer}")

    given = arguments[len(OURS):] if arguments[:len(OURS)] == OURS else arguments
    test.__name__ = "refused: " + (" ".join(a for a in given if not a.startswith("--")) or "no image")
    return test


def golden(name, write):
    def test():
        path = os.path.join(HERE, "values", name)
        with open(path, encoding="utf-8") as f:
            text = f.read()
        more = re.search(r"(?m)^# arguments: (.*)$", text)
        rendered = template(*OURS, "--values", path, "--set", "installCRDs=false",
                            *(more.group(1).split() if more else []))
        objects(rendered)
        # Helm 3 and 4 differ in empty lines before `---`. The rules are those of manifests/,
        # with which other tests compare them; the version is that of Cargo.toml.
        rendered = re.sub(r"\n+---\n", "\n---\n", rendered).strip("\n") + "\n"
        rendered = re.sub(r"(?m)^rules:\n(?:  .*\n)+", "rules: RULES\n", rendered)
        rendered = re.sub(r"(?m)(app.kubernetes.io/version: |helm.sh/chart: k6-operator-).*$", r"\1VERSION", rendered)
        expected = os.path.join(HERE, "golden", name)
        if write:
            with open(expected, "w", encoding="utf-8") as f:
                f.write(rendered)
            return
        with open(expected, encoding="utf-8") as f:
            difference = list(difflib.unified_diff(f.read().splitlines(), rendered.splitlines(),
                                                   f"golden/{name}", "rendered", lineterm=""))
        if difference:
            raise Failure("\n".join(difference[:60]) + "\nif this is meant: tests/helm/check --write")

    test.__name__ = f"golden: {name}"
    return test


def main():
    global HELM
    parser = argparse.ArgumentParser()
    parser.add_argument("--helm", required=True)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    HELM = arguments.helm
    names = sorted(os.listdir(os.path.join(HERE, "values")))
    if not arguments.write and names != sorted(os.listdir(os.path.join(HERE, "golden"))):
        sys.exit("tests/helm: values/ and golden/ do not have the same files: tests/helm/check --write")
    tests = [
        lint_is_clean, values_and_schema_have_the_same_names, sample_of_every_value_sets_every_value,
        install_yaml_is_manifests_default, chart_is_manifests_default, namespaced_chart_is_manifests_namespaced,
        watching_chart_is_the_sample_of_namespaces, network_policies_are_those_of_manifests,
        admission_policies_are_those_of_manifests, monitoring_is_that_of_manifests,
        kustomization_of_the_docs_sets_the_image, components_are_what_they_stand_for, crds_are_kept_unless_asked, packaged_chart_renders_the_same, notes_show_a_test_that_can_be_applied,
        *[refusal(*case) for case in REFUSALS], *[golden(name, arguments.write) for name in names],
    ]
    failed = 0
    for test in tests:
        try:
            test()
            print(f"ok      {test.__name__}")
        except Failure as failure:
            failed += 1
            print(f"FAILED  {test.__name__}: {failure}")
    version = run(HELM, "version", "--short").strip()
    print(f"{version}\n{len(tests) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
