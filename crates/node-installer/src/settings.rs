//! What the environment says.

use std::path::PathBuf;

use node_install::{Root, Service};
use process_setup::{Environment, EnvironmentError};

/// The environment, read and checked.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The node that this process runs on.
    pub(crate) node: String,
    /// The namespace of this process.
    pub(crate) namespace: String,
    /// Where the node's file system is mounted.
    pub(crate) root: Root,
    /// The shim to install.
    pub(crate) shim: PathBuf,
    /// containerd's socket on the node, where it is not at its usual place.
    pub(crate) socket: Option<PathBuf>,
    /// Whether apps are compiled as their images are pulled.
    pub(crate) compile_images: bool,
    /// What restarts containerd where no service of systemd does.
    pub(crate) restart: Option<Service>,
}

impl Settings {
    /// Reads the environment.
    ///
    /// # Errors
    /// Fails with every variable that does not parse.
    pub(crate) fn read(environment: &Environment) -> Result<Self, EnvironmentError> {
        let mut reader = environment.reader();
        let node = reader.text("NODE_NAME").unwrap_or_default().to_owned();
        if node.is_empty() {
            reader.refuse("NODE_NAME", "", "the name of the node, from `spec.nodeName`");
        }
        let namespace = reader.text("POD_NAMESPACE").unwrap_or("spinlet").to_owned();
        let absolute = |text: &str| Some(PathBuf::from(text)).filter(|path| path.is_absolute());
        let root = reader.with("SPINLET_NODE_ROOT", "an absolute path", absolute);
        let shim = reader.with("SPINLET_SHIM", "an absolute path", absolute);
        let socket = reader.with("SPINLET_CONTAINERD_SOCKET", "an absolute path", absolute);
        let compile_images =
            reader.with("SPINLET_COMPILE_IMAGES", "true or false", |text| text.parse().ok());
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let restart = reader.text("SPINLET_RESTART").map(words).filter(|words| !words.is_empty());
        reader.finish()?;
        Ok(Self {
            node,
            namespace,
            root: Root::new(root.unwrap_or_else(|| "/".into())),
            shim: shim.unwrap_or_else(|| "/containerd-shim-spin-v2".into()),
            socket,
            compile_images: compile_images.unwrap_or(true),
            restart: restart.map(Service::Command),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_must_be_named_and_every_value_must_parse() {
        let pairs = [("SPINLET_NODE_ROOT", "host"), ("SPINLET_COMPILE_IMAGES", "no")];
        let error = Settings::read(&pairs.into_iter().collect()).unwrap_err().to_string();
        for name in ["NODE_NAME", "SPINLET_NODE_ROOT", "SPINLET_COMPILE_IMAGES"] {
            assert!(error.contains(name), "{error}");
        }
    }
}
