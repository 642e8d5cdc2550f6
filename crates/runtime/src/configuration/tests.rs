use std::collections::BTreeMap;

use control::AppSource;
use host::Provider;

use super::*;

fn spec(environment: &[(&str, &str)]) -> RunSpec {
    RunSpec {
        id: "app".to_owned(),
        app: AppSource::Manifest("/apps/shop/spin.toml".into()),
        cache_dir: "/cache".into(),
        first_tier: false,
        environment: map(environment),
        args: Vec::new(),
        default_listen: "127.0.0.1:0".to_owned(),
        sandbox: None,
    }
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

fn applied(text: &str, environment: &[(&str, &str)]) -> Result<HostSettings, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runtime-config.toml");
    fs_err::write(&path, text).unwrap();
    let spec = spec(&[("RUNTIME_CONFIG_FILE", path.to_str().unwrap())]);
    let configuration = Configuration::read(&spec).map_err(|e| process_setup::chain(&e))?;
    let settings = HostSettings::from_environment(map(environment)).unwrap();
    let state_dir = StateDir::Folder(folder.path().join("state"));
    configuration.apply(settings, &state_dir).map_err(|e| process_setup::chain(&e))
}

#[test]
fn without_a_configuration_everything_is_as_it_was() {
    let configuration = Configuration::read(&spec(&[("RUNTIME_CONFIG_FILE", "")])).unwrap();
    assert_eq!(configuration.config(), &RuntimeConfig::default());
}

#[test]
fn a_file_that_is_named_must_be_there_and_good() {
    let missing = Configuration::read(&spec(&[("RUNTIME_CONFIG_FILE", "/nonexistent.toml")]));
    let text = process_setup::chain(&missing.unwrap_err());
    assert!(text.contains("/nonexistent.toml"), "{text}");
    let text = applied("colour = 1", &[]).err().unwrap();
    assert!(text.contains("runtime-config.toml cannot be used: unknown key \"colour\""), "{text}");
}

#[test]
fn the_environment_is_asked_after_the_configured_providers() {
    let text = "[[config_provider]]\ntype = 'env'\nprefix = 'SPIN_VARIABLE_'\n\
                [[config_provider]]\ntype = 'static'\nvalues = { a = 'static' }";
    let providers = applied(text, &[("SPIN_VARIABLE_A", "env")]).unwrap().providers;
    let [Provider::Environment(first), Provider::Static(second), Provider::Environment(last)] =
        &providers[..]
    else {
        panic!("{providers:?}")
    };
    assert_eq!(first.get("a"), None);
    assert_eq!((second["a"].as_str(), last.get("a")), ("static", Some("env")));
}

#[test]
fn the_environment_wins_over_the_configured_limit_of_memory() {
    let text = "max_instance_memory = '1000'";
    assert_eq!(applied(text, &[]).unwrap().max_instance_memory, Some(1000));
    let environment = [("SPIN_MAX_INSTANCE_MEMORY", "2000")];
    assert_eq!(applied(text, &environment).unwrap().max_instance_memory, Some(2000));
}

#[test]
fn every_file_that_cannot_be_used_is_named() {
    let text = "[[variables_provider]]\ntype = 'vault'\nurl = 'http://v'\nmount = 'm'\n\
                token_file = 'no-token'\n\
                [[variables_provider]]\ntype = 'static'\npath = 'no-values.toml'\n\
                [[variables_provider]]\ntype = 'env'\ndotenv_path = 'no.env'";
    let error = applied(text, &[]).err().unwrap();
    for name in ["no-token", "no-values.toml", "no.env"] {
        assert!(error.contains(name), "{name} in {error}");
    }
}

#[tokio::test]
async fn files_have_the_names_spin_gives_them_and_are_made_by_the_first_use() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join(".spin");
    let state_dir = StateDir::IfWritable(state.clone());
    let mut problems = Problems::default();
    let settings =
        storage::settings(&RuntimeConfig::default(), &state_dir, &BTreeMap::new(), &mut problems);
    let label = ["default".to_owned()];
    let stores = settings.stores.of_component("c", &label).unwrap();
    let databases = settings.databases.of_component("c", &label).unwrap();
    assert!(!state.exists());
    stores.get("default").unwrap().set("k".into(), vec![1]).await.unwrap();
    databases.get("default").unwrap().connect().await.unwrap();
    assert!(state.join("sqlite_key_value.db").is_file());
    assert!(state.join("sqlite_db.db").is_file());
}
