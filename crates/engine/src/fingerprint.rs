//! Everything that decides whether compiled code fits, as one digest.

use std::fmt::{self, Write as _};
use std::hash::{Hash as _, Hasher};
use std::sync::OnceLock;

use sha2::{Digest as _, Sha256};
use wasmtime::ModuleVersionStrategy;

use crate::Tier;
use crate::config::{COMPILER_SETTINGS, FIRST_TIER_SETTINGS, base};

/// Version of the files in the cache. Raise it when their format changes, or what
/// is made of a source before it is compiled.
const ENTRY_FORMAT: u32 = 2;

/// The SHA-256 over wasmtime's exact version, the machine's architecture and
/// instruction set extensions, the engine configuration and our file format.
///
/// Code may be loaded if and only if it was stored under an equal fingerprint.
/// It is computed from the same facts by the compiler and by a runtime that
/// contains no compiler, and differs on another processor model, so that a cache
/// directory that was copied or shared is harmless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    hex: String,
}

impl Fingerprint {
    /// The fingerprint of this build on this machine, of optimized code.
    pub fn current() -> &'static Self {
        Self::of_tier(Tier::Optimized)
    }

    /// The fingerprint of code of this `tier`, of this build on this machine. An
    /// engine runs code of every tier, and no tier is ever taken for another.
    pub fn of_tier(tier: Tier) -> &'static Self {
        static OPTIMIZED: OnceLock<Fingerprint> = OnceLock::new();
        static FIRST: OnceLock<Fingerprint> = OnceLock::new();
        match tier {
            Tier::Optimized => OPTIMIZED.get_or_init(|| Self::of(&description())),
            Tier::First => {
                FIRST.get_or_init(|| Self::of(&format!("{}{FIRST_TIER_SETTINGS}\n", description())))
            }
        }
    }

    /// 64 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.hex
    }

    pub(crate) fn of(description: &str) -> Self {
        Self { hex: hex::encode(Sha256::digest(description)) }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex)
    }
}

fn description() -> String {
    let mut text = format!("entry format {ENTRY_FORMAT}\nwasmtime {}\n", wasmtime_version());
    let _ = writeln!(text, "machine {} {}", std::env::consts::ARCH, std::env::consts::OS);
    let _ = writeln!(text, "page {}", rustix::param::page_size());
    let _ = writeln!(text, "extensions {}", extensions().join(" "));
    let _ = writeln!(text, "{COMPILER_SETTINGS}\n{}", settings());
    text
}

/// What wasmtime says of our configuration, without the part that exists only
/// in a build with a compiler.
fn settings() -> String {
    let config = {
        #[cfg_attr(
            not(feature = "compile"),
            expect(unused_mut, reason = "changed with a compiler")
        )]
        let mut config = base();
        #[cfg(feature = "compile")]
        config.enable_compiler(false);
        config
    };
    format!("{config:?}").replace("compiler_config: None, ", "")
}

/// wasmtime compares major versions only; a patch release may fix what an
/// earlier one compiled wrongly. Its exact version is public in this form alone.
fn wasmtime_version() -> String {
    struct Recorder(Vec<u8>);
    impl Hasher for Recorder {
        fn write(&mut self, bytes: &[u8]) {
            self.0.extend_from_slice(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut recorder = Recorder(Vec::new());
    ModuleVersionStrategy::WasmtimeVersion.hash(&mut recorder);
    String::from_utf8_lossy(&recorder.0).into_owned()
}

/// Collects the names among `$name` that `$detect` finds on this machine.
macro_rules! found {
    ($detect:ident: $($name:tt)*) => {
        [$(($name, std::arch::$detect!($name))),*]
            .into_iter()
            .filter_map(|(name, present)| present.then_some(name))
            .collect()
    };
}

/// The instruction set extensions of this machine that Cranelift makes use of.
#[cfg(target_arch = "x86_64")]
fn extensions() -> Vec<&'static str> {
    found!(is_x86_feature_detected:
        "cmpxchg16b" "sse3" "ssse3" "sse4.1" "sse4.2" "popcnt" "avx" "avx2" "fma" "bmi1" "bmi2"
        "lzcnt" "avxvnni" "avx512bitalg" "avx512dq" "avx512f" "avx512vl" "avx512vbmi" "avx512vnni"
    )
}

/// The instruction set extensions of this machine that Cranelift makes use of.
#[cfg(target_arch = "aarch64")]
fn extensions() -> Vec<&'static str> {
    found!(is_aarch64_feature_detected: "lse" "paca" "fp16" "dotprod" "i8mm")
}

/// Other machines: wasmtime itself compares what it can.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn extensions() -> Vec<&'static str> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_names_what_the_code_depends_on() {
        let text = description();
        let lock = fs_err::read_to_string("../../Cargo.lock").unwrap();
        let version = lock
            .split("[[package]]")
            .find(|package| package.contains("name = \"wasmtime\"\n"))
            .and_then(|package| package.split('"').nth(3))
            .unwrap();
        assert!(text.contains(&format!("wasmtime {version}")), "{text}");
        assert!(text.contains("wasm_cm_async: true"), "{text}");
        assert!(text.contains("epoch_interruption: true"), "{text}");
        assert!(!text.contains("compiler_config"), "{text}");
    }

    #[test]
    fn a_build_with_and_one_without_a_compiler_agree() {
        // The second build's value is checked by the same test in the other build.
        assert!(!settings().contains("cranelift"), "{}", settings());
        assert_eq!(Fingerprint::current(), &Fingerprint::of(&description()));
    }

    #[test]
    fn the_tiers_have_fingerprints_of_their_own() {
        assert_eq!(Fingerprint::of_tier(Tier::Optimized), Fingerprint::current());
        assert_ne!(Fingerprint::of_tier(Tier::First), Fingerprint::current());
    }
}
