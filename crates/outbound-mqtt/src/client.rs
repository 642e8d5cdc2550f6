//! The connections an app has to brokers.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use outbound_network::{CONNECT_TIMEOUT, ComponentNetwork, ConnectError, OutboundNetwork};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::MqttAddress;
use crate::codec::{Connect, MAX_PACKET, QualityOfService};
use crate::error::MqttError;
use crate::session::Session;

/// What limits the connections of an app.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time; none: no limit.
    pub connections: Option<usize>,
    /// Bytes of a message; none: [`MAX_PACKET`].
    pub payload: Option<usize>,
}

/// The connections an app has to brokers, each shared by everybody of one
/// component who opens the same.
pub struct Connections {
    sessions: Mutex<HashMap<Opening, Slot>>,
    free: Option<Arc<Semaphore>>,
    longest_payload: usize,
}

/// A connection that is open or being opened.
type Slot = Arc<tokio::sync::Mutex<Option<Session>>>;

/// What tells one connection from another.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Opening {
    pub(crate) component: String,
    pub(crate) address: String,
    pub(crate) user: String,
    pub(crate) password: String,
    /// Seconds.
    pub(crate) keep_alive: u64,
}

impl Connections {
    /// None yet.
    pub fn new(limits: Limits) -> Self {
        let free = limits
            .connections
            .map(|limit| Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS))));
        let longest_payload = limits.payload.unwrap_or(MAX_PACKET).min(MAX_PACKET);
        Self { sessions: Mutex::default(), free, longest_payload }
    }

    /// The connection that there is for `opening`, or a new one.
    pub(crate) async fn connect(
        &self,
        network: &ComponentNetwork,
        opening: Opening,
    ) -> Result<Connection, MqttError> {
        let broker = MqttAddress::parse(&opening.address)?;
        let permit = network.permit(&broker.scheme, &broker.host, broker.port)?;
        let slot = self.slot(opening.clone());
        let mut slot = slot.lock().await;
        let longest_payload = self.longest_payload;
        if let Some(session) = slot.as_ref().filter(|session| session.is_open()) {
            return Ok(Connection { session: session.clone(), longest_payload });
        }
        let share = self.share()?;
        let connect = async {
            let stream = permit.connect().await?;
            let hello = hello(&opening, &broker)?;
            if broker.secure {
                let tls = network.shared().tls().await?;
                let stream = OutboundNetwork::secure(tls, permit.host(), stream).await?;
                return Session::start(stream, hello, share).await;
            }
            Session::start(stream, hello, share).await
        };
        let session = tokio::time::timeout(CONNECT_TIMEOUT, connect)
            .await
            .map_err(|_| MqttError::from(ConnectError::Timeout))??;
        *slot = Some(session.clone());
        Ok(Connection { session, longest_payload })
    }

    fn slot(&self, opening: Opening) -> Slot {
        // Nothing under this lock leaves it half done.
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        // Who holds a slot is about to use it; the others are looked at.
        sessions.retain(|_, slot| {
            Arc::strong_count(slot) > 1
                || slot.try_lock().is_ok_and(|slot| {
                    slot.as_ref().is_some_and(|session| session.is_open() || session.is_used())
                })
        });
        Arc::clone(sessions.entry(opening).or_default())
    }

    /// A share of the limit.
    fn share(&self) -> Result<Option<OwnedSemaphorePermit>, MqttError> {
        let Some(free) = &self.free else { return Ok(None) };
        let share = Arc::clone(free).try_acquire_owned();
        share.map(Some).map_err(|_| MqttError::TooManyConnections)
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}

/// The first words over a new connection.
fn hello<'a>(opening: &'a Opening, broker: &'a MqttAddress) -> Result<Connect<'a>, MqttError> {
    let login = if opening.user.is_empty() && opening.password.is_empty() {
        broker.login.as_ref().map(|(user, password)| (user.as_str(), password.as_str()))
    } else {
        Some((opening.user.as_str(), opening.password.as_str()))
    };
    let texts = [Some(broker.client_id.as_str()), login.map(|l| l.0), login.map(|l| l.1)];
    if texts.into_iter().flatten().any(|text| text.len() > usize::from(u16::MAX)) {
        return Err(MqttError::Connect("client id, user or password are too long".to_owned()));
    }
    let keep_alive = u16::try_from(opening.keep_alive).unwrap_or(u16::MAX);
    Ok(Connect { client_id: &broker.client_id, login, keep_alive })
}

/// A connection in use.
#[derive(Clone)]
pub struct Connection {
    session: Session,
    longest_payload: usize,
}

impl Connection {
    pub(crate) async fn publish(
        &self,
        topic: String,
        payload: Vec<u8>,
        quality: QualityOfService,
    ) -> Result<(), MqttError> {
        let wrong = topic.is_empty()
            || topic.len() > usize::from(u16::MAX)
            || topic.contains(['+', '#', '\0']);
        if wrong {
            return Err(MqttError::Topic(topic));
        }
        if payload.len() > self.longest_payload {
            return Err(MqttError::TooLong(self.longest_payload));
        }
        if topic.len() + payload.len() > MAX_PACKET {
            return Err(MqttError::too_long());
        }
        self.session.publish(topic, payload, quality).await
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}
