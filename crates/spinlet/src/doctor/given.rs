//! What a configuration and this machine give an app.

use std::collections::BTreeMap;
use std::path::Path;

use runtime_config::{KeyValueStore, LlmCompute, RuntimeConfig, SqliteDatabase, VariablesProvider};

use crate::up::RUNTIME_CONFIG_VARIABLE;

/// What an app is given here.
pub(super) struct Given<'a> {
    environment: &'a BTreeMap<String, String>,
    config: RuntimeConfig,
    /// Why it cannot be served.
    problem: Option<&'a str>,
}

impl<'a> Given<'a> {
    /// What the environment and the configuration that it names give; the runtime says
    /// of it, and of the rest, that there is a `problem`.
    pub(super) fn new(environment: &'a BTreeMap<String, String>, problem: Option<&'a str>) -> Self {
        // One that cannot be used is the problem.
        let config = environment.get(RUNTIME_CONFIG_VARIABLE).and_then(|path| read(path));
        Self { environment, config: config.unwrap_or_default(), problem }
    }

    /// Whether something is there, as far as the runtime said: what it named when it
    /// refused the app is not, and of the rest it was silent.
    pub(super) fn here(&self, name: &str) -> String {
        match self.problem {
            None => "yes",
            Some(problem) if names(problem, name) => "no",
            Some(_) => "",
        }
        .to_owned()
    }

    /// What is known of an application variable that may have a default.
    pub(super) fn variable(&self, name: &str, has_default: bool) -> String {
        let bare = name.to_ascii_uppercase();
        let prefixed = format!("SPIN_VARIABLE_{bare}");
        let set = [&bare, &prefixed].into_iter().find(|set| self.environment.contains_key(*set));
        let fixed = self.config.variables_providers.iter().any(|provider| {
            matches!(provider, VariablesProvider::Static { values, .. } if values.contains_key(name))
        });
        match (fixed, set) {
            (true, _) => "yes, from the runtime configuration".to_owned(),
            (false, Some(set)) => format!("yes, from {set}"),
            (false, None) if has_default => "yes, its default".to_owned(),
            (false, None) => match self.problem {
                None => "yes, from a provider".to_owned(),
                Some(problem) if names(problem, name) => {
                    format!("no: it has no default; set {prefixed}, or configure a provider")
                }
                Some(_) => String::new(),
            },
        }
    }

    /// What stands behind a label of a key-value store.
    pub(super) fn store(&self, label: &str) -> String {
        let place = self.config.key_value_stores.get(label).map(|store| match store {
            KeyValueStore::Embedded { path: Some(path) } => format!("in {}", path.display()),
            KeyValueStore::Embedded { path: None } => "in memory".to_owned(),
            KeyValueStore::Redis { .. } => "in Redis".to_owned(),
            KeyValueStore::AzureCosmos { account, .. } => format!("in Cosmos DB, {account}"),
            KeyValueStore::AwsDynamo { region, table, .. } => {
                format!("in DynamoDB, table {table} in {region}")
            }
        });
        labelled(label, place, "key_value_store")
    }

    /// What stands behind a label of a SQLite database.
    pub(super) fn database(&self, label: &str) -> String {
        let place = self.config.sqlite_databases.get(label).map(|database| match database {
            SqliteDatabase::Embedded { path: Some(path), .. } => format!("in {}", path.display()),
            SqliteDatabase::Embedded { path: None, .. } => "in memory".to_owned(),
            SqliteDatabase::LibSql { url, .. } => format!("at {url}"),
        });
        labelled(label, place, "sqlite_database")
    }

    /// Who runs language models.
    pub(super) fn model(&self) -> String {
        match &self.config.llm_compute {
            Some(LlmCompute::Remote { url, .. }) => format!("whatever {url} has"),
            Some(LlmCompute::Embedded) | None => {
                "no: no server is named under [llm_compute] of the runtime configuration; the app \
                 starts, and every use is an error"
                    .to_owned()
            }
        }
    }
}

