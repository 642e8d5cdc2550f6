//! What a guest may import, and the per-instance state behind it
