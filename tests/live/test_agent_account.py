"""What the account of the agent's chart may do in a cluster, and what it may not.

That it may do enough is seen by the other tests on Kubernetes: their agents use it.
"""

from __future__ import annotations

import pytest

from edge_agent.checking import cluster as checks
from edge_agent.on_kubernetes.api import Api, Refused
from tests.lab import cluster
from tests.lab.needs import needs

SYSTEM = "/api/v1/namespaces/kube-system"
ROLES = "/apis/rbac.authorization.k8s.io/v1"
FORBIDDEN = [
    ("GET", f"{SYSTEM}/secrets", None),
    ("GET", "/api/v1/secrets", None),
    ("GET", f"{SYSTEM}/configmaps", None),
    ("POST", f"{SYSTEM}/serviceaccounts/default/token", {"spec": {}}),
    ("POST", f"{SYSTEM}/pods/any/exec", {}),
    ("PATCH", "/api/v1/nodes/any", {}),
    ("DELETE", "/api/v1/nodes/any", None),
    ("GET", "/api/v1/nodes/any/proxy/pods", None),
    ("GET", f"{ROLES}/clusterroles", None),
    ("POST", f"{ROLES}/clusterroles", {"metadata": {"name": "sinfonia-lab-never"}, "rules": []}),
    ("POST", f"{ROLES}/clusterrolebindings", {}),
    ("POST", f"{ROLES}/namespaces/kube-system/rolebindings", {}),
    ("DELETE", f"{SYSTEM}/services/any", None),
    ("DELETE", "/apis/apps/v1/namespaces/kube-system/daemonsets/any", None),
    ("POST", "/apis/apps/v1/namespaces/kube-system/daemonsets", {}),
    ("POST", "/apis/batch/v1/namespaces/kube-system/jobs", {}),
    ("POST", "/api/v1/persistentvolumes", {}),
    ("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {}),
    ("POST", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", {}),
    ("GET", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/any", None),
    ("DELETE", "/apis/networking.k8s.io/v1/namespaces/kube-system/networkpolicies/any", None),
]


@pytest.fixture(scope="module")
def account() -> Api:
    return cluster.as_user(cluster.agent_kubeconfig())


@needs("kubernetes")
@pytest.mark.parametrize(
    ("method", "path", "body"), FORBIDDEN, ids=[f"{method} {path}" for method, path, _ in FORBIDDEN]
)
def test_what_it_does_not_need_is_forbidden(account, method, path, body):
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    with pytest.raises(Refused) as refused:
        account.call(method, path, body, kind)
    assert refused.value.status == 403


@needs("kubernetes")
def test_check_says_that_it_may_do_just_what_it_has_to(account):
    (found,) = checks.rights(account, None)
    assert found.level == "good", found.text
    assert list(checks.more_than_needed(account)) == []
    (found, *_) = checks.more_than_needed(cluster.admin())
    assert found.level == "warning", "the operator could do more, and is told so"
