//! The Spin application model: locked apps and manifests, pure data without input or output
