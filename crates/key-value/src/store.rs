//! What a store can do.

use async_trait::async_trait;

/// Bytes a key may have.
pub const MAX_KEY: usize = 64 << 10;

/// Bytes a value may have.
pub const MAX_VALUE: usize = 64 << 20;

/// Bytes that the keys and values returned by one call may have together.
pub const MAX_RESULT: usize = 128 << 20;

/// Keys and their values.
///
/// Every method with one key is atomic; what holds for several keys is the
/// backend's to say, and how it keeps numbers. Dropping a call leaves it done or not
/// done, never half done.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The value of `key`.
    async fn get(&self, key: String) -> Result<Option<Vec<u8>>, StoreError>;

    /// Gives `key` a value, in place of the one it may have.
    async fn set(&self, key: String, value: Vec<u8>) -> Result<(), StoreError>;

    /// Forgets `key`; it need not exist.
    async fn delete(&self, key: String) -> Result<(), StoreError>;

    /// Whether `key` has a value.
    async fn exists(&self, key: String) -> Result<bool, StoreError>;

    /// All keys, in no particular order.
    async fn keys(&self) -> Result<Vec<String>, StoreError>;

    /// The value of each of `keys`, in their order.
    async fn get_many(
        &self,
        keys: Vec<String>,
    ) -> Result<Vec<(String, Option<Vec<u8>>)>, StoreError>;

    /// Gives each key its value; of several for one key the last.
    async fn set_many(&self, entries: Vec<(String, Vec<u8>)>) -> Result<(), StoreError>;

    /// Forgets `keys`.
    async fn delete_many(&self, keys: Vec<String>) -> Result<(), StoreError>;

    /// Adds `delta` to the number at `key`, 0 if there is none; the sum.
    async fn increment(&self, key: String, delta: i64) -> Result<i64, StoreError>;

    /// Gives `key` a value if its value still is `expected`.
    async fn swap(
        &self,
        key: String,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<Swap, StoreError>;
}

/// What [`Store::swap`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swap {
    /// The key has the new value.
    Done,
    /// The key has another value than expected: this one.
    Changed(Option<Vec<u8>>),
}

/// A store cannot do what it is asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A key is too long.
    #[error("the key has {bytes} bytes, more than {MAX_KEY}")]
    KeyTooLong {
        /// How long it is.
        bytes: usize,
    },
    /// A value is too long.
    #[error("the value of {key:?} has {bytes} bytes, more than {MAX_VALUE}")]
    ValueTooLong {
        /// Its key.
        key: String,
        /// How long it is.
        bytes: usize,
    },
    /// The result is too long; in the words of Spin, which has the same limit.
    #[error("query result exceeds limit of {MAX_RESULT} bytes")]
    ResultTooLong,
    /// A value that is to be incremented is not a number.
    #[error("the value of {key:?} is not a number that was made by an increment")]
    NotANumber {
        /// Its key.
        key: String,
    },
    /// A sum does not fit.
    #[error("the number at {key:?} would not fit 64 bits")]
    Overflow {
        /// Its key.
        key: String,
    },
    /// The backend failed.
    #[error("the store failed")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl StoreError {
    /// What a backend says.
    pub fn backend(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Backend(Box::new(error))
    }

    /// The error with its causes, as one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(error) = next {
            text.push_str(": ");
            text.push_str(&error.to_string());
            next = error.source();
        }
        text
    }
}

/// Checks the length of a key.
///
/// # Errors
///
/// It has more than [`MAX_KEY`] bytes.
pub fn check_key(key: &str) -> Result<(), StoreError> {
    if key.len() > MAX_KEY { Err(StoreError::KeyTooLong { bytes: key.len() }) } else { Ok(()) }
}

/// Checks the lengths of a key and a value.
///
/// # Errors
///
/// The key has more than [`MAX_KEY`] bytes, or the value more than [`MAX_VALUE`].
pub fn check_entry(key: &str, value: &[u8]) -> Result<(), StoreError> {
    check_key(key)?;
    if value.len() > MAX_VALUE {
        return Err(StoreError::ValueTooLong { key: key.to_owned(), bytes: value.len() });
    }
    Ok(())
}

/// Counts the bytes of a result.
#[derive(Debug, Default)]
pub struct ResultSize(usize);

impl ResultSize {
    /// Counts more of them.
    ///
    /// # Errors
    ///
    /// There are more than [`MAX_RESULT`].
    pub fn add(&mut self, bytes: usize) -> Result<(), StoreError> {
        self.0 = self.0.saturating_add(bytes);
        if self.0 > MAX_RESULT { Err(StoreError::ResultTooLong) } else { Ok(()) }
    }
}
