"""Drives a cluster with the Python client, as operators and scripts do: typed calls, patches, watches, custom objects, the dynamic
client, errors, an informer and leader election."""
import json
import sys
import threading

import yaml
from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic.exceptions import ConflictError, NotFoundError
from kubernetes.informer import SharedInformer
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

NAMESPACE = "python"
# Longest wait for anything, in seconds.
PATIENCE = 60

config.load_kube_config()
core, apps, custom = client.CoreV1Api(), client.AppsV1Api(), client.CustomObjectsApi()


def refused(code, reason, call, *arguments, **named):
    """The Status with which a call is refused."""
    try:
        call(*arguments, **named)
    except ApiException as error:
        status = json.loads(error.body)
        assert (error.status, status["reason"], status["kind"]) == (code, reason, "Status"), error
        return status
    raise AssertionError(f"{call.__name__} was not refused with {reason}")


def config_map(name, **data):
    metadata = client.V1ObjectMeta(name=name, labels={"made": "by-python"})
    return client.V1ConfigMap(metadata=metadata, data=data)


def objects():
    namespace = client.V1Namespace(metadata=client.V1ObjectMeta(name=NAMESPACE))
    assert core.create_namespace(namespace).status.phase == "Active"
    made = core.create_namespaced_config_map(NAMESPACE, config_map("a", k="v"))
    assert made.metadata.uid and made.metadata.creation_timestamp.tzinfo is not None
    read = core.read_namespaced_config_map("a", NAMESPACE)
    read.data["k"] = "w"
    changed = core.replace_namespaced_config_map("a", NAMESPACE, read)
    assert changed.metadata.resource_version != made.metadata.resource_version
    status = refused(409, "Conflict", core.replace_namespaced_config_map, "a", NAMESPACE, read)
    assert "the object has been modified" in status["message"], status
    status = refused(409, "AlreadyExists", core.create_namespaced_config_map, NAMESPACE, config_map("a"))
    assert status["details"] == {"name": "a", "kind": "configmaps"}, status
    refused(404, "NotFound", core.read_namespaced_config_map, "none", NAMESPACE)
    status = refused(422, "Invalid", core.create_namespaced_config_map, NAMESPACE, config_map("Wrong_Name"))
    assert status["details"]["causes"][0]["field"] == "metadata.name", status
    refused(400, "BadRequest", core.list_namespaced_config_map, NAMESPACE, label_selector="a==b==c")

    # A dry run leaves nothing behind.
    assert core.create_namespaced_config_map(NAMESPACE, config_map("dry"), dry_run="All").metadata.uid
    refused(404, "NotFound", core.read_namespaced_config_map, "dry", NAMESPACE)

    for number in range(5):
        core.create_namespaced_config_map(NAMESPACE, config_map(f"n{number}"))
    names, token = [], None
    while not names or token:
        page = core.list_namespaced_config_map(NAMESPACE, label_selector="made=by-python", limit=2, _continue=token)
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
    assert names == ["a", "n0", "n1", "n2", "n3", "n4"], names
    core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="made=by-python")
    assert not core.list_namespaced_config_map(NAMESPACE, label_selector="made=by-python").items


