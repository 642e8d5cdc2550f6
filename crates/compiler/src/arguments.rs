//! The command line: written by our own supervisor only.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use app::Digest;
use engine::Tier;
use process_setup::Environment;

/// The variable that bounds the cache when `--max-bytes` does not.
const MAX_BYTES: &str = "SPINLET_CACHE_MAX_BYTES";

const USAGE: &str = "usage: spinlet-compiler --cache FOLDER --digest sha256:HEX [--component NAME] \
                     [--tier first|optimized] [--max-bytes BYTES] < SOURCE, or spinlet-compiler --compose true --digest \
                     sha256:HEX [--component NAME] < SOURCE > WASM";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Fill the cache.
    Compile(Arguments),
    /// Compose a bundle to one component, on standard output.
    Compose {
        /// Digest that the source must have.
        digest: Digest,
        /// Name for messages.
        component: String,
    },
}

/// What to compile, and where to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// The code cache; absolute.
    pub(crate) cache: PathBuf,
    /// Digest that the source must have.
    pub(crate) digest: Digest,
    /// Name for messages.
    pub(crate) component: String,
    /// How much work it is worth. First-tier code is made only where there is no
    /// optimized code.
    pub(crate) tier: Tier,
    /// How large the cache may grow.
    pub(crate) max_bytes: u64,
}

impl Task {
    pub(crate) fn parse(
        arguments: impl IntoIterator<Item = OsString>,
        environment: &Environment,
    ) -> anyhow::Result<Self> {
        let (mut cache, mut digest, mut component, mut max_bytes) = (None, None, None, None);
        let (mut compose, mut tier) = (false, Tier::Optimized);
        let mut arguments = arguments.into_iter();
        while let Some(option) = arguments.next() {
            let value = arguments
                .next()
                .with_context(|| format!("{} lacks a value; {USAGE}", option.display()))?;
            let text =
                value.to_str().with_context(|| format!("{} is not UTF-8 text", value.display()));
            match option.to_str() {
                Some("--cache") => cache = Some(PathBuf::from(value)),
                Some("--digest") => digest = Some(text?.parse::<Digest>()?),
                Some("--component") => component = Some(text?.to_owned()),
                Some("--compose") => compose = text?.parse().context(USAGE)?,
                Some("--tier") => tier = text?.parse().context(USAGE)?,
                Some("--max-bytes") => max_bytes = Some(read_max_bytes(text?)?),
                _ => bail!("{} is not an option; {USAGE}", option.display()),
            }
        }
        let digest = digest.with_context(|| format!("--digest is missing; {USAGE}"))?;
        let component = component.unwrap_or_else(|| digest.to_string());
        if compose {
            return Ok(Self::Compose { digest, component });
        }
        let cache = cache.with_context(|| format!("--cache is missing; {USAGE}"))?;
        ensure!(cache.is_absolute(), "--cache is {}, expected an absolute path", cache.display());
        let mut reader = environment.reader();
        let configured = reader.parse(MAX_BYTES, "a number of bytes");
        reader.finish()?;
        let max_bytes = max_bytes.or(configured).unwrap_or(engine::DEFAULT_MAX_BYTES);
        Ok(Self::Compile(Arguments { cache, digest, component, tier, max_bytes }))
    }
}

fn read_max_bytes(text: &str) -> anyhow::Result<u64> {
    text.parse().with_context(|| format!("--max-bytes is {text:?}, expected a number of bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Arguments, String> {
        parse_with(arguments, &[])
    }

    fn parse_with(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Arguments, String> {
        match task(arguments, variables)? {
            Task::Compile(arguments) => Ok(arguments),
            Task::Compose { .. } => Err("a composition".to_owned()),
        }
    }

    fn task(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Task, String> {
        let arguments = arguments.iter().map(OsString::from);
        let environment = variables.iter().copied().collect();
        Task::parse(arguments, &environment).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_composition_needs_no_cache() {
        let digest = Digest::of("x");
        let text = digest.to_string();
        let expected = Task::Compose { digest, component: "c".to_owned() };
        let arguments = ["--compose", "true", "--digest", &text, "--component", "c"];
        assert_eq!(task(&arguments, &[]), Ok(expected));
        assert!(task(&["--compose", "yes", "--digest", &text], &[]).is_err());
    }

    #[test]
    fn the_environment_bounds_the_cache_unless_an_option_does() {
        let digest = Digest::of("x").to_string();
        let arguments = ["--digest", &digest, "--cache", "/c"];
        let parsed = parse_with(&arguments, &[(MAX_BYTES, "7")]).unwrap();
        assert_eq!(parsed.max_bytes, 7);
        let with_option = [&arguments[..], &["--max-bytes", "5"]].concat();
        assert_eq!(parse_with(&with_option, &[(MAX_BYTES, "7")]).unwrap().max_bytes, 5);
        let error = parse_with(&arguments, &[(MAX_BYTES, "4G")]).unwrap_err();
        assert!(error.contains(MAX_BYTES) && error.contains("4G"), "{error}");
    }

    #[test]
    fn options_come_in_any_order_and_have_defaults() {
        let digest = Digest::of("x");
        let text = digest.to_string();
        let expected = Arguments {
            cache: "/c".into(),
            digest,
            component: text.clone(),
            tier: Tier::Optimized,
            max_bytes: engine::DEFAULT_MAX_BYTES,
        };
        assert_eq!(parse(&["--digest", &text, "--cache", "/c"]), Ok(expected));
        let given = parse(&[
            "--cache",
            "/c",
            "--max-bytes",
            "5",
            "--component",
            "hello",
            "--tier",
            "first",
            "--digest",
            &text,
        ])
        .unwrap();
        assert_eq!((given.component.as_str(), given.max_bytes), ("hello", 5));
        assert_eq!(given.tier, Tier::First);
    }

    #[test]
    fn what_is_missing_or_unreadable_is_named() {
        let digest = Digest::of("x").to_string();
        for (arguments, named) in [
            (&["--cache", "/c"][..], "--digest is missing"),
            (&["--digest", &digest], "--cache is missing"),
            (&["--digest", &digest, "--cache", "c"], "expected an absolute path"),
            (&["--cache", "/c", "--digest", "md5:00"], "is not a digest"),
            (&["--cache", "/c", "--digest", &digest, "--max-bytes", "4G"], "number of bytes"),
            (&["--cache", "/c", "--digest", &digest, "--tier", "fast"], "is not a tier"),
            (&["--cache"], "lacks a value"),
            (&["--fast", "1"], "is not an option"),
        ] {
            let error = parse(arguments).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
