//! rob
mod arguments;
mod exit;
mod output;
mod signature;
fn main() {}
