use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;

use control::AppSource;

use super::*;

fn channels() -> (Channel, Channel) {
    let (ours, theirs) = control::pair().unwrap();
    (Channel::new(ours).unwrap(), Channel::new(theirs).unwrap())
}

fn compilers() -> Arc<Compilers> {
    let locate = || anyhow::bail!("no compiler here");
    Arc::new(Compilers::new(Arc::new(locate), Path::new("/cache"), None))
}

fn spec() -> RunSpec {
    RunSpec {
        id: "c1".to_owned(),
        app: AppSource::Wasm("/a.wasm".into()),
        cache_dir: "/cache".into(),
        first_tier: false,
        environment: BTreeMap::new(),
        args: Vec::new(),
        default_listen: "0.0.0.0:80".to_owned(),
        sandbox: None,
    }
}

fn phases() -> Vec<Phase> {
    vec![Phase { name: "load".to_owned(), micros: 1 }]
}

#[tokio::test]
async fn a_load_ends_with_the_runtimes_phases() {
    let (shim, runtime) = channels();
    let other_side = async {
        let (message, _): (ToRuntime, _) = runtime.receive().await.unwrap();
        assert!(matches!(message, ToRuntime::Run(spec) if spec.id == "c1"));
        runtime.send(&FromRuntime::Created { phases: phases() }, None).await.unwrap();
    };
    let (compilers, cancel) = (compilers(), CancellationToken::new());
    let (loaded, ()) = tokio::join!(load(&shim, &compilers, spec(), &cancel), other_side);
    let loaded = loaded.unwrap();
    assert_eq!(loaded.phases, phases());
    assert!(loaded.first_tier.is_empty());
}

#[tokio::test]
async fn what_wants_optimized_code_is_kept_until_the_application_listens() {
    let (shim, runtime) = channels();
    let other_side = async {
        runtime.receive::<ToRuntime>().await.unwrap();
        let request = FromRuntime::Optimize {
            digest: "sha256:1".to_owned(),
            component: "hello".to_owned(),
            size: 0,
            entry: "engine/1".into(),
        };
        let bytes = tempfile::tempfile().unwrap();
        runtime.send(&request, Some(bytes.as_fd())).await.unwrap();
        runtime.send(&FromRuntime::Created { phases: phases() }, None).await.unwrap();
    };
    let (compilers, cancel) = (compilers(), CancellationToken::new());
    let (loaded, ()) = tokio::join!(load(&shim, &compilers, spec(), &cancel), other_side);
    let [FirstTier { source, entry }] = &loaded.unwrap().first_tier[..] else {
        panic!("one component was asked for");
    };
    assert_eq!((source.digest.as_str(), entry.to_str()), ("sha256:1", Some("engine/1")));
}

#[tokio::test]
async fn the_outcome_of_a_compilation_is_answered_by_its_digest() {
    let (shim, runtime) = channels();
    let other_side = async {
        runtime.receive::<ToRuntime>().await.unwrap();
        let request = FromRuntime::Compile {
            digest: "sha256:1".to_owned(),
            component: "hello".to_owned(),
            size: 0,
        };
        let bytes = tempfile::tempfile().unwrap();
        runtime.send(&request, Some(bytes.as_fd())).await.unwrap();
        let (answer, _): (ToRuntime, _) = runtime.receive().await.unwrap();
        let ToRuntime::Compiled { digest, error: Some(error) } = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(digest, "sha256:1");
        assert!(error.contains("no compiler here"), "{error}");
        runtime.send(&FromRuntime::Failed { message: error }, None).await.unwrap();
    };
    let (compilers, cancel) = (compilers(), CancellationToken::new());
    let (loaded, ()) = tokio::join!(load(&shim, &compilers, spec(), &cancel), other_side);
    assert!(matches!(loaded, Err(Stopped::Failed(_))));
}

#[tokio::test]
async fn a_cancelled_load_ends_at_once() {
    let (shim, _runtime) = channels();
    let cancel = CancellationToken::new();
    cancel.cancel();
    assert!(matches!(load(&shim, &compilers(), spec(), &cancel).await, Err(Stopped::Cancelled)));
}

#[tokio::test]
async fn a_runtime_that_dies_is_gone() {
    let (shim, runtime) = channels();
    drop(runtime);
    let cancel = CancellationToken::new();
    assert!(matches!(load(&shim, &compilers(), spec(), &cancel).await, Err(Stopped::Gone)));
    assert!(matches!(listen(&shim, Duration::from_secs(5)).await, Err(Stopped::Gone)));
}

#[tokio::test]
async fn an_application_that_does_not_listen_in_time_is_given_up() {
    let (shim, _runtime) = channels();
    let listening = listen(&shim, Duration::from_millis(10)).await;
    assert!(matches!(listening, Err(Stopped::TimedOut)));
}
