//! The connections an app has to brokers.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use outbound_network::{CONNECT_TIMEOUT, ComponentNetwork, ConnectError, Keeper, Limit, WAIT};

use telemetry::Calls;

use crate::MqttAddress;
use crate::codec::{Connect, MAX_PACKET, QualityOfService};
use crate::error::MqttError;
use crate::session::Session;

/// What limits the connections of an app.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at a time.
    pub connections: Limit,
    /// Bytes of a message; none: [`MAX_PACKET`].
    pub payload: Option<usize>,
}

/// The connections an app has to brokers, each shared by everybody of one
/// component who opens the same.
pub struct Connections {
    sessions: Arc<Sessions>,
    limit: Limit,
    longest_payload: usize,
}

/// The connections by what was opened.
#[derive(Default)]
struct Sessions(Mutex<HashMap<Opening, Slot>>);

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
        let sessions = Arc::new(Sessions::default());
        let keeper: Weak<Sessions> = Arc::downgrade(&sessions);
        limits.connections.asks(keeper);
        let longest_payload = limits.payload.unwrap_or(MAX_PACKET).min(MAX_PACKET);
        Self { sessions, limit: limits.connections, longest_payload }
    }

    /// The connection that there is for `opening`, or a new one.
    pub(crate) async fn connect(
        &self,
        network: &ComponentNetwork,
        opening: Opening,
    ) -> Result<Connection, MqttError> {
        let broker = MqttAddress::parse(&opening.address)?;
        let permit = network
            .permit(&broker.scheme, &broker.host, broker.port)
            .map_err(|denied| denied.of_address(&opening.address))?;
        let slot = self.sessions.slot(opening.clone());
        let mut slot = slot.lock().await;
        let longest_payload = self.longest_payload;
        if let Some(session) = slot.as_ref().filter(|session| session.is_open()) {
            let session = session.clone();
            return Ok(Connection { session, longest_payload, calls: Calls::default() });
        }
        let share = self.limit.share(WAIT).await.ok_or(MqttError::TooManyConnections)?;
        let connect = async {
            let stream = permit.connect().await?;
            let hello = hello(&opening, &broker)?;
            if broker.secure {
                let stream = permit.tls().secure(permit.host(), stream).await?;
                return Session::start(stream, hello, share).await;
            }
            Session::start(stream, hello, share).await
        };
        let session = tokio::time::timeout(CONNECT_TIMEOUT, connect)
            .await
            .map_err(|_| MqttError::from(ConnectError::Timeout))??;
        *slot = Some(session.clone());
        Ok(Connection { session, longest_payload, calls: Calls::default() })
    }
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<Opening, Slot>> {
        // Nothing under this lock leaves it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, opening: Opening) -> Slot {
        let mut sessions = self.lock();
        // Who holds a slot is about to use it; the others are looked at.
        sessions.retain(|_, slot| {
            Arc::strong_count(slot) > 1
                || slot.try_lock().is_ok_and(|slot| {
                    slot.as_ref().is_some_and(|session| session.is_open() || session.is_used())
                })
        });
        Arc::clone(sessions.entry(opening).or_default())
    }
}

impl Keeper for Sessions {
    fn close_idle(&self) -> bool {
        let mut sessions = self.lock();
        let idle = sessions.iter().find(|(_, slot)| {
            Arc::strong_count(slot) == 1
                && slot.try_lock().is_ok_and(|slot| {
                    slot.as_ref().is_some_and(|session| session.is_open() && !session.is_used())
                })
        });
        let Some(opening) = idle.map(|(opening, _)| opening.clone()) else { return false };
        // The connection ends with its last handle.
        sessions.remove(&opening).is_some()
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
    calls: Calls,
}

impl Connection {
    /// The same connection, whose messages are told to `calls`.
    pub(crate) fn telling(self, calls: Calls) -> Self {
        Self { calls, ..self }
    }

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
        let published = self.session.publish(topic, payload, quality);
        self.calls.call("spin_outbound_mqtt.publish", published).await
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}
