# How many replicas there are, and who says so. Sourced by checks.sh.

an_app_scales_from_1_to_20_and_back() {
    kubectl scale spinapp/simple-spinapp --replicas=20 >/dev/null
    eventually 180 kubectl wait spinapp/simple-spinapp --for=jsonpath='{.status.readyReplicas}'=20 --timeout=1s
    curl -fsS "http://$(service simple-spinapp)/hello" >/dev/null
    kubectl scale spinapp/simple-spinapp --replicas=1 >/dev/null
    eventually 120 kubectl wait spinapp/simple-spinapp --for=jsonpath='{.status.replicas}'=1 --timeout=1s
}

# Pod, processor time in thousandths, memory; both of the app's container.
top_shows() { kubectl top pods --containers --no-headers | grep -E "^$1-[^ ]+ +$1 +[0-9]+m +[1-9][0-9]*Mi"; }

top_shows_what_apps_use() {
    eventually 60 top_shows simple-spinapp
    kubectl top node node-1 --no-headers | grep -qE '^node-1 +[0-9]+m'
}

replicas() { kubectl get spinapp "$1" -o jsonpath='{.status.readyReplicas}'; }

replicas_are() { [ "$(replicas "$1")" "$2" "$3" ]; }

# usage_is_known: the autoscaler has a percentage.
usage_is_known() {
    kubectl get hpa spinapp-autoscaler -o jsonpath='{.status.currentMetrics[0].resource.current.averageUtilization}' | grep .
}

an_autoscaler_follows_the_load() {
    kubectl apply -f "$repository/examples/spinapp-hpa.yaml" >/dev/null
    ready hpa-spinapp
    eventually 20 get hpa-spinapp /hello
    eventually 120 usage_is_known
    local load
    # Until it is ended: one connection after another, since a connection stays with
    # its pod.
    while :; do curl -sS -o /dev/null "http://$(service hpa-spinapp)/hello?[1-2000]" || true; done &
    load=$!
    eventually 120 replicas_are hpa-spinapp -ge 2 || { kubectl describe hpa >&2; kill "$load"; return 1; }
    kill "$load"
    eventually 180 replicas_are hpa-spinapp -eq 1
    # Autoscalers may scale the app itself, too; its replicas are then theirs.
    kubectl patch spinapp hpa-spinapp --type merge -p '{"spec": {"enableAutoscaling": false, "replicas": 1}}' >/dev/null
    kubectl patch hpa spinapp-autoscaler --type merge -p '{"spec": {"minReplicas": 2, "scaleTargetRef": {
        "apiVersion": "core.spinkube.dev/v1alpha1", "kind": "SpinApp", "name": "hpa-spinapp"}}}' >/dev/null
    eventually 60 replicas_are hpa-spinapp -eq 2
    [ "$(kubectl get spinapp hpa-spinapp -o jsonpath='{.spec.replicas}')" = 2 ]
    gone hpa-spinapp
    kubectl delete hpa spinapp-autoscaler >/dev/null
}

# KEDA itself is a service that this cluster does not have.
the_sample_for_keda_has_its_schema() {
    kubectl apply --server-side -f "$kubernetes/keda-scaledobjects.yaml" >/dev/null
    eventually 30 kubectl wait crd/scaledobjects.keda.sh --for=condition=Established --timeout=1s
    eventually 30 kubectl apply --validate=strict -f "$repository/examples/spinapp-keda.yaml"
    sed 's/minReplicaCount: 1/minReplicaCount: one/' "$repository/examples/spinapp-keda.yaml" >"$scratch/wrong.yaml"
    if kubectl apply -f "$scratch/wrong.yaml" >"$scratch/refused.log" 2>&1; then return 1; fi
    grep -q minReplicaCount "$scratch/refused.log"
    gone keda-spinapp
    kubectl delete -f "$repository/examples/spinapp-keda.yaml" --ignore-not-found >/dev/null
    kubectl delete crd scaledobjects.keda.sh >/dev/null
}
