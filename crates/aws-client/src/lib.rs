//! Signed requests to services of AWS.
//!
//! - [`AwsClient`]: calls of one service in one region.
//! - [`Credentials`] come from the configuration or, in the order of AWS's own
//!   tools, from the environment that configures the app:
//!   `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`; a
//!   workload of Kubernetes (`AWS_WEB_IDENTITY_TOKEN_FILE`, `AWS_ROLE_ARN`); a
//!   container (`AWS_CONTAINER_CREDENTIALS_*`, also EKS Pod Identity); the metadata
//!   service of the machine. Temporary ones are kept until five minutes before
//!   their end.
//! - [`sign`]: Signature Version 4, pure.
//!
//! `AWS_ENDPOINT_URL_SERVICE` and `AWS_ENDPOINT_URL` name another endpoint than
//! AWS's own, as for its own tools.

mod client;
mod credentials;
mod signature;
mod time;

pub use client::{AwsClient, AwsError};
pub use credentials::{Credentials, CredentialsError, CredentialsSource};
pub use signature::{Signing, sign};
pub use time::Timestamp;
