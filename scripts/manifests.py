"""Checks rendered manifests on standard input: the schemas of Kubernetes, then what they promise to each other and to the service."""

import pathlib
import re
import sys

import kubernetes_validate
import yaml

OLDEST, NEWEST = "1.34", "1.37"  # that are supported, in November 2026
root = pathlib.Path(__file__).parent.parent
# Of docs/operations.md, which a test holds to the code: how long a stop takes at most, without STOP_DELAY.
# What `skaffold dev` builds.
built = {artifact["image"] for artifact in yaml.safe_load((root / "skaffold.yaml").read_text())["build"]["artifacts"]}
longest_stop = int(re.search(r"`STOP_DELAY` \+ (\d+) s after the signal", (root / "docs/operations.md").read_text())[1])

overlay = sys.argv[1]
manifests = [manifest for manifest in yaml.safe_load_all(sys.stdin) if manifest]
wrong = []


def of(kind):
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def check(manifest, holds, what):
    if not holds:
        wrong.append(f"{overlay}: {manifest['kind']} {manifest['metadata']['name']}: {what}")


def seconds(text):
    return float(re.fullmatch(r"(\d+(?:\.\d+)?)s", text)[1])


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
    check(manifest, policies, "has no network policy: the admin port is open")
    for rule in (rule for policy in policies for rule in policy["spec"]["ingress"]):
        ports = {port["port"] for port in rule.get("ports", [{"port": "admin"}])}
        check(manifest, not ports & {"admin", 9090} or rule.get("from"), "its admin port is open to everybody")


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


for manifest in manifests:
    for version in (OLDEST, NEWEST):
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            check(manifest, False, f"is not as Kubernetes {version} has it: {'.'.join(map(str, error.path))}: {error.message}")
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
    wrong.append(f"{overlay}: deploys {sorted(deployed)}, and deploy/k8s/base has {sorted(folders)}")
# The servers for trying things are those of the compose file.
composed = set(re.findall(r"image: (\S+)", (root / "docker-compose.yml").read_text()))
for server in of("StatefulSet"):
    images = {container["image"] for container in server["spec"]["template"]["spec"]["containers"]}
    check(server, images <= composed, f"runs {images}, and docker-compose.yml other versions")
if not of("Deployment"):
    wrong.append(f"{overlay}: nothing is deployed")
if wrong:
    sys.exit("\n".join(wrong))
print(f"manifests: {overlay}: {len(manifests)} are as Kubernetes {OLDEST} to {NEWEST} and our services want them")
