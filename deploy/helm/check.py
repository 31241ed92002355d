"""Lints the chart, renders it in both modes, compares the service with deploy/kubernetes, checks the kinds of
operators by their schemas, and tries values that have to be refused.
Usage: check.py FOLDER; the manifests of Kubernetes' own kinds go into FOLDER, to be checked by their schemas."""

import copy
import pathlib
import sys

import helm_python as helm
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from cloudcoil.models.prometheus_operator.v1 import ServiceMonitor
from jsonschema import Draft202012Validator

HERE = pathlib.Path(__file__).parent
CHART = HERE / "wsp"
OUT = pathlib.Path(sys.argv[1])
# Kinds of operators. kubernetes-validate does not know them; these models are generated from the operators' own definitions.
OPERATORS = {"ScaledObject": ScaledObject, "ServiceMonitor": ServiceMonitor}

profile = (HERE / "../../config/profiles/dev_min.yaml").read_text()
lanes = profile.replace("\nwiring:\n", "\nwiring:\n  wsp_lanes: {count: 16, by: order_key}\n")
values = {mode: yaml.safe_load((HERE / f"values/{mode}.yaml").read_text()) for mode in ("service", "workers")}
values["workers"]["profile"] = {"text": lanes}


def rendered(chart, given):
    texts = chart.render(given, name="wsp", namespace="fraud")
    found = {}
    for name, text in texts.items():
        if name.endswith(".yaml"):
            found.update({document["kind"]: document for document in yaml.safe_load_all(text) if document})
    return found


def merged(given, **more):
    return {**given, **{key: {**given.get(key, {}), **value} if isinstance(value, dict) else value for key, value in more.items()}}


def lint():
    for mode, given in values.items():
        report = helm.lint(CHART, given, strict=True, namespace="fraud")
        found = [message for message in report["messages"] if message["severity"] > 1]
        if found or report["errors"]:
            sys.exit(f"{mode}: {found or report['errors']}")
        print(f"{mode}: no warning")


def as_the_manifests(made):
    """The service is the one of deploy/kubernetes, but for names and labels."""
    manifests = {}
    for name in ("service", "network-policy"):
        for document in yaml.safe_load_all((HERE / f"../kubernetes/{name}.yaml").read_text()):
            manifests[document["kind"]] = document
    of_chart, of_manifest = made["Deployment"]["spec"], manifests["Deployment"]["spec"]
    image = of_chart["template"]["spec"]["containers"][0]["image"]
    of_manifest["template"]["spec"]["containers"][0].update(image=image, imagePullPolicy="IfNotPresent")
    for what, one, other in [
        ("pod", of_chart["template"]["spec"], of_manifest["template"]["spec"]),
        ("annotations", of_chart["template"]["metadata"]["annotations"], of_manifest["template"]["metadata"]["annotations"]),
        ("strategy", [of_chart["replicas"], of_chart["strategy"]], [of_manifest["replicas"], of_manifest["strategy"]]),
        ("claim", made["PersistentVolumeClaim"]["spec"], manifests["PersistentVolumeClaim"]["spec"]),
        ("ingress", made["NetworkPolicy"]["spec"]["ingress"], manifests["NetworkPolicy"]["spec"]["ingress"]),
    ]:
        if one != other:
            sys.exit(f"the chart's {what} is {one}, that of deploy/kubernetes {other}")
    print("the service is that of deploy/kubernetes")


def of_workers(made):
    workers, scaled = made["StatefulSet"]["spec"], made["ScaledObject"]["spec"]
    pod = workers["template"]["spec"]
    container = pod["containers"][0]
    expected = {
        "profile": (made["ConfigMap"]["data"]["profile.yaml"].strip(), lanes.strip()),
        "args": (container["args"][-1], container["volumeMounts"][2]["mountPath"] + "/profile.yaml"),
        "replicas": (workers.get("replicas"), None),
        "name": (workers["serviceName"], made["Service"]["metadata"]["name"]),
        "group": (container["env"][3]["value"].replace("$(WORKER)", "wsp-0"), scaled["triggers"][0]["metadata"]["consumerGroup"]),
        "state": (pod["volumes"][0]["emptyDir"], {"sizeLimit": "1Gi"}),
        "workers": (scaled["maxReplicaCount"], 8),
        "formula": (scaled["advanced"]["scalingModifiers"]["formula"], "ready > 0 ? 8 : 1"),
        "budget": (made["PodDisruptionBudget"]["spec"]["maxUnavailable"], "25%"),
        "claims": ("PersistentVolumeClaim" in made, False),
        "selector": (made["ServiceMonitor"]["spec"]["selector"]["matchLabels"].items() <= made["Service"]["metadata"]["labels"].items(), True),
    }
    wrong = {what: pair for what, pair in expected.items() if pair[0] != pair[1]}
    if wrong:
        sys.exit(f"workers: {wrong}")
    print("16 lanes, 2 a worker: at most 8 workers")


