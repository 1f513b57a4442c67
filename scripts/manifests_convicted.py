"""Checks the manifests of an overlay, on standard input, and shows that the checks can fail: each defect below is put in, alone, and
has to be told in these words."""

import sys

import manifests

# For any overlay: what is written there, what takes its place, and what the checker says.
DEFECTS = [
    ("runAsNonRoot: true", "runAsNonRoot: false", "may run as root"),
    ("type: RuntimeDefault", "type: Unconfined", "has no seccomp profile"),
    ("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "may write its root file system"),
    ("allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "may become more than it is"),
    ("automountServiceAccountToken: false", "automountServiceAccountToken: true", "is given a token of Kubernetes"),
    ("maxUnavailable: 0", "maxUnavailable: 1", "has fewer instances while it is replaced"),
    ("terminationGracePeriodSeconds: 30", "terminationGracePeriodSeconds: 20", "is killed before"),
    ("value: 3s", "value: 1s", "clients that keep connections lose some"),
    ("path: /health/live", "path: /health/ready", "has the probes"),
    ("path: admin-token", "path: token", "is told of the files"),
    ("name: NATS_URL_FILE", "name: NATS_URL", "has a secret in its environment"),
    ("targetPort: http", "targetPort: admin", "is offered by a Service at"),
    ("  - Ingress\n", "  - Egress\n", "has no network policy"),
    ("  - ports:\n    - port: http\n", "  - ports:\n    - port: 3000\n      endPort: 9999\n", "its admin port is open to everybody"),
    ("    - namespaceSelector:\n        matchLabels:\n          kubernetes.io/metadata.name: monitoring\n", "    - namespaceSelector: {}\n", "its admin port is open to everybody"),
    ("maxUnavailable: 1\n  selector:\n    matchLabels:", "maxUnavailable: 1\n  selector:\n    matchLabels:\n      not: ours", "has 0 disruption budgets"),
    ("replicas:", "replica:", "is not as Kubernetes"),
    ("pathType: Prefix", "pathType: Prefix\n        x: y", "is not as Kubernetes"),
]
OF_PRODUCTION = [
    ("10.244.0.0/16", "ingress", "trusts no Ingress controller"),
    ("name: TRUSTED_PROXIES", "name: TRUSTED", "trusts no Ingress controller"),
    ("image: ghcr.io/example/", "image: ", "of no registry or no version"),
]
OF_DEV = [("image: mongo:", "image: mongo:1", "and docker-compose.yml other versions")]


def main(overlay):
    rendered = sys.stdin.read()
    wrong = manifests.wrong_with(rendered)
    if wrong:
        sys.exit("\n".join(f"{overlay}: {each}" for each in wrong))
    defects = DEFECTS + {"production": OF_PRODUCTION, "dev": OF_DEV}.get(overlay, [])
    for text, instead, told in defects:
        if text not in rendered:
            sys.exit(f"{overlay}: there is no {text!r} to make wrong: write the defect anew")
        if not any(told in each for each in manifests.wrong_with(rendered.replace(text, instead))):
            sys.exit(f"{overlay}: {instead!r} in place of {text!r} passes the checks, which have to say: {told}")
    print(f"manifests: {overlay} is as Kubernetes {manifests.OLDEST} to {manifests.NEWEST} and our services want it; {len(defects)} defects are convicted")


main(sys.argv[1])
