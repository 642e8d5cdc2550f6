# The tests with a cluster, in the order in which they run. Sourced by
# scripts/test-kubernetes.

checks=(
    one_apply_makes_the_node_ready
    the_hello_world_app_answers_through_its_service
    the_rules_of_the_webhooks_hold_without_webhooks
    an_app_scales_from_1_to_20_and_back
    a_missing_executor_is_said_in_words
    an_image_that_cannot_be_pulled_is_said_in_words
    a_changed_secret_rolls_out
    a_roll_out_under_load_fails_no_request
    a_restart_of_containerd_and_of_the_kubelet_goes_unnoticed
    a_restricted_namespace_admits_apps
    an_executor_outlives_its_apps
    an_app_that_is_deleted_leaves_nothing
    the_controller_shows_metrics
    the_uninstallation_leaves_the_node_as_it_was
)

# condition APP: the app's own words.
condition() {
    kubectl get spinapp "$@" -o jsonpath='{.status.conditions[?(@.type=="Ready")].reason}: {.status.conditions[?(@.type=="Ready")].message}'
}

says() {
    local expected=$1
    shift
    condition "$@" | tee /dev/stderr | grep -qE "$expected"
}

service() { kubectl get service "$1" -o jsonpath='{.spec.clusterIP}'; }

# app NAME [YAML]: an app with more of a spec. Indentation by tabs is that of this
# file.
app() {
    tr -d '\t' <<-EOF2 | kubectl apply -f -
		apiVersion: core.spinkube.dev/v1alpha1
		kind: SpinApp
		metadata: {name: $1}
		spec:
		  image: ghcr.io/spinframework/containerd-shim-spin/examples/spin-rust-hello:v0.23.0
		  executor: containerd-shim-spin
		${2:-  replicas: 1}
	EOF2
}

one_apply_makes_the_node_ready() {
    kubectl apply -f "$repository/runtimeclass/spinlet.yaml" >/dev/null
    eventually 120 kubectl wait node/node-1 --for=jsonpath='{.metadata.labels.spinlet\.dev/ready}'=true --timeout=1s
    kubectl wait node/node-1 --for=condition=SpinAppsReady --timeout=5s >/dev/null
    eventually 60 kubectl rollout status -n spinlet daemonset/node-installer --timeout=1s
    eventually 90 kubectl rollout status -n spinlet deployment/spinapp-controller --timeout=1s
}

the_hello_world_app_answers_through_its_service() {
    kubectl apply -f "$repository/examples/spinapp-hello.yaml" >/dev/null
    eventually 120 kubectl wait spinapp/simple-spinapp --for=condition=Ready --timeout=1s
    eventually 20 curl -fsS "http://$(service simple-spinapp)/hello"
    kubectl port-forward services/simple-spinapp 8080:80 >"$scratch/log/port-forward.log" 2>&1 &
    local forward=$!
    eventually 20 curl -fsS http://127.0.0.1:8080/hello
    kill "$forward"
}

# refused TEXT APP YAML
refused() {
    if app "$2" "$3" >"$scratch/refused.log" 2>&1; then
        echo "accepted: $3" >&2
        return 1
    fi
    grep -q "$1" "$scratch/refused.log" || { cat "$scratch/refused.log" >&2; return 1; }
}

the_rules_of_the_webhooks_hold_without_webhooks() {
    refused "replicas must be at least 1" a "  replicas: 0"
    refused "replicas must be at least 1" a "  replicas: 3
		  enableAutoscaling: true"
    refused "must be a quantity" a "  replicas: 1
		  invocationLimits: {memory: lots}"
    refused "not be more than the memory" a "  replicas: 1
		  invocationLimits: {memory: 2Gi}
		  resources: {limits: {memory: 1Gi}}"
    refused "at most 52 characters" "a$(printf 'b%.0s' {1..52})" "  replicas: 1"
    if kubectl apply -f - >"$scratch/refused.log" 2>&1 <<-'EOF2'; then return 1; fi
		apiVersion: core.spinkube.dev/v1alpha1
		kind: SpinAppExecutor
		metadata: {name: both}
		spec: {createDeployment: true, deploymentConfig: {runtimeClassName: a, spinImage: b}}
	EOF2
    grep -q "exactly one of runtimeClassName and spinImage" "$scratch/refused.log"
}

