//! Values between the interface and the binary format of PostgreSQL.

mod calendar;
mod decimal;
mod decode;
mod encode;

pub(crate) use decode::{data_type, decode};
pub(crate) use encode::encode;

/// Flags of a range in the binary format.
mod range_flags {
    pub(super) const EMPTY: u8 = 1;
    pub(super) const LOWER_INCLUSIVE: u8 = 2;
    pub(super) const UPPER_INCLUSIVE: u8 = 4;
    pub(super) const LOWER_UNBOUNDED: u8 = 8;
    pub(super) const UPPER_UNBOUNDED: u8 = 16;
}

#[cfg(test)]
mod tests;
