# A cluster of one node. Sourced by scripts/test-kubernetes in namespaces of its
# own, where this is the first process.

node_address=192.168.231.1
service_address=10.96.0.1
registry=127.0.0.1:5000
# Asks for a password.
private_registry=127.0.0.1:5001
export PATH=$kubernetes:$containerd:$PATH:/usr/sbin:/sbin
export KUBECONFIG=$scratch/admin.conf

# start NAME COMMAND...: runs in the background, with a log of its own.
start() {
    local name=$1
    shift
    "$@" >>"$scratch/log/$name.log" 2>&1 &
    echo $! >"$scratch/$name.pid"
}

# eventually SECONDS COMMAND...: repeats until it succeeds.
eventually() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >"$scratch/eventually.log" 2>&1; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            printf 'not in time: %s\n' "$*" >&2
            cat "$scratch/eventually.log" >&2
            return 1
        fi
        sleep 0.5
    done
}

# What a node writes to is ours; everything else of the machine is seen as it is.
private_folders() {
    local folder
    mount --make-rprivate /
    mkdir -p "$scratch"/log "$scratch"/varlib{,.work}
    mount -t overlay -o "lowerdir=/var/lib,upperdir=$scratch/varlib,workdir=$scratch/varlib.work" overlay /var/lib
    # A node that has never heard of us.
    rm -rf /var/lib/spinlet
    for folder in /run /etc/containerd /etc/cni /etc/systemd/system /usr/local/sbin /opt /mnt \
        /var/lib/kubelet /var/lib/containerd /var/log; do
        mkdir -p "$scratch/node$folder" "$folder"
        mount --bind "$scratch/node$folder" "$folder"
    done
    mkdir -p /run/lock
}

# The node's service manager, as far as it is needed: containerd is started again
# whenever it ends, and `systemctl restart containerd` ends it.
service_manager() {
    printf '[Service]\nExecStart=containerd\n' >/etc/systemd/system/containerd.service
    cat >/usr/local/sbin/systemctl <<-EOF
		#!/bin/bash
		[ "\$*" = "restart containerd" ] || { echo "this node knows only containerd" >&2; exit 1; }
		old=\$(cat $scratch/containerd.pid)
		kill "\$old"
		for _ in {1..100}; do [ "\$(cat $scratch/containerd.pid)" = "\$old" ] || exit 0; sleep 0.1; done
		echo "containerd does not start" >&2
		exit 1
	EOF
    chmod 755 /usr/local/sbin/systemctl
    (
        while :; do
            containerd >>"$scratch/log/containerd.log" 2>&1 &
            echo $! >"$scratch/containerd.pid"
            wait $! || true
            sleep 0.2
        done
    ) &
}

network() {
    ip link set lo up
    ip link add node0 type bridge
    ip address add "$node_address/24" dev node0
    ip link set node0 up
    ip route add default dev node0
    echo 1 >/proc/sys/net/ipv4/ip_forward
    # Between pods of one bridge a Service's answers come back the same way.
    echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables
    mkdir -p /etc/cni/net.d
    cat >/etc/cni/net.d/10-bridge.conflist <<-'EOF'
		{"cniVersion": "1.0.0", "name": "pods", "plugins": [{
		  "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
		  "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]],
		           "routes": [{"dst": "0.0.0.0/0"}]}
		}]}
	EOF
}

# images_from HOST ADDRESS: images of the host come from there and from nowhere else.
# containerd 1.7 wants both lines.
images_from() {
    mkdir -p "/etc/containerd/certs.d/$1"
    printf 'server = "http://%s"\n[host."http://%s"]\n' "$2" "$2" >"/etc/containerd/certs.d/$1/hosts.toml"
}

# Every image comes from the registry of this cluster, whatever its name. A root
# without CAP_SYS_RESOURCE may not protect the pause container from the OOM killer.
containerd_configuration() {
    images_from _default "$registry"
    images_from "$private_registry" "$private_registry"
    if [ "${containerd##*-}" = 1.7 ]; then
        cat >/etc/containerd/config.toml <<-'EOF'
			# The administrator's own file.
			version = 2

			[plugins."io.containerd.grpc.v1.cri"]
			restrict_oom_score_adj = true

			[plugins."io.containerd.grpc.v1.cri".cni]
			bin_dir = "/usr/lib/cni"

			[plugins."io.containerd.grpc.v1.cri".registry]
			config_path = "/etc/containerd/certs.d"
		EOF
    else
        cat >/etc/containerd/config.toml <<-'EOF'
			# The administrator's own file.
			version = 3

			[plugins."io.containerd.cri.v1.runtime"]
			restrict_oom_score_adj = true

			[plugins."io.containerd.cri.v1.runtime".cni]
			bin_dirs = ["/usr/lib/cni"]

			[plugins."io.containerd.cri.v1.images".registry]
			config_path = "/etc/containerd/certs.d"
		EOF
    fi
    cp /etc/containerd/config.toml "$scratch/config.before"
}