def patches():
    labels = {"app": "web"}
    deployment = client.V1Deployment(
        metadata=client.V1ObjectMeta(name="web"),
        spec=client.V1DeploymentSpec(
            replicas=2,
            selector=client.V1LabelSelector(match_labels=labels),
            template=client.V1PodTemplateSpec(
                metadata=client.V1ObjectMeta(labels=labels),
                spec=client.V1PodSpec(containers=[client.V1Container(name="web", image="nginx:1")]),
            ),
        ),
    )
    apps.create_namespaced_deployment(NAMESPACE, deployment)
    # Strategic: a container is found by its name.
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "nginx:2"}, {"name": "side", "image": "b"}]}}}}
    patched = apps.patch_namespaced_deployment("web", NAMESPACE, patch, _content_type="application/strategic-merge-patch+json")
    images = {container.name: container.image for container in patched.spec.template.spec.containers}
    assert images == {"web": "nginx:2", "side": "b"}, images
    steps = [{"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}, {"op": "replace", "path": "/spec/replicas", "value": 3}]
    patched = apps.patch_namespaced_deployment("web", NAMESPACE, steps)
    assert patched.spec.replicas == 3 and patched.metadata.annotations["a"] == "b", patched.metadata
    patched = apps.patch_namespaced_deployment(
        "web", NAMESPACE, {"metadata": {"annotations": None}}, _content_type="application/merge-patch+json")
    assert "a" not in (patched.metadata.annotations or {}), patched.metadata
    # Server-side apply of one field, and its owner.
    applied = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 1}}
    options = {"_content_type": "application/apply-patch+yaml", "field_manager": "python"}
    status = refused(409, "Conflict", apps.patch_namespaced_deployment, "web", NAMESPACE, applied, **options)
    assert status["details"]["causes"][0]["field"] == ".spec.replicas", status
    patched = apps.patch_namespaced_deployment("web", NAMESPACE, applied, force=True, **options)
    assert [entry.operation for entry in patched.metadata.managed_fields if entry.manager == "python"] == ["Apply"]
    scale = apps.read_namespaced_deployment_scale("web", NAMESPACE)
    assert (scale.spec.replicas, scale.status.selector) == (1, "app=web"), scale

    watcher = watch.Watch()
    for event in watcher.stream(apps.list_namespaced_deployment, NAMESPACE, field_selector="metadata.name=web", timeout_seconds=PATIENCE):
        status = event["object"].status
        if status.observed_generation == event["object"].metadata.generation and status.ready_replicas == 1 and status.replicas == 1:
            watcher.stop()
    pods = core.list_namespaced_pod(NAMESPACE, label_selector="app=web", field_selector="status.phase=Running")
    assert pods.items and all(pod.spec.node_name for pod in pods.items)
    eviction = client.V1Eviction(metadata=client.V1ObjectMeta(name=pods.items[0].metadata.name))
    core.create_namespaced_pod_eviction(pods.items[0].metadata.name, NAMESPACE, eviction)
    apps.delete_namespaced_deployment("web", NAMESPACE, propagation_policy="Foreground")


def watches():
    start = core.list_namespaced_config_map(NAMESPACE).metadata.resource_version
    core.create_namespaced_config_map(NAMESPACE, config_map("seen", step="0"))
    for step in range(1, 4):
        core.patch_namespaced_config_map("seen", NAMESPACE, {"data": {"step": str(step)}})
    core.patch_namespaced_config_map("seen", NAMESPACE, {"metadata": {"labels": {"made": None}}})
    core.delete_namespaced_config_map("seen", NAMESPACE)
    watcher, seen = watch.Watch(), []
    for event in watcher.stream(
        core.list_namespaced_config_map, NAMESPACE, resource_version=start, label_selector="made=by-python", timeout_seconds=PATIENCE
    ):
        seen.append((event["type"], event["object"].data["step"]))
        if event["type"] == "DELETED":
            watcher.stop()
    # What a selector does not select any more is gone for its watchers.
    assert seen == [("ADDED", "0"), ("MODIFIED", "1"), ("MODIFIED", "2"), ("MODIFIED", "3"), ("DELETED", "3")], seen
    # A revision that is no number, and one that nobody has reached.
    refused(400, "BadRequest", core.list_namespaced_config_map, NAMESPACE, resource_version="abc")
    status = refused(504, "Timeout", core.list_namespaced_config_map, NAMESPACE, resource_version=str(10**9), resource_version_match="NotOlderThan")
    assert "Too large resource version" in status["message"], status


DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: snakes.python.example.com}
spec:
  group: python.example.com
  scope: Namespaced
  names: {plural: snakes, singular: snake, kind: Snake, shortNames: [sn]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, required: [length], properties: {length: {type: integer, minimum: 1}, colour: {type: string, default: green}}}
          status: {type: object, properties: {shed: {type: integer}}}
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ServiceAccount, metadata: {name: keeper}}
- {apiVersion: v1, kind: Secret, metadata: {name: key}, stringData: {a: b}}
"""


def custom_objects():
    made = utils.create_from_yaml(client.ApiClient(), yaml_objects=yaml.safe_load_all(DEFINITION), namespace=NAMESPACE)
    assert made, made
    try:
        utils.create_from_yaml(client.ApiClient(), yaml_objects=yaml.safe_load_all(DEFINITION), namespace=NAMESPACE)
        raise AssertionError("what exists was created again")
    except utils.FailToCreateError as error:
        assert [one.status for one in error.api_exceptions] == [409, 409, 409], error
    extensions = client.ApiextensionsV1Api()
    watcher = watch.Watch()
    for event in watcher.stream(
        extensions.list_custom_resource_definition, field_selector="metadata.name=snakes.python.example.com", timeout_seconds=PATIENCE
    ):
        conditions = event["object"].status.conditions or []
        if any(condition.type == "Established" and condition.status == "True" for condition in conditions):
            watcher.stop()
    where = {"group": "python.example.com", "version": "v1", "namespace": NAMESPACE, "plural": "snakes"}
    body = {"apiVersion": "python.example.com/v1", "kind": "Snake", "metadata": {"name": "kaa"}, "spec": {"length": 7}}
    snake = custom.create_namespaced_custom_object(body=body, **where)
    assert snake["spec"] == {"length": 7, "colour": "green"}, snake
    snake = custom.patch_namespaced_custom_object(name="kaa", body={"spec": {"length": 8}}, **where)
    assert snake["metadata"]["generation"] == 2, snake
    status = custom.patch_namespaced_custom_object_status(name="kaa", body={"status": {"shed": 1}}, **where)
    assert (status["status"]["shed"], status["metadata"]["generation"]) == (1, 2), status
    refused(422, "Invalid", custom.patch_namespaced_custom_object, name="kaa", body={"spec": {"length": 0}}, **where)
    assert len(custom.list_namespaced_custom_object(**where)["items"]) == 1

    # The dynamic client knows kinds from discovery alone.
    either = dynamic.DynamicClient(client.ApiClient())
    snakes = either.resources.get(api_version="python.example.com/v1", kind="Snake")
    assert snakes.short_names == ["sn"], snakes.short_names
    assert snakes.get(name="kaa", namespace=NAMESPACE).spec.length == 8
    applied = {"apiVersion": "python.example.com/v1", "kind": "Snake", "metadata": {"name": "nag"}, "spec": {"length": 3}}
    snakes.server_side_apply(namespace=NAMESPACE, name="nag", body=applied, field_manager="dynamic")
    try:
        snakes.server_side_apply(
            namespace=NAMESPACE, name="nag", body=applied | {"spec": {"length": 4}}, field_manager="other")
        raise AssertionError("a conflict was expected")
    except ConflictError as error:
        assert error.summary() == 'Apply failed with 1 conflict: conflict with "dynamic": .spec.length', error.summary()
    seen = []
    for event in snakes.watch(namespace=NAMESPACE, resource_version="0", timeout=PATIENCE):
        seen.append(event["object"].metadata.name)
        if len(seen) == 2:
            break
    assert sorted(seen) == ["kaa", "nag"], seen
    snakes.delete(name="nag", namespace=NAMESPACE)
    try:
        snakes.get(name="nag", namespace=NAMESPACE)
        raise AssertionError("nag is still there")
    except NotFoundError:
        pass
    extensions.delete_custom_resource_definition("snakes.python.example.com")


def informers():
    seen = {kind: threading.Event() for kind in ("ADDED", "MODIFIED", "DELETED")}
    informer = SharedInformer(core.list_namespaced_config_map, namespace=NAMESPACE, label_selector="made=by-python")
    for kind, event in seen.items():
        informer.add_event_handler(kind, lambda _, event=event: event.set())
    informer.start()
    core.create_namespaced_config_map(NAMESPACE, config_map("watched", step="0"))
    assert seen["ADDED"].wait(PATIENCE), "nothing was added"
    core.patch_namespaced_config_map("watched", NAMESPACE, {"data": {"step": "1"}})
    assert seen["MODIFIED"].wait(PATIENCE), "nothing changed"
    core.delete_namespaced_config_map("watched", NAMESPACE)
    assert seen["DELETED"].wait(PATIENCE), "nothing was deleted"
    informer.stop()


def elections():
    leads, stopped = threading.Event(), threading.Event()
    settings = {"lease_duration": 5, "renew_deadline": 3, "retry_period": 1}
    first = electionconfig.Config(
        LeaseLock("leader", NAMESPACE, "first"), onstarted_leading=leads.set, onstopped_leading=stopped.set, **settings)
    threading.Thread(target=leaderelection.LeaderElection(first).run, daemon=True).start()
    assert leads.wait(PATIENCE), "nobody leads"
    leases = client.CoordinationV1Api()
    lease = leases.read_namespaced_lease("leader", NAMESPACE)
    assert (lease.spec.holder_identity, lease.spec.lease_duration_seconds) == ("first", 5), lease.spec
    assert lease.spec.renew_time.microsecond is not None
    # Somebody else takes the lease away; the first notices when it cannot renew it.
    leases.patch_namespaced_lease("leader", NAMESPACE, {"spec": {"holderIdentity": "second"}})
    assert stopped.wait(PATIENCE), "the first still leads"
    assert leases.read_namespaced_lease("leader", NAMESPACE).spec.holder_identity == "second"


def access():
    token = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=600))
    token = core.create_namespaced_service_account_token("default", NAMESPACE, token).status.token
    settings = client.Configuration.get_default_copy()
    settings.api_key, settings.api_key_prefix = {"authorization": token}, {"authorization": "Bearer"}
    settings.refresh_api_key_hook = None
    guest = client.ApiClient(settings)
    status = refused(403, "Forbidden", client.CoreV1Api(guest).list_namespaced_secret, NAMESPACE)
    assert f'User "system:serviceaccount:{NAMESPACE}:default" cannot list resource "secrets"' in status["message"], status
    me = client.AuthenticationV1Api(guest).create_self_subject_review(client.V1SelfSubjectReview())
    assert me.status.user_info.username == f"system:serviceaccount:{NAMESPACE}:default", me
    question = client.V1SelfSubjectAccessReview(spec=client.V1SelfSubjectAccessReviewSpec(
        resource_attributes=client.V1ResourceAttributes(verb="list", resource="secrets", namespace=NAMESPACE)))
    asked = client.AuthorizationV1Api(guest).create_self_subject_access_review(question)
    assert asked.status.allowed is False, asked
    settings.api_key = {"authorization": "wrong"}
    refused(401, "Unauthorized", client.CoreV1Api(client.ApiClient(settings)).list_namespaced_pod, NAMESPACE)
    # What needs a container says that there is none.
    pod = {"metadata": {"name": "lone"}, "spec": {"containers": [{"name": "a", "image": "nginx"}]}}
    core.create_namespaced_pod(NAMESPACE, pod)
    watcher = watch.Watch()
    for event in watcher.stream(core.list_namespaced_pod, NAMESPACE, field_selector="metadata.name=lone", timeout_seconds=PATIENCE):
        if event["object"].status.phase == "Running":
            watcher.stop()
    status = refused(503, "ServiceUnavailable", core.read_namespaced_pod_log, "lone", NAMESPACE)
    assert "simulated" in status["message"], status


for step in (objects, patches, watches, custom_objects, informers, elections, access):
    step()
    print(step.__name__)
core.delete_namespace(NAMESPACE)
sys.stdout.flush()
