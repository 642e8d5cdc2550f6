//! Pull and push Spin artifacts from and to OCI registries
