# What happens to apps when something happens to their node. Sourced by checks.sh.

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

drain() { kubectl drain node-1 --ignore-daemonsets --delete-emptydir-data --pod-selector "$@"; }

a_disruption_budget_holds_a_drain_up() {
    app budgeted "  replicas: 1
		  podOptions: {disruptionBudget: {minAvailable: 1}}" >/dev/null
    ready budgeted
    local uid
    uid=$(of_pod budgeted .metadata.uid)
    if drain core.spinkube.dev/app-name=budgeted --timeout=8s >"$scratch/drain.log" 2>&1; then return 1; fi
    grep -q "disruption budget" "$scratch/drain.log"
    [ "$(of_pod budgeted .metadata.uid)" = "$uid" ]
    kubectl uncordon node-1 >/dev/null
    eventually 20 get budgeted /hello
    gone budgeted
    [ -z "$(kubectl get poddisruptionbudgets -o name)" ]
}

a_drained_node_comes_back_with_its_apps() {
    local uid
    uid=$(of_pod simple-spinapp .metadata.uid)
    drain core.spinkube.dev/app-name=simple-spinapp --timeout=90s >"$scratch/drain.log" 2>&1
    if grep -l "$uid" /proc/[0-9]*/cgroup 2>/dev/null; then return 1; fi
    eventually 30 says "^Unschedulable: " simple-spinapp
    kubectl uncordon node-1 >/dev/null
    ready simple-spinapp
    eventually 20 get simple-spinapp /hello
}
