//! What does not compile, and what the program's author is told.

#[test]
fn what_cannot_be_derived_is_refused_with_what_to_do() {
    trybuild::TestCases::new().compile_fail("tests/refused/*.rs");
}
