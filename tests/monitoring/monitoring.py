"""The dashboards and alerts of manifests/monitoring, as the tests read them."""
import json
import os
import re
import subprocess

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")


def run(*command, stdin=None):
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
    return done.stdout


def objects():
    """The objects of manifests/monitoring, by kind; the ConfigMaps as a list."""
    text = run("kubectl", "kustomize", "manifests/monitoring")
    out = run("kubectl", "annotate", "--local", "-o", "json", "-f", "-", "test=x", stdin=text)
    found, decoder, at = {"ConfigMap": []}, json.JSONDecoder(), 0
    while at < len(out):
        item, at = decoder.raw_decode(out, at)
        while at < len(out) and out[at].isspace():
            at += 1
        for one in item["items"] if item["kind"] == "List" else [item]:
            if one["kind"] == "ConfigMap":
                found["ConfigMap"].append(one)
            elif found.setdefault(one["kind"], one) is not one:
                raise SystemExit(f"two of kind {one['kind']}")
    return found


def queries(found, variables):
    """[(dashboard, panel, query)] of all dashboards, with the variables replaced."""
    all_of_them = []
    for config in found["ConfigMap"]:
        (text,) = config["data"].values()
        board = json.loads(text)
        panels = [(panel["title"], target["expr"]) for panel in board["panels"] for target in panel["targets"]]
        if not panels:
            raise SystemExit(f"{board['title']} has no panels")
        for title, query in panels:
            query = re.sub(r"\$(\w+)", lambda name: variables[name.group(1)], query)
            all_of_them.append((board["title"], title, query))
    if len(all_of_them) < 20:
        raise SystemExit(f"only {len(all_of_them)} queries")
    return all_of_them
