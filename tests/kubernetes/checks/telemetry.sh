# What controller and apps tell about themselves. Sourced by checks.sh.

the_controller_shows_metrics() {
    local metrics
    metrics=$(curl -fsS "http://$(kubectl get service -n spinlet spinapp-controller-metrics -o jsonpath='{.spec.clusterIP}'):8080/metrics")
    grep -q 'spinlet_controller_leader 1' <<<"$metrics"
    grep -qE 'controller_runtime_reconcile_total\{controller="spinapp",result="success"\} [1-9]' <<<"$metrics"
}

# Debian's Prometheus does not discover pods: it is told those that ask for it by the
# annotations which others discover them by.
start_prometheus() {
    kubectl get pods -A -o json | jq '{
        global: {scrape_interval: "1s"},
        scrape_configs: [{job_name: "pods", static_configs: [
            .items[] | select(.metadata.annotations["prometheus.io/scrape"] == "true") |
            {targets: ["\(.status.podIP):\(.metadata.annotations["prometheus.io/port"])"]}
        ]}]
    }' >"$scratch/prometheus.yml"
    start prometheus prometheus --config.file "$scratch/prometheus.yml" \
        --storage.tsdb.path "$scratch/prometheus" --web.listen-address 127.0.0.1:9091
    eventually 30 curl -fsS http://127.0.0.1:9091/-/ready
}

# has_values EXPRESSION: at least one, and a number.
has_values() {
    curl -fsS --data-urlencode "query=${1//\$__rate_interval/10s}" http://127.0.0.1:9091/api/v1/query |
        jq -e '[.data.result[].value[1] | select(. != "NaN")] | length > 0'
}

# The second app fails when it is asked to, and its collector is not there.
every_panel_of_the_dashboard_shows_something() {
    kubectl apply -f "$repository/examples/spinapp-metrics.yaml" >/dev/null
    app failing "  replicas: 1
		  podAnnotations: {prometheus.io/scrape: 'true', prometheus.io/port: '9090'}
		  podOptions:
		    env:
		    - {name: SPINLET_METRICS_LISTEN_ADDR, value: '0.0.0.0:9090'}
		    - {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: 'http://127.0.0.1:4318'}" "$behaviours" >/dev/null
    ready metrics-spinapp
    ready failing
    start_prometheus
    local load expression missing=0
    while :; do
        get metrics-spinapp /hello >/dev/null || true
        get failing /b/panic >/dev/null 2>&1 || true
        # Something for the controller to do.
        kubectl annotate spinapp failing --overwrite "seen=$SECONDS" >/dev/null || true
        sleep 0.5
    done &
    load=$!
    while IFS= read -r expression; do
        eventually 60 has_values "$expression" || missing=1
    done < <(jq -r '.panels[].targets[]?.expr' "$repository/runtimeclass/grafana-dashboard.json")
    kill "$load" "$(cat "$scratch/prometheus.pid")"
    gone metrics-spinapp
    gone failing
    [ "$missing" = 0 ]
}
