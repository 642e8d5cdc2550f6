# Images in the OCI layout, made of files and nothing else. Sourced after
# cache-paths.sh by scripts that set $work, $images and $architecture.

# architecture_of TARGET: what OCI calls the processor of a Rust target.
architecture_of() {
    case $1 in
    x86_64-*) echo amd64 ;;
    aarch64-*) echo arm64 ;;
    *) fail "no image is made for $1" ;;
    esac
}

# blob FILE: moves a file among the blobs of $layout; prints its digest.
blob() {
    local digest
    digest=$(sha256sum "$1" | cut -d' ' -f1)
    mv "$1" "$layout/blobs/sha256/$digest"
    printf 'sha256:%s\n' "$digest"
}

size() { stat -c %s "$layout/blobs/sha256/${1#sha256:}"; }

archive() {
    tar --create --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 --file "$@"
}

# image NAME USER ENTRYPOINT REFERENCE: $images/NAME.tar, an image of the files in
# $work/root for $architecture.
image() {
    local name=$1 user=$2 entrypoint=$3 reference=$4 layout=$work/layout difference layer config manifest
    mkdir -p "$layout/blobs/sha256"
    archive "$work/layer.tar" --directory "$work/root" .
    difference=sha256:$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
    gzip -n -6 "$work/layer.tar"
    layer=$(blob "$work/layer.tar.gz")
    jq -cnS --arg architecture "$architecture" --arg user "$user" --arg entrypoint "$entrypoint" \
        --arg difference "$difference" '{
            architecture: $architecture, os: "linux", created: "1970-01-01T00:00:00Z",
            config: {User: $user, Entrypoint: [$entrypoint]},
            rootfs: {type: "layers", diff_ids: [$difference]}
        }' >"$work/config.json"
    config=$(blob "$work/config.json")
    jq -cnS --arg config "$config" --argjson config_size "$(size "$config")" \
        --arg layer "$layer" --argjson layer_size "$(size "$layer")" '{
            schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json",
            config: {mediaType: "application/vnd.oci.image.config.v1+json", digest: $config, size: $config_size},
            layers: [{mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest: $layer, size: $layer_size}]
        }' >"$work/manifest.json"
    manifest=$(blob "$work/manifest.json")
    jq -cnS --arg manifest "$manifest" --argjson size "$(size "$manifest")" \
        --arg architecture "$architecture" --arg reference "$reference" '{
            schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json",
            manifests: [{
                mediaType: "application/vnd.oci.image.manifest.v1+json", digest: $manifest, size: $size,
                platform: {architecture: $architecture, os: "linux"},
                annotations: {"io.containerd.image.name": $reference, "org.opencontainers.image.ref.name": $reference}
            }]
        }' >"$layout/index.json"
    printf '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
    archive "$work/$name.tar" --directory "$layout" .
    mv "$work/$name.tar" "$images/$name.tar"
    rm -rf "$layout" "$work/root"
}