start_registry() {
    cat >"$scratch/registry.yml" <<-EOF
		version: 0.1
		storage: {filesystem: {rootdirectory: $scratch/registry}}
		http: {addr: $registry}
	EOF
    start registry docker-registry serve "$scratch/registry.yml"
    htpasswd -bcB "$scratch/passwords" me s3cret 2>/dev/null
    cat >"$scratch/private-registry.yml" <<-EOF
		version: 0.1
		storage: {filesystem: {rootdirectory: $scratch/private-registry}}
		http: {addr: $private_registry}
		auth: {htpasswd: {realm: private, path: $scratch/passwords}}
	EOF
    start private-registry docker-registry serve "$scratch/private-registry.yml"
    eventually 20 curl -fsS "http://$registry/v2/"
    eventually 20 curl -fsS -u me:s3cret "http://$private_registry/v2/"
}

# push ARCHIVE REFERENCE: an image in the OCI layout to our registry, under the
# path that its name has anywhere.
push() {
    local reference=$2 here=$registry/${2#*/}
    ctr -n push image import "$1" >>"$scratch/log/push.log"
    ctr -n push image tag --force "$reference" "$here" >>"$scratch/log/push.log"
    ctr -n push image push --plain-http "$here" >>"$scratch/log/push.log"
}

# push_app FOLDER REFERENCE: an app, with the credentials that the private registry
# wants.
push_app() {
    mkdir -p "$scratch/docker"
    printf '{"auths": {"%s": {"auth": "%s"}}}' "$private_registry" "$(printf me:s3cret | base64)" \
        >"$scratch/docker/config.json"
    DOCKER_CONFIG=$scratch/docker SPINLET_STATE_DIR=$scratch/spinlet "$programs/spinlet" --quiet push "$1" "$2"
}

pause_image() {
    local work=$scratch/pause images=$scratch architecture
    . "$repository/scripts/oci-image.sh"
    architecture=$(architecture_of "$(uname -m)-")
    mkdir -p "$work/root"
    cc -static -O2 -o "$work/root/pause" "$repository/tests/kubernetes/pause.c"
    image pause 65535:65535 /pause "$1"
}

# The node's own Redis as an image: the programs and the libraries they name.
redis_image() {
    local work=$scratch/redis images=$scratch architecture file
    . "$repository/scripts/oci-image.sh"
    architecture=$(architecture_of "$(uname -m)-")
    for file in /usr/bin/redis-server /usr/bin/redis-cli; do
        install -D "$file" "$work/root$file"
        ldd "$file" | grep -o '/[^ ]*'
    done | sort -u | while read -r file; do install -D "$file" "$work/root$file"; done
    image redis 0:0 /usr/bin/redis-server docker.io/library/redis:7
}

push_images() {
    local images pause
    images=$("$repository/scripts/build-node-images" --locate)
    pause=$(containerd config default | grep -oE "registry.k8s.io/pause:[0-9.]+" | head -1)
    pause_image "$pause"
    push "$scratch/pause.tar" "$pause"
    local version
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$repository/Cargo.toml" | head -1)
    for name in node-installer spinapp-controller; do
        push "$images/$name.tar" "ghcr.io/spinlet/$name:v$version"
    done
    redis_image
    push "$scratch/redis.tar" docker.io/library/redis:7
    ctr namespaces remove push >/dev/null 2>&1 || true
    push_app "$app" "$registry/spinframework/containerd-shim-spin/examples/spin-rust-hello:v0.23.0"
    local guest
    for guest in behaviours stores; do
        push_app "$("$repository/scripts/build-guests" --locate "$guest")" "$registry/spinlet-tests/$guest:1"
    done
    for guest in visits-rust redis-rust; do
        push_app "$("$repository/scripts/build-guests" --locate "$guest")" "$registry/spinlet/examples/$guest:v$version"
    done
    push_app "$app" "$private_registry/private/hello:1"
}

certificates() {
    local pki=$scratch/pki
    mkdir -p "$pki"
    openssl genrsa -out "$pki/accounts.key" 2048 2>/dev/null
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=cluster \
        -keyout "$pki/ca.key" -out "$pki/ca.crt" 2>/dev/null
    openssl req -newkey rsa:2048 -nodes -subj /CN=kube-apiserver \
        -keyout "$pki/api.key" -out "$pki/api.csr" 2>/dev/null
    printf 'subjectAltName=IP:%s,IP:%s,IP:127.0.0.1,DNS:kubernetes.default.svc\n' \
        "$node_address" "$service_address" >"$pki/names"
    openssl x509 -req -days 2 -in "$pki/api.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" \
        -CAcreateserial -extfile "$pki/names" -out "$pki/api.crt" 2>/dev/null
    # By this one the API server proves to metrics-server that it is itself.
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=front-proxy \
        -keyout "$pki/front-proxy.key" -out "$pki/front-proxy.crt" 2>/dev/null
    cat >"$scratch/tokens.csv" <<-'EOF'
		admin,admin,1,system:masters
		manager,system:kube-controller-manager,2,system:masters
		scheduler,system:kube-scheduler,3
		proxy,system:kube-proxy,4
		kubelet,system:node:node-1,5,system:nodes
	EOF
    local name
    for name in admin manager scheduler proxy kubelet; do kubeconfig "$name"; done
}

kubeconfig() {
    cat >"$scratch/$1.conf" <<-EOF
		apiVersion: v1
		kind: Config
		clusters: [{name: c, cluster: {server: "https://$node_address:6443", certificate-authority: $scratch/pki/ca.crt}}]
		users: [{name: u, user: {token: $1}}]
		contexts: [{name: x, context: {cluster: c, user: u}}]
		current-context: x
	EOF
}

control_plane() {
    local pki=$scratch/pki
    start etcd etcd --data-dir "$scratch/etcd" --unsafe-no-fsync
    eventually 30 curl -fsS http://127.0.0.1:2379/health
    start kube-apiserver kube-apiserver --etcd-servers http://127.0.0.1:2379 \
        --kubelet-preferred-address-types InternalIP --advertise-address "$node_address" --service-cluster-ip-range 10.96.0.0/16 \
        --tls-cert-file "$pki/api.crt" --tls-private-key-file "$pki/api.key" \
        --token-auth-file "$scratch/tokens.csv" --authorization-mode Node,RBAC \
        --service-account-issuer https://kubernetes.default.svc --allow-privileged \
        --service-account-key-file "$pki/accounts.key" \
        --service-account-signing-key-file "$pki/accounts.key" \
        --requestheader-client-ca-file "$pki/front-proxy.crt" --requestheader-allowed-names front-proxy \
        --requestheader-username-headers X-Remote-User --requestheader-group-headers X-Remote-Group \
        --requestheader-extra-headers-prefix X-Remote-Extra- \
        --proxy-client-cert-file "$pki/front-proxy.crt" --proxy-client-key-file "$pki/front-proxy.key"
    eventually 120 kubectl get --raw /readyz
    start kube-controller-manager kube-controller-manager --kubeconfig "$scratch/manager.conf" \
        --service-account-private-key-file "$pki/accounts.key" --root-ca-file "$pki/ca.crt" \
        --leader-elect=false --horizontal-pod-autoscaler-sync-period 5s \
        --horizontal-pod-autoscaler-downscale-stabilization 20s \
        --horizontal-pod-autoscaler-cpu-initialization-period 10s
    start kube-scheduler kube-scheduler --kubeconfig "$scratch/scheduler.conf" --leader-elect=false
}

node() {
    cat >"$scratch/kubelet.yaml" <<-EOF
		apiVersion: kubelet.config.k8s.io/v1beta1
		kind: KubeletConfiguration
		authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
		authorization: {mode: AlwaysAllow}
		containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
		cgroupDriver: cgroupfs
		cgroupRoot: /$cgroup
		failCgroupV1: false
		failSwapOn: false
		localStorageCapacityIsolation: false
		evictionHard: {memory.available: 100Mi}
		nodeStatusUpdateFrequency: 2s
		clusterDomain: cluster.local
		clusterDNS: [$node_address]
		resolvConf: $scratch/resolv.conf
	EOF
    echo "nameserver 127.0.0.1" >"$scratch/resolv.conf"
    start_kubelet
    cat >"$scratch/proxy.yaml" <<-EOF
		apiVersion: kubeproxy.config.k8s.io/v1alpha1
		kind: KubeProxyConfiguration
		mode: nftables
		clientConnection: {kubeconfig: $scratch/proxy.conf}
		clusterCIDR: 10.244.0.0/16
		conntrack: {maxPerCore: 0, min: 0, tcpCloseWaitTimeout: 0s, tcpEstablishedTimeout: 0s}
	EOF
    start kube-proxy kube-proxy --config "$scratch/proxy.yaml" --hostname-override node-1
    eventually 120 kubectl wait --for=condition=Ready node/node-1 --timeout=1s
}

start_kubelet() {
    start kubelet kubelet --config "$scratch/kubelet.yaml" --kubeconfig "$scratch/kubelet.conf" \
        --hostname-override node-1 --node-ip "$node_address"
}

start_cluster() {
    private_folders
    network
    containerd_configuration
    service_manager
    start_registry
    eventually 60 ctr version
    push_images
    certificates
    control_plane
    node
    names_of_services
    usage_of_pods
    echo "a cluster of one node runs: $(kubectl version -o json | jq -r .serverVersion.gitVersion), $(containerd --version | cut -d' ' -f3)"
}

# What a person would look at first.
diagnose() {
    local name
    kubectl get nodes,pods,spinapps,deployments,services -A -o wide || true
    kubectl describe spinapps -A | tail -60 || true
    kubectl get events -A --sort-by=.lastTimestamp | tail -25 || true
    kubectl logs -n spinlet daemonset/node-installer --tail 20 || true
    kubectl logs -n spinlet deployment/spinapp-controller --tail 40 || true
    for name in kubelet containerd; do
        echo "== $name"
        grep -iE 'error|fail|level=(warn|error)' "$scratch/log/$name.log" | tail -12 | cut -c1-400
    done
}
