//! Which OCI runtime is used and how: containerd's options of a runtime handler.

use std::path::{Path, PathBuf};

use containerd_task::Any;
use containerd_task::protobuf::{self, CodedInputStream, Message, rt::WireType};
use containerd_task::runc_options;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

/// The runtime if none is named.
const PROGRAM: &str = "runc";
/// Where runc keeps its state if nothing else is set; the same as under
/// containerd's own shim, so that `runc --root /run/containerd/runc/NAMESPACE list`
/// shows these containers too.
const ROOT: &str = "/run/containerd/runc";

/// A table of options as TOML, for runtimes that containerd does not know.
const GENERIC: &str = "runtimeoptions.v1.Options";
/// The options of containerd's runc shim.
const RUNC: &str = "containerd.runc.v1.Options";

/// How containers are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// `BinaryName`: the runtime's program, a path or a name to be found in `PATH`.
    pub program: PathBuf,
    /// `Root`, with the namespace's name below it: where the runtime keeps its state.
    pub root: PathBuf,
    /// `SystemdCgroup`: systemd makes the cgroups.
    pub systemd_cgroup: bool,
    /// `NoPivotRoot`: for root filesystems on a ramdisk.
    pub no_pivot_root: bool,
    /// `NoNewKeyring`: containers share the caller's session keyring.
    pub no_new_keyring: bool,
}

/// Why options cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// The message is not of its type.
    #[error("runtime options of type {kind:?} cannot be decoded")]
    Message {
        /// Its type.
        kind: String,
        /// Why.
        #[source]
        source: protobuf::Error,
    },
    /// The file that the options name cannot be read.
    #[error("cannot read the runtime options (ConfigPath)")]
    Read(#[source] std::io::Error),
    /// The table is not TOML.
    #[error("the runtime options are not TOML")]
    Toml(#[source] toml::de::Error),
    /// Values of the wrong kind; all of them.
    #[error("the runtime options are wrong: {}", .0.join("; "))]
    Values(Vec<String>),
}

impl Options {
    /// The options for one containerd namespace. None at all, and a type that is not
    /// known, mean the defaults.
    ///
    /// # Errors
    /// Names every option that has a value of the wrong kind.
    pub fn read(sent: Option<&Any>, namespace: &str) -> Result<Self, OptionsError> {
        let mut options = match sent {
            Some(any) if any.type_url.ends_with(RUNC) => Self::from_runc(any)?,
            Some(any) if any.type_url.ends_with(GENERIC) => Self::from_generic(any)?,
            Some(any) => {
                tracing::warn!(kind = any.type_url, "runtime options of this type are not used");
                Self::default()
            }
            None => Self::default(),
        };
        options.root.push(namespace);
        Ok(options)
    }

    fn from_runc(any: &Any) -> Result<Self, OptionsError> {
        let sent = runc_options::Options::parse_from_bytes(&any.value).map_err(undecodable(any))?;
        Ok(Self {
            program: or_default(sent.binary_name, PROGRAM),
            root: or_default(sent.root, ROOT),
            systemd_cgroup: sent.systemd_cgroup,
            no_pivot_root: sent.no_pivot_root,
            no_new_keyring: sent.no_new_keyring,
        })
    }

    fn from_generic(any: &Any) -> Result<Self, OptionsError> {
        let (path, body) = generic_fields(&any.value).map_err(undecodable(any))?;
        let text = match (path.as_str(), body.is_empty()) {
            (_, false) => String::from_utf8_lossy(&body).into_owned(),
            ("", true) => String::new(),
            (path, true) => fs_err::read_to_string(Path::new(path)).map_err(OptionsError::Read)?,
        };
        Self::from_table(&text.parse().map_err(OptionsError::Toml)?)
    }

    fn from_table(table: &Table) -> Result<Self, OptionsError> {
        let mut problems = Vec::new();
        let mut text = |name: &str| match table.get(name) {
            None => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => {
                problems.push(format!("{name} is a text, not {other}"));
                String::new()
            }
        };
        let (program, root) = (text("BinaryName"), text("Root"));
        let mut flag = |name: &str| match table.get(name) {
            None => false,
            Some(Value::Boolean(flag)) => *flag,
            Some(other) => {
                problems.push(format!("{name} is true or false, not {other}"));
                false
            }
        };
        let options = Self {
            systemd_cgroup: flag("SystemdCgroup"),
            no_pivot_root: flag("NoPivotRoot"),
            no_new_keyring: flag("NoNewKeyring"),
            program: or_default(program, PROGRAM),
            root: or_default(root, ROOT),
        };
        if problems.is_empty() { Ok(options) } else { Err(OptionsError::Values(problems)) }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            program: PROGRAM.into(),
            root: ROOT.into(),
            systemd_cgroup: false,
            no_pivot_root: false,
            no_new_keyring: false,
        }
    }
}

