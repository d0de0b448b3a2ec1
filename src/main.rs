//! sdviz
fn main() {}
