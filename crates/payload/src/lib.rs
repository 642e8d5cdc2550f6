//! Programs carried at the end of another program's file