fn or_default(text: String, default: &str) -> PathBuf {
    if text.is_empty() { default.into() } else { text.into() }
}

fn undecodable(any: &Any) -> impl FnOnce(protobuf::Error) -> OptionsError {
    move |source| OptionsError::Message { kind: any.type_url.clone(), source }
}

/// `config_path` (2) and `config_body` (3); field 1 names a type that says nothing.
fn generic_fields(bytes: &[u8]) -> protobuf::Result<(String, Vec<u8>)> {
    let mut input = CodedInputStream::from_bytes(bytes);
    let (mut path, mut body) = (String::new(), Vec::new());
    while let Some(tag) = input.read_raw_tag_or_eof()? {
        match tag {
            PATH_TAG => path = input.read_string()?,
            BODY_TAG => body = input.read_bytes()?,
            other => {
                let wire = WireType::new(other & 7).unwrap_or(WireType::LengthDelimited);
                input.skip_field(wire)?;
            }
        }
    }
    Ok((path, body))
}

/// Number and wire type (2: with a length) of the fields.
const PATH_TAG: u32 = (2 << 3) | 2;
const BODY_TAG: u32 = (3 << 3) | 2;

#[cfg(test)]
mod tests {
    use super::*;

    /// `runtimeoptions.v1.Options` with these fields.
    fn generic(path: &str, body: &str) -> Any {
        let mut value = vec![0x0a, 1, b'x'];
        for (tag, text) in [(PATH_TAG, path), (BODY_TAG, body)] {
            value.push(tag as u8);
            let mut length = text.len();
            while length >= 0x80 {
                value.push((length & 0x7f) as u8 | 0x80);
                length >>= 7;
            }
            value.push(length as u8);
            value.extend(text.as_bytes());
        }
        Any { type_url: GENERIC.to_owned(), value, ..Any::default() }
    }

    #[test]
    fn without_options_the_defaults_count_for_the_namespace() {
        let unknown = Any { type_url: "something.else".to_owned(), ..Any::default() };
        for sent in [None, Some(&unknown), Some(&generic("", ""))] {
            let options = Options::read(sent, "k8s.io").unwrap();
            assert_eq!(options.program, Path::new("runc"));
            assert_eq!(options.root, Path::new("/run/containerd/runc/k8s.io"));
            assert!(!options.systemd_cgroup);
        }
    }

    #[test]
    fn a_table_in_the_message_or_in_a_file_is_read() {
        let table = "BinaryName = \"/opt/crun\"\nRoot = \"/run/x\"\nSystemdCgroup = true\n\
                     NoPivotRoot = true\nIoUid = 0\nSomethingNew = \"y\"\n# a long line that makes \
                     the text longer than one byte can tell, which takes 128 characters in all\n";
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("options.toml");
        fs_err::write(&file, table).unwrap();
        for sent in [generic("", table), generic(file.to_str().unwrap(), "")] {
            let options = Options::read(Some(&sent), "ns").unwrap();
            assert_eq!(options.program, Path::new("/opt/crun"));
            assert_eq!(options.root, Path::new("/run/x/ns"));
            assert!(options.systemd_cgroup && options.no_pivot_root && !options.no_new_keyring);
        }
    }

    #[test]
    fn the_options_of_the_runc_shim_are_read() {
        let sent = runc_options::Options {
            binary_name: "crun".to_owned(),
            systemd_cgroup: true,
            ..runc_options::Options::default()
        };
        let value = sent.write_to_bytes().unwrap();
        let any = Any { type_url: RUNC.to_owned(), value, ..Any::default() };
        let options = Options::read(Some(&any), "ns").unwrap();
        assert_eq!(options.program, Path::new("crun"));
        assert!(options.systemd_cgroup);
    }

    #[test]
    fn every_value_of_the_wrong_kind_is_named() {
        let sent = generic("", "SystemdCgroup = \"yes\"\nRoot = 7\n");
        let error = Options::read(Some(&sent), "ns").unwrap_err().to_string();
        assert!(error.contains("SystemdCgroup") && error.contains("Root"), "{error}");
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let broken = Any { type_url: RUNC.to_owned(), value: vec![0xff], ..Any::default() };
        assert!(matches!(Options::read(Some(&broken), ""), Err(OptionsError::Message { .. })));
        let absent = generic("/nonexistent/options.toml", "");
        assert!(matches!(Options::read(Some(&absent), ""), Err(OptionsError::Read(_))));
        let not_toml = generic("", "= 3");
        assert!(matches!(Options::read(Some(&not_toml), ""), Err(OptionsError::Toml(_))));
    }
}