an_app_scales_from_1_to_20_and_back() {
    kubectl scale spinapp/simple-spinapp --replicas=20 >/dev/null
    eventually 180 kubectl wait spinapp/simple-spinapp --for=jsonpath='{.status.readyReplicas}'=20 --timeout=1s
    curl -fsS "http://$(service simple-spinapp)/hello" >/dev/null
    kubectl scale spinapp/simple-spinapp --replicas=1 >/dev/null
    eventually 120 kubectl wait spinapp/simple-spinapp --for=jsonpath='{.status.replicas}'=1 --timeout=1s
}

a_missing_executor_is_said_in_words() {
    app lost >/dev/null
    kubectl patch spinapp lost --type merge -p '{"spec": {"executor": "nowhere"}}' >/dev/null
    eventually 30 says "^MissingExecutor: SpinAppExecutor \"nowhere\" exists neither" lost
    kubectl describe spinapp lost | grep -q "Warning  MissingExecutor"
    kubectl delete spinapp lost >/dev/null
}

an_image_that_cannot_be_pulled_is_said_in_words() {
    app unknown >/dev/null
    kubectl patch spinapp unknown --type merge -p '{"spec": {"image": "ghcr.io/nobody/nothing:1"}}' >/dev/null
    eventually 90 says "^(ErrImagePull|ImagePullBackOff): container \"unknown\"" unknown
    kubectl delete spinapp unknown >/dev/null
}

template_of() {
    kubectl get deployment "$1" -o jsonpath='{.metadata.generation}'
}

a_changed_secret_rolls_out() {
    app shop "  replicas: 1
		  variables: [{name: token, valueFrom: {secretKeyRef: {name: shop, key: token}}}]
		  runtimeConfig: {keyValueStores: [{name: default, type: spin, options: [{name: path, valueFrom: {secretKeyRef: {name: shop, key: path}}}]}]}" >/dev/null
    eventually 30 says '^MissingSecret: Secret "shop" does not exist' shop
    kubectl create secret generic shop --from-literal token=a --from-literal path=/tmp/a.db >/dev/null
    eventually 30 kubectl get deployment shop
    local before config
    before=$(template_of shop)
    config=$(kubectl get secrets -l core.spinkube.dev/app-name=shop -o name)
    kubectl create secret generic shop --from-literal token=b --from-literal path=/tmp/b.db \
        --dry-run=client -o yaml | kubectl apply -f - >/dev/null 2>&1
    eventually 30 test_not "$before" template_of shop
    eventually 30 test_not "$config" kubectl get secrets -l core.spinkube.dev/app-name=shop -o name
    kubectl delete spinapp shop >/dev/null
    kubectl delete secret shop >/dev/null
}

# test_not VALUE COMMAND...: the command prints something else.
test_not() {
    local value=$1
    shift
    [ "$("$@")" != "$value" ]
}

a_roll_out_under_load_fails_no_request() {
    kubectl patch spinapp simple-spinapp --type merge -p '{"spec": {
        "replicas": 3, "checks": {"readiness": {"httpGet": {"path": "/hello"}, "initialDelaySeconds": 1, "periodSeconds": 1}},
        "podOptions": {"env": [{"name": "SPINLET_DRAIN_DELAY", "value": "5s"}]}}}' >/dev/null
    eventually 120 kubectl wait spinapp/simple-spinapp --for=jsonpath='{.status.readyReplicas}'=3 --timeout=1s
    eventually 120 kubectl rollout status deployment/simple-spinapp --timeout=1s
    local address
    address=$(service simple-spinapp)
    rm -f "$scratch/stop"
    (
        while [ ! -e "$scratch/stop" ]; do
            curl -sS -m 10 -o /dev/null -w '%{http_code}\n' "http://$address/hello" 2>&1
        done >"$scratch/requests"
    ) &
    local load=$!
    kubectl patch spinapp simple-spinapp --type merge -p '{"spec": {"podLabels": {"release": "two"}}}' >/dev/null
    sleep 2
    eventually 180 kubectl rollout status deployment/simple-spinapp --timeout=1s
    sleep 8
    touch "$scratch/stop"
    wait "$load"
    printf '%s requests during the roll-out\n' "$(grep -c . "$scratch/requests")"
    ! grep -vx 200 "$scratch/requests"
}

