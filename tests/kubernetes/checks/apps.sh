# What a SpinApp does from its creation to its end. Sourced by checks.sh.

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

a_roll_out_under_load_fails_no_request() {
    kubectl patch spinapp simple-spinapp --type merge -p '{"spec": {
        "replicas": 3, "checks": {"readiness": {"httpGet": {"path": "/hello"}, "initialDelaySeconds": 1, "periodSeconds": 1}},
        "podOptions": {"env": [{"name": "SPINLET_DRAIN_DELAY", "value": "5s"}]}}}' >/dev/null
    eventually 120 kubectl wait spinapp/simple-spinapp --for=jsonpath='{.status.readyReplicas}'=3 --timeout=1s
    eventually 120 kubectl rollout status deployment/simple-spinapp --timeout=1s
    # The pod before had no delay; what it does when it ends is not the question.
    eventually 60 pods_are simple-spinapp 3
    local address
    address=$(service simple-spinapp)
    rm -f "$scratch/stop"
    (
        while [ ! -e "$scratch/stop" ]; do
            curl -sS -m 10 -o /dev/null -w '%{http_code}\n' "http://$address/hello" 2>&1 || true
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

more_of_the_pod_is_under_one_key() {
    app optional "  replicas: 1
		  podOptions:
		    nodeSelector: {kubernetes.io/hostname: node-1}
		    tolerations: [{key: spot, operator: Exists}]
		    affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: zone, labelSelector: {matchLabels: {a: b}}}}]}}
		    topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway}]
		    env: [{name: EXTRA, value: 'yes'}]
		    imagePullPolicy: Always
		    terminationGracePeriodSeconds: 7
		    securityContext: {runAsUser: 1000}" >/dev/null
    ready optional
    [ "$(of_pod optional .spec.nodeSelector.kubernetes\\.io/hostname)" = node-1 ]
    [ "$(of_pod optional '.spec.tolerations[?(@.key=="spot")].operator')" = Exists ]
    [ "$(of_pod optional .spec.terminationGracePeriodSeconds)" = 7 ]
    [ "$(of_pod optional .spec.securityContext.runAsUser)" = 1000 ]
    [ "$(of_pod optional '.spec.containers[0].imagePullPolicy')" = Always ]
    of_pod optional .spec.affinity | grep -q podAntiAffinity
    [ "$(of_pod optional '.spec.topologySpreadConstraints[0].topologyKey')" = kubernetes.io/hostname ]
    [ "$(of_pod optional '.spec.containers[0].env[?(@.name=="EXTRA")].value')" = yes ]
    gone optional
}
