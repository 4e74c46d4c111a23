#!/bin/sh
# Plants mistakes in the statistics or in the geometry of networks, one at a time, and runs their tests, by cargo-mutants:
# docs/mutation.md says what came of it.
#
#     sh scripts/mutants.sh stats|networks [OPTIONS OF cargo mutants]..
#     sh scripts/mutants.sh stats --shard 0/8 --sharding round-robin
#
# They need no device, so a crate of them alone is made in target/mutants: a mistake is built there in seconds.
set -eu
part=$1
shift
case $part in
stats)
    files='src/stats/**' test=statistics
    # Simulated studies, which take as long as all others together. What is left without them, they may still find.
    skipped='are_seldom as_often_as_it_says naive_one'
    used='approx|nalgebra|num-traits|rand|rand_chacha|rand_distr|serde|serde_json|statrs|thiserror'
    modules='pub mod stats;
pub mod data {
    pub fn threads() -> usize {
        2
    }
}'
    ;;
networks)
    files='src/nn/{network,spec}.rs' test=networks skipped=from_a_state_dict_alone
    used='approx|clap|rand|rand_chacha|rand_distr|safetensors|serde|serde_json|serde_path_to_error|sha2|thiserror'
    modules='pub mod digest;
pub mod nn {
    mod architecture;
    pub mod checkpoint;
    pub mod layout;
    mod network;
    mod preparation;
    mod spec;
    pub use architecture::{Architecture, Head, Known, Name, Strided};
    pub use network::{Block, Field, Network, Node, Parameter, Start, Value};
    pub use preparation::{Normalize, Preparation};
    pub use spec::{Layer, Named, Op, Spec, SpecError};
}'
    ;;
*)
    echo "there is no part $part: the parts are stats and networks" >&2
    exit 1
    ;;
esac

crate=target/mutants
rm -rf "$crate/src"
mkdir -p "$crate/src/nn"
cp -R src/stats "$crate/src/stats"
for file in architecture checkpoint layout network preparation spec; do cp "src/nn/$file.rs" "$crate/src/nn/"; done
cp -R src/digest.rs "tests/$test.rs" tests/golden "$crate/src/"
cp Cargo.lock "$crate/"

# The tests are a part of the crate, so that a mistake takes one run of the compiler.
printf '#[cfg(test)]\nmod %s;\nextern crate self as convscope;\n%s\n' "$test" "$modules" >"$crate/src/lib.rs"

# Of the project's crates those that the part uses, in its own versions.
{
    echo '[package]'
    grep -E '^(name|version|edition) = ' Cargo.toml | head -3
    printf '[lib]\ndoctest = false\n[features]\ndefault = ["native"]\nnative = []\n[workspace]\n[dependencies]\n'
    grep -E "^($used) = " Cargo.toml | sed 's/, optional = true//'
    printf '[profile.dev]\nopt-level = 1\ndebug = false\n[profile.dev.package."*"]\nopt-level = 2\n'
} >"$crate/Cargo.toml"

set -- "$@" -- --lib --
for name in $skipped; do set -- "$@" --skip "$name"; done
exec cargo mutants --dir "$crate" --in-place --file "$files" --shuffle "$@"
