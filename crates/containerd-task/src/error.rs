//! The one error type of the Task service and its gRPC status codes.

use containerd_shim_protos::ttrpc;

/// Why a request of containerd cannot be carried out.
///
/// The variant decides the gRPC status code, on which containerd, CRI and their
/// clients branch; the text is the whole message, with every cause in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No such task or process, or it has ended already.
    #[error("{0}")]
    NotFound(String),
    /// A task of this id exists.
    #[error("{0}")]
    AlreadyExists(String),
    /// The task is in a state that does not allow the request.
    #[error("{0}")]
    FailedPrecondition(String),
    /// The request itself is wrong.
    #[error("{0}")]
    InvalidArgument(String),
    /// This kind of container does not have the operation.
    #[error("{0}")]
    Unimplemented(String),
    /// Something did not happen in time.
    #[error("{0}")]
    DeadlineExceeded(String),
    /// Anything else: the container cannot be made or run.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// An [`Error::Failed`] with `what` was attempted and the whole chain of
    /// causes, in one line.
    pub fn failed(what: impl Into<String>, cause: &(dyn std::error::Error + 'static)) -> Self {
        Self::Failed(with_causes(what.into(), Some(cause)))
    }
}

/// `text`, followed by each cause after a colon.
fn with_causes(mut text: String, mut cause: Option<&(dyn std::error::Error + 'static)>) -> String {
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl From<Error> for ttrpc::Error {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::NotFound(_) => ttrpc::Code::NOT_FOUND,
            Error::AlreadyExists(_) => ttrpc::Code::ALREADY_EXISTS,
            Error::FailedPrecondition(_) => ttrpc::Code::FAILED_PRECONDITION,
            Error::InvalidArgument(_) => ttrpc::Code::INVALID_ARGUMENT,
            Error::Unimplemented(_) => ttrpc::Code::UNIMPLEMENTED,
            Error::DeadlineExceeded(_) => ttrpc::Code::DEADLINE_EXCEEDED,
            Error::Failed(_) => ttrpc::Code::UNKNOWN,
        };
        ttrpc::Error::RpcStatus(ttrpc::get_status(code, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_every_cause_once() {
        let cause = std::io::Error::other("no space left");
        let error = Error::failed("cannot make the container", &cause);
        assert_eq!(error.to_string(), "cannot make the container: no space left");
    }

    #[test]
    fn each_kind_of_error_has_the_status_code_that_containerd_branches_on() {
        let cases = [
            (Error::NotFound(String::new()), 5),
            (Error::AlreadyExists(String::new()), 6),
            (Error::FailedPrecondition(String::new()), 9),
            (Error::InvalidArgument(String::new()), 3),
            (Error::Unimplemented(String::new()), 12),
            (Error::DeadlineExceeded(String::new()), 4),
            (Error::Failed(String::new()), 2),
        ];
        for (error, number) in cases {
            let ttrpc::Error::RpcStatus(status) = ttrpc::Error::from(error.clone()) else {
                panic!("{error:?} is not an RPC status");
            };
            assert_eq!(status.code.value(), number, "{error:?}");
        }
    }
}