def refused(chart):
    workers, service = values["workers"], values["service"]
    text = lambda change: merged(workers, profile={"text": change(lanes)})
    for what, said, given in [
        ("a key that nobody knows", "'replicas' not allowed", {**service, "replicas": 2}),
        ("a tag", "/image/digest", merged(service, image={"digest": "latest"})),
        ("no image", "image.digest", {}),
        ("a digest of zeros", "all zeros", merged(service, image={"digest": "sha256:" + "0" * 64})),
        ("workers without a profile", "profile.text", {**workers, "profile": {"text": ""}}),
        ("workers without lanes", "wsp_lanes.count", text(lambda lanes: profile)),
        ("one lane", "wsp_lanes.count", text(lambda lanes: lanes.replace("count: 16", "count: 1"))),
        ("checkpoints in files", "backend postgres", text(lambda lanes: lanes.replace("backend: postgres", "backend: file"))),
        ("no YAML", "no YAML", text(lambda lanes: lanes + "\n  }")),
        ("scaling without a broker", "bootstrapServers", merged(workers, workers={**workers["workers"], "autoscaling": {"enabled": True}})),
    ]:
        try:
            chart.render(given, name="wsp", namespace="fraud")
        except helm.HelmError as error:
            if said in str(error):
                continue
            sys.exit(f"{what}: {error}")
        sys.exit(f"the chart takes {what}")
    print("what cannot work is refused")


def closed(schema):
    """The schema without room for unknown keys: the API server drops them silently, so a typo would go unnoticed."""
    if isinstance(schema, dict):
        found = {key: closed(value) for key, value in schema.items()}
        return {**found, "additionalProperties": False} if isinstance(found.get("properties"), dict) and found.get("type") == "object" else found
    return [closed(item) for item in schema] if isinstance(schema, list) else schema


def faults_of_operator(kind, document):
    validator = Draft202012Validator(closed(OPERATORS[kind].model_json_schema(by_alias=True)))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def by_operators(made):
    for kind in OPERATORS:
        if found := faults_of_operator(kind, made[kind]):
            sys.exit(f"{kind}: {found}")
        print(f"{kind} is as its operator's schema says")
    # The schemas refuse what is wrong: an unknown key at any depth, a wrong type, a missing part, a wrong form or version.
    for kind, place, value in [
        ("ScaledObject", ("spec", "maxReplicas"), 8),
        ("ScaledObject", ("spec", "advanced", "horizontalPodAutoscalerConfig", "behavior", "scaleDown", "after"), 1),
        ("ScaledObject", ("spec", "triggers", 0, "metadata", "lagThreshold"), 1),
        ("ScaledObject", ("spec", "triggers"), None),
        ("ServiceMonitor", ("spec", "endpoints", 0, "portName"), "telemetry"),
        ("ServiceMonitor", ("spec", "endpoints", 0, "interval"), "15 sec"),
        ("ServiceMonitor", ("apiVersion",), "monitoring.coreos.com/v2"),
    ]:
        wrong = copy.deepcopy(made[kind])
        inner = wrong
        for key in place[:-1]:
            inner = inner[key]
        if value is None:
            del inner[place[-1]]
        else:
            inner[place[-1]] = value
        if not faults_of_operator(kind, wrong):
            sys.exit(f"the schema of {kind} takes {place}: {value}")


lint()
OUT.mkdir(parents=True, exist_ok=True)
with helm.Chart.load(CHART) as chart:
    made = {mode: rendered(chart, given) for mode, given in values.items()}
    as_the_manifests(made["service"])
    of_workers(made["workers"])
    by_operators(made["workers"])
    refused(chart)
for mode, documents in made.items():
    for kind, document in documents.items():
        if kind not in OPERATORS:
            (OUT / f"{mode}-{kind}.yaml").write_text(yaml.safe_dump(document))
(OUT / "profile").mkdir(exist_ok=True)
(OUT / "profile/workers.yaml").write_text(lanes)
