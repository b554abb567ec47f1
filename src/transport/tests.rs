//! Every transport does the same.
