use runtime_config::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// A server that gives one answer, and afterwards what it was asked.
async fn server(status: u16, answer: &'static str) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/ignored", listener.local_addr().unwrap());
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let length = stream.read(&mut buffer).await.unwrap();
            request.extend_from_slice(&buffer[..length]);
            let text = String::from_utf8_lossy(&request).into_owned();
            // Every request here ends with its JSON.
            if text.ends_with('}') {
                let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n");
                let answer = format!("{head}content-length: {}\r\n\r\n{answer}", answer.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
                return text;
            }
        }
    });
    (url, asked)
}

fn models(url: &str, protocol: Protocol) -> ComponentModels {
    let token = Secret::Inline("hunter2".to_owned());
    let remote = RemoteModels::new(url.parse().unwrap(), token, protocol);
    ComponentModels::new(&["llama".to_owned()], Some(Arc::new(remote)))
}

fn body(request: &str) -> serde_json::Value {
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test]
async fn text_is_generated_over_the_protocol_of_spin() {
    let answer = r#"{"text": "hi", "usage": {"promptTokenCount": 2, "generatedTokenCount": 1}}"#;
    let (url, asked) = server(200, answer).await;
    let inference = models(&url, Protocol::Spin).infer("llama", "hello".into(), None).await;
    let expected = Inference { text: "hi".into(), prompt_tokens: 2, generated_tokens: 1 };
    assert_eq!(inference.unwrap(), expected);
    let asked = asked.await.unwrap();
    assert!(asked.starts_with("POST /infer HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("authorization: bearer hunter2\r\n"), "{asked}");
    let body = body(&asked);
    assert_eq!((&body["model"], &body["prompt"]), (&"llama".into(), &"hello".into()));
    assert_eq!(body["options"]["maxTokens"], 100);
    assert_eq!(body["options"]["repeatPenaltyLastNTokenCount"], 64);
    assert_eq!(body["options"]["topK"], 40);
}

#[tokio::test]
async fn text_is_generated_over_the_protocol_of_openai() {
    let answer = r#"{"choices": [{"message": {"role": "assistant", "content": "hi"}}],
        "usage": {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3}}"#;
    let (url, asked) = server(200, answer).await;
    let inference = models(&url, Protocol::OpenAi).infer("llama", "hello".into(), None).await;
    assert_eq!(inference.unwrap().text, "hi");
    let asked = asked.await.unwrap();
    assert!(asked.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{asked}");
    assert_eq!(body(&asked)["messages"][0]["content"], "hello");
}

#[tokio::test]
async fn texts_become_vectors_in_their_order() {
    let spin = r#"{"embeddings": [[0.5, 1], [2]], "usage": {"promptTokenCount": 4}}"#;
    let openai = r#"{"data": [{"index": 1, "embedding": [2]}, {"index": 0, "embedding": [0.5, 1]}],
        "usage": {"prompt_tokens": 4, "total_tokens": 4}}"#;
    for (protocol, answer, path) in
        [(Protocol::Spin, spin, "/embed"), (Protocol::OpenAi, openai, "/v1/embeddings")]
    {
        let (url, asked) = server(200, answer).await;
        let texts = vec!["a".to_owned(), "b".to_owned()];
        let made = models(&url, protocol).embed("llama", texts).await.unwrap();
        let expected = Embeddings { vectors: vec![vec![0.5, 1.0], vec![2.0]], prompt_tokens: 4 };
        assert_eq!(made, expected);
        let asked = asked.await.unwrap();
        assert!(asked.starts_with(&format!("POST {path} ")), "{asked}");
    }
}

#[tokio::test]
async fn every_failure_says_what_to_do_or_what_the_server_said() {
    let infer = async |models: ComponentModels, model: &str| {
        models.infer(model, "hello".into(), None).await.unwrap_err()
    };
    let denied = infer(models("http://127.0.0.1:1", Protocol::Spin), "other").await;
    assert!(denied.to_string().starts_with("The component does not have access to use 'other'."));
    let nobody = ComponentModels::new(&["llama".to_owned()], None);
    assert!(infer(nobody, "llama").await.to_string().contains("[llm_compute]"));
    let gone = infer(models("http://127.0.0.1:1", Protocol::Spin), "llama").await.to_string();
    assert!(gone.contains("refused") && !gone.contains("hunter2"), "{gone}");
    for (status, answer, part) in [
        (401, r#"{"error": {"message": "bad key", "code": "x"}}"#, "bad key (status 401"),
        (404, r#"{"error": {"code": "model_not_found"}}"#, "does not have this model"),
        (500, "oops", "the answer has the status 500"),
        (200, r#"{"choices": [], "usage": {"prompt_tokens": 1}}"#, "no text in the answer"),
        (200, "[]", "not understood"),
    ] {
        let (url, _asked) = server(status, answer).await;
        let text = infer(models(&url, Protocol::OpenAi), "llama").await.to_string();
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn both_versions_of_the_interface_are_linked() {
    let engine = wasmtime::Engine::default();
    for interface in PROVIDES {
        for function in ["infer", "generate-embeddings"] {
            let mut linker = wasmtime::component::Linker::<ComponentModels>::new(&engine);
            linker.instance(interface).unwrap().func_wrap(function, |_, (): ()| Ok(())).unwrap();
            // What is there already cannot be added.
            assert!(add_to_linker(&mut linker, |models| models).is_err(), "{interface}");
        }
    }
    let mut linker = wasmtime::component::Linker::<ComponentModels>::new(&engine);
    add_to_linker(&mut linker, |models| models).unwrap();
}