pods_of() {
    kubectl get pods -l "core.spinkube.dev/app-name=$1" \
        -o jsonpath='{range .items[*]}{.metadata.uid} {.status.containerStatuses[0].restartCount} {end}'
}

a_restart_of_containerd_and_of_the_kubelet_goes_unnoticed() {
    local before address
    before=$(pods_of simple-spinapp)
    address=$(service simple-spinapp)
    systemctl restart containerd
    curl -fsS "http://$address/hello" >/dev/null
    eventually 30 ctr version
    kill "$(cat "$scratch/kubelet.pid")"
    curl -fsS "http://$address/hello" >/dev/null
    start_kubelet
    sleep 15
    eventually 60 kubectl wait node/node-1 --for=condition=Ready --timeout=1s
    curl -fsS "http://$address/hello" >/dev/null
    [ "$(pods_of simple-spinapp)" = "$before" ] || { echo "before $before, now $(pods_of simple-spinapp)" >&2; return 1; }
}

a_restricted_namespace_admits_apps() {
    kubectl create namespace strict >/dev/null
    kubectl label namespace strict pod-security.kubernetes.io/enforce=restricted >/dev/null
    kubectl get spinapp simple-spinapp -o json |
        jq '{apiVersion, kind, metadata: {name: "strict", namespace: "strict"}, spec: {image: .spec.image, executor: .spec.executor, replicas: 1}}' |
        kubectl apply -f - >/dev/null
    eventually 90 kubectl wait -n strict spinapp/strict --for=condition=Ready --timeout=1s
    kubectl delete namespace strict >/dev/null
}

an_executor_outlives_its_apps() {
    kubectl get spinappexecutor -n spinlet containerd-shim-spin -o json |
        jq '{apiVersion, kind, metadata: {name: "mine"}, spec}' | kubectl apply -f - >/dev/null
    app user >/dev/null
    kubectl patch spinapp user --type merge -p '{"spec": {"executor": "mine"}}' >/dev/null
    eventually 30 kubectl wait spinappexecutor/mine --for=jsonpath='{.metadata.finalizers[0]}'=core.spinkube.dev/finalizer --timeout=1s
    sleep 1
    kubectl delete spinappexecutor mine --wait=false >/dev/null
    eventually 30 bash -c 'kubectl describe spinappexecutor mine | grep -q DeletionBlocked'
    kubectl delete spinapp user >/dev/null
    eventually 40 bash -c '! kubectl get spinappexecutor mine'
}

an_app_that_is_deleted_leaves_nothing() {
    app brief >/dev/null
    eventually 60 kubectl wait spinapp/brief --for=condition=Ready --timeout=1s
    kubectl delete spinapp brief >/dev/null
    eventually 60 bash -c '[ -z "$(kubectl get deployments,services,pods,secrets -l core.spinkube.dev/app-name=brief -o name)" ]'
}

the_controller_shows_metrics() {
    local metrics
    metrics=$(curl -fsS "http://$(kubectl get service -n spinlet spinapp-controller-metrics -o jsonpath='{.spec.clusterIP}'):8080/metrics")
    grep -q 'spinlet_controller_leader 1' <<<"$metrics"
    grep -qE 'controller_runtime_reconcile_total\{controller="spinapp",result="success"\} [1-9]' <<<"$metrics"
}

# The DaemonSet with another argument takes everything back.
the_uninstallation_leaves_the_node_as_it_was() {
    kubectl delete spinapps --all >/dev/null
    eventually 60 bash -c '[ -z "$(kubectl get pods -o name)" ]'
    kubectl patch daemonset -n spinlet node-installer --type json \
        -p '[{"op": "replace", "path": "/spec/template/spec/containers/0/args", "value": ["remove"]}]' >/dev/null
    eventually 90 cmp /etc/containerd/config.toml "$scratch/config.before"
    eventually 30 bash -c "! test -e /opt/spinlet"
    eventually 10 test_not true kubectl get node node-1 -o jsonpath='{.metadata.labels.spinlet\.dev/ready}'
    kubectl delete -f "$repository/runtimeclass/spinlet.yaml" --timeout=60s >/dev/null
    [ ! -e /var/lib/spinlet/install ]
}
