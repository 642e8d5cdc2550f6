//! `[llm_compute]`.

use crate::{Reader, Secret};

/// Who runs language models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LlmCompute {
    /// `type = "spin"`: this process would; no model can be run here.
    Embedded,
    /// `type = "remote_http"`: a server.
    Remote {
        /// `http://` or `https://`; what its protocol needs is appended.
        url: String,
        /// Sent with every request.
        auth_token: Secret,
        /// The protocol.
        api: LlmApi,
    },
}

/// The protocol of a server that runs language models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LlmApi {
    /// `default`: Spin's own.
    #[default]
    Spin,
    /// `open_ai`: that of OpenAI, which many servers speak.
    OpenAi,
}

pub(crate) fn read(reader: &mut Reader<'_>) -> Option<LlmCompute> {
    if reader.kind(&["spin", "remote_http"])? == "spin" {
        return Some(LlmCompute::Embedded);
    }
    let url = reader.required_url("url", &["http", "https"]);
    let auth_token = reader.required_secret("auth_token");
    let api = match reader.text("api_type").as_deref() {
        None | Some("default") => LlmApi::Spin,
        Some("open_ai") => LlmApi::OpenAi,
        Some(other) => {
            reader.refuse(&format!("api_type must be \"default\" or \"open_ai\", not {other:?}"));
            LlmApi::Spin
        }
    };
    Some(LlmCompute::Remote { url: url?, auth_token: auth_token?, api })
}
