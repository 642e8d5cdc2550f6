//! Whether a node can run Spin apps, and if not, why.

use std::path::Path;

use serde::Serialize;

use crate::journal::Journal;
use crate::service::know_ours;
use crate::{Facts, HANDLERS, Root, SHIM, plan};

/// Where other installers put a shim of the same name.
const OTHERS: [&str; 4] = [
    "/opt/kwasm/bin/containerd-shim-spin-v2",
    "/opt/rcm/bin/containerd-shim-spin-v2",
    "/usr/local/bin/containerd-shim-spin-v2",
    "/usr/bin/containerd-shim-spin-v2",
];

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// As it has to be.
    Well,
    /// Worth knowing.
    Notable,
    /// Keeps Spin apps from running.
    Wrong,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub subject: &'static str,
    /// How it is.
    pub state: State,
    /// In words; where something is wrong, with what to do.
    pub finding: String,
}

impl Check {
    fn new(subject: &'static str, state: State, finding: impl Into<String>) -> Self {
        Self { subject, state, finding: finding.into() }
    }
}

/// Looks at everything that a Spin app needs of a node. Nothing is changed.
pub fn diagnose(root: &Root, facts: &Facts) -> Vec<Check> {
    let mut checks = vec![handlers(facts), configuration(facts), shim(root, facts)];
    checks.extend(other_shims(root));
    checks
}

fn handlers(facts: &Facts) -> Check {
    let known = HANDLERS.into_iter().filter(|name| facts.handlers.iter().any(|it| it == name));
    let known: Vec<_> = known.collect();
    if know_ours(&facts.handlers) {
        return Check::new(
            "handlers",
            State::Well,
            format!("containerd knows {}", known.join(", ")),
        );
    }
    if let [only] = known.as_slice() {
        let finding = format!("containerd knows {only} only; RuntimeClasses may name the other");
        return Check::new("handlers", State::Notable, finding);
    }
    let finding = format!(
        "containerd does not know {}; their pods do not start; \
         run `spinlet install`",
        HANDLERS.join(" nor ")
    );
    Check::new("handlers", State::Wrong, finding)
}

fn configuration(facts: &Facts) -> Check {
    const SUBJECT: &str = "configuration";
    match plan(facts) {
        Ok(plan) if plan.writes.is_empty() => match plan.restart {
            None => Check::new(SUBJECT, State::Well, "the handlers are in it"),
            Some(_) => Check::new(
                SUBJECT,
                State::Wrong,
                "the handlers are in it, but containerd has not read it; restart containerd",
            ),
        },
        Ok(plan) => {
            let paths = plan.writes.iter().map(|write| write.path.display().to_string());
            let paths = paths.collect::<Vec<_>>().join(", ");
            let finding = format!("{paths} would be changed by `spinlet install`");
            let state = if know_ours(&facts.handlers) { State::Notable } else { State::Wrong };
            Check::new(SUBJECT, state, finding)
        }
        Err(error) => {
            let state = if know_ours(&facts.handlers) { State::Notable } else { State::Wrong };
            Check::new(SUBJECT, state, with_sources(&error))
        }
    }
}

fn shim(root: &Root, facts: &Facts) -> Check {
    const SUBJECT: &str = "shim";
    let path = Path::new(facts.distribution.program_folder()).join(SHIM);
    let shown = path.display();
    let (written, digest, attributes) =
        match (Journal::read(root), root.digest(&path), root.attributes(&path)) {
            (Ok(journal), Ok(digest), Ok(attributes)) => {
                (journal.entry(&path).map(|entry| entry.written.clone()), digest, attributes)
            }
            (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => {
                return Check::new(SUBJECT, State::Notable, error.to_string());
            }
        };
    match (digest, written) {
        (None, _) => {
            let state = if know_ours(&facts.handlers) { State::Notable } else { State::Wrong };
            Check::new(SUBJECT, state, format!("{shown} does not exist; run `spinlet install`"))
        }
        (Some(_), _) if attributes.is_some_and(|it| it.mode & 0o111 == 0) => {
            Check::new(SUBJECT, State::Wrong, format!("{shown} may not be executed; make it so"))
        }
        (Some(_), None) => {
            Check::new(SUBJECT, State::Notable, format!("{shown} was put there by somebody else"))
        }
        (Some(digest), Some(written)) if digest != written => {
            let finding = format!("{shown} was replaced since the installation");
            Check::new(SUBJECT, State::Notable, finding)
        }
        (Some(digest), Some(_)) => {
            let short: String = digest.chars().take(12).collect();
            Check::new(SUBJECT, State::Well, format!("{shown}, sha256 {short}"))
        }
    }
}

fn other_shims(root: &Root) -> Option<Check> {
    let there = OTHERS.into_iter().filter(|path| root.exists(Path::new(path)));
    let there: Vec<_> = there.collect();
    (!there.is_empty()).then(|| {
        let finding = format!(
            "{} is there too; what starts by path is not affected, what searches may find it first",
            there.join(", ")
        );
        Check::new("other shims", State::Notable, finding)
    })
}

fn with_sources(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", with_sources(source)),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
