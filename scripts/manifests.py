"""Checks rendered manifests: the schemas of Kubernetes, then what they promise to each other and to the service. `main` is in
manifests_convicted.py, which shows besides that each check fails on a manifest that is made wrong on purpose."""

import functools
import ipaddress
import json
import pathlib
import re

import kubernetes_validate
import yaml

OLDEST, NEWEST = "1.34", "1.37"  # that are supported, in November 2026
root = pathlib.Path(__file__).parent.parent
operations = (root / "docs/operations.md").read_text()
# Of docs/operations.md, which a test holds to the code: how long a stop takes at most, without STOP_DELAY.
longest_stop = int(re.search(r"`STOP_DELAY` \+ (\d+) s after the signal", operations)[1])
# With which `make rolling` tries updates.
tried_delay = int(re.search(r"With `STOP_DELAY=(\d+)s`", operations)[1])
# What `skaffold dev` builds.
built = {artifact["image"] for artifact in yaml.safe_load((root / "skaffold.yaml").read_text())["build"]["artifacts"]}
composed = set(re.findall(r"image: (\S+)", (root / "docker-compose.yml").read_text()))
ADMIN = 9090

manifests = []
wrong = []


def of(kind):
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def check(manifest, holds, what):
    if not holds:
        wrong.append(f"{manifest['kind']} {manifest['metadata']['name']}: {what}")


def seconds(text):
    return float(re.fullmatch(r"(\d+(?:\.\d+)?)s", text)[1])


def is_network(text):
    try:
        return bool(ipaddress.ip_network(text))
    except ValueError:
        return False


def selects(selector, labels):
    expressions = selector.get("matchExpressions", [])
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(each["key"]) in each["values"] for each in expressions
    )


def check_security(manifest, pod, container):
    """The profile `restricted` of Kubernetes's pod security standards, and a root file system that nobody writes."""
    pod_wide, own = pod["securityContext"], container["securityContext"]
    check(manifest, pod_wide.get("runAsNonRoot"), "may run as root")
    check(manifest, pod_wide.get("seccompProfile") == {"type": "RuntimeDefault"}, "has no seccomp profile")
    check(manifest, own.get("allowPrivilegeEscalation") is False, "may become more than it is")
    check(manifest, own.get("capabilities") == {"drop": ["ALL"]}, "keeps capabilities")
    check(manifest, not pod["automountServiceAccountToken"], "is given a token of Kubernetes")
    check(manifest, container["resources"]["requests"].keys() == {"cpu", "memory"}, "requests no resources")
    check(manifest, "memory" in container["resources"]["limits"], "has no limit of memory")


