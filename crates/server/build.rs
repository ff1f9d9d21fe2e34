//! Builds again when a migration is added: the compiler watches only those it has read.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