/// What is known of a label that stands for this place, if for any.
fn labelled(label: &str, place: Option<String>, table: &str) -> String {
    match place {
        Some(place) => format!("yes, {place}"),
        None if label == "default" => "yes, in the folder of the app".to_owned(),
        None => format!("no: the runtime configuration has no [{table}.{label}]"),
    }
}

fn read(path: &str) -> Option<RuntimeConfig> {
    let path = Path::new(path);
    let text = fs_err::read_to_string(path).ok()?;
    RuntimeConfig::parse(&text, path.parent().unwrap_or(Path::new("."))).ok()
}

/// Whether `problem` has `name` as a word of its own.
fn names(problem: &str, name: &str) -> bool {
    let part_of_a_name = |letter: char| letter.is_alphanumeric() || "-_/:@".contains(letter);
    problem.match_indices(name).any(|(start, _)| {
        let before = problem.get(..start).and_then(|text| text.chars().next_back());
        let after = problem.get(start + name.len()..).and_then(|text| text.chars().next());
        // A colon may end a sentence's first part.
        let after = after.filter(|letter| *letter != ':');
        !before.is_some_and(part_of_a_name) && !after.is_some_and(part_of_a_name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_runtime_names_is_missing_and_no_name_within_another() {
        let problem = "unknown store \"orders\", and import acme:x/y@1.0.0 is not there";
        let (environment, given) = (BTreeMap::new(), Some(problem));
        let given = Given::new(&environment, given);
        for (name, expected) in
            [("orders", "no"), ("order", ""), ("acme:x/y@1.0.0", "no"), ("acme:x/y", "")]
        {
            assert_eq!(given.here(name), expected, "{name}");
        }
    }

    #[test]
    fn a_configuration_says_what_stands_behind_labels_models_and_variables() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        fs_err::write(
            &file,
            "[key_value_store.cache]\ntype = 'redis'\nurl = 'redis://:hunter2@h'\n\
             [sqlite_database.orders]\ntype = 'spin'\npath = '/data/orders.db'\n\
             [llm_compute]\ntype = 'remote_http'\nurl = 'http://llm'\nauth_token = 'hunter2'\n\
             [[variables_provider]]\ntype = 'static'\nvalues = { a = 'hunter2' }",
        )
        .unwrap();
        let name = file.display().to_string();
        let environment = BTreeMap::from([(RUNTIME_CONFIG_VARIABLE.to_owned(), name)]);
        let given = Given::new(&environment, None);
        let said = [
            given.store("cache"),
            given.store("default"),
            given.store("other"),
            given.database("orders"),
            given.model(),
            given.variable("a", false),
        ];
        let expected = [
            "yes, in Redis",
            "yes, in the folder of the app",
            "no: the runtime configuration has no [key_value_store.other]",
            "yes, in /data/orders.db",
            "whatever http://llm has",
            "yes, from the runtime configuration",
        ];
        assert_eq!(said, expected);
        let nothing = BTreeMap::new();
        let without = Given::new(&nothing, None);
        assert!(without.model().starts_with("no: no server"), "{}", without.model());
    }

    #[test]
    fn a_variable_without_value_is_missing_once_the_app_is_refused_for_it() {
        let environment = BTreeMap::from([
            ("SPIN_VARIABLE_GIVEN".to_owned(), "x".to_owned()),
            ("BARE".to_owned(), "x".to_owned()),
        ]);
        let refused =
            Given::new(&environment, Some("no value for the required variable missing: set X"));
        assert_eq!(refused.variable("given", false), "yes, from SPIN_VARIABLE_GIVEN");
        assert_eq!(refused.variable("bare", false), "yes, from BARE");
        assert_eq!(refused.variable("usual", true), "yes, its default");
        assert!(refused.variable("missing", false).starts_with("no: it has no default"));
        assert_eq!(refused.variable("other", false), "");
        assert_eq!(Given::new(&environment, None).variable("other", false), "yes, from a provider");
    }
}
