//! The only place that reads this process's environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use registry::Proxy;

/// What the environment says.
#[derive(Debug, Clone)]
pub(crate) struct Environment {
    /// Where state is kept; absolute, perhaps not there yet.
    pub(crate) state_dir: PathBuf,
    /// Folder of docker's `config.json`.
    pub(crate) docker_config: Option<PathBuf>,
    pub(crate) proxy: Proxy,
    /// `RUST_LOG`: log lines of this process, for finding faults.
    pub(crate) log_filter: Option<String>,
    /// `SPINLET_FIRST_TIER`: whether apps without code start on code of the first tier.
    pub(crate) first_tier: bool,
    /// `NO_COLOR` is set.
    pub(crate) no_color: bool,
    /// Every variable that is text: what an app served here may be configured by.
    pub(crate) all: BTreeMap<String, String>,
}

impl Environment {
    pub(crate) fn of_process() -> anyhow::Result<Self> {
        let all = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self::from_variables(process_setup::Environment::of_process(), all)
    }

    fn from_variables(
        variables: process_setup::Environment,
        all: BTreeMap<String, String>,
    ) -> anyhow::Result<Self> {
        let text = |name: &str| variables.text(name).filter(|text| !text.is_empty());
        let mut reader = variables.reader();
        let first_tier = reader.switch("SPINLET_FIRST_TIER").unwrap_or(false);
        reader.finish()?;
        // Both spellings are in use; the lower-case one counts more everywhere.
        let either =
            |lower: &str, upper: &str| text(lower).or_else(|| text(upper)).map(str::to_owned);
        let everything = either("all_proxy", "ALL_PROXY");
        Ok(Self {
            state_dir: process_setup::state_dir(&variables)?,
            docker_config: text("DOCKER_CONFIG")
                .map(PathBuf::from)
                .or_else(|| text("HOME").map(|home| Path::new(home).join(".docker"))),
            proxy: Proxy {
                http: either("http_proxy", "HTTP_PROXY").or_else(|| everything.clone()),
                https: either("https_proxy", "HTTPS_PROXY").or(everything),
                except: either("no_proxy", "NO_PROXY"),
            },
            log_filter: text("RUST_LOG").map(str::to_owned),
            first_tier,
            no_color: text("NO_COLOR").is_some(),
            all,
        })
    }

    /// The cache of compiled code.
    pub(crate) fn cache_dir(&self) -> PathBuf {
        self.state_dir.join("cache")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        let all: BTreeMap<String, String> =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Environment::from_variables(all.clone().into(), all).unwrap()
    }

    #[test]
    fn docker_config_names_the_folder_and_home_is_the_default() {
        let both = [("SPINLET_STATE_DIR", "/s"), ("DOCKER_CONFIG", "/d"), ("HOME", "/h")];
        assert_eq!(environment(&both).docker_config.as_deref(), Some(Path::new("/d")));
        let home = [("SPINLET_STATE_DIR", "/s"), ("HOME", "/h")];
        assert_eq!(environment(&home).docker_config.as_deref(), Some(Path::new("/h/.docker")));
    }

    #[test]
    fn the_first_tier_is_off_unless_it_is_switched_on() {
        let state = ("SPINLET_STATE_DIR", "/s");
        assert!(!environment(&[state]).first_tier);
        assert!(environment(&[state, ("SPINLET_FIRST_TIER", "1")]).first_tier);
        let fast = [state, ("SPINLET_FIRST_TIER", "fast")];
        let fast: BTreeMap<String, String> =
            fast.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let error = Environment::from_variables(fast.clone().into(), fast).unwrap_err();
        assert!(error.to_string().contains("SPINLET_FIRST_TIER"), "{error}");
    }

    #[test]
    fn one_proxy_for_everything_gives_way_to_a_special_one() {
        let environment = environment(&[
            ("SPINLET_STATE_DIR", "/s"),
            ("ALL_PROXY", "http://all:1"),
            ("https_proxy", "http://tls:2"),
            ("NO_PROXY", "example.com"),
        ]);
        assert_eq!(environment.proxy.http.as_deref(), Some("http://all:1"));
        assert_eq!(environment.proxy.https.as_deref(), Some("http://tls:2"));
        assert_eq!(environment.proxy.except.as_deref(), Some("example.com"));
    }
}
