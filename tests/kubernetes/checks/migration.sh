# The spin-operator in the place of our controller. Sourced by checks.sh.

controllers() {
    kubectl scale -n spinlet deployment/spinapp-controller --replicas "$1" >/dev/null
    eventually 60 kubectl wait -n spinlet deployment/spinapp-controller \
        --for=jsonpath='{.spec.replicas}'="$1" --timeout=1s
}

no_controller_runs() {
    [ -z "$(kubectl get pods -n spinlet -l app.kubernetes.io/name=spinapp-controller -o name)" ]
}

pod_template() { kubectl get deployment "$1" -o json | jq -S .spec.template; }

# Without webhooks it needs neither certificates nor a defaulted executor, only one
# in the namespace of the app, which every app of that namespace uses from then on.
# Pods stay when our controller takes over.
the_spin_operator_runs_apps_with_our_shim_and_hands_them_over() {
    controllers 0
    eventually 60 no_controller_runs
    start spin-operator spin-operator --enable-webhooks=false --metrics-bind-address 0 \
        --health-probe-bind-address 127.0.0.1:8082
    eventually 30 curl -fsS http://127.0.0.1:8082/readyz
    kubectl get spinappexecutor -n spinlet containerd-shim-spin -o json |
        jq '{apiVersion, kind, metadata: {name: .metadata.name}, spec}' | kubectl apply -f - >/dev/null
    app theirs >/dev/null
    eventually 60 kubectl wait deployment/theirs --for=condition=Available --timeout=1s
    eventually 20 get theirs /hello
    [ "$(of_pod theirs .spec.runtimeClassName)" = wasmtime-spin-v2 ]
    pod_template theirs >"$scratch/theirs"
    kill "$(cat "$scratch/spin-operator.pid")"
    controllers 1
    eventually 90 says '^Serving: ' theirs
    pod_template theirs | diff "$scratch/theirs" -
    gone theirs
}
