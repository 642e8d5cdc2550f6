//! containerd's Task service: life cycle, stdio and events, without any knowledge of wasm
