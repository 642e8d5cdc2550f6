//! The media types of Spin artifacts.

/// A locked app: a layer since Spin 2.0, the configuration blob before.
pub const SPIN_APP: &str = "application/vnd.fermyon.spin.application.v1+config";
/// A Wasm component or module.
pub const WASM_LAYER: &str = "application/vnd.wasm.content.layer.v1+wasm";
/// One static file.
pub const DATA_LAYER: &str = "application/vnd.wasm.content.layer.v1+data";
/// A gzip-compressed tar archive of static files.
pub const ARCHIVE_LAYER: &str = "application/vnd.wasm.content.bundle.v1.tar+gzip";
/// The component of a package pushed by `wkg`.
pub const WASM_PACKAGE: &str = "application/wasm";
/// The configuration of a package pushed by `wkg`.
pub const WASM_PACKAGE_CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// An OCI image configuration.
pub const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// An OCI image manifest.
pub const IMAGE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An OCI image index.
pub const IMAGE_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker's image manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's image index.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Whether a layer of this type holds Wasm.
pub fn is_wasm(media_type: &str) -> bool {
    matches!(media_type, WASM_LAYER | WASM_PACKAGE)
}

/// Whether a document of this type is an index.
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, IMAGE_INDEX | DOCKER_INDEX)
}

/// Whether a document of this type is a manifest.
pub fn is_manifest(media_type: &str) -> bool {
    matches!(media_type, IMAGE_MANIFEST | DOCKER_MANIFEST)
}
