//! Which connection owns which object, and who waits for or watches that.

mod claims;
pub mod facts;
pub mod index;
mod presence;
#[cfg(test)]
mod tests;
