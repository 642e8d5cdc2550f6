//! HTTP as a type of trigger.

use app::{LockedApp, Problems};
use async_trait::async_trait;
use trigger::{
    AppParts, Ended, Ready, Serving, ShutdownSignal, Surroundings, Trigger, TriggerError,
    TriggerType, chain,
};

use crate::trigger_config::{self, TRIGGER_TYPE};
use crate::{HttpApp, HttpSettings, ReservedAddress};

/// The triggers that answer HTTP requests.
///
/// Where it listens is `SPIN_HTTP_LISTEN_ADDR`, `host:port`; of several addresses
/// of a name the first. The socket is bound while the process may still bind
/// any, and listens when the app starts.
#[derive(Debug)]
pub struct HttpTriggers {
    listen: String,
    settings: HttpSettings,
    reserved: Option<ReservedAddress>,
}

impl HttpTriggers {
    /// As the environment says.
    ///
    /// # Errors
    /// Every variable that cannot be used.
    pub fn configure(surroundings: &Surroundings<'_>) -> Result<Box<dyn TriggerType>, Problems> {
        let mut problems = Problems::default();
        let settings =
            HttpSettings::from_environment(surroundings.environment).unwrap_or_else(|found| {
                problems.extend(found.iter().map(ToString::to_string));
                HttpSettings::default()
            });
        let listen = surroundings
            .environment
            .get("SPIN_HTTP_LISTEN_ADDR")
            .filter(|value| !value.is_empty())
            .map_or(surroundings.default_listen, String::as_str);
        if !has_port(listen) {
            problems.push(format!(
                "SPIN_HTTP_LISTEN_ADDR is {listen:?}, expected an address such as `0.0.0.0:80`"
            ));
        }
        let triggers = Self { listen: listen.to_owned(), settings, reserved: None };
        problems.into_result(Box::new(triggers))
    }
}

/// Whether a text has the form `host:port`.
fn has_port(text: &str) -> bool {
    text.rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

#[async_trait]
impl TriggerType for HttpTriggers {
    fn name(&self) -> &'static str {
        TRIGGER_TYPE
    }

    fn check(&self, app: &LockedApp, problems: &mut Problems) {
        trigger_config::base(app, problems);
        trigger_config::triggers(app, problems);
    }

    fn reserve(&mut self) -> Result<(), TriggerError> {
        let reserved = ReservedAddress::reserve(&self.listen).map_err(TriggerError::new)?;
        self.reserved = Some(reserved);
        Ok(())
    }

    async fn prepare(
        self: Box<Self>,
        parts: &AppParts<'_>,
        problems: &mut Problems,
    ) -> Option<Box<dyn Trigger>> {
        match HttpApp::new(parts, self.settings) {
            Ok(app) => Some(Box::new(Server { app, listen: self.listen, reserved: self.reserved })),
            Err(error) => {
                problems.push(chain(&error));
                None
            }
        }
    }
}

/// An app and where it will listen.
struct Server {
    app: HttpApp,
    listen: String,
    reserved: Option<ReservedAddress>,
}

#[async_trait]
impl Trigger for Server {
    async fn run(
        self: Box<Self>,
        ready: Ready,
        stop: ShutdownSignal,
    ) -> Result<Ended, TriggerError> {
        let Self { app, listen, reserved } = *self;
        let server = match reserved {
            Some(reserved) => reserved.listen().and_then(|listener| app.listen_on(listener)),
            None => app.bind(&listen).await,
        };
        let server = server.map_err(TriggerError::new)?;
        ready.tell(Serving { addresses: server.addresses(), routes: server.routes() });
        Ok(server.serve(stop).await)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn configure(pairs: &[(&str, &str)]) -> Result<Box<dyn TriggerType>, Problems> {
        let environment: BTreeMap<String, String> =
            pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        HttpTriggers::configure(&Surroundings {
            environment: &environment,
            default_listen: "0.0.0.0:80",
            arguments: &[],
        })
    }

    #[test]
    fn every_variable_that_cannot_be_used_is_reported() {
        assert!(configure(&[("SPIN_HTTP_LISTEN_ADDR", "")]).is_ok());
        assert!(configure(&[("SPIN_HTTP_LISTEN_ADDR", "localhost:3000")]).is_ok());
        let problems = configure(&[
            ("SPIN_HTTP_LISTEN_ADDR", "nonsense"),
            ("SPINLET_MAX_REQUESTS", "nonsense"),
        ]);
        assert_eq!(problems.err().unwrap().iter().count(), 2);
    }
}