def check_service(manifest):
    """One of our own: what it is told, how it stops, who reaches it."""
    pod = manifest["spec"]["template"]["spec"]
    labels = manifest["spec"]["template"]["metadata"]["labels"]
    [container] = pod["containers"]
    env = {each["name"]: each["value"] for each in container["env"]}
    check(manifest, len(env) == len(container["env"]), "sets a variable twice")
    check(manifest, container["securityContext"].get("readOnlyRootFilesystem"), "may write its root file system")
    check(manifest, "runAsUser" not in pod["securityContext"], "wants a user of its own, which OpenShift refuses")
    probes = {probe: container.get(probe, {}).get("httpGet", {}).get("path") for probe in ("livenessProbe", "readinessProbe", "startupProbe")}
    check(manifest, probes == {"livenessProbe": "/health/live", "readinessProbe": "/health/ready", "startupProbe": "/health/live"}, f"has the probes {probes}")
    stop = container["lifecycle"]["preStop"]["sleep"]["seconds"] + seconds(env["STOP_DELAY"]) + longest_stop
    check(manifest, stop <= pod["terminationGracePeriodSeconds"], f"may take {stop:.0f} s to stop, and is killed before")
    check(manifest, seconds(env["STOP_DELAY"]) >= tried_delay, f"stops taking requests before {tried_delay} s: clients that keep connections lose some")
    check(manifest, manifest["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0, "has fewer instances while it is replaced")

    mounted = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    files = set()
    for volume in pod["volumes"]:
        for source in volume["projected"]["sources"]:
            files |= {f"{mounted[volume['name']]}/{item['path']}" for item in source["secret"]["items"]}
    told = {value for name, value in env.items() if name.endswith("_FILE")}
    check(manifest, told == files, f"is told of the files {sorted(told)}, and has {sorted(files)}")
    check(manifest, not {"JWT_KEY", "MONGO_URI", "NATS_URL"} & env.keys(), "has a secret in its environment")

    budgets = [budget for budget in of("PodDisruptionBudget") if selects(budget["spec"]["selector"], labels)]
    check(manifest, len(budgets) == 1, f"has {len(budgets)} disruption budgets")
    for service in of("Service"):
        if service["spec"]["selector"].items() <= labels.items():
            targets = {port["targetPort"] for port in service["spec"]["ports"]}
            check(manifest, targets == {"http"}, f"is offered by a Service at {targets}")
    policies = [policy for policy in of("NetworkPolicy") if selects(policy["spec"]["podSelector"], labels)]
    check(manifest, any("Ingress" in policy["spec"].get("policyTypes", ["Ingress"]) for policy in policies), "has no network policy: the admin port is open")
    for rule in (rule for policy in policies for rule in policy["spec"]["ingress"]):
        is_open = any(reaches_admin(port) for port in rule.get("ports", [{"port": "admin"}]))
        check(manifest, not is_open or comes_from_some(rule), "its admin port is open to everybody")


def reaches_admin(port):
    first = port.get("port", "admin")
    return first == "admin" or isinstance(first, int) and first <= ADMIN <= port.get("endPort", first)


def comes_from_some(rule):
    """A rule without peers is for everybody, and so is a peer whose selectors choose nothing."""
    peers = rule.get("from") or [{}]
    return all(any(selector for selector in peer.values()) for peer in peers)


def check_place(manifest):
    """What the overlay has to say of each service of ours: its image, its Secret, its way in from outside."""
    pod = manifest["spec"]["template"]["spec"]
    image = pod["containers"][0]["image"]
    if of("StatefulSet"):  # an overlay that is complete in itself
        check(manifest, image in built, f"runs the image {image}, which skaffold.yaml does not build")
        made = {secret["metadata"]["name"] for secret in of("Secret")} | {"jwt-secret"}
        wanted = {source["secret"]["name"] for volume in pod["volumes"] for source in volume["projected"]["sources"]}
        check(manifest, wanted <= made, f"wants the Secrets {sorted(wanted - made)}, which nobody makes")
    else:
        check(manifest, re.fullmatch(r"\S+/\S+:\d\S*", image), f"runs the image {image}, of no registry or no version")
    backends = {path["backend"]["service"]["name"] for ingress in of("Ingress") for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]}
    check(manifest, manifest["metadata"]["name"] in backends, "is reached by no path of the Ingress")
    if not of("StatefulSet"):
        env = {each["name"]: each["value"] for each in pod["containers"][0]["env"]}
        proxies = env.get("TRUSTED_PROXIES", "").split(",")
        check(manifest, all(map(is_network, proxies)), "trusts no Ingress controller (TRUSTED_PROXIES): all callers without a token share one limit")


@functools.cache
def unlike(text, version):
    """What a schema has against a manifest, as JSON. Asked once for each: the defects leave most of them as they are."""
    try:
        kubernetes_validate.validate(json.loads(text), version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"is not as Kubernetes {version} has it: {'.'.join(map(str, error.path))}: {error.message}"


def wrong_with(rendered):
    """What is wrong with the manifests of one overlay, each in a line."""
    manifests[:] = [manifest for manifest in yaml.load_all(rendered, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if manifest]
    wrong.clear()
    for manifest in manifests:
        for version in (OLDEST, NEWEST):
            told = unlike(json.dumps(manifest), version)
            check(manifest, not told, told)
        if manifest["kind"] in ("Deployment", "StatefulSet"):
            pod = manifest["spec"]["template"]["spec"]
            for container in pod["containers"]:
                check_security(manifest, pod, container)
    for deployment in of("Deployment"):
        check_service(deployment)
        check_place(deployment)
    folders = {file.parent.name for file in root.glob("deploy/k8s/base/*/deployment.yaml")}
    deployed = {deployment["metadata"]["name"] for deployment in of("Deployment")}
    if folders != deployed:
        wrong.append(f"deploys {sorted(deployed)}, and deploy/k8s/base has {sorted(folders)}")
    # The servers for trying things are those of the compose file.
    for server in of("StatefulSet"):
        images = {container["image"] for container in server["spec"]["template"]["spec"]["containers"]}
        check(server, images <= composed, f"runs {images}, and docker-compose.yml other versions")
    if not deployed:
        wrong.append("nothing is deployed")
    return list(wrong)
