//! Turn core modules of the preview 1 era into components
